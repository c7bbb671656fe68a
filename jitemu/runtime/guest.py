"""What the engine must know of a guest; a frontend gives one for each mode."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping, Sequence

    from jitemu.backend_llvm.stencil_keys import Key, Target
    from jitemu.isa import Decoder, Isa


class Guest:
    """A guest architecture in one mode.

    The instruction definitions are loaded when they are asked for: a run from a warm cache
    does not need them.
    """

    def __init__(
        self,
        name: str,
        frontend: str,
        variant: str,
        target: Target,
        definitions: Callable[[], tuple[Isa, Decoder]],
        roots: tuple[str, ...],
        common_keys: Callable[[], list[Key]],
        context: Callable[[int], Mapping[str, int]],
        instead: Callable[[str, str, int, Container[str]], str | None],
        register_names: Mapping[str, list[str]],
        illegal: str,
        address_bits: int = (1 << 64) - 1,
        contexts: int = 0,
        around: Mapping[str, str] | None = None,
        cpu_lines: Callable[[Sequence[int], Mapping[str, int], int], list[str]] | None = None,
    ) -> None:
        self.name = name
        self.frontend = frontend
        """Its folder among the frontends."""
        self.variant = variant
        """Distinguishes processor models (their decoders differ)."""
        self.target = target
        self.definitions = definitions
        self.roots = roots
        """Native functions the engine needs."""
        self.common_keys = common_keys
        """Stencils worth building at first use."""
        self.context = context
        """Of a translation context: tlb (state offset) and mode of data accesses, fetch (state
        index of the fetches' TLB), and the other numbers of runtime.translate.Context."""
        self.contexts = contexts
        """Translation contexts that every process has, from 0 on: instruction sets, kinds of
        rounding modes.  A machine's are made as they are met."""
        self.instead = instead
        """What to do for an instruction (name, extension) in this context, if not itself: the
        name of another definition, of all these names."""
        self.register_names = register_names
        """Names of the registers of a class, as traces show them."""
        self.illegal = illegal
        """The definition that stands for undefined words."""
        self.around = around or {}
        """Definitions that translation puts around others, by name: predicates (the first),
        read_pc, write_pc."""
        self.cpu_lines = cpu_lines
        """How -d cpu shows the state (its words, where they are, and pc); None: by names."""
        self.address_bits = address_bits
        """The bits of a pc word that are an address: all, or fewer than 32 and then bit 0 and
        the bits from 32 up choose the context."""

    def address_of(self, pc: int) -> int:
        """The guest address in a pc word."""
        return pc if self.address_bits >> 32 else pc & self.address_bits & ~1

    @property
    def isa(self) -> Isa:
        """The instruction definitions."""
        return self.definitions()[0]

    @property
    def decoder(self) -> Decoder:
        """The decoder of this processor model."""
        return self.definitions()[1]

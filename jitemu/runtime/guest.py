"""What the engine must know of a guest; a frontend gives one for each mode."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jitemu.backend_llvm.stencils import Key, Target
    from jitemu.isa import Decoder, Isa


@dataclass(frozen=True)
class Guest:
    """A guest architecture in one mode.

    The instruction definitions are loaded when they are asked for: a run from a warm cache
    does not need them.
    """

    name: str
    variant: str
    """Distinguishes processor models (their decoders differ)."""
    target: Target
    definitions: Callable[[], tuple[Isa, Decoder]]
    roots: tuple[str, ...]
    """Native functions the engine needs."""
    common_keys: Callable[[], list[Key]]
    """Stencils worth building at first use."""
    context: Callable[[int], Mapping[str, int]]
    """Of a translation context: tlb (state offset) and mode of data accesses, fetch (state
    index of the fetches' TLB)."""
    instead: Callable[[str, int], str | None]
    """What to do for an instruction of this extension in this context, if not itself: the
    name of another definition."""
    register_names: Mapping[str, list[str]]
    """Names of the registers of a class, as traces show them."""
    illegal: str
    """The definition that stands for undefined words."""

    @property
    def isa(self) -> Isa:
        """The instruction definitions."""
        return self.definitions()[0]

    @property
    def decoder(self) -> Decoder:
        """The decoder of this processor model."""
        return self.definitions()[1]

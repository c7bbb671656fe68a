"""What the engine must know of a guest; a frontend gives one for each mode."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from jitemu.backend_llvm.stencils import Key, Target
from jitemu.isa import Decoder, Isa


@dataclass(frozen=True)
class Guest:
    """A guest architecture in one mode."""

    name: str
    isa: Isa
    decoder: Decoder
    target: Target
    roots: tuple[str, ...]
    """Native functions the engine needs."""
    common_keys: Callable[[], list[Key]]
    """Stencils worth building at first use."""
    context_holes: Callable[[int], Mapping[str, int]]
    """Holes that depend on the translation context."""
    instead: Callable[[str, int], str | None]
    """What to do for an instruction of this extension in this context, if not itself: the
    name of another definition."""
    register_names: Mapping[str, list[str]]
    """Names of the registers of a class, as traces show them."""
    illegal: str
    """The instruction definition that stands for undefined words."""

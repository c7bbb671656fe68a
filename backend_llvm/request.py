"""What a region is to be made from: a head, and what is known of the running code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

_PAGE = 4096
ReadCode = Callable[[int], bytes]
"""Guest bytes at an address: 4, or 2 at the end of what may be lifted, or none."""


@dataclass(frozen=True)
class Request:
    """What to lift."""

    head: int
    """Guest pc of the entry."""
    holes: Mapping[str, int]
    """The context's holes: the access mode and its TLB's offset; in user mode ``exact``, 1
    where a handler of the guest's will see the registers at a fault."""
    limit: int = 300
    """Instructions."""
    single: bool = False
    """Only the head's block (every block is a region then)."""
    forbidden: frozenset[str] = frozenset()
    """Extensions that the context does not allow."""
    jumps: Mapping[int, Mapping[int, int]] = field(default_factory=dict[int, Mapping[int, int]])
    """By the pc of an indirect jump: how often it was seen to go to which."""
    patient: bool = False
    """To wait for more samples is better than a region that knows few targets of jumps."""
    seen: Mapping[tuple[str, int], int] = field(default_factory=dict[tuple[str, int], int])
    """By register: what it held when the head was found hot."""
    reached: Mapping[int, tuple[int, int]] | None = None
    """By the number of a page, which of its code has run (None: not known).  Bit n of the first:
    control came to byte 2n; of the second: byte 2n belongs to code that it came to."""
    made: frozenset[int] | None = None
    """Heads of regions.  Where they are given, the region may be that of a loop around the head
    which has none."""

    def has_run(self, address: int, back: bool = False) -> bool:
        """Control is known to have come to an address, or where that is unknown.

        A jump ``back`` may lead into the midst of what has run: to the head of a loop that
        was come to from above.
        """
        if self.reached is None:
            return True
        masks = self.reached.get(address // _PAGE, (0, 0))
        return masks[back] >> address % _PAGE // 2 & 1 == 1

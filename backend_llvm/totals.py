"""Counted loops whose iterations are known before they run: ``for (i = 0; i < 32; i++)``.

One chunk is all of such a loop then, without a look for requests, and LLVM is told its length.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from dataclasses import replace

from jitemu.backend_llvm.counted import Counted, Item
from jitemu.backend_llvm.loops import Loop, Place, sources_of
from jitemu.backend_llvm.narrow import Register, register_of

MOST_STRAIGHT = 96
"""Guest instructions at most of all iterations that become straight code."""
_HOLDS = {
    "ne": operator.ne,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
}
_MASK64 = (1 << 64) - 1


def find_totals(
    counted: Mapping[Place, Counted],
    loops: Iterable[Loop],
    items: Mapping[Place, Item],
    edges: Mapping[Place, list[Place]],
    entries: Iterable[Place],
) -> dict[Place, Counted]:
    """Those of the counted loops whose total is known, with it, by the places of their branches
    back."""
    by_way_back = {(loop.latch, loop.head): loop for loop in loops}
    constants = _Constants(items, edges, entries)
    found: dict[Place, Counted] = {}
    for latch, loop in counted.items():
        around = by_way_back[latch, loop.head]
        total = _total(loop, around, constants)
        if total is not None:
            straight = not around.nests and total * len(around.body) <= MOST_STRAIGHT
            copies = total if straight else loop.copies
            found[latch] = replace(loop, total=total, copies=copies)
    return found


def _total(loop: Counted, around: Loop, constants: _Constants) -> int | None:
    if not isinstance(loop.step, int):
        return None
    bound = loop.bound
    if not isinstance(bound, int):
        bound = constants.before(around, bound)
    start = constants.before(around, loop.register)
    if start is None or bound is None:
        return None
    return iterations_of(loop, start, bound)


def iterations_of(loop: Counted, start: int, bound: int) -> int | None:
    """Until the loop's comparison ends it, of 64-bit values; None if they are no single chunk."""
    assert isinstance(loop.step, int)
    holds, last = _HOLDS[loop.relation], _number(bound, loop.width, loop.signed)
    value = start
    for total in range(1, loop.iterations + 1):
        before, value = value, value + loop.step
        value = _number(value, 32, True) if loop.is_32 else value & _MASK64
        compared = before if loop.behind else value
        if not holds(_number(compared, loop.width, loop.signed), last):
            return total
    return None


def _number(value: int, width: int, signed: bool) -> int:
    """The low bits of a value, as a number."""
    value &= (1 << width) - 1
    return value - (1 << width) if signed and value >> width - 1 else value


class _Constants:
    """What registers hold wherever control comes to a loop."""

    def __init__(
        self,
        items: Mapping[Place, Item],
        edges: Mapping[Place, list[Place]],
        entries: Iterable[Place],
    ) -> None:
        self.items, self.entries = items, set(entries)
        self.sources = sources_of(edges)

    def before(self, loop: Loop, register: Register) -> int | None:
        """The one number that the register holds each time the loop begins, if it is known."""
        if loop.head in self.entries:
            return None
        work = [place for place in self.sources[loop.head] if place not in loop.body]
        seen, found = set(work), set[int | None]()
        while work:
            place = work.pop()
            ops = self.items[place].code.ops
            written = [op.args[0] for op in ops if op.name == "set" and register_of(op) == register]
            if written:
                skipped = any(op.name == "skip" for op in ops)
                found.add(None if skipped else written[-1].const)
            elif place in self.entries:
                found.add(None)
            else:
                more = [source for source in self.sources[place] if source not in seen]
                seen.update(more)
                work += more
        return found.pop() if len(found) == 1 else None

"""Counted loops whose iterations are known before they run: ``for (i = 0; i < 32; i++)``, or the
same by a pointer from the beginning of something to its end.

One chunk is all of such a loop then, without a look for requests, and LLVM is told its length.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from dataclasses import replace

from jitemu.backend_llvm.counted import Counted, Item, ends_early
from jitemu.backend_llvm.loops import Loop, Place, sources_of
from jitemu.backend_llvm.registers import Register, base_of, int_base_of, register_of

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
MOST_STEPS = 1000
"""Places that are looked at for what a loop begins with."""
Sum = tuple[Register | None, int, bool]
"""What a register holds and a number added, or the number alone; and whether that is a sum of
32 bits, sign-extended."""


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
    beginnings = _Beginnings(items, edges, entries)
    found: dict[Place, Counted] = {}
    for latch, loop in counted.items():
        around = by_way_back[latch, loop.head]
        total = _total(loop, around, beginnings)
        if total is not None:
            straight = not around.nests and total * len(around.body) <= MOST_STRAIGHT
            # most are left before their total, if they can be
            copies = 1 if ends_early(around, items, edges) else loop.copies
            copies = total if straight else copies
            found[latch] = replace(loop, total=total, copies=copies)
    return found


def _total(loop: Counted, around: Loop, beginnings: _Beginnings) -> int | None:
    if not isinstance(loop.step, int):
        return None
    fixed = isinstance(loop.bound, int)
    bound = (None, loop.bound, False) if fixed else (loop.bound, 0, False)
    found = beginnings.of(around, (loop.register, 0, False), bound)
    if loop.relation == "ne" and loop.width == 64 and not loop.is_32:
        # only the distance counts
        found = {(None, 0, end - start & _MASK64) for _, start, end in found or ()}
    if found is None or len(found) != 1:
        return None
    base, start, end = found.pop()
    return iterations_of(loop, start, end) if base is None else None


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


class _Beginnings:
    """What registers hold wherever control comes to a loop."""

    def __init__(
        self,
        items: Mapping[Place, Item],
        edges: Mapping[Place, list[Place]],
        entries: Iterable[Place],
    ) -> None:
        self.items, self.entries = items, set(entries)
        self.sources = sources_of(edges)

    def of(self, loop: Loop, one: Sum, other: Sum) -> set[tuple[Register | None, int, int]] | None:
        """What two sums can be each time the loop begins: numbers, to be added to the same
        register of some time before, or to none; None if not all that they can be is known."""
        if loop.head in self.entries:
            return None
        outside = [place for place in self.sources[loop.head] if place not in loop.body]
        work = [(place, one, other) for place in outside]
        seen, found = set(work), set[tuple[Register | None, int, int]]()
        while work:
            place, *both = work.pop()
            before = [self._before(place, each) for each in both]
            if before[0] is None or before[1] is None or len(seen) > MOST_STEPS:
                return None
            (base, start, short), (other_base, end, other_short) = one, other = before
            if base == other_base and (base is None or not (short or other_short)):
                found.add((base, start & _MASK64, end & _MASK64))
            elif place in self.entries:
                return None
            else:
                more = [(source, one, other) for source in self.sources[place]]
                more = [each for each in more if each not in seen]
                seen.update(more)
                work += more
        return found

    def _before(self, place: Place, after: Sum) -> Sum | None:
        """What a sum after an instruction is in terms of what was before it."""
        register, number, short = after
        ops = self.items[place].code.ops
        written = [op.args[0] for op in ops if op.name == "set" and register_of(op) == register]
        if not written:
            return after
        if len(written) > 1 or any(op.name == "skip" for op in ops):
            return None
        if written[0].const is not None:
            total = written[0].const + number
            return None, _number(total, 32, True) if short else total, False
        found = base_of(written[0])
        if found is None and (short or number == 0):
            found, short = int_base_of(written[0]), True
        return (found[0], found[1] + number, short) if found is not None else None

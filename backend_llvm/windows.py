"""Accesses to memory in a region of system mode: the TLB is asked beforehand.

What is accessed off one base register at small distances lies in one page nearly always: such
accesses share a *window*, a range around the base.  Where control goes straight on to an access
once its base has its value, the window is looked for there: its distance to the host's memory,
or nothing where the TLB does not hold all of it.  Then the region is left for the block of the
instruction there, whose accesses are made one by one.  So no access has a slow way of its own,
for which all registers would have to be at hand.

While LLVM optimises the region, looking for a window is a call whose result depends on its
arguments alone: it is made once for each value of the base and moves out of loops that do not
change it.  Then the test of the TLB takes the call's place.  The result holds until the region
is left: what removes a page from the TLB (a fence, another address space, a translation of code
in the page) happens outside of regions.  An entry that a fill replaces is not wrong for that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from jitemu.backend_llvm.convention import KEEPING
from jitemu.backend_llvm.guest_memory import ENTRY_SHIFT
from jitemu.backend_llvm.loops import Loop, Place
from jitemu.backend_llvm.narrow import Register, register_of
from jitemu.backend_llvm.stencil_keys import Target
from jitemu.ir.code import WIDTHS, Block, Op, Value
from jitemu.ir.state import TLB_ENTRIES

WIDEST = 128
"""Bytes of a window: a wider one crosses a page more often."""
PROBES = ("window.read", "window.write")
"""What is called for a window that is read, or written."""
CALL = "memory(none) nounwind willreturn"
SUMS = frozenset(("add", "sub", "shl", "sext", "zext", "trunc"))
"""Ops that make sums."""
MOST_STEPS = 100
"""To find out what a register holds."""
SMALL = 2047
"""What is added and no larger leads to another page rarely."""
Span = tuple[int, int]
"""Distances from the base: of the first byte and of the last."""


class Item(Protocol):
    """A lifted instruction."""

    code: Block


@dataclass
class Window:
    """What is looked for before an instruction."""

    place: Place
    register: Register
    span: Span
    write: bool
    moves: bool
    """The base goes through memory in a loop: the page found last is tried first."""
    distance: str = ""
    """LLVM's name of the result."""


@dataclass
class _Access:
    """A load or store."""

    place: Place
    register: Register
    span: Span
    write: bool


def base_of(address: Value) -> tuple[Register, int] | None:
    """(register, distance) where an address is a register and a constant."""
    op = address.source
    distance = 0
    if op is not None and op.name == "add" and op.args[1].const is not None:
        distance = op.args[1].const
        distance -= distance >> 63 << 64
        op = op.args[0].source
    return (register_of(op), distance) if op is not None and op.name == "get" else None


class Windows:
    """The windows of a region's accesses."""

    def __init__(
        self,
        items: Mapping[Place, Item],
        edges: Mapping[Place, list[Place]],
        starts: Iterable[Place],
        goes_on: Callable[[Place, Place], bool],
        loops: Iterable[Loop],
    ) -> None:
        """``goes_on``: control always goes straight on from one place to the other."""
        accesses: dict[Register, list[_Access]] = {}
        writes: dict[Register, set[Place]] = {}
        for place, item in items.items():
            for access in _accesses(place, item):
                accesses.setdefault(access.register, []).append(access)
            for op in item.code.ops:
                if op.name == "set":
                    writes.setdefault(register_of(op), set()).add(place)
        before = _before(edges, list(starts), goes_on)
        self._moving = Moving(items, loops, before)
        self._of: dict[tuple[Place, Register, Span], Window] = {}
        self.at: dict[Place, list[Window]] = {}
        """By the instruction before which they are looked for."""
        for register, found in accesses.items():
            written = writes.get(register, set[Place]())
            values = _reaching(written, edges, starts)
            for part in _shared(found, values):
                self._look(part, written, before)

    def _look(
        self, part: list[_Access], written: set[Place], before: Mapping[Place, Place]
    ) -> None:
        """Decide where accesses of one window look for it."""
        span = part[0].span[0], max(access.span[1] for access in part)
        windows: dict[Place, Window] = {}
        for access in part:
            place = access.place
            while place in before and before[place] not in written:
                place = before[place]
            window = windows.get(place)
            if window is None:
                moves = self._moving.at(place, access.register)
                window = windows[place] = Window(place, access.register, span, False, moves)
                self.at.setdefault(place, []).append(window)
            window.write |= access.write
            self._of[access.place, access.register, access.span] = window

    def of(self, place: Place, op: Op) -> Window | None:
        """The window of an access, if its address is a register and a constant."""
        base = base_of(op.args[0])
        return self._of[place, base[0], _span(op, base[1])] if base is not None else None


class Moving:
    """Registers that point to the page where they did the last time, mostly: in a loop they are
    sums of what it changes by sums and of small numbers."""

    def __init__(
        self,
        items: Mapping[Place, Item],
        loops: Iterable[Loop],
        before: Mapping[Place, Place],
    ) -> None:
        self._items = items
        self._before = before
        self._loops = sorted(loops, key=lambda loop: len(loop.body))
        self._writes: dict[Place, dict[Register, list[tuple[Place, Value]]]] = {}
        """By the latch of a loop."""

    def at(self, place: Place, register: Register) -> bool:
        """At a place in a loop that changes it, a register has such a value."""
        loop = next((loop for loop in self._loops if place in loop.body), None)
        if loop is None:
            return False
        writes = self._writes_in(loop)
        return register in writes and _Sums(writes, self).has(place, register)

    def _writes_in(self, loop: Loop) -> dict[Register, list[tuple[Place, Value]]]:
        if loop.latch not in self._writes:
            found = self._writes[loop.latch] = {}
            for place in loop.body:
                for op in self._items[place].code.ops:
                    if op.name == "set":
                        found.setdefault(register_of(op), []).append((place, op.args[0]))
        return self._writes[loop.latch]

    def made(self, place: Place, register: Register) -> tuple[Place, Value] | None:
        """Where a register got its value if control goes straight on from there to the place."""
        while place in self._before:
            place = self._before[place]
            for op in self._items[place].code.ops:
                if op.name == "set" and register_of(op) == register:
                    return place, op.args[0]
        return None


class _Sums:
    """Whether registers hold sums, in one loop."""

    def __init__(
        self, writes: Mapping[Register, list[tuple[Place, Value]]], moving: Moving
    ) -> None:
        self._writes = writes
        self._moving = moving
        self._seen: set[tuple[Place, Value] | Register] = set()
        self._left = MOST_STEPS

    def has(self, place: Place, register: Register) -> bool:
        """Before a place a register holds one."""
        if register not in self._writes:
            return True
        made = self._moving.made(place, register)
        return self._is_sum(*made) if made is not None else self._moves(register)

    def _moves(self, register: Register) -> bool:
        """All that the loop writes to a register is a sum."""
        if register in self._seen:
            return True
        self._seen.add(register)
        return all(self._is_sum(*write) for write in self._writes[register])

    def _is_sum(self, place: Place, value: Value) -> bool:
        if (place, value) in self._seen:
            return True
        if self._left < 0:
            return False
        self._seen.add((place, value))
        if self._most(place, value) <= SMALL:
            return True
        op = value.source
        if op is None:
            return True
        if op.name == "get":
            return self.has(place, register_of(op))
        return op.name in SUMS and all(self._is_sum(place, arg) for arg in op.args)

    def _most(self, place: Place, value: Value) -> int:
        """The value is at most that, as far as it is seen easily."""
        top, op = (1 << value.width) - 1, value.source
        self._left -= 1
        if value.const is not None:
            return value.const
        if self._left < 0 or op is None or not op.args:
            made = self._moving.made(place, register_of(op)) if op and op.name == "get" else None
            return self._most(*made) if made is not None else top
        if op.name == "and":
            return min(self._most(place, arg) for arg in op.args)
        if op.name in ("zext", "trunc"):
            return min(self._most(place, op.args[0]), top)
        if op.name == "add":
            return min(sum(self._most(place, arg) for arg in op.args), top)
        if op.name == "shl" and (by := op.args[1].const) is not None:
            return min(self._most(place, op.args[0]) << by, top)
        if op.name == "lshr" and (by := op.args[1].const) is not None:
            return self._most(place, op.args[0]) >> by
        return top


def _accesses(place: Place, item: Item) -> Iterable[_Access]:
    for op in item.code.ops:
        if op.name in ("load", "store") and (base := base_of(op.args[0])) is not None:
            yield _Access(place, base[0], _span(op, base[1]), op.name == "store")


def _span(op: Op, distance: int) -> Span:
    return distance, distance + WIDTHS[op.type] // 8 - 1


def _before(
    edges: Mapping[Place, list[Place]], starts: list[Place], goes_on: Callable[[Place, Place], bool]
) -> dict[Place, Place]:
    """By place: the only one before it, if control always goes on from that."""
    found: dict[Place, list[Place]] = {}
    for place, following in edges.items():
        for other in following:
            found.setdefault(other, []).append(place)
    return {
        place: others[0]
        for place, others in found.items()
        if len(others) == 1 and place not in starts and goes_on(others[0], place)
    }


def _reaching(
    writes: Iterable[Place], edges: Mapping[Place, Iterable[Place]], starts: Iterable[Place]
) -> dict[Place, int]:
    """By place: a bit for each write, and one for the starts, that may have made the value that a
    register has before the instruction there."""
    made = {place: 2 << number for number, place in enumerate(writes)}
    found = dict.fromkeys(edges, 0)
    work = list(starts)
    found.update(dict.fromkeys(work, 1))
    done: set[Place] = set()
    while work:
        place = work.pop()
        done.add(place)
        after = made.get(place, found[place])
        for other in edges[place]:
            if after & ~found[other] or other not in done:
                found[other] |= after
                work.append(other)
    return found


def _shared(accesses: list[_Access], values: Mapping[Place, int]) -> Iterable[list[_Access]]:
    """Accesses off one register, those of one window together."""
    order = sorted(accesses, key=lambda access: (values[access.place], access.span))
    part: list[_Access] = []
    for access in order:
        if part and (
            values[access.place] != values[part[0].place]
            or access.span[1] - part[0].span[0] >= WIDEST
        ):
            yield part
            part = []
        part.append(access)
    if part:
        yield part


def nowhere_text(secret: int) -> list[str]:
    """LLVM text of ``%nowhere``: 0 less a page that no address space has, so that no access is
    in it by mistake; and one that the guest does not know.  ``secret``: the word's offset."""
    return [
        f"%nowhere.at = getelementptr i8, ptr %s, i64 {secret}",
        "%nowhere.in = load i64, ptr %nowhere.at",
        f"%nowhere.low = and i64 %nowhere.in, {(1 << 62) - 4096}",
        f"%nowhere.page = or i64 %nowhere.low, {1 << 62}",
        "%nowhere = sub i64 0, %nowhere.page",
    ]


_PROBE = """
define linkonce_odr ptr @{name}(ptr %s, i64 %base, i64 %low, i64 %last) alwaysinline nounwind {{
%first = add i64 %base, %low
%end = add i64 %base, %last
%number = lshr i64 %first, {shift}
%index = and i64 %number, {mask}
%table = getelementptr i8, ptr %s, i64 {tlb}
%entry = getelementptr i8, ptr %table, i64 %index
%tag.at = getelementptr i8, ptr %entry, i64 {tag}
%tag = load i64, ptr %tag.at
%page = and i64 %end, -4096
%there = icmp eq i64 %tag, %page
br i1 %there, label %hit, label %miss, !prof !7
hit:
%distance.at = getelementptr i8, ptr %entry, i64 16
%distance = load ptr, ptr %distance.at, !nonnull !20
ret ptr %distance
miss:
%function.at = getelementptr i8, ptr %s, i64 {function}
%function = load ptr, ptr %function.at
%found = call {keeping} i64 %function(ptr %s, i64 %first, i64 %end, i64 {write}, i64 {mode})
%other = inttoptr i64 %found to ptr
ret ptr %other
}}
"""
_METADATA = """
!7 = !{!"branch_weights", i32 100000, i32 1}
!20 = !{}
"""


def probes(target: Target, tlb: int, mode: int) -> str:
    """LLVM text of what the calls for windows become.  ``tlb``: the TLB's offset in the state."""
    function = target.layout.of("functions", target.functions["find_window"])
    places = {"tlb": tlb, "function": function, "mode": mode, "keeping": KEEPING}
    places |= {"shift": 12 - ENTRY_SHIFT, "mask": TLB_ENTRIES - 1 << ENTRY_SHIFT}
    return _METADATA + "".join(
        _PROBE.format(name=name, write=write, tag=8 * write, **places)
        for write, name in enumerate(PROBES)
    )

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

from jitemu.backend_llvm.counted import passed_once
from jitemu.backend_llvm.loops import Loop, Place, sources_of
from jitemu.backend_llvm.moving import Item, Moving
from jitemu.backend_llvm.registers import Register, base_of, register_of
from jitemu.ir.code import WIDTHS, Op, Value

WIDEST = 128
"""Bytes of a window: a wider one crosses a page more often."""
MOST_STEP = 256
"""Bytes that a window moves by; with larger ones it is soon in another page."""
Span = tuple[int, int]
"""Distances from the base: of the first byte and of the last."""


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
class Steady:
    """A window that moves by the same step in every iteration of a loop."""

    window: Window
    step: int
    ahead: int
    """What is added to the base before the window is looked for the first time."""


@dataclass
class _Access:
    """A load or store."""

    place: Place
    register: Register
    span: Span
    write: bool


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

    def take_steady(self, loop: Loop, edges: Mapping[Place, list[Place]]) -> list[Steady]:
        """The windows of a loop that are looked for in every iteration and move by a constant,
        which whoever takes them looks for before the loop."""
        writes = self._moving.writes_in(loop)

        def once(place: Place) -> bool:
            return passed_once(place, loop, edges)

        found: list[Steady] = []
        for place in loop.body & self.at.keys():
            rest: list[Window] = []
            for window in self.at[place]:
                step, moved = 0, False
                if made := writes.get(window.register):
                    at, value = made[0]
                    step = _step(value, window.register) if len(made) == 1 and once(at) else None
                    moved = at != place and loop.leads_to(at, place, edges)
                if step is None or abs(step) > MOST_STEP or not once(place):
                    rest.append(window)
                else:
                    found.append(Steady(window, step, step if moved else 0))
            self.at[place] = rest
        return found

    def of(self, place: Place, op: Op) -> Window | None:
        """The window of an access, if its address is a register and a constant."""
        base = base_of(op.args[0])
        return self._of[place, base[0], _span(op, base[1])] if base is not None else None


def _step(value: Value, register: Register) -> int | None:
    """What is added to a register to make its new value."""
    base = base_of(value)
    return base[1] if base is not None and base[0] == register else None


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
    return {
        place: others[0]
        for place, others in sources_of(edges).items()
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

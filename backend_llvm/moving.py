"""Registers that move through memory in a loop, by steps that seldom lead to another page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from jitemu.backend_llvm.loops import Loop, Place
from jitemu.backend_llvm.registers import Register, register_of
from jitemu.ir.code import Block, Value

SUMS = frozenset(("add", "sub", "shl", "sext", "zext", "trunc"))
"""Ops that make sums."""
MOST_STEPS = 100
"""To find out what a register holds."""
SMALL = 2047
"""What is added and no larger leads to another page rarely."""


class Item(Protocol):
    """A lifted instruction."""

    code: Block


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
        writes = self.writes_in(loop)
        return register in writes and _Sums(writes, self).has(place, register)

    def writes_in(self, loop: Loop) -> dict[Register, list[tuple[Place, Value]]]:
        """By register: what a loop writes to it, and where."""
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

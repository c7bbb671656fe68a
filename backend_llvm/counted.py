"""Loops that count: their iterations need not look for requests one by one.

A loop is *counted* if it goes on as long as a register that changes by the same step in every
iteration compares in some way with a bound that does not change.  Its iterations are done in
chunks (chunks.py); the request is looked for between chunks.

The comparison may be another instruction than the branch (conditions.py), of 32 bits or 64, and
of the register's value before the step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from jitemu.backend_llvm.conditions import EQUAL, GREATER, LESS, Comparison, Conditions, ways
from jitemu.backend_llvm.loops import Loop, Place
from jitemu.backend_llvm.registers import Register, register_of
from jitemu.ir.code import Block, Op, Value

CHUNK_INSTRUCTIONS = 1 << 14
LEAST_CHUNK, MOST_CHUNK = 1 << 6, 1 << 12
"""Iterations: powers of two."""
OUTER_CHUNK = 1 << 3
"""Of a loop with loops in it, which look for requests too, but not at each end."""
NEAR = 4
"""Instructions outside of a loop."""
RELATIONS = {
    LESS | GREATER: "ne",
    LESS: "lt",
    LESS | EQUAL: "le",
    GREATER: "gt",
    GREATER | EQUAL: "ge",
}


class Item(Protocol):
    """A lifted instruction."""

    code: Block
    successors: list[int]


@dataclass(frozen=True)
class Counted:
    """A counted loop."""

    head: Place
    register: Register
    step: int | Register
    """What is added: a signed constant, not 0, or a register."""
    is_32: bool
    """The sum is sign-extended from 32 bits, to be compared with 64."""
    width: int
    """Bits that are compared."""
    behind: int
    """Steps that the value compared is behind the register at the branch: 0 or 1."""
    bound: int | Register
    relation: str
    """How the register compares with the bound while the loop goes on: ne lt le gt ge."""
    signed: bool
    iterations: int
    """In a chunk."""
    copies: int
    """Iterations that LLVM is to make one."""
    total: int | None = None
    """All iterations, if they are known and one chunk (totals.py)."""


def find_counted(
    items: Mapping[Place, Item], edges: Mapping[Place, list[Place]], loops: Iterable[Loop]
) -> dict[Place, Counted]:
    """The counted ones of some loops, by the places of their branches back."""
    found: dict[Place, Counted] = {}
    heads: set[Place] = set()
    for loop in loops:
        counted = _Search(loop, items, edges).counted() if loop.head not in heads else None
        if counted is not None:
            found[loop.latch] = counted
            heads.add(loop.head)  # a head has one limit
    return found


class _Search:
    """For the register that a loop counts with."""

    def __init__(
        self, loop: Loop, items: Mapping[Place, Item], edges: Mapping[Place, list[Place]]
    ) -> None:
        self.loop, self.items, self.edges = loop, items, edges
        self.writes: dict[Register, list[tuple[Place, Op]]] = {}
        for place in loop.body:
            for op in items[place].code.ops:
                if op.name == "set":
                    self.writes.setdefault(register_of(op), []).append((place, op))
        self.way = self._straight_way()

    def counted(self) -> Counted | None:
        if self.loop.nests and self._goes_on_elsewhere():
            return None
        said = self._goes_on_while()
        for way in ways(said) if said is not None else ():
            for register, is_after in self._registers(way):
                found = self._by(way, register, is_after)
                if found is not None:
                    return found
        return None

    def _goes_on_elsewhere(self) -> bool:
        """Control comes back to the head another way, from just outside: `continue` of C.  Each
        time the chunk would have to be computed anew."""
        inside, head = self.loop.body, self.loop.head
        found = {other for place in inside for other in self.edges[place]} - inside
        last = found
        for _ in range(NEAR):
            last = {other for place in last for other in self.edges[place]} - found - inside
            if any(head in self.edges[place] for place in found):
                return True
            found = found | last
        return False

    def _straight_way(self) -> list[Place]:
        """The places before the branch back, last first, that always lead to it."""
        at, way = self.loop.latch, list[Place]()
        while at != self.loop.head:
            before = [place for place in self.loop.body if at in self.edges[place]]
            if len(before) != 1 or before[0] in way:  # in a cycle that nothing leads to
                break
            at = before[0]
            way.append(at)
        return way

    def _goes_on_while(self) -> Comparison | None:
        """The comparison that leads back to the head."""
        latch, head = self.loop.latch, self.loop.head
        ops = self.items[latch].code.ops
        conditions = Conditions(latch, self._reaching)
        if self.edges[latch].count(head) != 1:
            return None
        names = [op.name for op in ops[-2:]]
        if names[-1:] == ["branch"]:
            said, target, jumps = conditions.comparison(ops[-1].args[0]), ops[-1].args[1], True
        elif names == ["skip", "jump"]:
            said, target, jumps = conditions.comparison(ops[-2].args[0]), ops[-1].args[0], False
        else:
            return None
        if said is None:
            return None
        return said if (target.const == head[1]) == jumps else said.negated()

    def _reaching(self, register: Register) -> tuple[Place, Value] | None:
        written = {place: op for place, op in self.writes.get(register, ())}
        place = next((place for place in self.way if place in written), None)
        if place is None or self._is_conditional(place):
            return None
        return place, written[place].args[0]

    def _is_conditional(self, place: Place) -> bool:
        return any(op.name == "skip" for op in self.items[place].code.ops)

    def _by(self, said: Comparison, register: Register, is_after: bool) -> Counted | None:
        """If the register counts, and what it is compared with does not change."""
        how, bound = RELATIONS.get(said.outcomes), _operand(said.right)
        if how is None or bound is None or bound in self.writes:
            return None
        if len(self.writes.get(register, ())) != 1:
            return None
        place, op = self.writes[register][0]
        width = said.left.width
        step = _step(op, register, width)
        if step is None or step[0] in self.writes or self._is_conditional(place):
            return None
        loop = self.loop
        once = passed_once(place, loop, self.edges)
        if not _fits(how, *step) or not once:
            return None
        behind = not is_after and said.place == place
        if said.place in self.way:
            between = self.way[: self.way.index(said.place)]
            behind = behind or place in (loop.latch, *between)
        size = max(1, CHUNK_INSTRUCTIONS // len(loop.body))
        iterations = min(max(1 << size.bit_length() - 1, LEAST_CHUNK), MOST_CHUNK)
        if loop.nests:
            iterations = OUTER_CHUNK
        chunk = (iterations, loop.copies)
        signed = said.signed
        return Counted(loop.head, register, *step, width, behind, bound, how, signed, *chunk)

    def _registers(self, said: Comparison) -> list[tuple[Register, bool]]:
        """The registers whose value is compared, and whether the instruction has written it."""
        found = [
            (register_of(op), True)
            for op in self.items[said.place].code.ops
            if op.name == "set" and said.left in (op.args[0], *_extended(op.args[0]))
        ]
        read = _operand(said.left)
        return [*found, (read, False)] if isinstance(read, tuple) else found


def _extended(value: Value) -> tuple[Value, ...]:
    op = value.source
    return op.args if op is not None and op.name in ("sext", "zext") else ()


def _operand(value: Value) -> Register | int | None:
    if value.const is not None:
        return value.const
    source = value.source
    if source is not None and source.name == "trunc" and value.width == 32:
        source = source.args[0].source
    return register_of(source) if source is not None and source.name == "get" else None


def _step(op: Op, register: Register, width: int) -> tuple[int | Register, bool] | None:
    """(step, the sum has 32 bits of the 64 compared) if the op adds something to its register."""
    value, is_32 = op.args[0], False
    source = value.source
    extensions = ("sext",) if width == 64 else ("sext", "zext")
    if source is not None and source.name in extensions and source.args[0].width == 32:
        value, is_32 = source.args[0], True
        source = value.source
    if source is None or source.name not in ("add", "sub"):
        return None
    own, added = (_untruncated(a, is_32) for a in source.args)
    is_32 = is_32 and width == 64
    if own is None or added is None:
        return None
    if _operand(own) != register:
        if source.name == "sub" or _operand(added) != register:
            return None
        own, added = added, own
    other = _operand(added)
    if isinstance(other, int):
        other = other - (1 << added.width) if other >> added.width - 1 else other
        return (-other if source.name == "sub" else other), is_32
    return (other, is_32) if other is not None and source.name == "add" else None


def _untruncated(value: Value, is_32: bool) -> Value | None:
    if not is_32 or value.const is not None:
        return value
    source = value.source
    if source is not None and source.name == "trunc" and value.width == 32:
        return source.args[0]
    return None


def _fits(relation: str, step: int | Register, is_32: bool) -> bool:
    """The step leads towards the end of the loop."""
    if not isinstance(step, int):
        return relation == "lt" and not is_32
    if abs(step) >= 1 << 31 or step == 0:
        return False
    return relation == "ne" or (step > 0) == (relation in ("lt", "le"))


def passed_once(place: Place, loop: Loop, edges: Mapping[Place, list[Place]]) -> bool:
    """Every way through the loop passes the place, and passes it once."""
    head, latch = loop.head, loop.latch
    around = place != head and (head == latch or loop.leads_to(head, latch, edges, but=place))
    return not around and not loop.leads_to(place, place, edges)


def ends_early(loop: Loop, items: Mapping[Place, Item], edges: Mapping[Place, list[Place]]) -> bool:
    """It may be left elsewhere than at its end."""

    def leaves(place: Place) -> bool:
        ways = max(1, len(items[place].successors))
        return sum(other in loop.body for other in edges[place]) < ways

    return any(leaves(place) for place in loop.body if place != loop.latch)

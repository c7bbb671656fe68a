"""Loops that count: their iterations need not look for requests one by one.

A loop is *counted* if it goes on as long as a register that changes by the same step in every
iteration compares in some way with a bound that does not change.  Its iterations are done in
chunks: before one, ``limit`` is computed so that the loop's own comparison, made with it,
ends the chunk after at most so many iterations; the request is looked for between chunks.
What the comparison with the bound itself would have said is never changed by that:

- ``r < bound`` and ``r < limit`` are together ``r < min(bound, limit)``, whatever limit is;
- ``r != bound`` is certain while fewer steps are done than lie between the two.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from jitemu.backend_llvm.loops import Loop, Place
from jitemu.backend_llvm.narrow import Register, register_of
from jitemu.ir.code import Block, Op, Value

CHUNK_INSTRUCTIONS = 1 << 14
LEAST_CHUNK, MOST_CHUNK = 1 << 6, 1 << 12
"""Iterations: powers of two."""
OUTER_CHUNK = 1 << 3
"""Of a loop with loops in it, which look for requests too, but not at each end."""


class Item(Protocol):
    """A lifted instruction."""

    code: Block


@dataclass(frozen=True)
class Counted:
    """A counted loop."""

    head: Place
    register: Register
    step: int | Register
    """What is added: a signed constant, not 0, or a register."""
    is_32: bool
    """The sum is sign-extended from 32 bits."""
    bound: int | Register
    relation: str
    """How the register compares with the bound while the loop goes on: ne lt le gt ge."""
    signed: bool
    iterations: int
    """In a chunk."""
    copies: int
    """Iterations that LLVM is to make one."""


def find_counted(
    items: Mapping[Place, Item], edges: Mapping[Place, list[Place]], loops: Iterable[Loop]
) -> dict[Place, Counted]:
    """The counted ones of some loops, by the places of their branches back."""
    found: dict[Place, Counted] = {}
    for loop in loops:
        last = items[loop.latch].code.ops[-1] if items[loop.latch].code.ops else None
        if last is None or last.name != "branch" or last.args[1].const != loop.head[1]:
            continue
        counted = _counted(loop, items, edges)
        if counted is not None:
            found[loop.latch] = counted
    return found


def _counted(
    loop: Loop, items: Mapping[Place, Item], edges: Mapping[Place, list[Place]]
) -> Counted | None:
    head, latch, body = loop.head, loop.latch, loop.body
    writes: dict[Register, list[tuple[Place, Op]]] = {}
    for place in body:
        for op in items[place].code.ops:
            if op.name == "set":
                writes.setdefault(register_of(op), []).append((place, op))
            elif op.name == "skip":
                return None
    condition = items[latch].code.ops[-1].args[0].source
    if condition is None or condition.name not in ("ne", "ult", "ule", "slt", "sle"):
        return None
    relation, signed = condition.name[-2:], condition.name[0] == "s"
    left, right = map(_operand, condition.args)
    for register, bound, how in (
        (left, right, relation),
        (right, left, {"lt": "gt", "le": "ge"}.get(relation, relation)),
    ):
        if not isinstance(register, tuple) or bound is None or bound in writes:
            continue
        if len(writes.get(register, ())) != 1:
            continue
        place, op = writes[register][0]
        step = _step(op, register)
        if step is None or step[0] in writes:
            continue
        if not _fits(how, *step) or not _once(place, head, latch, body, edges):
            continue
        size = max(1, CHUNK_INSTRUCTIONS // len(body))
        iterations = min(max(1 << size.bit_length() - 1, LEAST_CHUNK), MOST_CHUNK)
        if loop.nests:
            iterations = OUTER_CHUNK
        return Counted(head, register, *step, bound, how, signed, iterations, loop.copies)
    return None


def _operand(value: Value) -> Register | int | None:
    if value.const is not None:
        return value.const
    source = value.source
    return register_of(source) if source is not None and source.name == "get" else None


def _step(op: Op, register: Register) -> tuple[int | Register, bool] | None:
    """(step, the sum has 32 bits) if the op adds something to its register."""
    value, is_32 = op.args[0], False
    source = value.source
    if source is not None and source.name == "sext" and source.args[0].source is not None:
        value, is_32 = source.args[0], True
        source = value.source
    if source is None or source.name not in ("add", "sub"):
        return None
    own, added = (_untruncated(a, is_32) for a in source.args)
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


def _once(
    place: Place,
    head: Place,
    latch: Place,
    body: frozenset[Place],
    edges: Mapping[Place, list[Place]],
) -> bool:
    """Every way through the loop passes the place, and passes it once."""

    def reaches(start: Place, end: Place, but: Place | None) -> bool:
        seen, work = {start}, [start]
        while work:
            at = work.pop()
            for other in edges[at]:
                if other not in body or other == but or (at, other) == (latch, head):
                    continue
                if other == end:
                    return True
                if other not in seen:
                    seen.add(other)
                    work.append(other)
        return False

    around = place != head and (head == latch or reaches(head, latch, place))
    return not around and not reaches(place, place, None)


def limit_text(loop: Counted, start: str, step: str, bound: str, name: str) -> Sequence[str]:
    """LLVM text that computes ``%{name}``, the limit of the next chunk.

    It is made of what the register will be after so many steps, wherever sums wrap: there at
    the latest the loop's comparison with the limit does not hold.
    """
    count = str(loop.iterations)
    lines: list[str] = []

    def put(part: str, text: str) -> str:
        lines.append(f"%{name}.{part} = {text}")
        return f"%{name}.{part}"

    if loop.relation == "ne":
        assert isinstance(loop.step, int)
        ends = (bound, start) if loop.step > 0 else (start, bound)
        distance = put("distance", f"sub i64 {ends[0]}, {ends[1]}")
        if loop.is_32:  # that many steps whatever the upper halves are
            distance = put("low", f"and i64 {distance}, {(1 << 32) - 1}")
        steps = put("steps", f"udiv i64 {distance}, {abs(loop.step)}")
        some = put("some", f"call i64 @llvm.umin.i64(i64 {steps}, i64 {count})")
        count = put("count", f"call i64 @llvm.umax.i64(i64 {some}, i64 1)")
    way = put("way", f"mul i64 {count}, {step}")
    last = put("last", f"add i64 {start}, {way}")
    if loop.is_32:
        short = put("short", f"trunc i64 {last} to i32")
        last = put("wide", f"sext i32 {short} to i64")
    kind = "s" if loop.signed else "u"
    if loop.relation == "le":
        last = put("below", f"call i64 @llvm.{kind}sub.sat.i64(i64 {last}, i64 1)")
    elif loop.relation == "ge":
        last = put("above", f"call i64 @llvm.{kind}add.sat.i64(i64 {last}, i64 1)")
    if loop.relation == "ne":
        lines.append(f"%{name} = add i64 {last}, 0")
    else:
        pick = f"{kind}{'min' if loop.relation in ('lt', 'le') else 'max'}"
        lines.append(f"%{name} = call i64 @llvm.{pick}.i64(i64 {bound}, i64 {last})")
    return lines


def compare_text(loop: Counted, value: str, limit: str) -> str:
    """LLVM text: the chunk goes on."""
    kind = "" if loop.relation == "ne" else "s" if loop.signed else "u"
    return f"icmp {kind}{loop.relation} i64 {value}, {limit}"

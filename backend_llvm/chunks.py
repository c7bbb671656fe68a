"""Chunks of a counted loop's iterations, as LLVM text.

If the step is a constant, the iterations of a chunk are numbered: before it is computed after
how many the loop's own comparison ends it, at least (``count_text``).  LLVM can then unroll
without a test in each copy.

If it is a register, ``limit`` is computed so that the loop's own comparison, made with it, ends
the chunk after at most so many iterations (``limit_text``).  ``r < bound`` and ``r < limit``
are together ``r < min(bound, limit)``, whatever limit is.

Either way a chunk may end early: then the loop's own comparison says how it goes on.
"""

from __future__ import annotations

from collections.abc import Sequence

from jitemu.backend_llvm.counted import Counted

_INT32_MOST, _INT32_LEAST = (1 << 31) - 1, -(1 << 31)


class _Text:
    """Lines that define ``%{name}.{part}``."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: list[str] = []

    def put(self, part: str, text: str) -> str:
        self.lines.append(f"%{self.name}.{part} = {text}")
        return f"%{self.name}.{part}"

    def call(self, part: str, function: str, kind: str, *operands: object) -> str:
        typed = ", ".join(f"{kind} {operand}" for operand in operands)
        return self.put(part, f"call {kind} @llvm.{function}.{kind}({typed})")

    def trunc(self, part: str, value: str) -> str:
        return self.put(part, f"trunc i64 {value} to i32")

    def wide(self, kind: str, value: str) -> None:
        """The name itself: this value as 64 bits."""
        whole = f"add i64 {value}, 0" if kind == "i64" else f"zext i32 {value} to i64"
        self.lines.append(f"%{self.name} = {whole}")


def count_text(loop: Counted, start: str, bound: str, name: str) -> Sequence[str]:
    """LLVM text that computes ``%{name}``, the iterations of the next chunk (at least 1), of
    64-bit operands: the register's value before it, and the bound."""
    assert isinstance(loop.step, int)
    text, kind = _Text(name), f"i{loop.width}"
    put = text.put
    if loop.width == 32:
        start, bound = text.trunc("start", start), text.trunc("bound", bound)
    first = start if loop.behind else put("first", f"add {kind} {start}, {loop.step}")
    if loop.is_32:
        first = put("wide", f"sext i32 {text.trunc('short', first)} to i64")
    distance = _distance(loop, text, kind, first, bound)
    step = abs(loop.step)
    most = min(loop.iterations, max(1, (1 << 31) // step))
    steps = text.call("near", "umin", kind, distance, (most - 1) * step)
    if step > 1:
        rounded = put("rounded", f"add nuw {kind} {steps}, {step - 1}")
        steps = put("steps", f"udiv {kind} {rounded}, {step}")
    count = put("count", f"add nuw {kind} {steps}, 1")
    text.wide(kind, count)
    return text.lines


def _distance(loop: Counted, text: _Text, kind: str, first: str, bound: str) -> str:
    """How far the first value compared is from the end: 0 if the loop ends there."""
    assert isinstance(loop.step, int)
    up, sign = loop.step > 0, "s" if loop.signed else "u"
    if loop.relation == "ne":
        ends = (bound, first) if up else (first, bound)
        distance = text.put("distance", f"sub {kind} {ends[0]}, {ends[1]}")
        if loop.is_32:  # that many steps whatever the upper halves are
            return text.put("low", f"and i64 {distance}, {(1 << 32) - 1}")
        return distance
    if loop.relation in ("le", "ge"):
        bound = text.call("beyond", f"{sign}{'add' if up else 'sub'}.sat", kind, bound, 1)
    if loop.is_32 and (up or loop.signed):  # before the sum wraps
        nearer, last = ("min", _INT32_MOST) if up else ("max", _INT32_LEAST)
        bound = text.call("before", f"{sign}{nearer}", kind, bound, last)
    end = text.call("end", f"{sign}{'max' if up else 'min'}", kind, bound, first)
    ends = (end, first) if up else (first, end)
    distance = text.put("distance", f"sub {kind} {ends[0]}, {ends[1]}")
    if loop.is_32 and not up and not loop.signed:  # what is sign-extended wraps elsewhere
        negative = text.put("negative", f"icmp slt i64 {first}, 0")
        distance = text.put("safe", f"select i1 {negative}, i64 0, i64 {distance}")
    return distance


def limit_text(loop: Counted, start: str, step: str, bound: str, name: str) -> Sequence[str]:
    """LLVM text that computes ``%{name}``, the limit of the next chunk, of 64-bit operands.

    It is made of what the register will be after so many steps, wherever sums wrap: there at
    the latest the loop's comparison with the limit does not hold.
    """
    assert loop.relation == "lt"
    assert not loop.is_32
    text, kind = _Text(name), f"i{loop.width}"
    if loop.width == 32:
        start, bound = text.trunc("start", start), text.trunc("bound", bound)
        step = text.trunc("step", step)
    if loop.behind:
        start = text.put("before", f"sub {kind} {start}, {step}")
    way = text.put("way", f"mul {kind} {loop.iterations}, {step}")
    last = text.put("last", f"add {kind} {start}, {way}")
    end = text.call("end", "smin" if loop.signed else "umin", kind, bound, last)
    text.wide(kind, end)
    return text.lines


def compare_text(loop: Counted, value: str, step: str, limit: str, name: str) -> Sequence[str]:
    """LLVM text that computes ``%{name}``: the value is before the limit."""
    text = _Text(name)
    if loop.behind:
        value = text.put("before", f"sub i64 {value}, {step}")
    if loop.width == 32:
        value, limit = text.trunc("value", value), text.trunc("limit", limit)
    sign = "s" if loop.signed else "u"
    text.lines.append(f"%{name} = icmp {sign}lt i{loop.width} {value}, {limit}")
    return text.lines

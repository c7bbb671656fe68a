"""The shape of micro-op code: values, ops, blocks and functions.

A value is defined once (SSA), before every use; what changes from block to block goes
through guest registers, state words or locals, which the backend turns into SSA.
"""

from __future__ import annotations

from dataclasses import dataclass, field

WIDTHS = {"i1": 1, "i8": 8, "i16": 16, "i32": 32, "i64": 64}
"""Scalar types and their bits."""

VECTORS = {
    f"{lane}x{count}": (lane, count)
    for lane, width in WIDTHS.items()
    for count in (2, 4, 8, 16, 32, 64)
    if width == 1 or width * count in (32, 64, 128, 256, 512)
}
"""Vector types: (type of a lane, lanes).  Lane 0 is in the lowest bits of a value."""

BITS = {**WIDTHS, **{name: WIDTHS[lane] * count for name, (lane, count) in VECTORS.items()}}
"""All types and their bits."""


def lanes_of(type: str) -> tuple[str, int]:
    """(type of a lane, lanes); a scalar is its own lane."""
    return VECTORS.get(type, (type, 1))


def vector_of(lane: str, count: int) -> str:
    """The type of so many lanes: the lane's own for one."""
    return lane if count == 1 else f"{lane}x{count}"


def truth_of(type: str) -> str:
    """i1 for each lane of a type."""
    return vector_of("i1", lanes_of(type)[1])


def split_lanes(type: str, value: int) -> list[int]:
    """The lanes of a value, lane 0 first."""
    lane, count = lanes_of(type)
    width = WIDTHS[lane]
    return [value >> k * width & (1 << width) - 1 for k in range(count)]


def join_lanes(type: str, lanes: list[int]) -> int:
    """A value of its lanes, each wrapped."""
    width = WIDTHS[lanes_of(type)[0]]
    mask = (1 << width) - 1
    return sum((lane & mask) << k * width for k, lane in enumerate(lanes))


Attr = str | int
"""A static part of an op: a register's class, a field's name, a label, a number."""


class Value:
    """A result of an op, or a constant (``const`` is then its unsigned value)."""

    __slots__ = ("const", "number", "source", "type")

    def __init__(self, type: str, const: int | None = None, source: Op | None = None) -> None:
        self.type = type
        self.const = const
        self.source = source
        """The op that defines it (None for a constant)."""
        self.number = -1

    @property
    def width(self) -> int:
        """Bits."""
        return BITS[self.type]

    def __repr__(self) -> str:
        if self.const is not None:
            return f"{self.const:#x}:{self.type}"
        return f"%{self.number}:{self.type}"


class Op:
    """One micro-op: a row of the table applied to values."""

    __slots__ = ("args", "attrs", "name", "result", "type")

    def __init__(self, name: str, type: str, args: tuple[Value, ...], attrs: tuple[Attr, ...]):
        self.name = name
        self.type = type
        """The row's type parameter T ("" where it has none)."""
        self.args = args
        self.attrs = attrs
        self.result: Value | None = None


@dataclass(slots=True)
class Block:
    """A label and straight-line ops; the last one may leave the block."""

    label: str
    ops: list[Op] = field(default_factory=list[Op])


@dataclass(slots=True)
class Function:
    """Blocks, the first being the entry.  Parameters and result are i64."""

    name: str
    params: tuple[str, ...] = ()
    blocks: list[Block] = field(default_factory=list[Block])

    def number(self) -> None:
        """Give every result its number, in order, for printing and lowering."""
        count = 0
        for block in self.blocks:
            for op in block.ops:
                if op.result is not None:
                    op.result.number = count
                    count += 1

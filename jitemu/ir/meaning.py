"""What a row's Python meaning gives for values of any type: lane by lane, or as a whole."""

from __future__ import annotations

from collections.abc import Sequence

from jitemu.ir.code import BITS, WIDTHS, Attr, Op, join_lanes, lanes_of, split_lanes, truth_of
from jitemu.ir.ops import ROWS, Row, signed


def result_type(row: Row, type: str) -> str:
    """The type of an op's result ("" if it has none)."""
    if row.result == "T":
        return type
    return truth_of(type) if row.result == "B" else row.result


def usual_of(op: Op) -> Op:
    """The op that an unless usually is, without a result."""
    name = str(op.attrs[1])
    return Op(name, op.type, op.args[1 : 1 + len(ROWS[name].args)], ())


def has_meaning(row: Row) -> bool:
    """Its result follows from its arguments."""
    return row.meaning is not None or row.whole is not None or row.name == "sext"


def compute(
    row: Row, type: str, attrs: Sequence[Attr], types: Sequence[str], values: Sequence[int]
) -> int:
    """The result for arguments of these types, wrapped to the result's type."""
    result = result_type(row, type)
    if row.whole is not None:
        return row.whole(type, attrs, types, values) & (1 << BITS[result]) - 1
    lanes = [split_lanes(t, v) for t, v in zip(types, values, strict=True)]
    width = WIDTHS[lanes_of(type)[0]] if type else 64
    if row.name == "sext":
        source = WIDTHS[lanes_of(types[0])[0]]
        return join_lanes(result, [signed(source, lane) for lane in lanes[0]])
    assert row.meaning is not None
    return join_lanes(result, [int(row.meaning(width, *lane)) for lane in zip(*lanes, strict=True)])

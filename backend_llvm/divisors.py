"""Divisions by what the divisor's register was seen to hold.

Where a compiler knows a divisor it multiplies instead; where it holds it in a register (a
modulus, a hash table's size, a constant loaded before the loop) the region does not know it, and
the host's division takes ten times as long as a multiplication.  The registers' values at
the time when the region's head was found hot are a good guess: the region compares the divisor
with it, and has both ways.
"""

from __future__ import annotations

from collections.abc import Mapping

from jitemu.backend_llvm.registers import Register, register_of
from jitemu.ir.code import Op, Value
from jitemu.ir.meaning import compute
from jitemu.ir.ops import ROWS

DIVISIONS = frozenset(("udiv", "urem", "sdiv", "srem"))
_CONVERSIONS = frozenset(("trunc", "sext", "zext"))


def guessed_divisor(op: Op, seen: Mapping[Register, int]) -> Value | None:
    """What a division divides by, judged by the registers' values seen."""
    if op.name not in DIVISIONS or op.args[1].const is not None:
        return None
    divisor = op.args[1]
    value = _held(divisor, seen)
    return None if value is None or value < 2 else Value(divisor.type, value)


def _held(value: Value, seen: Mapping[Register, int]) -> int | None:
    """A register's value, or a conversion of one."""
    op = value.source
    if op is None:
        return None
    if op.name == "get":
        return seen.get(register_of(op))
    inner = _held(op.args[0], seen) if op.name in _CONVERSIONS else None
    if inner is None:
        return None
    return compute(ROWS[op.name], op.type, op.attrs, [op.args[0].type], [inner])

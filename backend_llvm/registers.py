"""Registers in micro-ops."""

from __future__ import annotations

from jitemu.ir.code import Op, Value

Register = tuple[str, int]
"""Class and index."""


def register_of(op: Op) -> Register:
    """The register that a get or set names."""
    return str(op.attrs[0]), int(op.attrs[1])


def base_of(value: Value) -> tuple[Register, int] | None:
    """(register, signed distance) where a 64-bit value is a register and a constant."""
    return _base_and_distance(value, 64)


def int_base_of(value: Value) -> tuple[Register, int] | None:
    """The same where it is such a sum of 32 bits, sign-extended."""
    op = value.source
    if op is None or op.name != "sext" or op.args[0].width != 32:
        return None
    return _base_and_distance(op.args[0], 32)


def _base_and_distance(value: Value, width: int) -> tuple[Register, int] | None:
    op = value.source
    distance = 0
    if op is not None and op.name == "add" and op.args[1].const is not None:
        distance = op.args[1].const
        distance -= distance >> width - 1 << width
        op = op.args[0].source
    if width == 32 and op is not None and op.name == "trunc":
        op = op.args[0].source
    return (register_of(op), distance) if op is not None and op.name == "get" else None

"""Zbc: carry-less multiplication (unprivileged specification, section 28.4.3)."""

from __future__ import annotations

from jitemu.frontends.riscv.i import OP, op
from jitemu.ir.builder import V


def clmulr(a: V, b: V) -> V:
    """Bits 126 to 63 of the product: what bit-reversed operands' product is made of."""
    return a.op("clmulh", b) << 1 | a.op("clmul", b) >> 63


op("clmul", "0000101", "001", OP, lambda a, b: a.op("clmul", b), "zbc")
op("clmulh", "0000101", "011", OP, lambda a, b: a.op("clmulh", b), "zbc")
op("clmulr", "0000101", "010", OP, clmulr, "zbc")

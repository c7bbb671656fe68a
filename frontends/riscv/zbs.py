"""Zbs: single bits (unprivileged specification, section 28.4.4)."""

from __future__ import annotations

from jitemu.frontends.riscv.i import OP, OP_IMM, Binary, op, shift_imm
from jitemu.ir.builder import V


def bit_of(a: V, n: V) -> V:
    """A word with bit n (modulo 64) set."""
    return a.builder.const(1) << (n & 63)


def single(name: str, funct6: str, funct3: str, f: Binary) -> None:
    """Both forms: the bit's number in a register, and in the instruction."""
    op(name, funct6 + "0", funct3, OP, f, "zbs")
    shift_imm(name + "i", funct6, 6, funct3, OP_IMM, f, "zbs")


single("bclr", "010010", "001", lambda a, b: a & ~bit_of(a, b))
single("bext", "010010", "101", lambda a, b: a >> (b & 63) & 1)
single("binv", "011010", "001", lambda a, b: a ^ bit_of(a, b))
single("bset", "001010", "001", lambda a, b: a | bit_of(a, b))

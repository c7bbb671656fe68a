"""Zbb: basic bit manipulation (unprivileged specification, section 28.4.2)."""

from __future__ import annotations

from collections.abc import Callable

from jitemu.frontends.riscv.i import OP, OP_32, OP_IMM, OP_IMM_32, op, shift_imm, w
from jitemu.frontends.riscv.state import S, isa
from jitemu.ir.builder import V
from jitemu.ir.emitter import Register

Unary = Callable[[V], V]


def unary(name: str, top: str, funct3: str, opcode: str, f: Unary) -> None:
    """One operand: x[rd] = f(x[rs1])."""

    def body(s: S, rd: Register, rs1: Register) -> None:
        s.x[rd] = f(s.x[rs1])

    isa.insn(f"{top} rs1:5 {funct3} rd:5 {opcode}", f"{name} {{rd}}, {{rs1}}", "zbb", name)(body)


def or_combine(a: V) -> V:
    """Every byte that is not zero becomes 0xff."""
    low = 0x7F7F7F7F7F7F7F7F
    high = (((a & low) + low) | a) & ~low
    return (high << 1) - (high >> 7)


op("andn", "0100000", "111", OP, lambda a, b: a & ~b, "zbb")
op("orn", "0100000", "110", OP, lambda a, b: a | ~b, "zbb")
op("xnor", "0100000", "100", OP, lambda a, b: ~(a ^ b), "zbb")

op("min", "0000101", "100", OP, lambda a, b: a.slt(b).select(a, b), "zbb")
op("minu", "0000101", "101", OP, lambda a, b: a.ult(b).select(a, b), "zbb")
op("max", "0000101", "110", OP, lambda a, b: a.slt(b).select(b, a), "zbb")
op("maxu", "0000101", "111", OP, lambda a, b: a.ult(b).select(b, a), "zbb")

op("rol", "0110000", "001", OP, lambda a, b: a.rotl(b), "zbb")
op("ror", "0110000", "101", OP, lambda a, b: a.rotl(-b), "zbb")
op("rolw", "0110000", "001", OP_32, w(lambda a, b: a.rotl(b)), "zbb")
op("rorw", "0110000", "101", OP_32, w(lambda a, b: a.rotl(-b)), "zbb")
shift_imm("rori", "011000", 6, "101", OP_IMM, lambda a, b: a.rotl(-b), "zbb")
shift_imm("roriw", "0110000", 5, "101", OP_IMM_32, w(lambda a, b: a.rotl(-b)), "zbb")

unary("clz", "011000000000", "001", OP_IMM, lambda a: a.op("clz"))
unary("ctz", "011000000001", "001", OP_IMM, lambda a: a.op("ctz"))
unary("cpop", "011000000010", "001", OP_IMM, lambda a: a.op("popcount"))
unary("clzw", "011000000000", "001", OP_IMM_32, lambda a: a.trunc(32).op("clz").zext())
unary("ctzw", "011000000001", "001", OP_IMM_32, lambda a: a.trunc(32).op("ctz").zext())
unary("cpopw", "011000000010", "001", OP_IMM_32, lambda a: a.trunc(32).op("popcount").zext())
unary("sext.b", "011000000100", "001", OP_IMM, lambda a: a.sx(8))
unary("sext.h", "011000000101", "001", OP_IMM, lambda a: a.sx(16))
unary("zext.h", "000010000000", "100", OP_32, lambda a: a.zx(16))
unary("orc.b", "001010000111", "101", OP_IMM, or_combine)
unary("rev8", "011010111000", "101", OP_IMM, lambda a: a.op("bswap"))

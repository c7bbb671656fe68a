"""Branches, calls, and changes of the instruction set."""

from __future__ import annotations

from typing import Any

from jitemu.frontends.arm.registers import LR, NZ, R
from jitemu.frontends.arm.state import S, Word, isa, since, thumb
from jitemu.ir.emitter import RegisterFile


def _jump(s: S, target: Word) -> None:
    s.jump(target & 0xFFFFFFFF if target.const is not None else target)


@isa.insn("cond:4 1010 imm[25:2]+8", "b {imm:pc}", "arm")
def b(s: S, imm: Word) -> None:
    """pc += imm."""
    _jump(s, s.pc + imm)


@isa.insn("cond:4 1011 imm[25:2]+8", "bl {imm:pc}", "arm")
def bl(s: S, imm: Word) -> None:
    """lr = next pc (with the Thumb bit); pc += imm."""
    s.set_reg(LR, s.npc.trunc(32))
    _jump(s, s.pc + imm)


thumb("b", "1101 cond:4 imm[8:1]+4", "t1")
thumb("b", "11100 imm[11:1]+4", "t2")
thumb("b", "11110 imm[20] cond:4 imm[17:12] 10 imm[18] 0 imm[19] imm[11:1]+4", "t3")
_FAR = "11110 far[23] far[20:11]=farbranch 1{} far[22] {} far[21] far[10:0]+4"
isa.alias("b", _FAR.format("0", "1"), "b", "t32", "b.t4", imm="far")
isa.alias("bl", _FAR.format("1", "1"), "bl", "t32", "bl.t1", imm="far")


@isa.insn("1111101 h:1 imm[25:2]", "blx {imm}", "arm", "blx_a32")
def blx_a32(s: S, imm: Word, h: Word) -> None:
    """lr = next pc; on to Thumb code at pc + imm."""
    s.set_reg(LR, s.npc.trunc(32))
    target = s.pc.trunc(32) + imm.trunc(32) + 9 + (h.trunc(32) << 1)
    s.jump_register(target.zext())


@isa.insn("11110 far[23] far[20:11]=farbranch 11 far[22] 0 far[21] far[10:1] 0", "blx {far}", "t32")
def blx_t32(s: S, far: Word) -> None:
    """lr = next pc; on to ARM code."""
    s.set_reg(LR, s.npc.trunc(32))
    s.jump_register(((s.pc_read & -4) + (far.trunc(32) & -4)).zext())


@isa.insn("cond:4 00010010111111111111 0001 rm:4", "bx {rm}", "arm")
def bx(s: S, rm: Any) -> None:
    """pc = rm, whose bit 0 is the Thumb bit."""
    s.interwork(s.reg(rm))


@isa.insn("cond:4 00010010111111111111 0011 rm:4", "blx {rm}", "arm", "blx_reg")
def blx_reg(s: S, rm: Any) -> None:
    """The same, with lr = next pc."""
    target = s.reg(rm)
    s.set_reg(LR, s.npc.trunc(32))
    s.interwork(target)


thumb("bx", "010001110 rm:4 000", "t1")
# Jazelle is not there: bxj is bx.
isa.alias("bx", "cond:4 00010010111111111111 0010 rm:4", "bxj", "arm", "bxj")
isa.alias("bx", "111100111100 rm:4 1000 1111 0000 0000", "bxj", "t32", "bxj.t")
thumb("blx_reg", "010001111 rm:4 000", "t1")


@isa.insn("1011 0 0 off[6] 1 off[5:1]+4 rn:3", "cbz {rn}, {off:pc}", "t32")
def cbz(s: S, rn: Any, off: Word) -> None:
    """Jump if rn is 0."""
    s.branch(s.reg(rn).eq(0), s.pc + off)


@isa.insn("1011 1 0 off[6] 1 off[5:1]+4 rn:3", "cbnz {rn}, {off:pc}", "t32")
def cbnz(s: S, rn: Any, off: Word) -> None:
    """Jump if rn is not 0."""
    s.branch(s.reg(rn).ne(0), s.pc + off)


def _table(s: S, rn: Any, rm: Any, width: int) -> None:
    index = s.reg(rm) if width == 8 else s.reg(rm) << 1
    entry = s.load((s.reg(rn) + index).zext(), width).zext(32)
    s.interwork((s.pc_read + (entry << 1)) | 1)


@isa.insn("111010001101 rn:4 11110000 0000 rm:4", "tbb [{rn}, {rm}]", "t32")
def tbb(s: S, rn: Any, rm: Any) -> None:
    """Jump forward by twice a byte of a table."""
    _table(s, rn, rm, 8)


@isa.insn("111010001101 rn:4 11110000 0001 rm:4", "tbh [{rn}, {rm}, lsl #1]", "t32")
def tbh(s: S, rn: Any, rm: Any) -> None:
    """Jump forward by twice a halfword of a table."""
    _table(s, rn, rm, 16)


@isa.insn("10111111 list:8", "it", "t32")
def it(s: S) -> None:
    """If-then (the next pc has the state), or a hint that does nothing."""
    s.emit("set", "", (RegisterFile(s, R)[NZ],), ("r", NZ))


since("v5", "blx_a32", "blx_t32", "blx_reg")
since("v6t2", "cbz", "cbnz", "tbb", "tbh", "it")

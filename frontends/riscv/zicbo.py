"""Zicbom and Zicboz: cache blocks (unprivileged specification, chapter 19).

The guest's memory is coherent, so clean, flush and inval do nothing.  In system mode
menvcfg and senvcfg may forbid them to lower privileges; ``cbo_allowed`` is told which one
it is by the number that the encoding has for it.
"""

from __future__ import annotations

from jitemu.frontends.riscv.state import S, isa
from jitemu.ir.emitter import Register

BLOCK = 64
"""Bytes of a cache block, as riscv,cbom-block-size and riscv,cboz-block-size say."""

INVAL, CLEAN, FLUSH, ZERO = 0, 1, 2, 4


def check(s: S, kind: int) -> None:
    """Raise illegal instruction where this privilege may not do it."""
    if s.mode == "system":
        s.set_field("pc", s.pc)
        s.call("cbo_allowed", kind)
        s.leave_if_trapped()


def management(name: str, kind: int) -> None:
    """Make a block of a cache consistent with memory."""

    def body(s: S) -> None:
        check(s, kind)

    pattern = f"{kind:012b} rs1:5 010 00000 0001111"
    isa.insn(pattern, f"{name} ({{rs1}})", "zicbom", name)(body)


management("cbo.inval", INVAL)
management("cbo.clean", CLEAN)
management("cbo.flush", FLUSH)


@isa.insn(f"{ZERO:012b} rs1:5 010 00000 0001111", "cbo.zero ({rs1})", "zicboz", "cbo.zero")
def cbo_zero(s: S, rs1: Register) -> None:
    """Every byte of the block around x[rs1] = 0 (a block is in one page, so all or none)."""
    check(s, ZERO)
    block = s.x[rs1] & -BLOCK
    for offset in range(0, BLOCK, 8):
        s.store(block + offset, s.const(0))

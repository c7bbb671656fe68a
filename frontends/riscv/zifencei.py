"""Zifencei: instruction-fetch fence (unprivileged specification, chapter 5)."""

from __future__ import annotations

from jitemu.frontends.riscv.state import S, isa

EXIT_FENCE_I = 4


@isa.insn("imm:12 rs1:5 001 rd:5 0001111", "fence.i", "zifencei", "fence.i")
def fence_i(s: S) -> None:
    """Later fetches see earlier stores; the fields are ignored, as the standard asks.

    Stores to translated code are noticed when they happen, so in system mode it is
    enough to end the block.
    """
    if s.mode == "user":
        s.exit(EXIT_FENCE_I, done=True)
    else:
        s.set_field("pc", s.npc)
        s.leave()

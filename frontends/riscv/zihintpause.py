"""Zihintpause: the pause hint (unprivileged specification, chapter 10)."""

from __future__ import annotations

from jitemu.frontends.riscv.state import S, isa


@isa.insn("0000 0001 0000 00000 000 00000 0001111", "pause", "zihintpause")
def pause(s: S) -> None:
    """Spinning: nothing to order, so this narrower encoding saves the fence's cost."""

"""Zicond: integer conditional operations (unprivileged specification, chapter 12)."""

from __future__ import annotations

from jitemu.frontends.riscv.i import OP, op

op("czero.eqz", "0000111", "101", OP, lambda a, b: b.eq(0).select(0, a), "zicond")
op("czero.nez", "0000111", "111", OP, lambda a, b: b.eq(0).select(a, 0), "zicond")

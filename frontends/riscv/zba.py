"""Zba: address generation (unprivileged specification, section 28.4.1)."""

from __future__ import annotations

from jitemu.frontends.riscv.i import OP, OP_32, OP_IMM_32, op, shift_imm

op("sh1add", "0010000", "010", OP, lambda a, b: (a << 1) + b, "zba")
op("sh2add", "0010000", "100", OP, lambda a, b: (a << 2) + b, "zba")
op("sh3add", "0010000", "110", OP, lambda a, b: (a << 3) + b, "zba")
op("add.uw", "0000100", "000", OP_32, lambda a, b: a.zx(32) + b, "zba")
op("sh1add.uw", "0010000", "010", OP_32, lambda a, b: (a.zx(32) << 1) + b, "zba")
op("sh2add.uw", "0010000", "100", OP_32, lambda a, b: (a.zx(32) << 2) + b, "zba")
op("sh3add.uw", "0010000", "110", OP_32, lambda a, b: (a.zx(32) << 3) + b, "zba")
shift_imm("slli.uw", "000010", 6, "001", OP_IMM_32, lambda a, b: a.zx(32) << (b & 63), "zba")

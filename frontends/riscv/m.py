"""M: integer multiplication and division (unprivileged specification, chapter 13)."""

from __future__ import annotations

from jitemu.frontends.riscv.i import OP, OP_32, op, w

op("mul", "0000001", "000", OP, lambda a, b: a * b, "m")
op("mulh", "0000001", "001", OP, lambda a, b: a.op("mulhs", b), "m")
op("mulhsu", "0000001", "010", OP, lambda a, b: a.op("mulhsu", b), "m")
op("mulhu", "0000001", "011", OP, lambda a, b: a.op("mulhu", b), "m")
op("div", "0000001", "100", OP, lambda a, b: a.sdiv(b), "m")
op("divu", "0000001", "101", OP, lambda a, b: a.udiv(b), "m")
op("rem", "0000001", "110", OP, lambda a, b: a.srem(b), "m")
op("remu", "0000001", "111", OP, lambda a, b: a.urem(b), "m")
op("mulw", "0000001", "000", OP_32, w(lambda a, b: a * b), "m")
op("divw", "0000001", "100", OP_32, w(lambda a, b: a.sdiv(b)), "m")
op("divuw", "0000001", "101", OP_32, w(lambda a, b: a.udiv(b)), "m")
op("remw", "0000001", "110", OP_32, w(lambda a, b: a.srem(b)), "m")
op("remuw", "0000001", "111", OP_32, w(lambda a, b: a.urem(b)), "m")

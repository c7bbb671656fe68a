"""D: double-precision floating point (unprivileged specification, chapter "D")."""

from __future__ import annotations

from collections.abc import Callable

from jitemu.frontends.riscv.floating import (
    DOUBLE,
    OP_FP,
    SINGLE,
    corrected,
    define,
    forms,
    rounded,
)
from jitemu.frontends.riscv.rounding_away import round_away_narrowed
from jitemu.frontends.riscv.state import S
from jitemu.ir.emitter import Register

define(DOUBLE)


def _narrow(mode: str) -> Callable[..., None]:
    def body(s: S, rd: Register, rs1: Register) -> None:
        a = DOUBLE.read(s, rs1)
        value = rounded(
            s,
            mode,
            lambda: s.raw("fnarrow", "", a),
            lambda r: corrected(s, round_away_narrowed, r, a),
        )
        SINGLE.write(s, rd, value)

    return body


def _widen(mode: str) -> Callable[..., None]:
    def body(s: S, rd: Register, rs1: Register) -> None:
        # Exact, so the same in every mode.
        DOUBLE.write(s, rd, s.raw("fwiden", "", SINGLE.read(s, rs1)))

    return body


forms("fcvt.s.d", f"01000 00 00001 rs1:5 rm rd:5 {OP_FP}", "{rd}, {rs1}", "d", _narrow)
forms("fcvt.d.s", f"01000 01 00000 rs1:5 rm rd:5 {OP_FP}", "{rd}, {rs1}", "d", _widen)

"""RISC-V: register classes and the layout of the state; every start imports it."""

from __future__ import annotations

from jitemu.ir.state import RegisterClass, RuntimeState, Words

X = RegisterClass("x", 32, zero=0)
F = RegisterClass("f", 32)
CLASSES = {"x": X, "f": F}

X_NAMES = (
    "zero ra sp gp tp t0 t1 t2 s0 s1 a0 a1 a2 a3 a4 a5 a6 a7 "
    "s2 s3 s4 s5 s6 s7 s8 s9 s10 s11 t3 t4 t5 t6"
).split()
F_NAMES = (
    "ft0 ft1 ft2 ft3 ft4 ft5 ft6 ft7 fs0 fs1 fa0 fa1 fa2 fa3 fa4 fa5 fa6 fa7 "
    "fs2 fs3 fs4 fs5 fs6 fs7 fs8 fs9 fs10 fs11 ft8 ft9 ft10 ft11"
).split()

PINNED = (10, 11, 12, 13, 14, 15, 2, 8)
"""x registers held in host registers: a0-a5, sp, s0 (the most used in Debian's code)."""
HOME = frozenset((("x", 1), ("x", 2)))
"""What a return takes its address from: ra, and the stack."""


class RiscvState(RuntimeState):
    """A hart's words.  CSRs are in privileged.py's class, which continues this one."""

    x: Words[33]
    """x0 stays 0; element 32 takes writes to x0 in generic stencils."""
    f: Words[32]
    reservation: int
    """Address reserved by LR, or all ones."""
    reserved_value: int
    frm: int
    """fcsr's rounding mode, as the guest wrote it."""
    fflags: int
    """Sticky flags that were not raised by the host's FP unit (those are in MXCSR)."""

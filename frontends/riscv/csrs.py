"""CSR access: what the Zicsr instructions do, as native functions."""

from __future__ import annotations

from jitemu.frontends.riscv import csrs_machine, csrs_supervisor, csrs_user
from jitemu.frontends.riscv.csrs_machine import MIP
from jitemu.frontends.riscv.csrs_table import legal_text, read_text, table_function, write_text
from jitemu.frontends.riscv.csrs_user import (
    CYCLE,
    FCSR,
    INSTRET,
    counter_read,
    float_read,
    float_write,
    rounding_written,
)
from jitemu.frontends.riscv.i import EXIT_ILLEGAL
from jitemu.frontends.riscv.privileged import HartState
from jitemu.frontends.riscv.registers import RiscvState
from jitemu.frontends.riscv.rounding import user_rounding
from jitemu.frontends.riscv.traps import raise_illegal
from jitemu.ir.native import native

CSRS = (*csrs_user.ROWS, *csrs_supervisor.ROWS, *csrs_machine.ROWS)

KIND_WRITE, KIND_SET, KIND_CLEAR = 0, 1, 2
READ_WANTED, WRITE_WANTED = 1, 2
AGAIN = 1
"""trapped, in Linux user mode: go on at pc."""
READ_ONLY = 3
"""Bits 10-11 of a read-only CSR's number."""

csr_exists = table_function("csr_exists", ("number",), CSRS, legal_text)
csr_read = table_function("csr_read", ("number",), CSRS, read_text)
csr_write = table_function("csr_write", ("number", "value"), CSRS, write_text)


@native
def csr_legal(s: HartState, number: int, flags: int) -> int:
    """1 if the hart may do this access now."""
    if number >> 8 & 3 > s.priv:
        return 0
    if flags & WRITE_WANTED and number >> 10 == READ_ONLY:
        return 0
    return csr_exists(s, number)


@native
def combine(s: RiscvState, kind: int, old: int, operand: int) -> int:
    """The new value of a CSR."""
    if kind == KIND_WRITE:
        return operand
    return old | operand if kind == KIND_SET else old & ~operand


@native
def csr_access(s: HartState, number: int, kind: int, operand: int, flags: int) -> int:
    """Read a CSR and write, set or clear bits of it; the old value.  Traps if not allowed."""
    s.trapped = 0
    if not csr_legal(s, number, flags):
        raise_illegal(s)
        return 0
    old = 0
    if flags & READ_WANTED:
        old = csr_read(s, number)
    if flags & WRITE_WANTED:
        base = s.mip if number == MIP else old
        csr_write(s, number, combine(s, kind, base, operand))
    return old


@native
def user_csr_access(s: RiscvState, number: int, kind: int, operand: int, flags: int) -> int:
    """csr_access in Linux user mode; where it is not allowed, ``trapped`` is EXIT_ILLEGAL.

    A write that changes the translation context is done there: the instruction, again.
    """
    s.trapped = 0
    if number - 1 < FCSR:
        old = float_read(s, number)
        if flags & WRITE_WANTED:
            value = combine(s, kind, old, operand)
            if user_rounding(s, rounding_written(s, number, value)):
                s.trapped = AGAIN
                return 0
            float_write(s, number, value)
        return old
    if number < CYCLE or number > INSTRET or flags & WRITE_WANTED:
        s.trapped = EXIT_ILLEGAL
        return 0
    return counter_read(s, number)

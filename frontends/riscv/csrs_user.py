"""CSRs of every privilege: floating point and counters (unprivileged specification)."""

from __future__ import annotations

from jitemu.frontends.riscv.clock import guest_nanoseconds, guest_time
from jitemu.frontends.riscv.csrs_table import Csr
from jitemu.frontends.riscv.privileged import FS, PRIV_M, PRIV_U, HartState
from jitemu.frontends.riscv.registers import RiscvState
from jitemu.frontends.riscv.traps import fp_mark_dirty
from jitemu.ir.native import host_fp_flags, host_set_fp, native

FFLAGS, FRM, FCSR = 1, 2, 3
CYCLE, TIME, INSTRET = 0xC00, 0xC01, 0xC02
FLAG_BITS, ROUNDING_BITS = 31, 7


@native
def float_read(s: RiscvState, number: int) -> int:
    """fflags, frm or fcsr; flags are those of the host's FP unit and those kept in memory."""
    if number == FRM:
        return s.frm
    flags = (host_fp_flags() | s.fflags) & FLAG_BITS
    return flags if number == FFLAGS else s.frm << 5 | flags


@native
def rounding_written(s: RiscvState, number: int, value: int) -> int:
    """frm after a write to fflags, frm or fcsr."""
    if number == FFLAGS:
        return s.frm
    return (value if number == FRM else value >> 5) & ROUNDING_BITS


@native
def float_write(s: RiscvState, number: int, value: int) -> None:
    """Write fflags, frm or fcsr, here and in the host's FP unit."""
    flags = value
    if number == FRM:
        flags = host_fp_flags() | s.fflags
    s.frm = rounding_written(s, number, value)
    s.fflags = flags & FLAG_BITS
    host_set_fp(s.fflags, s.frm)


@native
def counter_read(s: RiscvState, number: int) -> int:
    """cycle, time, instret.  Nothing counts: the two others are the guest's nanoseconds."""
    if number == TIME:
        return guest_time(s)
    return guest_nanoseconds(s)


# The same, as a hart with privileges has them.


@native
def float_on(s: HartState, number: int) -> int:
    """Floating-point CSRs need FS to be on."""
    return s.mstatus & FS != 0


@native
def float_write_dirty(s: HartState, number: int, value: int) -> None:
    """Write fflags, frm or fcsr, which makes FS dirty."""
    float_write(s, number, value)
    fp_mark_dirty(s)


@native
def counter_allowed(s: HartState, number: int) -> int:
    """mcounteren hides counters from S and U mode, scounteren from U mode."""
    allowed = 1
    if s.priv != PRIV_M:
        allowed = s.mcounteren >> (number & 31) & 1
    if s.priv == PRIV_U:
        allowed &= s.scounteren >> (number & 31)
    return allowed


@native
def counted(s: HartState) -> int:
    """With -icount the instructions retired, of which the current one is none yet; without,
    nothing counts, and the guest's nanoseconds stand for both counters."""
    if s.counting:
        return s.count_end - s.budget - 1
    return guest_nanoseconds(s)


@native
def cycle_read(s: HartState, number: int) -> int:
    """cycle and mcycle."""
    return counted(s) + s.cycle_offset


@native
def cycle_write(s: HartState, number: int, value: int) -> None:
    """Count on from a value, which is the next instruction's (section 3.1.10)."""
    s.cycle_offset = value - counted(s) - s.counting


@native
def instret_read(s: HartState, number: int) -> int:
    """instret and minstret."""
    return counted(s) + s.instret_offset


@native
def instret_write(s: HartState, number: int, value: int) -> None:
    """As cycle_write."""
    s.instret_offset = value - counted(s) - s.counting


ROWS = (
    Csr(FFLAGS, "fflags", read=float_read, write=float_write_dirty, legal=float_on),
    Csr(FRM, "frm", read=float_read, write=float_write_dirty, legal=float_on),
    Csr(FCSR, "fcsr", read=float_read, write=float_write_dirty, legal=float_on),
    Csr(CYCLE, "cycle", read=cycle_read, legal=counter_allowed),
    Csr(TIME, "time", read=counter_read, legal=counter_allowed),
    Csr(INSTRET, "instret", read=instret_read, legal=counter_allowed),
    Csr(0xC03, "hpmcounter3", legal=counter_allowed, count=29),
    Csr(0xB00, "mcycle", read=cycle_read, write=cycle_write),
    Csr(0xB02, "minstret", read=instret_read, write=instret_write),
    Csr(0xB03, "mhpmcounter3", count=29),
    Csr(0x320, "mcountinhibit"),
    Csr(0x323, "mhpmevent3", count=29),
)

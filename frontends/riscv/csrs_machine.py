"""M mode's CSRs (privileged specification, chapter 3)."""

from __future__ import annotations

from jitemu.frontends.riscv.csrs_supervisor import (
    ENVCFG,
    NO_LOW_BIT,
    SSTATUS_WRITABLE,
    change_status,
    notify_timer,
    status_dirty,
)
from jitemu.frontends.riscv.csrs_table import Csr
from jitemu.frontends.riscv.pmp import (
    pmpaddr_read,
    pmpaddr_write,
    pmpcfg_exists,
    pmpcfg_read,
    pmpcfg_write,
)
from jitemu.frontends.riscv.privileged import (
    ALL_INTERRUPTS,
    DELEGABLE,
    MIE,
    MPIE,
    MPP,
    MPRV,
    SEI,
    SSI,
    STCE,
    STI,
    SUPERVISOR_INTERRUPTS,
    TSR,
    TVM,
    TW,
    HartState,
)
from jitemu.frontends.riscv.traps import pending_interrupts
from jitemu.ir.native import native

MSTATUS_WRITABLE = SSTATUS_WRITABLE | MIE | MPIE | MPP | MPRV | TVM | TW | TSR
RESERVED_PRIVILEGE = 2 << 11
MIP = 0x344


@native
def mstatus_read(s: HartState, number: int) -> int:
    """With SD."""
    return status_dirty(s, s.mstatus)


@native
def mstatus_write(s: HartState, number: int, value: int) -> None:
    """MPP keeps its value rather than take that of no privilege."""
    status = s.mstatus & ~MSTATUS_WRITABLE | value & MSTATUS_WRITABLE
    if status & MPP == RESERVED_PRIVILEGE:
        status = status & ~MPP | s.mstatus & MPP
    change_status(s, status)


@native
def mtvec_write(s: HartState, number: int, value: int) -> None:
    """Modes: direct and vectored."""
    if value & 2 == 0:
        s.mtvec = value


@native
def menvcfg_write(s: HartState, number: int, value: int) -> None:
    """STCE gives the timer interrupt to stimecmp."""
    mask = ENVCFG | STCE if s.sstc else ENVCFG
    changed = (s.menvcfg ^ value) & mask
    s.menvcfg ^= changed
    if changed & STCE and value & STCE:
        s.mip &= ~STI
        notify_timer(s)


@native
def mip_read(s: HartState, number: int) -> int:
    """What software and devices hold pending, and stimecmp."""
    return pending_interrupts(s, ALL_INTERRUPTS)


@native
def mip_write(s: HartState, number: int, value: int) -> None:
    """The supervisor's interrupts, but not stimecmp's."""
    mask = SSI | SEI if s.menvcfg & STCE else SSI | SEI | STI
    s.mip = s.mip & ~mask | value & mask


ROWS = (
    Csr(0xF11, "mvendorid"),
    Csr(0xF12, "marchid"),
    Csr(0xF13, "mimpid"),
    Csr(0xF14, "mhartid", "mhartid"),
    Csr(0xF15, "mconfigptr"),
    Csr(0x300, "mstatus", read=mstatus_read, write=mstatus_write),
    Csr(0x301, "misa", "misa", 0),
    Csr(0x302, "medeleg", "medeleg", DELEGABLE),
    Csr(0x303, "mideleg", "mideleg", SUPERVISOR_INTERRUPTS),
    Csr(0x304, "mie", "mie", ALL_INTERRUPTS),
    Csr(0x305, "mtvec", "mtvec", write=mtvec_write),
    Csr(0x306, "mcounteren", "mcounteren", 0xFFFF_FFFF),
    Csr(0x30A, "menvcfg", "menvcfg", write=menvcfg_write),
    Csr(0x340, "mscratch", "mscratch"),
    Csr(0x341, "mepc", "mepc", NO_LOW_BIT),
    Csr(0x342, "mcause", "mcause"),
    Csr(0x343, "mtval", "mtval"),
    Csr(MIP, "mip", read=mip_read, write=mip_write),
    Csr(0x3A0, "pmpcfg0", read=pmpcfg_read, write=pmpcfg_write, legal=pmpcfg_exists, count=16),
    Csr(0x3B0, "pmpaddr0", read=pmpaddr_read, write=pmpaddr_write, count=64),
)

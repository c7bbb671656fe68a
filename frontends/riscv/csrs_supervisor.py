"""S mode's CSRs (privileged specification, chapter 4; stimecmp: Sstc)."""

from __future__ import annotations

from jitemu.frontends.riscv.csrs_table import Csr
from jitemu.frontends.riscv.mmu import satp_write
from jitemu.frontends.riscv.privileged import (
    CBCFE,
    CBIE,
    CBZE,
    FIOM,
    FS,
    MPP,
    MPRV,
    MXR,
    PRIV_M,
    PRIV_S,
    SD,
    SIE,
    SPIE,
    SPP,
    SSI,
    STCE,
    SUM,
    TVM,
    HartState,
)
from jitemu.frontends.riscv.tlb import drop_user_pages, flush_data
from jitemu.frontends.riscv.traps import pending_interrupts, update_context
from jitemu.ir.native import hostcall, native

SSTATUS_WRITABLE = SIE | SPIE | SPP | FS | SUM | MXR
SSTATUS_READABLE = SSTATUS_WRITABLE | 2 << 32
ENVCFG = FIOM | CBIE | CBCFE | CBZE
NO_LOW_BIT = (1 << 64) - 2


@native
def change_status(s: HartState, status: int) -> None:
    """Give mstatus a value, and do what follows from it."""
    changed = s.mstatus ^ status
    s.mstatus = status
    if changed & SUM and status & SUM == 0:
        drop_user_pages(s)
    if changed & MXR:
        flush_data(s)
    if changed & (FS | MPRV | MPP):
        update_context(s)


@native
def status_dirty(s: HartState, status: int) -> int:
    """With SD, which sums up FS."""
    return status | SD if s.mstatus & FS == FS else status


@native
def sstatus_read(s: HartState, number: int) -> int:
    """S mode's part of mstatus."""
    return status_dirty(s, s.mstatus & SSTATUS_READABLE)


@native
def sstatus_write(s: HartState, number: int, value: int) -> None:
    """Write S mode's part of mstatus."""
    change_status(s, s.mstatus & ~SSTATUS_WRITABLE | value & SSTATUS_WRITABLE)


@native
def sie_read(s: HartState, number: int) -> int:
    """The delegated bits of mie."""
    return s.mie & s.mideleg


@native
def sie_write(s: HartState, number: int, value: int) -> None:
    """Write the delegated bits of mie."""
    s.mie = s.mie & ~s.mideleg | value & s.mideleg


@native
def sip_read(s: HartState, number: int) -> int:
    """The delegated bits of mip."""
    return pending_interrupts(s, s.mideleg)


@native
def sip_write(s: HartState, number: int, value: int) -> None:
    """Only the software interrupt can be written."""
    mask = SSI & s.mideleg
    s.mip = s.mip & ~mask | value & mask


@native
def stvec_write(s: HartState, number: int, value: int) -> None:
    """Modes: direct and vectored."""
    if value & 2 == 0:
        s.stvec = value


@native
def notify_timer(s: HartState) -> None:
    """Tell the engine when the next timer interrupt is due."""
    if s.timer_notify:
        hostcall(s.timer_notify, s.stimecmp)


@native
def stimecmp_write(s: HartState, number: int, value: int) -> None:
    """The time of the next timer interrupt."""
    s.stimecmp = value
    notify_timer(s)


@native
def stimecmp_legal(s: HartState, number: int) -> int:
    """Sstc; S mode needs menvcfg.STCE and mcounteren.TM."""
    if s.sstc == 0:
        return 0
    return s.priv == PRIV_M or (s.menvcfg & STCE != 0 and s.mcounteren & 2 != 0)


@native
def satp_legal(s: HartState, number: int) -> int:
    """TVM keeps it from S mode."""
    return s.priv != PRIV_S or s.mstatus & TVM == 0


ROWS = (
    Csr(0x100, "sstatus", read=sstatus_read, write=sstatus_write),
    Csr(0x104, "sie", read=sie_read, write=sie_write),
    Csr(0x105, "stvec", "stvec", write=stvec_write),
    Csr(0x106, "scounteren", "scounteren", 0xFFFF_FFFF),
    Csr(0x10A, "senvcfg", "senvcfg", ENVCFG),
    Csr(0x140, "sscratch", "sscratch"),
    Csr(0x141, "sepc", "sepc", NO_LOW_BIT),
    Csr(0x142, "scause", "scause"),
    Csr(0x143, "stval", "stval"),
    Csr(0x144, "sip", read=sip_read, write=sip_write),
    Csr(0x14D, "stimecmp", "stimecmp", write=stimecmp_write, legal=stimecmp_legal),
    Csr(0x180, "satp", "satp", write=satp_write, legal=satp_legal),
)

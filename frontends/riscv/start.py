"""What a hart's privileged state is at reset, and when firmware hands over to a kernel."""

from __future__ import annotations

from jitemu.frontends.riscv.csrs_supervisor import ENVCFG
from jitemu.frontends.riscv.pmp import ADDRESS_MASK, NAPOT, pmp_update
from jitemu.frontends.riscv.privileged import (
    ALL_RIGHTS,
    DELEGABLE,
    ECALL_S,
    FS_INITIAL,
    NO_TAG,
    PMP_ENTRIES,
    PRIV_M,
    PRIV_S,
    STCE,
    SUPERVISOR_INTERRUPTS,
    XLENS,
    HartState,
)
from jitemu.frontends.riscv.tlb import empty_tables
from jitemu.frontends.riscv.traps import update_context
from jitemu.ir.native import native

MISA = 2 << 62 | sum(1 << ord(letter) - ord("A") for letter in "ACDFIMSU")
ALL_OPEN = NAPOT << 3 | ALL_RIGHTS
NEVER = (1 << 64) - 1


@native
def reset_hart(s: HartState) -> None:
    """Power-on: M mode, nothing delegated or enabled, PMP off (section 3.4).

    The pc, the integer registers and what the board has configured are left alone.
    """
    s.misa = MISA
    s.mstatus = XLENS
    s.priv = PRIV_M
    s.medeleg = 0
    s.mideleg = 0
    s.mie = 0
    s.mip = 0
    s.mtvec = 0
    s.mcounteren = 0
    s.menvcfg = 0
    s.mscratch = 0
    s.mepc = 0
    s.mcause = 0
    s.mtval = 0
    s.stvec = 0
    s.scounteren = 0
    s.senvcfg = 0
    s.sscratch = 0
    s.sepc = 0
    s.scause = 0
    s.stval = 0
    s.stimecmp = NEVER
    s.satp = 0
    s.cycle_offset = 0
    s.instret_offset = 0
    s.frm = 0
    s.fflags = 0
    s.reservation = NO_TAG
    s.trapped = 0
    s.firmware = 0
    entry = 0
    while entry < PMP_ENTRIES:
        s.pmpcfg[entry] = 0
        s.pmpaddr[entry] = 0
        entry += 1
    empty_tables(s)
    pmp_update(s)
    update_context(s)


@native
def start_supervisor(s: HartState) -> None:
    """After reset: as OpenSBI starts a kernel, with the engine as the firmware.

    All exceptions but the firmware's own ecall are delegated: OpenSBI passes those that
    it does not handle on to S mode, too.
    """
    s.firmware = 1
    s.priv = PRIV_S
    s.mstatus = XLENS | FS_INITIAL
    s.medeleg = DELEGABLE & ~(1 << ECALL_S)
    s.mideleg = SUPERVISOR_INTERRUPTS
    s.mcounteren = 0xFFFF_FFFF
    s.scounteren = 7
    s.menvcfg = ENVCFG | (STCE if s.sstc else 0)
    s.senvcfg = 0
    s.pmpaddr[0] = ADDRESS_MASK
    s.pmpcfg[0] = ALL_OPEN
    pmp_update(s)
    update_context(s)

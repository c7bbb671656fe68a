"""Traps and returns from them, interrupts, and the translation context they change.

Privileged specification, sections 3.1.6-3.1.9, 3.3 and 4.1.
"""

from __future__ import annotations

from jitemu.frontends.riscv.clock import guest_time
from jitemu.frontends.riscv.privileged import (
    CBCFE,
    CBIE,
    CBZE,
    ECALL_S,
    ECALL_U,
    FETCH_ACCESS,
    FETCH_PAGE,
    FLOAT_CLEAN,
    FLOAT_ON,
    FS,
    ILLEGAL_INSTRUCTION,
    MEI,
    MIE,
    MODE_M,
    MPIE,
    MPP,
    MPRV,
    MSI,
    MTI,
    PRIV_M,
    PRIV_S,
    PRIV_U,
    SEI,
    SIE,
    SPIE,
    SPP,
    SSI,
    STCE,
    STI,
    TSR,
    TVM,
    TW,
    HartState,
)
from jitemu.frontends.riscv.rounding import rounding_context
from jitemu.ir.native import hostcall, native

INTERRUPT = 1 << 63

CBO_INVAL, CBO_ZERO = 0, 4


@native
def update_context(s: HartState) -> None:
    """Bring ctx up to date: privilege, state of the FP unit, the data accesses' TLB."""
    fs = s.mstatus & FS
    mode = s.priv
    if mode == PRIV_M and s.mstatus & MPRV:
        mode = s.mstatus >> 11 & 3
    if mode == PRIV_M:
        mode = MODE_M
    ctx = s.priv | mode << 5
    if fs == FS:
        ctx |= (FLOAT_ON + rounding_context(s, s.frm)) << 2
    elif fs:
        ctx |= FLOAT_CLEAN << 2
    s.ctx = ctx
    s.ctx_tag = ctx * s.ctx_secret


@native
def enter_trap(s: HartState, cause: int, tval: int) -> None:
    """Go to the handler of an exception or interrupt at the state's pc."""
    if s.trap_hook:
        hostcall(s.trap_hook, cause, tval)
    code = cause & 63
    delegation = s.mideleg if cause & INTERRUPT else s.medeleg
    status = s.mstatus
    if s.priv != PRIV_M and delegation >> code & 1:
        s.sepc = s.pc
        s.scause = cause
        s.stval = tval
        enabled = status & SIE
        s.mstatus = status & ~(SIE | SPIE | SPP) | enabled << 4 | s.priv << 8
        s.priv = PRIV_S
        vector = s.stvec
    else:
        s.mepc = s.pc
        s.mcause = cause
        s.mtval = tval
        enabled = status & MIE
        s.mstatus = status & ~(MIE | MPIE | MPP) | enabled << 4 | s.priv << 11
        s.priv = PRIV_M
        vector = s.mtvec
    s.pc = vector & ~3
    if cause & INTERRUPT and vector & 1:
        s.pc += 4 * code
    update_context(s)


@native
def raise_exception(s: HartState, cause: int, tval: int) -> None:
    """Trap at the state's pc."""
    if cause != FETCH_ACCESS and cause != FETCH_PAGE:
        s.budget += 1  # what traps does not retire, but was counted when it began
    enter_trap(s, cause, tval)
    s.trapped = 1


@native
def raise_illegal(s: HartState) -> None:
    """Illegal instruction; tval does not tell which."""
    raise_exception(s, ILLEGAL_INSTRUCTION, 0)


# Interrupts


@native
def pending_interrupts(s: HartState, wanted: int) -> int:
    """These bits of mip, as they read now."""
    bits = s.mip | s.irq_lines
    if wanted & STI and s.menvcfg & STCE:
        bits = bits & ~STI | (STI if guest_time(s) >= s.stimecmp else 0)
    return bits & wanted


@native
def take_interrupt(s: HartState) -> int:
    """Trap to the most urgent enabled interrupt, if there is one: 1."""
    wanted = 0
    if s.priv != PRIV_M or s.mstatus & MIE:
        wanted = s.mie & ~s.mideleg
    if s.priv == PRIV_U or (s.priv == PRIV_S and s.mstatus & SIE):
        wanted |= s.mie & s.mideleg
    if wanted == 0:
        return 0
    ready = pending_interrupts(s, wanted)
    if ready == 0:
        return 0
    if ready & ~s.mideleg:
        ready &= ~s.mideleg
    code = 5
    if ready & MEI:
        code = 11
    elif ready & MSI:
        code = 3
    elif ready & MTI:
        code = 7
    elif ready & SEI:
        code = 9
    elif ready & SSI:
        code = 1
    enter_trap(s, INTERRUPT | code, 0)
    return 1


@native
def interrupt_waiting(s: HartState) -> int:
    """1 if an interrupt that mie enables is pending: wfi goes on."""
    return pending_interrupts(s, s.mie) != 0


# Returns and other system instructions


@native
def return_from_machine(s: HartState) -> None:
    """mret."""
    s.trapped = 0
    if s.priv != PRIV_M:
        raise_illegal(s)
        return
    status = s.mstatus
    s.priv = status >> 11 & 3
    if s.priv != PRIV_M:
        status &= ~MPRV
    s.mstatus = status & ~(MIE | MPP) | (status & MPIE) >> 4 | MPIE
    s.pc = s.mepc
    update_context(s)
    take_interrupt(s)


@native
def return_from_supervisor(s: HartState) -> None:
    """sret."""
    s.trapped = 0
    if s.priv == PRIV_U or (s.priv == PRIV_S and s.mstatus & TSR):
        raise_illegal(s)
        return
    status = s.mstatus
    s.priv = status >> 8 & 1
    s.mstatus = status & ~(SIE | SPP | MPRV) | (status & SPIE) >> 4 | SPIE
    s.pc = s.sepc
    update_context(s)
    take_interrupt(s)


@native
def wait_for_interrupt(s: HartState) -> None:
    """wfi: whether it is allowed."""
    s.trapped = 0
    if s.priv == PRIV_U or (s.priv == PRIV_S and s.mstatus & TW):
        raise_illegal(s)


@native
def environment_call(s: HartState) -> None:
    """ecall; it does not trap if the built-in firmware is called."""
    s.trapped = 0
    if s.priv == PRIV_S and s.firmware:
        return
    raise_exception(s, ECALL_U + s.priv, 0)


@native
def fence_allowed(s: HartState, trappable: int) -> None:
    """sfence.vma and the like: illegal in U mode, and in S with TVM where that counts."""
    s.trapped = 0
    if s.priv == PRIV_U or (trappable and s.priv == PRIV_S and s.mstatus & TVM):
        raise_illegal(s)


@native
def cbo_allowed(s: HartState, kind: int) -> None:
    """Cache block instructions, by the number in their encoding (menvcfg, senvcfg)."""
    s.trapped = 0
    need = CBCFE
    if kind == CBO_INVAL:
        need = CBIE
    elif kind == CBO_ZERO:
        need = CBZE
    if (s.priv != PRIV_M and s.menvcfg & need == 0) or (s.priv == PRIV_U and s.senvcfg & need == 0):
        raise_illegal(s)


@native
def fp_mark_dirty(s: HartState) -> None:
    """An FP instruction is about to run and FS is not off."""
    s.mstatus |= FS
    update_context(s)


@native
def float_again(s: HartState) -> None:
    """``fp_mark_dirty`` by an FP instruction that is to be executed again."""
    s.budget += 1
    fp_mark_dirty(s)


assert ECALL_S == ECALL_U + PRIV_S

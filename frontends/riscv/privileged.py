"""A hart's privileged state (privileged specification 1.12): its words and their bits.

The native functions on it are in traps.py, mmu.py, pmp.py, memory.py, fetch.py, clock.py
and csrs.py.  All of a hart's words are written by the thread that runs it, except
``irq_lines``, ``exit_request`` and what the engine owns.
"""

from __future__ import annotations

from jitemu.frontends.riscv.registers import RiscvState
from jitemu.ir.state import TLB_ENTRIES, TLB_MODES, Words

PRIV_U, PRIV_S, PRIV_M = 0, 1, 3

# mstatus and sstatus
SIE = 1 << 1
MIE = 1 << 3
SPIE = 1 << 5
MPIE = 1 << 7
SPP = 1 << 8
MPP = 3 << 11
FS = 3 << 13
FS_INITIAL = 1 << 13
MPRV = 1 << 17
SUM = 1 << 18
MXR = 1 << 19
TVM = 1 << 20
TW = 1 << 21
TSR = 1 << 22
XLENS = 2 << 32 | 2 << 34
"""UXL and SXL: 64 bits, read-only."""
SD = 1 << 63

# mip and mie
SSI, MSI, STI, MTI, SEI, MEI = 1 << 1, 1 << 3, 1 << 5, 1 << 7, 1 << 9, 1 << 11
SUPERVISOR_INTERRUPTS = SSI | STI | SEI
ALL_INTERRUPTS = SUPERVISOR_INTERRUPTS | MSI | MTI | MEI

# menvcfg and senvcfg
FIOM = 1
CBIE = 3 << 4
CBCFE = 1 << 6
CBZE = 1 << 7
STCE = 1 << 63

# Exceptions
ILLEGAL_INSTRUCTION = 2
LOAD_MISALIGNED, STORE_MISALIGNED = 4, 6
FETCH_ACCESS, LOAD_ACCESS, STORE_ACCESS = 1, 5, 7
FETCH_PAGE, LOAD_PAGE, STORE_PAGE = 12, 13, 15
ECALL_U, ECALL_S = 8, 9
DELEGABLE = 0xB3FF
"""Exceptions that medeleg can delegate: all but an ecall from M mode."""

# Page table entries
PTE_V, PTE_R, PTE_W, PTE_X, PTE_U, PTE_G, PTE_A, PTE_D = (1 << n for n in range(8))
PTE_LEAF = PTE_R | PTE_W | PTE_X
PPN_MASK = (1 << 44) - 1
PHYSICAL_BITS = 56

# Accesses, as tlb_fill and the PMP count them; 1 << access is the right they need.
READ, WRITE, FETCH = 0, 1, 2
ALL_RIGHTS = 7

PAGE_SIZE = 4096
OFFSET_MASK = PAGE_SIZE - 1
PAGE_MASK = (1 << 64) - PAGE_SIZE
NO_TAG = (1 << 64) - 1
"""In TLBs and jump caches: no address has this tag."""

MODE_M = 2
"""The TLB of accesses with M mode's rights; U's is 0 and S's is 1."""

# Values of tlb_flags
TLB_LOGGED, TLB_GLOBAL, TLB_CODE = 1, 2, 4
"""The entry is in tlb_log; its mapping is global; it is writable but has no write tag,
because its page held translated code when it was filled."""

PMP_ENTRIES = 16
USER_SLOTS = 64
LARGE_RANGES = 4

EXIT_SBI = 5
"""exit_reason: an ecall from S mode, for the built-in firmware.  pc is behind it."""
EXIT_WFI = 6
"""exit_reason: the hart waits for an interrupt.  pc is behind the wfi."""


class HartState(RiscvState):
    """A hart's words."""

    priv: int
    firmware: int
    """1: the engine itself is the firmware, so an ecall from S mode leaves to it."""
    sstc: int
    """1: there is a stimecmp."""
    satp_levels: int
    """Levels of the largest page tables (3 Sv39, 4 Sv48, 5 Sv57; 0 none)."""
    rom_base: int
    rom_size: int
    """Memory outside RAM that code can be fetched from."""
    irq_lines: int
    """Interrupts that devices hold pending, as bits of mip; native code only reads it.
    Who changes it sets exit_request afterwards."""
    trap_hook: int
    """Host function told (cause, tval) before each trap, at the trapping pc; 0: none."""
    fill_hook: int
    """Host function told (va, access, TLB mode, cause) after each TLB fill; 0: none."""
    mhartid: int
    misa: int
    mstatus: int
    """Without SD, which is FS == 3."""
    medeleg: int
    mideleg: int
    mie: int
    mip: int
    """Bits that software has set (SSI, STI, SEI)."""
    mtvec: int
    mcounteren: int
    menvcfg: int
    mscratch: int
    mepc: int
    mcause: int
    mtval: int
    stvec: int
    scounteren: int
    senvcfg: int
    sscratch: int
    sepc: int
    scause: int
    stval: int
    stimecmp: int
    satp: int
    cycle_offset: int
    instret_offset: int
    pmpcfg: Words[16]
    """One entry's configuration byte each."""
    pmpaddr: Words[16]
    pmp_low: Words[16]
    pmp_last: Words[16]
    """First and last byte of an entry's range; low > last where it is off."""
    pmp_used: int
    """Entries up to the last one that is not off."""
    pmp_open: int
    """Bit n: accesses of TLB mode n have all rights everywhere."""
    walk_page: int
    walk_rights: int
    walk_shift: int
    walk_flags: int
    """What a page walk found: physical page, rights (R 1, W 2, X 4; W only if dirty),
    log2 of the mapping's size, PTE_U and PTE_G."""
    physical: int
    """The physical address that tlb_fill found."""
    tlb_logged: int
    user_used: int
    user_slots: Words[64]
    """S mode's TLB entries of user pages, which go when SUM does."""
    large_used: int
    large_low: Words[4]
    large_last: Words[4]
    """Virtual ranges in which mappings larger than a page have been seen."""
    code_groups: int
    local_groups: int
    """Jump cache groups (pages modulo 64) in use, and those with pages not global."""
    tlb_flags: Words[TLB_ENTRIES * TLB_MODES]
    tlb_log: Words[TLB_ENTRIES * TLB_MODES]
    """Entries filled since the last flush, so that a flush need not visit the others."""


def privilege_of(ctx: int) -> int:
    """The privilege in a translation context."""
    return ctx & 3


FLOAT_OFF, FLOAT_CLEAN, FLOAT_ON = 0, 1, 2
"""FP instructions are illegal, mark the state dirty first, or run; from FLOAT_ON on the
contexts of rounding modes (``rounding_context``)."""


def float_state_of(ctx: int) -> int:
    """The FP unit's state in a translation context."""
    return ctx >> 2 & 7


def tlb_mode_of(ctx: int) -> int:
    """The TLB that data accesses of a translation context use."""
    return ctx >> 5 & 3

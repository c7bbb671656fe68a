"""Instruction fetch: where the code at a virtual address is."""

from __future__ import annotations

from jitemu.frontends.riscv.mmu import in_ram, tlb_fill
from jitemu.frontends.riscv.pmp import pmp_allows
from jitemu.frontends.riscv.privileged import (
    FETCH,
    FETCH_ACCESS,
    MODE_M,
    PAGE_MASK,
    PRIV_M,
    TLB_GLOBAL,
    HartState,
)
from jitemu.frontends.riscv.traps import raise_exception
from jitemu.ir.native import native
from jitemu.ir.state import TLB_ENTRIES

PARCEL = 2
"""Bytes that the PMP is asked about where it divides a page."""


@native
def fetchable(s: HartState, address: int, mode: int) -> int:
    """1 if code outside the TLB's reach can be run: in ROM, or in a page the PMP divides."""
    if not pmp_allows(s, address, PARCEL, FETCH, mode):
        return 0
    if address >= s.rom_base and address - s.rom_base < s.rom_size:
        return 1
    return in_ram(s, address, PARCEL)


@native
def fetch_translate(s: HartState, va: int) -> int:
    """1 with fetch_physical set, or 0 after a trap at the state's pc (with va as tval).

    Whoever puts an address into the jump cache has called this for its page since the
    last flush: so flushes know which parts of the jump cache are in use.
    """
    mode = s.priv
    if mode == PRIV_M:
        mode = MODE_M
    slot = mode * TLB_ENTRIES + (va >> 12) % TLB_ENTRIES
    entry = slot * 4
    group = 1 << (va >> 12 & 63)
    if s.tlb[entry + 3] != va & PAGE_MASK:
        cause = tlb_fill(s, va, FETCH, mode)
        if cause:
            raise_exception(s, cause, va)
            return 0
        if s.tlb[entry + 3] != va & PAGE_MASK:
            s.fetch_physical = s.physical
            if not fetchable(s, s.physical, mode):
                raise_exception(s, FETCH_ACCESS, va)
                return 0
            s.code_groups |= group
            s.local_groups |= group
            return 1
    s.code_groups |= group
    if s.tlb_flags[slot] & TLB_GLOBAL == 0:
        s.local_groups |= group
    s.fetch_physical = va + s.tlb[entry + 2] - s.ram_host + s.ram_base
    return 1

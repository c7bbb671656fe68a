"""Address translation: Sv39, Sv48 and Sv57 page walks, and the TLB filled from them.

Privileged specification, sections 4.3-4.6.  Accessed and dirty bits are set by hardware.
"""

from __future__ import annotations

from jitemu.frontends.riscv.pmp import PARTIAL, pmp_allows, pmp_page
from jitemu.frontends.riscv.privileged import (
    ALL_RIGHTS,
    FETCH,
    FETCH_ACCESS,
    FETCH_PAGE,
    LOAD_ACCESS,
    LOAD_PAGE,
    MODE_M,
    MXR,
    NO_TAG,
    OFFSET_MASK,
    PAGE_MASK,
    PHYSICAL_BITS,
    PPN_MASK,
    PRIV_S,
    PRIV_U,
    PTE_A,
    PTE_D,
    PTE_G,
    PTE_LEAF,
    PTE_R,
    PTE_U,
    PTE_V,
    PTE_W,
    READ,
    STORE_ACCESS,
    STORE_PAGE,
    SUM,
    TLB_CODE,
    TLB_GLOBAL,
    TLB_LOGGED,
    WRITE,
    HartState,
)
from jitemu.frontends.riscv.tlb import (
    flush_local,
    flush_tlb,
    kill_entry,
    note_large,
    note_user_page,
)
from jitemu.ir.native import hostcall, load64, native, sar, store64
from jitemu.ir.state import TLB_ENTRIES

RIGHT_R, RIGHT_W, RIGHT_X = 1, 2, 4
SV39_SCHEME = 8


@native
def page_fault(s: HartState, access: int) -> int:
    """The cause of a page fault."""
    if access == FETCH:
        return FETCH_PAGE
    return STORE_PAGE if access == WRITE else LOAD_PAGE


@native
def access_fault(s: HartState, access: int) -> int:
    """The cause of an access fault."""
    if access == FETCH:
        return FETCH_ACCESS
    return STORE_ACCESS if access == WRITE else LOAD_ACCESS


@native
def in_ram(s: HartState, address: int, size: int) -> int:
    """1 if these bytes are all in RAM."""
    return address >= s.ram_base and address - s.ram_base <= s.ram_size - size


@native
def to_host(s: HartState, address: int) -> int:
    """The host address of RAM."""
    return address - s.ram_base + s.ram_host


@native
def leaf_rights(s: HartState, pte: int, mode: int) -> int:
    """What a leaf entry lets a mode do (section 4.3.1, MXR and SUM in 3.1.6.3)."""
    rights = pte >> 1 & ALL_RIGHTS
    if s.mstatus & MXR and rights & RIGHT_X:
        rights |= RIGHT_R
    if pte & PTE_U:
        if mode == PRIV_S:
            rights = rights & ~RIGHT_X if s.mstatus & SUM else 0
    elif mode == PRIV_U:
        rights = 0
    return rights


@native
def walk(s: HartState, va: int, access: int, mode: int) -> int:
    """Translate for a mode (0 U, 1 S, 2 M): 0 and the walk_ words, or a cause."""
    scheme = s.satp >> 60
    if mode == MODE_M or scheme == 0:
        if va >> PHYSICAL_BITS:
            return access_fault(s, access)
        s.walk_page = va & PAGE_MASK
        s.walk_rights = ALL_RIGHTS
        s.walk_shift = 12
        s.walk_flags = PTE_G
        return 0
    shift = 12 + 9 * (scheme - SV39_SCHEME + 2)
    unused = 64 - 9 - shift
    if sar(va << unused, unused) != va:
        return page_fault(s, access)
    table = (s.satp & PPN_MASK) << 12
    flags = 0
    while 1:
        at = table + (va >> shift & 511) * 8
        if not in_ram(s, at, 8) or not pmp_allows(s, at, 8, READ, PRIV_S):
            return access_fault(s, access)
        pte = load64(to_host(s, at))
        if pte & PTE_V == 0 or pte & (PTE_R | PTE_W) == PTE_W or pte >> 54:
            return page_fault(s, access)
        flags |= pte & PTE_G
        if pte & PTE_LEAF:
            break
        if shift == 12 or pte & (PTE_D | PTE_A | PTE_U):
            return page_fault(s, access)
        shift -= 9
        table = pte >> 10 << 12
    rights = leaf_rights(s, pte, mode)
    inside = (1 << shift) - 1
    frame = pte >> 10 << 12
    if rights >> access & 1 == 0 or frame & inside:
        return page_fault(s, access)
    wanted = PTE_A | PTE_D if access == WRITE else PTE_A
    if ~pte & wanted:
        if not pmp_allows(s, at, 8, WRITE, PRIV_S):
            return access_fault(s, access)
        pte |= wanted
        store64(to_host(s, at), pte)
    if pte & PTE_D == 0:
        rights &= ~RIGHT_W
    s.walk_page = frame | va & inside & PAGE_MASK
    s.walk_rights = rights
    s.walk_shift = shift
    s.walk_flags = flags | pte & PTE_U
    return 0


@native
def install(s: HartState, va: int, rights: int, mode: int) -> None:
    """Put the page that the last walk found into a mode's TLB."""
    slot = mode * TLB_ENTRIES + (va >> 12) % TLB_ENTRIES
    entry = slot * 4
    page = va & PAGE_MASK
    offset = s.walk_page - s.ram_base
    flags = TLB_LOGGED
    if s.walk_flags & PTE_G:
        flags |= TLB_GLOBAL
    if rights & RIGHT_W and load64(s.code_pages + (offset >> 12) * 8):
        rights &= ~RIGHT_W
        flags |= TLB_CODE
    if s.tlb_flags[slot] == 0:
        s.tlb_log[s.tlb_logged] = slot
        s.tlb_logged += 1
    s.tlb_flags[slot] = flags
    s.tlb[entry] = page if rights & RIGHT_R else NO_TAG
    s.tlb[entry + 1] = page if rights & RIGHT_W else NO_TAG
    s.tlb[entry + 2] = offset + s.ram_host - page
    s.tlb[entry + 3] = page if rights & RIGHT_X else NO_TAG
    if s.tlb[entry + 2] == 0:  # regions take that for no page
        kill_entry(s, slot)
    if s.walk_flags & PTE_U and mode == PRIV_S:
        note_user_page(s, slot)
    if s.walk_shift > 12:
        note_large(s, va, s.walk_shift)


@native
def tlb_fill(s: HartState, va: int, access: int, mode: int) -> int:
    """Translate: 0 with ``physical`` set, or the exception's cause; and log it."""
    cause = fill_entry(s, va, access, mode)
    if s.fill_hook:
        hostcall(s.fill_hook, va, access, mode, cause)
    return cause


@native
def fill_entry(s: HartState, va: int, access: int, mode: int) -> int:
    """Translate: 0 with ``physical`` set, or the exception's cause.

    The TLB gets the page unless it is no RAM, or PMP entries divide it: then whoever
    accesses it asks pmp_allows each time.
    """
    cause = walk(s, va, access, mode)
    if cause:
        return cause
    s.physical = s.walk_page | va & OFFSET_MASK
    granted = pmp_page(s, s.walk_page, mode)
    if granted != PARTIAL:
        rights = s.walk_rights & granted
        if rights >> access & 1 == 0:
            return access_fault(s, access)
        if in_ram(s, s.walk_page, OFFSET_MASK + 1):
            install(s, va, rights, mode)
            return 0
    kill_entry(s, mode * TLB_ENTRIES + (va >> 12) % TLB_ENTRIES)
    return 0


@native
def satp_write(s: HartState, number: int, value: int) -> None:
    """Change the address space; a scheme that does not exist changes nothing."""
    scheme = value >> 60
    if value == s.satp:
        return
    if scheme and (scheme < SV39_SCHEME or scheme > SV39_SCHEME - 3 + s.satp_levels):
        return
    old = s.satp >> 60
    s.satp = value
    if scheme == old:
        flush_local(s)
    else:
        flush_tlb(s)

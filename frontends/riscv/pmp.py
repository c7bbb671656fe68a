"""Physical memory protection (privileged specification, section 3.7): 16 entries."""

from __future__ import annotations

from jitemu.frontends.riscv.privileged import (
    ALL_RIGHTS,
    MODE_M,
    OFFSET_MASK,
    PMP_ENTRIES,
    HartState,
)
from jitemu.frontends.riscv.tlb import flush_tlb
from jitemu.ir.native import ctz, native

CFG_MASK = 0x9F
LOCKED = 0x80
TOR, NA4, NAPOT = 1, 2, 3
WRITE_ONLY = 2
ADDRESS_MASK = (1 << 54) - 1
PARTIAL = 8
"""pmp_page: the page's bytes have different rights."""
EVERYWHERE = (1 << 56) - 1
EVERY_MODE = 7
"""pmp_open for all TLB modes."""


@native
def pmp_rights(s: HartState, entry: int, mode: int) -> int:
    """What an entry that matches lets a mode do."""
    cfg = s.pmpcfg[entry]
    if mode == MODE_M and cfg & LOCKED == 0:
        return ALL_RIGHTS
    return cfg & ALL_RIGHTS


@native
def pmp_range(s: HartState, first: int, last: int, mode: int) -> int:
    """Rights of a mode on the bytes first to last; PARTIAL if not all are in one entry."""
    if s.pmp_open >> mode & 1:
        return ALL_RIGHTS
    entry = 0
    while entry < s.pmp_used:
        if s.pmp_low[entry] <= last and first <= s.pmp_last[entry]:
            if s.pmp_low[entry] <= first and last <= s.pmp_last[entry]:
                return pmp_rights(s, entry, mode)
            return PARTIAL
        entry += 1
    return ALL_RIGHTS if mode == MODE_M else 0


@native
def pmp_page(s: HartState, page: int, mode: int) -> int:
    """Rights of a mode on a page (R 1, W 2, X 4), or PARTIAL."""
    return pmp_range(s, page, page + OFFSET_MASK, mode)


@native
def pmp_allows(s: HartState, address: int, size: int, access: int, mode: int) -> int:
    """1 if a mode may access these bytes; an access that only partly matches fails."""
    return pmp_range(s, address, address + size - 1, mode) >> access & 1


@native
def pmp_update(s: HartState) -> None:
    """Work out the ranges after a change."""
    entry = 0
    s.pmp_used = 0
    locked = 0
    while entry < PMP_ENTRIES:
        cfg = s.pmpcfg[entry]
        kind = cfg >> 3 & 3
        address = s.pmpaddr[entry]
        low = 1
        end = 1
        if kind == TOR:
            low = s.pmpaddr[entry - 1] << 2 if entry else 0
            end = address << 2
        elif kind == NA4:
            low = address << 2
            end = low + 4
        elif kind == NAPOT:
            ones = ctz(~address)
            low = (address >> ones << ones) << 2
            end = low + (8 << ones)
        if low < end:
            s.pmp_low[entry] = low
            s.pmp_last[entry] = end - 1
            s.pmp_used = entry + 1
        else:
            s.pmp_low[entry] = 1
            s.pmp_last[entry] = 0
        locked |= cfg & LOCKED
        entry += 1
    s.pmp_open = 0
    if locked == 0:
        s.pmp_open = 1 << MODE_M
        first_open = s.pmpcfg[0] & ALL_RIGHTS == ALL_RIGHTS
        if first_open and s.pmp_low[0] == 0 and s.pmp_last[0] >= EVERYWHERE:
            s.pmp_open = EVERY_MODE
    flush_tlb(s)


@native
def pmpcfg_read(s: HartState, number: int) -> int:
    """pmpcfg0, pmpcfg2: eight entries' bytes each; entries that do not exist read 0."""
    entry = (number & 15) * 4
    if entry >= PMP_ENTRIES:
        return 0
    value = 0
    shift = 0
    while shift < 64:
        value |= s.pmpcfg[entry] << shift
        entry += 1
        shift += 8
    return value


@native
def pmpcfg_write(s: HartState, number: int, value: int) -> None:
    """Locked entries keep what they have; write-only becomes no access."""
    entry = (number & 15) * 4
    if entry >= PMP_ENTRIES:
        return
    if pmpcfg_read(s, number) == value:
        return
    shift = 0
    while shift < 64:
        cfg = value >> shift & CFG_MASK
        if cfg & 3 == WRITE_ONLY:
            cfg &= ~WRITE_ONLY
        if s.pmpcfg[entry] & LOCKED == 0:
            s.pmpcfg[entry] = cfg
        entry += 1
        shift += 8
    pmp_update(s)


@native
def pmpcfg_exists(s: HartState, number: int) -> int:
    """RV64 has the even ones."""
    return number & 1 == 0


@native
def pmpaddr_read(s: HartState, number: int) -> int:
    """Bits 55-2 of an address."""
    entry = number - 0x3B0
    return s.pmpaddr[entry] if entry < PMP_ENTRIES else 0


@native
def pmpaddr_write(s: HartState, number: int, value: int) -> None:
    """A locked entry's address is fixed, and so is the one below a locked TOR entry."""
    entry = number - 0x3B0
    if entry >= PMP_ENTRIES:
        return
    if s.pmpcfg[entry] & LOCKED:
        return
    if entry + 1 < PMP_ENTRIES:
        above = s.pmpcfg[entry + 1]
        if above & LOCKED and above >> 3 & 3 == TOR:
            return
    if s.pmpaddr[entry] != value & ADDRESS_MASK:
        s.pmpaddr[entry] = value & ADDRESS_MASK
        pmp_update(s)

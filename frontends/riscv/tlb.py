"""Forgetting translations: TLB entries and the jump cache entries that depend on them.

Flushes visit what was filled since the last one, not the whole tables: a guest flushes
single pages 100,000 times while it boots, and everything at each change of process.
"""

from __future__ import annotations

from jitemu.frontends.riscv.privileged import (
    LARGE_RANGES,
    NO_TAG,
    PAGE_MASK,
    TLB_CODE,
    TLB_GLOBAL,
    USER_SLOTS,
    HartState,
)
from jitemu.ir.native import addressof, ctz, native, store64
from jitemu.ir.state import JUMP_CACHE_ENTRIES, TLB_ENTRIES, TLB_MODES

GROUP_WORDS = 2 * 64
"""Words of a jump cache group: the 64 entries of one page (and those 64 pages away)."""
ALL_GROUPS = (1 << 64) - 1
NEAR = 1 << 30
"""Large mappings closer than this share a range."""


@native
def kill_entry(s: HartState, slot: int) -> None:
    """Make a TLB entry match nothing."""
    entry = slot * 4
    s.tlb[entry] = NO_TAG
    s.tlb[entry + 1] = NO_TAG
    s.tlb[entry + 3] = NO_TAG


@native
def forget_jumps(s: HartState, groups: int) -> None:
    """Empty the jump cache groups that have a bit here."""
    groups &= s.code_groups
    s.code_groups &= ~groups
    s.local_groups &= ~groups
    while groups:
        at = addressof(s.jump_cache) + ctz(groups) * (GROUP_WORDS * 8)
        end = at + GROUP_WORDS * 8
        while at < end:
            store64(at, NO_TAG)
            at += 16
        groups &= groups - 1


@native
def flush_data(s: HartState) -> None:
    """Empty the TLBs."""
    left = s.tlb_logged
    while left:
        left -= 1
        slot = s.tlb_log[left]
        kill_entry(s, slot)
        s.tlb_flags[slot] = 0
    s.tlb_logged = 0
    s.user_used = 0


@native
def flush_tlb(s: HartState) -> None:
    """Forget all translations."""
    flush_data(s)
    forget_jumps(s, ALL_GROUPS)
    s.large_used = 0


@native
def flush_local(s: HartState) -> None:
    """Forget all translations that are not global."""
    kept = 0
    at = 0
    while at < s.tlb_logged:
        slot = s.tlb_log[at]
        if s.tlb_flags[slot] & TLB_GLOBAL:
            s.tlb_log[kept] = slot
            kept += 1
        else:
            kill_entry(s, slot)
            s.tlb_flags[slot] = 0
        at += 1
    s.tlb_logged = kept
    forget_jumps(s, s.local_groups)


@native
def flush_page(s: HartState, va: int) -> None:
    """Forget the translations of a page, and of all pages mapped together with it."""
    at = 0
    while at < s.large_used:
        if s.large_low[at] <= va and va <= s.large_last[at]:
            flush_tlb(s)
            return
        at += 1
    page = va & PAGE_MASK
    slot = (va >> 12) % TLB_ENTRIES
    while slot < TLB_ENTRIES * TLB_MODES:
        entry = slot * 4
        if s.tlb[entry] == page or s.tlb[entry + 1] == page or s.tlb[entry + 3] == page:
            kill_entry(s, slot)
        slot += TLB_ENTRIES
    forget_jumps(s, 1 << (va >> 12 & 63))


@native
def drop_user_pages(s: HartState) -> None:
    """SUM was cleared: S mode loses its entries of user pages."""
    while s.user_used:
        s.user_used -= 1
        kill_entry(s, s.user_slots[s.user_used])


@native
def note_user_page(s: HartState, slot: int) -> None:
    """S mode's TLB got an entry of a user page."""
    if s.user_used == USER_SLOTS:
        drop_user_pages(s)
    s.user_slots[s.user_used] = slot
    s.user_used += 1


@native
def note_large(s: HartState, va: int, shift: int) -> None:
    """A mapping of 1 << shift bytes around va was used page by page."""
    low = va >> shift << shift
    last = low + (1 << shift) - 1
    at = 0
    while at < s.large_used:
        start = s.large_low[at]
        stop = s.large_last[at]
        if start <= low and last <= stop:
            return
        gap = low - stop if low > stop else start - last
        if at == LARGE_RANGES - 1 or gap < NEAR or (low <= stop and start <= last):
            s.large_low[at] = low if low < start else start
            s.large_last[at] = last if last > stop else stop
            return
        at += 1
    s.large_low[at] = low
    s.large_last[at] = last
    s.large_used = at + 1


@native
def protect_code_page(s: HartState, physical: int) -> None:
    """A page of RAM holds translated code from now on: stores to it go the slow way."""
    host = (physical & PAGE_MASK) - s.ram_base + s.ram_host
    at = 0
    while at < s.tlb_logged:
        slot = s.tlb_log[at]
        page = s.tlb[slot * 4 + 1]
        if page != NO_TAG and page + s.tlb[slot * 4 + 2] == host:
            s.tlb[slot * 4 + 1] = NO_TAG
            s.tlb_flags[slot] |= TLB_CODE
        at += 1


@native
def empty_tables(s: HartState) -> None:
    """Make TLBs and jump cache empty, whatever they held."""
    slot = 0
    while slot < TLB_ENTRIES * TLB_MODES:
        kill_entry(s, slot)
        s.tlb_flags[slot] = 0
        slot += 1
    s.tlb_logged = 0
    s.user_used = 0
    s.large_used = 0
    at = 0
    while at < JUMP_CACHE_ENTRIES:
        s.jump_cache[2 * at] = NO_TAG
        at += 1
    s.code_groups = 0
    s.local_groups = 0

"""Records of translated code: blocks, their exits, the pages they were made from.

All of it lives in native memory (the control block ``Control`` and a pool), so that
translating, linking, finding and forgetting code needs no Python.  Python reads the same
records through runtime/records.py.
"""

from __future__ import annotations

from jitemu.ir.native import load64, native, store32, store64
from jitemu.ir.state import JUMP_CACHE_ENTRIES, RuntimeState
from jitemu.runtime.layouts import (
    DELETED,
    EMPTY,
    FLAG_SHARED,
    HASH,
    MASK_BYTES,
    BlockRecord,
    Control,
    ExitRecord,
    Node,
)


@native
def pool_take(s: RuntimeState, size: int) -> int:
    """So many bytes of the pool (the caller has made sure that they are there)."""
    at = load64(s.code + Control.POOL)
    store64(s.code + Control.POOL, at + size)
    return at


@native
def table_slot(s: RuntimeState, tag: int, physical: int) -> int:
    """The table entry of a block, or the empty one where the search ended.

    Blocks near each other have entries near each other, 16 KiB of them for a page of code: a
    process that a guest forks, or a short program, touches few of the table's pages.
    """
    mapping = (tag ^ physical) >> 12 ^ physical >> 21
    slot = (physical >> 3) + (mapping * HASH >> 32)
    base = load64(s.code + Control.BLOCKS)
    mask = load64(s.code + Control.BLOCKS_MASK)
    while 1:
        entry = base + (slot & mask) * 32
        found = load64(entry) ^ EMPTY
        if found == EMPTY:
            return entry
        if found == tag and load64(entry + 8) == physical:
            return entry
        slot += 1


@native
def table_find(s: RuntimeState, tag: int, physical: int) -> int:
    """The record of the block with this tag and physical address, or 0."""
    entry = table_slot(s, tag, physical)
    return load64(entry + 16) if load64(entry) ^ EMPTY == tag else 0


@native
def table_insert(s: RuntimeState, record: int) -> None:
    """Make a block findable."""
    tag = load64(record + BlockRecord.TAG)
    physical = load64(record + BlockRecord.PHYSICAL)
    entry = table_slot(s, tag, physical)
    store64(entry + 8, physical)
    store64(entry + 16, record)
    store64(entry, tag ^ EMPTY)
    used = s.code + Control.BLOCKS_USED
    store64(used, load64(used) + 1)


@native
def block_at(s: RuntimeState, host: int) -> int:
    """The record of the block or region whose code holds a host address, or 0."""
    entry = load64(s.code + Control.BLOCKS)
    end = entry + (load64(s.code + Control.BLOCKS_MASK) + 1) * 32
    while entry < end:
        if load64(entry) ^ EMPTY < DELETED:
            record = load64(entry + 16)
            if holds(s, record, host):
                return record
            region = load64(record + BlockRecord.REGION)
            if region and holds(s, region, host):
                return region
        entry += 32
    return 0


@native
def holds(s: RuntimeState, record: int, host: int) -> int:
    """1 where a host address is in a record's code."""
    return host - load64(record + BlockRecord.CODE) < load64(record + BlockRecord.HOST_SIZE)


@native
def page_entry(s: RuntimeState, number: int) -> int:
    """The page table's entry of a page; its number is EMPTY if the page is not there."""
    slot = number + ((number >> 10) * HASH >> 40)
    base = load64(s.code + Control.PAGES)
    mask = load64(s.code + Control.PAGES_MASK)
    while 1:
        entry = base + (slot & mask) * 32
        found = load64(entry) ^ EMPTY
        if found == number or found == EMPTY:
            return entry
        slot += 1


@native
def page_add(s: RuntimeState, number: int, host: int) -> None:
    """Make a page of guest code known (or give it another host address)."""
    entry = page_entry(s, number)
    if load64(entry) == 0:
        store64(entry + 8, 0)
        store64(entry + 24, 0)
    store64(entry + 16, host)
    store64(entry, number ^ EMPTY)


@native
def page_guard(s: RuntimeState, number: int, guard: int) -> int:
    """Set a known page's guard; the old one."""
    entry = page_entry(s, number)
    if load64(entry) == 0:
        return 0
    before = load64(entry + 24)
    store64(entry + 24, guard)
    return before


@native
def page_note(s: RuntimeState, number: int, record: int, start: int, end: int) -> None:
    """A block was made from bytes [start, end) of a page."""
    entry = page_entry(s, number)
    node = pool_take(s, Node.LENGTH)
    store64(node + Node.BLOCK, record)
    store64(node + Node.START, start)
    store64(node + Node.END, end)
    store64(node + Node.NEXT, load64(entry + 8))
    store64(entry + 8, node)


@native
def page_bits(s: RuntimeState, number: int) -> int:
    """Bit n: bytes [64n, 64n + 64) of the page hold translated code."""
    entry = page_entry(s, number)
    if load64(entry) == 0:
        return 0
    bits = 0
    node = load64(entry + 8)
    while node:
        if load64(load64(node + Node.BLOCK) + BlockRecord.CODE):
            start = load64(node + Node.START) >> 6
            last = load64(node + Node.END) - 1 >> 6
            bits |= (2 << last) - (1 << start)
        node = load64(node + Node.NEXT)
    return bits


@native
def page_blocks(s: RuntimeState, number: int, at: int) -> None:
    """Add to two masks at an address: bit n of the first, a block begins at byte 2n of the page;
    of the second, the byte is a block's."""
    entry = page_entry(s, number)
    if load64(entry) == 0:
        return
    node = load64(entry + 8)
    while node:
        record = load64(node + Node.BLOCK)
        if load64(record + BlockRecord.CODE) and load64(record + BlockRecord.IS_REGION) == 0:
            start = load64(node + Node.START)
            if load64(record + BlockRecord.PHYSICAL) >> 12 == number:
                set_bit(s, at, start >> 1)
            while start < load64(node + Node.END):
                set_bit(s, at + MASK_BYTES, start >> 1)
                start += 2
        node = load64(node + Node.NEXT)


@native
def set_bit(s: RuntimeState, at: int, number: int) -> None:
    """Set a bit of the words at an address."""
    word = at + (number >> 6) * 8
    store64(word, load64(word) | 1 << (number & 63))


@native
def page_targets(s: RuntimeState, number: int, at: int, room: int) -> int:
    """Put into the words at an address where the linked exits of a page's blocks go, pages
    in a row that are the same only once; how many."""
    entry = page_entry(s, number)
    if load64(entry) == 0:
        return 0
    count = 0
    last = number
    node = load64(entry + 8)
    while node:
        record = load64(node + Node.BLOCK)
        if load64(record + BlockRecord.CODE):
            exit_record = load64(record + BlockRecord.EXITS)
            left = load64(record + BlockRecord.EXIT_COUNT)
            while left and count < room:
                block = load64(exit_record + ExitRecord.LINKED)
                if block and load64(block + BlockRecord.PHYSICAL) >> 12 != last:
                    last = load64(block + BlockRecord.PHYSICAL) >> 12
                    store64(at + count * 8, last)
                    count += 1
                exit_record += ExitRecord.LENGTH
                left -= 1
        node = load64(node + Node.NEXT)
    return count


@native
def is_known(s: RuntimeState, pc: int) -> int:
    """1 where the cache has a region that begins at an address."""
    base = load64(s.code + Control.HEADS)
    if base == 0:
        return 0
    slot = pc * HASH >> 32
    mask = load64(s.code + Control.HEADS_MASK)
    while 1:
        found = load64(base + (slot & mask) * 8) ^ EMPTY
        if found == pc:
            return 1
        if found == EMPTY:
            return 0
        slot += 1


# Links


@native
def patch_site(s: RuntimeState, site: int, target: int) -> None:
    """Let a jump's distance lead to a host address."""
    store32(site + load64(s.code + Control.DELTA), target - site - 4)


@native
def link(s: RuntimeState, exit_record: int, record: int) -> None:
    """Let a direct exit jump straight to a block."""
    site = load64(exit_record + ExitRecord.SITE)
    if load64(s.code + Control.FLAGS) & FLAG_SHARED and site & 63 > 60:
        return
    if load64(exit_record + ExitRecord.LINKED):
        return
    store64(exit_record + ExitRecord.LINKED, record)
    store64(exit_record + ExitRecord.NEXT, load64(record + BlockRecord.INCOMING))
    store64(record + BlockRecord.INCOMING, exit_record)
    patch_site(s, site, load64(record + BlockRecord.ENTRY))
    links = s.code + Control.LINKS
    store64(links, load64(links) + 1)


@native
def unlink(s: RuntimeState, exit_record: int) -> None:
    """Lead a direct exit to its stub again, and take it off its block's list."""
    record = load64(exit_record + ExitRecord.LINKED)
    if record == 0:
        return
    store64(exit_record + ExitRecord.LINKED, 0)
    patch_site(s, load64(exit_record + ExitRecord.SITE), load64(exit_record + ExitRecord.STUB))
    at = record + BlockRecord.INCOMING
    while load64(at) != exit_record:
        at = load64(at) + ExitRecord.NEXT
    store64(at, load64(exit_record + ExitRecord.NEXT))


@native
def jump_slot(s: RuntimeState, pc: int) -> int:
    """The jump cache entry of an address: in system mode grouped by page."""
    if s.paged:
        return (pc >> 12 & 63) << 6 | (pc >> 1 & 63)
    return pc >> 1 & JUMP_CACHE_ENTRIES - 1


@native
def jump_tag(s: RuntimeState) -> int:
    """Where a record has the tag of its jump cache entry: in user mode there is one context at
    a time, and it is the pc."""
    return BlockRecord.TAG if s.paged else BlockRecord.PC


@native
def forget_jump(s: RuntimeState, record: int) -> None:
    """Take a block out of this processor's jump cache."""
    slot = jump_slot(s, load64(record + BlockRecord.PC)) * 2
    if s.jump_cache[slot] == load64(record + jump_tag(s)):
        s.jump_cache[slot] = EMPTY


@native
def empty_jump_cache(s: RuntimeState) -> None:
    """Forget all of it.  The thread whose cache it is may be about to jump by an entry: the
    host addresses stay."""
    slot = 0
    while slot < JUMP_CACHE_ENTRIES:
        s.jump_cache[slot * 2] = EMPTY
        slot += 1


@native
def redirect(s: RuntimeState, record: int, entry: int) -> None:
    """Let everyone who enters a block go to other code instead."""
    store64(record + BlockRecord.ENTRY, entry)
    forget_jump(s, record)
    incoming = load64(record + BlockRecord.INCOMING)
    while incoming:
        patch_site(s, load64(incoming + ExitRecord.SITE), entry)
        incoming = load64(incoming + ExitRecord.NEXT)


@native
def forget(s: RuntimeState, record: int) -> None:
    """Forget a block or region whose guest code changed.  Jump caches are the caller's."""
    if load64(record + BlockRecord.CODE) == 0:
        return
    store64(record + BlockRecord.CODE, 0)
    forget_jump(s, record)
    exit_record = load64(record + BlockRecord.EXITS)
    left = load64(record + BlockRecord.EXIT_COUNT)
    while left:
        unlink(s, exit_record)
        exit_record += ExitRecord.LENGTH
        left -= 1
    while load64(record + BlockRecord.INCOMING):
        unlink(s, load64(record + BlockRecord.INCOMING))
    tag = load64(record + BlockRecord.TAG)
    entry = table_slot(s, tag, load64(record + BlockRecord.PHYSICAL))
    if load64(entry) ^ EMPTY == tag and load64(entry + 16) == record:
        store64(entry, DELETED ^ EMPTY)
    removed = s.code + Control.REMOVED
    store64(removed, load64(removed) + 1)


@native
def add_head(s: RuntimeState, region: int, head: int, entry: int) -> None:
    """Let a region take over a block's entry."""
    store64(head + BlockRecord.NEXT_HEAD, load64(region + BlockRecord.REGION))
    store64(region + BlockRecord.REGION, head)
    store64(head + BlockRecord.REGION, region)
    redirect(s, head, entry)


@native
def drop_region(s: RuntimeState, region: int) -> None:
    """Give a region's heads their own code back, and forget it."""
    head = load64(region + BlockRecord.REGION)
    while head:
        store64(head + BlockRecord.REGION, 0)
        redirect(s, head, load64(head + BlockRecord.CODE))
        head = load64(head + BlockRecord.NEXT_HEAD)
    store64(region + BlockRecord.REGION, 0)
    forget(s, region)


@native
def forget_with_region(s: RuntimeState, record: int) -> None:
    """Forget a block and the region that took it over, or a region."""
    if load64(record + BlockRecord.CODE) == 0:
        return
    if load64(record + BlockRecord.IS_REGION):
        drop_region(s, record)
        return
    region = load64(record + BlockRecord.REGION)
    if region:
        drop_region(s, region)
    forget(s, record)


@native
def forget_range(s: RuntimeState, number: int, start: int, end: int) -> int:
    """Forget what was made from bytes [start, end) of a page; how many blocks are left."""
    entry = page_entry(s, number)
    if load64(entry) == 0:
        return 0
    left = 0
    at = entry + 8
    node = load64(at)
    while node:
        record = load64(node + Node.BLOCK)
        if load64(node + Node.START) < end and start < load64(node + Node.END):
            forget_with_region(s, record)
        following = load64(node + Node.NEXT)
        if load64(record + BlockRecord.CODE):
            at = node + Node.NEXT
            left += 1
        else:
            store64(at, following)
        node = following
    return left

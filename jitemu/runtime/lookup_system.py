"""Finding and making blocks in system mode: by virtual pc, context and physical page."""

from __future__ import annotations

from jitemu.ir.native import extern, load16, load64, native, store64
from jitemu.ir.state import RuntimeState
from jitemu.runtime.codetable import (
    forget_range,
    forget_with_region,
    is_known,
    jump_slot,
    page_bits,
    table_find,
)
from jitemu.runtime.exits import (
    EXIT_CONTEXT,
    EXIT_FULL,
    EXIT_HOT,
    EXIT_KNOWN,
    EXIT_MADE,
    EXIT_PAGE,
    EXIT_REQUESTED,
    REQUEST_ENGINE,
    REQUEST_SAMPLE,
)
from jitemu.runtime.layouts import FLAG_TRACE, BlockRecord, Control
from jitemu.runtime.lookup import enter, heat_up, leave, link_to, note_jump, take_request
from jitemu.runtime.translate import host_page, room, translate
from jitemu.runtime.translator_layouts import PAGE

fetch_translate = extern("fetch_translate", "address")
"""The guest's: 1 and ``fetch_physical``, or 0 with an exception raised."""
take_interrupt = extern("take_interrupt")
"""The guest's: trap to the most urgent enabled interrupt, if there is one."""
protect_code_page = extern("protect_code_page", "physical")
"""The guest's: stores to a page of RAM have to look for code from now on."""

TRAP = 1
"""``made`` after a trap: look again, at the handler."""


@native
def system_find_block(s: RuntimeState) -> int:
    """Host address to go on at for the state's pc (or of the exit)."""
    tries = 0
    while tries < 16:
        pc = s.pc
        tag = pc ^ s.ctx_tag
        slot = jump_slot(s, pc) * 2
        if s.jump_cache[slot] == tag:
            return s.jump_cache[slot + 1]
        if fetch_translate(s, pc):
            record = table_find(s, tag, s.fetch_physical)
            if record:
                return enter(s, record)
            record = system_make(s, pc, tag, s.fetch_physical)
            if record != TRAP:
                if record == 0 or load64(s.code + Control.FLAGS) & FLAG_TRACE:
                    return s.exit
                return enter(s, record)
        tries += 1
    return leave(s, EXIT_REQUESTED)


@native
def system_find_plain(s: RuntimeState) -> int:
    """Host address of the block at the state's pc itself, for a region that cannot go on."""
    if fetch_translate(s, s.pc):
        record = table_find(s, s.pc ^ s.ctx_tag, s.fetch_physical)
        if record:
            return load64(record + BlockRecord.CODE)
    return system_find_block(s)


@native
def system_make(s: RuntimeState, pc: int, tag: int, physical: int) -> int:
    """Make a block; its record, 0 with an exit reason, or TRAP."""
    if load64(load64(s.code + Control.CONTEXTS) + s.ctx * 8) == 0:
        s.exit_reason = EXIT_CONTEXT
        return 0
    host = host_page(s, physical >> 12)
    if host == 0:
        s.wanted_page = physical >> 12
        s.exit_reason = EXIT_PAGE
        return 0
    second = 0
    behind = 0
    if pc & PAGE - 1 == PAGE - 2 and load16(host + PAGE - 2) & 3 == 3:
        if fetch_translate(s, pc + 2) == 0:
            return TRAP
        behind = s.fetch_physical
        second = host_page(s, behind >> 12)
        if second == 0:
            s.wanted_page = behind >> 12
            s.exit_reason = EXIT_PAGE
            return 0
    if room(s) == 0:
        s.exit_reason = EXIT_FULL
        return 0
    record = translate(s, pc, tag, physical, host, second, behind)
    end = (physical & PAGE - 1) + load64(record + BlockRecord.SIZE)
    mark_code(s, physical, end if end < PAGE else PAGE)
    if second:
        mark_code(s, behind, 2)
    s.made = record
    if is_known(s, pc):
        s.exit_reason = EXIT_KNOWN
        return 0
    s.exit_reason = EXIT_MADE
    return record


@native
def mark_code(s: RuntimeState, physical: int, end: int) -> None:
    """Bytes from a physical address to ``end`` of its page hold translated code now."""
    offset = physical - s.ram_base
    if offset >= s.ram_size:
        return
    word = s.code_pages + (offset >> 12) * 8
    bits = load64(word)
    if bits == 0:
        protect_code_page(s, physical)
    store64(word, bits | (2 << (end - 1 >> 6)) - (1 << (physical >> 6 & 63)))


@native
def code_written(s: RuntimeState, physical: int, size: int) -> None:
    """Bytes in one page of RAM were or are about to be written: forget their code."""
    start = physical & PAGE - 1
    forget_range(s, physical >> 12, start, start + size)
    word = s.code_pages + (physical - s.ram_base >> 12) * 8
    store64(word, page_bits(s, physical >> 12))


@native
def system_link_block(s: RuntimeState) -> int:
    """As system_find_block, for a direct exit (in its own page) that can be linked."""
    exit_record = s.link_site
    pc = s.pc
    tag = pc ^ s.ctx_tag
    generation = load64(s.code + Control.GENERATION)
    code = system_find_block(s)
    same = generation == load64(s.code + Control.GENERATION)
    if code != s.exit and s.pc == pc and same and fetch_translate(s, pc):
        link_to(s, exit_record, tag, s.fetch_physical)
    return code


@native
def system_look_around(s: RuntimeState) -> int:
    """An exit was requested: by the sampler, for an interrupt, or for the engine."""
    request = take_request(s)
    hot = 0
    if request & REQUEST_SAMPLE:
        note_jump(s)
        hot = heat_up(s, s.pc ^ s.ctx_tag)
    s.jump_from = 0
    if hot:
        s.exit_request |= request & ~REQUEST_SAMPLE
        store64(s.leave_at, request & ~REQUEST_SAMPLE)
        return leave(s, EXIT_HOT)
    take_interrupt(s)
    if request & REQUEST_ENGINE:
        return leave(s, EXIT_REQUESTED)
    return system_find_block(s)


@native
def system_crossed(s: RuntimeState) -> int:
    """The guard of a crossing instruction failed: look at its second page again."""
    pc = s.pc
    if fetch_translate(s, pc) and fetch_translate(s, pc + 2):
        behind = s.fetch_physical
        if fetch_translate(s, pc):
            record = table_find(s, pc ^ s.ctx_tag, s.fetch_physical)
            if record and load64(record + BlockRecord.SECOND) != behind:
                forget_with_region(s, record)
    return system_find_block(s)

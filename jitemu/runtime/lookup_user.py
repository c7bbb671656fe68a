"""Finding and making blocks in user mode: guest addresses are the keys."""

from __future__ import annotations

from jitemu.ir.native import load16, load64, native, store64
from jitemu.ir.state import RuntimeState
from jitemu.runtime.codetable import is_known, jump_slot, page_entry, table_find
from jitemu.runtime.exits import (
    EXIT_BUSY,
    EXIT_FULL,
    EXIT_HOT,
    EXIT_ILLEGAL,
    EXIT_KNOWN,
    EXIT_MADE,
    EXIT_PAGE,
    EXIT_REQUESTED,
    EXIT_WRITTEN,
    REQUEST_ENGINE,
    REQUEST_SAMPLE,
    REQUEST_WRITTEN,
)
from jitemu.runtime.layouts import FLAG_TRACE, Control
from jitemu.runtime.lookup import (
    enter,
    heat_up,
    leave,
    link_to,
    lock_code,
    note_jump,
    take_request,
    unlock_code,
)
from jitemu.runtime.translate import address_of, context_at, host_page, room, translate, word_length
from jitemu.runtime.translator_layouts import PAGE


@native
def user_find_block(s: RuntimeState) -> int:
    """Host address to go on at for the state's pc (or of the exit)."""
    trapped = s.trapped
    s.trapped = 0
    if trapped == EXIT_ILLEGAL:
        return leave(s, EXIT_ILLEGAL)
    pc = s.pc
    slot = jump_slot(s, pc) * 2
    if s.jump_cache[slot] == pc:
        return s.jump_cache[slot + 1]
    if lock_code(s) == 0:
        return leave(s, EXIT_BUSY)
    record = table_find(s, pc ^ s.ctx_tag, address_of(s, pc))
    if record == 0:
        record = user_make(s, pc)
        if record == 0 or load64(s.code + Control.FLAGS) & FLAG_TRACE:
            unlock_code(s)
            return s.exit
    code = enter(s, record)  # still locked, so that what is forgotten is not remembered here
    unlock_code(s)
    return code


@native
def user_make(s: RuntimeState, pc: int) -> int:
    """Make a block; its record, or 0 with an exit reason."""
    address = address_of(s, pc)
    number = address >> 12
    host = host_page(s, number)
    if host == 0:
        s.wanted_page = number
        s.exit_reason = EXIT_PAGE
        return 0
    second = 0
    crossing = address & PAGE - 1 == PAGE - 2
    if crossing and word_length(s, context_at(s, pc), load16(host + PAGE - 2)) == 4:
        second = host_page(s, number + 1)
        if second == 0:
            s.wanted_page = number + 1
            s.exit_reason = EXIT_PAGE
            return 0
    if room(s) == 0:
        s.exit_reason = EXIT_FULL
        return 0
    s.made = translate(s, pc, pc ^ s.ctx_tag, address, host, second, address + 2)
    if is_known(s, pc):
        s.exit_reason = EXIT_KNOWN
        return 0
    s.exit_reason = EXIT_MADE
    return s.made


@native
def user_link_block(s: RuntimeState) -> int:
    """As user_find_block, for a direct exit that can be linked."""
    exit_record = s.link_site
    pc = s.pc
    generation = load64(s.code + Control.GENERATION)
    code = user_find_block(s)
    if code != s.exit and generation == load64(s.code + Control.GENERATION):
        link_to(s, exit_record, pc ^ s.ctx_tag, address_of(s, pc))
    return code


@native
def user_look_around(s: RuntimeState) -> int:
    """An exit was requested: by the sampler, which counts heat, or for the engine."""
    request = take_request(s)
    if request & REQUEST_SAMPLE:
        note_jump(s)
    s.jump_from = 0
    if load64(s.code + Control.WRITTEN):
        s.exit_request |= request & ~REQUEST_WRITTEN
        return leave(s, EXIT_WRITTEN)
    if request & REQUEST_ENGINE:
        return leave(s, EXIT_REQUESTED)
    if request & REQUEST_SAMPLE and heat_up(s, s.pc ^ s.ctx_tag):
        return leave(s, EXIT_HOT)
    return user_find_block(s)


@native
def user_write(s: RuntimeState, address: int) -> int:
    """A write of translated code faulted: 1 if the page shall be made writable.

    The write to a page that is guarded because of its code goes through, and what was made
    from the page is forgotten at the next look: that is soon, and before the guest's next
    fence or indirect jump.  (To leave at the write would be exact, but impossible in a
    region, and endless where code writes to its own page.)
    """
    entry = page_entry(s, address >> 12)
    if load64(entry) == 0 or load64(entry + 24) == 0:
        return 0
    store64(entry + 24, 2)
    store64(s.code + Control.WRITTEN, 1)
    s.exit_request |= REQUEST_WRITTEN
    store64(s.leave_at, 1)
    return 1


@native
def user_crossed(s: RuntimeState) -> int:
    """Blocks of user mode have no guards."""
    return user_find_block(s)

"""Native functions around translated code that both modes have: entering, heat, exits."""

from __future__ import annotations

from jitemu.ir.native import addressof, exchange, load64, native, store64
from jitemu.ir.state import RuntimeState
from jitemu.runtime import spawn as spawn  # the library has it too
from jitemu.runtime.codetable import (
    FLAG_NO_CHAIN,
    HASH,
    BlockRecord,
    Control,
    jump_slot,
    jump_tag,
    link,
    table_find,
)

EXIT_SYSCALL, EXIT_BREAKPOINT, EXIT_ILLEGAL, EXIT_FENCE_I = 1, 2, 3, 4
"""User mode, from instructions' bodies: the pc is at the instruction (at the next for the
fence)."""
EXIT_FAULT = 68
"""Translated code faulted (user mode; backend_llvm.natives puts it in the handler)."""
EXIT_HOT = 65
"""The block at this pc has been seen often."""
EXIT_REQUESTED = 66
"""Someone asked the engine to look up."""
EXIT_MADE = 67
"""A block was made (``made``), and the engine wants to know."""
EXIT_ENTER = 69
"""A block (``made``) is about to be entered, and the engine wants to know."""
EXIT_PAGE = 70
"""The page ``wanted_page`` of guest code is not known."""
EXIT_FULL = 71
"""No room for another block."""
EXIT_BUSY = 72
"""Another thread is changing the code."""
EXIT_WRITTEN = 74
"""The guest has written to a page that held translated code (user mode)."""
EXIT_KNOWN = 75
"""A block (``made``) was made where the cache has a region."""
EXIT_CONTEXT = 73
"""The translation context has no table yet."""

REQUEST_ENGINE = 1
"""exit_request: leave native code."""
REQUEST_SAMPLE = 2
"""exit_request: count where time is spent."""
REQUEST_WRITTEN = 8
"""exit_request: the guest has written to a guarded page (user mode)."""
REQUEST_INTERRUPT = 4
"""exit_request: an interrupt may be pending (system mode)."""


@native
def leave(s: RuntimeState, reason: int) -> int:
    """To the engine."""
    s.exit_reason = reason
    return s.exit


@native
def lock_code(s: RuntimeState) -> int:
    """Begin to change the code's records: 1, or 0 if another thread does."""
    return exchange(s.code + Control.LOCK, 1) == 0


@native
def unlock_code(s: RuntimeState) -> None:
    """Done."""
    store64(s.code + Control.LOCK, 0)


@native
def enter(s: RuntimeState, record: int) -> int:
    """Go on in a block: remember it in the jump cache; its host address."""
    code = load64(record + BlockRecord.ENTRY)
    if load64(s.code + Control.FLAGS) & FLAG_NO_CHAIN:
        s.made = record
        return leave(s, EXIT_ENTER)
    slot = jump_slot(s, s.pc) * 2
    s.jump_cache[slot] = load64(record + jump_tag(s))
    s.jump_cache[slot + 1] = code
    return code


@native
def link_to(s: RuntimeState, exit_record: int, tag: int, physical: int) -> None:
    """Link an exit to the block that was found for it."""
    if load64(s.code + Control.FLAGS) & FLAG_NO_CHAIN == 0 and lock_code(s):
        record = table_find(s, tag, physical)
        if record:
            link(s, exit_record, record)
        unlock_code(s)


@native
def heat_up(s: RuntimeState, tag: int) -> int:
    """Count a sample of this block; 1 when it has become hot, and at every doubling."""
    if s.hot_threshold == 0:
        return 0
    entry = s.heat + ((tag * HASH >> 32) & s.heat_mask) * 16
    if load64(entry) != tag:
        store64(entry, tag)
        store64(entry + 8, 0)
    count = load64(entry + 8) + 1
    store64(entry + 8, count)
    return count >= s.hot_threshold and count & count - 1 == 0


@native
def take_request(s: RuntimeState) -> int:
    """The bits of exit_request, which is 0 afterwards, as is what regions look at."""
    store64(s.leave_at, 0)
    return exchange(addressof(s.exit_request), 0)

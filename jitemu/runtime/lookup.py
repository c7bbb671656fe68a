"""Native functions around translated code that both modes have: entering, heat, exits."""

from __future__ import annotations

from jitemu.ir.native import addressof, exchange, load64, native, store64
from jitemu.ir.state import JUMP_SAMPLES, RuntimeState
from jitemu.runtime import spawn as spawn  # the library has it too
from jitemu.runtime.codetable import jump_slot, jump_tag, link, table_find
from jitemu.runtime.exits import EXIT_ENTER
from jitemu.runtime.layouts import FLAG_NO_CHAIN, HASH, BlockRecord, Control


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
def note_jump(s: RuntimeState) -> None:
    """Of a sample: keep which indirect jump led to pc, if it was one."""
    if s.jump_from:
        at = (s.jump_count & JUMP_SAMPLES - 1) * 2
        s.jump_samples[at] = s.jump_from
        s.jump_samples[at + 1] = s.pc
        s.jump_count += 1


@native
def take_request(s: RuntimeState) -> int:
    """The bits of exit_request, which is 0 afterwards, as is what regions look at."""
    store64(s.leave_at, 0)
    return exchange(addressof(s.exit_request), 0)

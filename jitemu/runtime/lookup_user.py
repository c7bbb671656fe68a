"""Finding blocks in user mode: guest addresses are the keys."""

from __future__ import annotations

from jitemu.ir.native import native
from jitemu.ir.state import JUMP_CACHE_ENTRIES, RuntimeState
from jitemu.runtime.lookup import (
    EXIT_HOT,
    EXIT_ILLEGAL,
    EXIT_REQUESTED,
    EXIT_TRANSLATE,
    REQUEST_ENGINE,
    heat_up,
    remember,
    table_find,
)


@native
def user_find_block(s: RuntimeState) -> int:
    """Host address to go on at for the state's pc (or of the exit)."""
    if s.trapped:
        s.trapped = 0
        s.exit_reason = EXIT_ILLEGAL
        return s.exit
    pc = s.pc
    slot = (pc >> 1) & (JUMP_CACHE_ENTRIES - 1)
    if s.jump_cache[slot * 2] == pc:
        return s.jump_cache[slot * 2 + 1]
    code = table_find(s, pc, pc)
    if code:
        return remember(s, slot, pc, code)
    s.exit_reason = EXIT_TRANSLATE
    return s.exit


@native
def user_look_around(s: RuntimeState) -> int:
    """An exit was requested: by the sampler, which counts heat, or for the engine."""
    request = s.exit_request
    s.exit_request = 0
    if request & REQUEST_ENGINE:
        s.exit_reason = EXIT_REQUESTED
        return s.exit
    if heat_up(s, s.pc):
        s.exit_reason = EXIT_HOT
        return s.exit
    return user_find_block(s)

"""Finding blocks in system mode: by virtual pc and context, through the fetch translation."""

from __future__ import annotations

from jitemu.ir.native import addressof, exchange, extern, native
from jitemu.ir.state import RuntimeState
from jitemu.runtime.lookup import (
    EXIT_HOT,
    EXIT_REQUESTED,
    EXIT_TRANSLATE,
    REQUEST_ENGINE,
    REQUEST_SAMPLE,
    heat_up,
    remember,
    table_find,
)

fetch_translate = extern("fetch_translate", "address")
"""The guest's: 1 and ``fetch_physical``, or 0 with an exception raised."""
take_interrupt = extern("take_interrupt")
"""The guest's: trap to the most urgent enabled interrupt, if there is one."""


@native
def system_find_block(s: RuntimeState) -> int:
    """Host address to go on at for the state's pc (or of the exit)."""
    tries = 0
    while tries < 16:
        pc = s.pc
        tag = pc ^ s.ctx_tag
        slot = (pc >> 12 & 63) << 6 | (pc >> 1 & 63)
        if s.jump_cache[slot * 2] == tag:
            return s.jump_cache[slot * 2 + 1]
        if fetch_translate(s, pc):
            code = table_find(s, tag, s.fetch_physical)
            if code:
                return remember(s, slot, tag, code)
            s.exit_reason = EXIT_TRANSLATE
            return s.exit
        tries += 1
    s.exit_reason = EXIT_REQUESTED
    return s.exit


@native
def system_look_around(s: RuntimeState) -> int:
    """An exit was requested: by the sampler, for an interrupt, or for the engine."""
    request = exchange(addressof(s.exit_request), 0)
    if request & REQUEST_SAMPLE and heat_up(s, s.pc ^ s.ctx_tag):
        s.exit_request = request & ~REQUEST_SAMPLE
        s.exit_reason = EXIT_HOT
        return s.exit
    take_interrupt(s)
    if request & REQUEST_ENGINE:
        s.exit_reason = EXIT_REQUESTED
        return s.exit
    return system_find_block(s)

"""Native functions that find translated code for a guest address."""

from __future__ import annotations

from jitemu.ir.native import addressof, load64, native, store64
from jitemu.ir.state import RuntimeState

EXIT_SYSCALL, EXIT_BREAKPOINT, EXIT_ILLEGAL, EXIT_FENCE_I = 1, 2, 3, 4
"""User mode, from instructions' bodies: the pc is at the instruction (at the next for the
fence)."""
EXIT_TRANSLATE = 64
"""No block for this pc yet."""
EXIT_HOT = 65
"""The block at this pc has been seen often."""
EXIT_REQUESTED = 66
"""Someone asked the engine to look up."""

EXIT_LINK = 67
"""A direct exit (``link_site``) wants to jump straight to the block at this pc."""

REQUEST_ENGINE = 1
"""exit_request: leave native code."""
REQUEST_SAMPLE = 2
"""exit_request: count where time is spent."""
REQUEST_INTERRUPT = 4
"""exit_request: an interrupt may be pending (system mode)."""

TABLE_WORDS = 4
"""A block table entry: tag, physical pc, host address, 0.  Tag all ones: empty."""
EMPTY = 0xFFFF_FFFF_FFFF_FFFF
DELETED = 0xFFFF_FFFF_FFFF_FFFE
HASH = 0x9E37_79B9_7F4A_7C15


@native
def table_find(s: RuntimeState, tag: int, physical: int) -> int:
    """Host address of the block with this tag and physical address, or 0."""
    slot = (tag ^ physical << 7) * HASH >> 32
    while 1:
        entry = s.blocks + (slot & s.blocks_mask) * 32
        found = load64(entry)
        if found == tag and load64(entry + 8) == physical:
            return load64(entry + 16)
        if found == EMPTY:
            return 0
        slot += 1


@native
def remember(s: RuntimeState, slot: int, tag: int, code: int) -> int:
    """Put a block into the jump cache; its host address."""
    entry = addressof(s.jump_cache) + slot * 16
    store64(entry, tag)
    store64(entry + 8, code)
    return code


@native
def heat_up(s: RuntimeState, tag: int) -> int:
    """Count a sample of this block; 1 when it has become hot."""
    if s.hot_threshold == 0:
        return 0
    entry = s.heat + ((tag * HASH >> 32) & s.heat_mask) * 16
    if load64(entry) != tag:
        store64(entry, tag)
        store64(entry + 8, 0)
    count = load64(entry + 8) + 1
    store64(entry + 8, count)
    return count == s.hot_threshold

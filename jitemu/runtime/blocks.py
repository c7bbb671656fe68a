"""Translated blocks: what is known of each, the native table, links between them."""

from __future__ import annotations

import ctypes

from jitemu.runtime.lookup import DELETED, EMPTY, HASH

MASK64 = (1 << 64) - 1


class Block:
    """A translation block."""

    __slots__ = (
        "code",
        "covered",
        "entry",
        "exits",
        "head",
        "incoming",
        "pc",
        "physical",
        "region",
        "second",
        "size",
        "tag",
    )

    def __init__(self, pc: int, tag: int, physical: int, size: int, code: int) -> None:
        self.pc = pc
        self.tag = tag
        self.physical = physical
        self.size = size
        """Guest bytes."""
        self.code = code
        """Host address of the baseline code."""
        self.entry = code
        """Where others jump to: the baseline code or a region."""
        self.covered: list[tuple[int, int]] = [(pc, size)]
        """(guest pc, bytes) of what it was made from."""
        self.second: int | None = None
        """Physical address of the second page, if its only instruction crosses one."""
        self.head: Block | None = None
        """For a region: the block whose entry it has taken over."""
        self.region: Block | None = None
        """The region that has taken over this block's entry."""
        self.exits: dict[int, tuple[int, int]] = {}
        """Link site (host address) -> (target pc, host address of its stub)."""
        self.incoming: set[int] = set()
        """Link sites in other blocks that jump here."""


class BlockTable:
    """The open-addressing table that native code searches (runtime/lookup.py)."""

    def __init__(self, bits: int = 17) -> None:
        self.mask = (1 << bits) - 1
        self._words = (ctypes.c_uint64 * (4 << bits))()
        self.view = memoryview(self._words).cast("B").cast("Q")
        self.address = ctypes.addressof(self._words)
        self.used = 0
        self.clear()

    def clear(self) -> None:
        """Forget all entries."""
        ctypes.memset(self.address, 0xFF, 32 * (self.mask + 1))
        self.used = 0

    def _slot(self, tag: int, physical: int) -> int:
        mixed = (tag ^ physical << 7) & MASK64
        return (mixed * HASH & MASK64) >> 32

    def insert(self, tag: int, physical: int, code: int) -> None:
        """Add a block that is not in the table."""
        slot = self._slot(tag, physical)
        view = self.view
        while view[(slot & self.mask) * 4] not in (EMPTY, DELETED):
            slot += 1
        at = (slot & self.mask) * 4
        self.used += view[at] == EMPTY
        view[at + 1] = physical
        view[at + 2] = code
        view[at] = tag

    def change(self, tag: int, physical: int, code: int | None) -> None:
        """Let a block's entry lead elsewhere, or (None) remove it."""
        slot = self._slot(tag, physical)
        view = self.view
        while True:
            at = (slot & self.mask) * 4
            if view[at] == tag and view[at + 1] == physical:
                if code is None:
                    view[at] = DELETED
                else:
                    view[at + 2] = code
                return
            if view[at] == EMPTY:
                return
            slot += 1

    @property
    def full(self) -> bool:
        """So many entries that searching would become slow."""
        return self.used * 4 > (self.mask + 1) * 3

"""The regions that earlier runs have left in the cache, as a running guest finds them.

Native code has a table of the addresses where known regions begin.  It leaves to Python
when it has made the block at one of them; the region is taken if the guest's code is what
the region was made from.
"""

from __future__ import annotations

import os
import time

from jitemu import cachedir
from jitemu.backend_llvm import cache
from jitemu.backend_llvm.packs import Pieces, bytes_at, key_of, open_pack, pack_names, read_region
from jitemu.runtime import descriptors
from jitemu.runtime.layouts import DELETED, EMPTY, HASH, Control
from jitemu.runtime.records import NativeMemory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jitemu.backend_llvm.objects import Region
    from jitemu.backend_llvm.packs import Entry, Pack
    from jitemu.runtime.records import CodeTables

HEAD_BITS = 15
_MOST_HEADS = 3 << HEAD_BITS - 2
_MASK64 = (1 << 64) - 1
_MOST_FAILURES = 16
"""So often other code may be found at a known address until it is looked at no more."""


def packs_folder(name: str) -> str:
    """Where the regions of a code generator are kept."""
    return os.path.join(cachedir.folder(), cachedir.REGIONS, name)


class Candidate:
    """A region of a pack."""

    __slots__ = ("entry", "pack")

    def __init__(self, pack: Pack, entry: Entry) -> None:
        self.pack = pack
        self.entry = entry

    def read(self) -> tuple[Region, Pieces] | None:
        """The region and the guest code it was made from; None where it is damaged."""
        content = self.pack.content(self.entry)
        if content is None:
            return None
        self.pack.mark_used(self.entry, time.time())
        return read_region(content)


def same_code(sources: Pieces, pieces: Pieces) -> bool:
    """The guest's code (pieces) is what a region was made from."""
    return all(bytes_at(pieces, start, len(data)) == data for start, data in sources)


class KnownRegions:
    """The cache's regions for one guest, and native code's table of their heads."""

    def __init__(self, name: str, tables: CodeTables) -> None:
        self.packs = _open_packs(name)
        self._tables = tables
        self._heads: NativeMemory | None = None
        self._used = 0
        self._candidates: dict[int, dict[bytes, Candidate]] = {}
        """By head, then by checksum."""
        self._failures: dict[int, int] = {}

    def add_all(self) -> None:
        """Know the heads of all regions."""
        for pack in self.packs:
            for entry in pack.entries():
                self._add(Candidate(pack, entry))

    def on_page(self, number: int) -> list[Candidate]:
        """The regions whose heads are in a page of guest code."""
        return [Candidate(p, entry) for p in self.packs for entry in p.find(number)]

    def add_page(self, found: list[Candidate], pieces: Pieces) -> None:
        """Know those of a page's regions that begin with the code that is there."""
        for candidate in found:
            entry = candidate.entry
            if bytes_at(pieces, entry.head, len(entry.start)) == entry.start:
                self._add(candidate)

    def at(self, pc: int, context: bytes) -> list[Candidate]:
        """The regions with this head, the largest first: more of the code had run for it."""
        found = list(self._candidates.get(pc, {}).values())  # other threads add to it
        found.sort(key=lambda c: c.entry.size, reverse=True)
        return [c for c in found if c.entry.context == context]

    def _add(self, candidate: Candidate) -> None:
        entry = candidate.entry
        there = self._candidates.get(entry.head)
        if there is not None:
            there[entry.check] = candidate
            return
        if self._used == _MOST_HEADS:
            return
        self._candidates[entry.head] = {entry.check: candidate}
        if self._heads is None:
            self._heads = NativeMemory(8 << HEAD_BITS)
            self._tables.set(Control.HEADS_MASK, (1 << HEAD_BITS) - 1)
            self._tables.set(Control.HEADS, self._heads.address)
        self._heads.words[self._slot(entry.head)] = entry.head ^ EMPTY
        self._used += 1

    def _slot(self, head: int) -> int:
        """Of the native table: where the head is, or would be."""
        assert self._heads is not None
        words, mask = self._heads.words, (1 << HEAD_BITS) - 1
        slot = (head * HASH & _MASK64) >> 32
        while words[slot & mask] and words[slot & mask] ^ EMPTY != head:
            slot += 1
        return slot & mask

    def failed(self, pc: int) -> None:
        """None of the regions with this head was for the code that is there."""
        count = self._failures[pc] = self._failures.get(pc, 0) + 1
        if count == _MOST_FAILURES and self._heads is not None:
            self._heads.words[self._slot(pc)] = DELETED ^ EMPTY


def _open_packs(name: str) -> list[Pack]:
    """All packs, on descriptors that are out of the guest's way."""
    folder = packs_folder(name)
    if not (cachedir.is_private(folder) and cachedir.trusted()):
        return []
    cache.mark_used(folder, time.time())
    packs: list[Pack] = []
    for path in pack_names(folder):
        pack = open_pack(os.path.join(folder, path), key_of(name))
        if pack is not None:
            pack.fd = descriptors.move_up(pack.fd)
            packs.append(pack)
    return packs

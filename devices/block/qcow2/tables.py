"""The active L1 table and a cache of L2 tables, with the order of writing that a crash
forgives: counts and new tables first, then what leads to them, then what was freed."""

from __future__ import annotations

import errno
from array import array

from jitemu.devices.block.image import BlockImage
from jitemu.devices.block.qcow2.header import Header
from jitemu.devices.block.qcow2.packing import Unsaved, word_bytes, words
from jitemu.devices.block.qcow2.refcounts import Refcounts

COPIED = 1 << 63
COMPRESSED = 1 << 62
ZERO_FLAG = 1
OFFSET = (1 << 56) - 512
_CACHE_BYTES = 16 << 20
_DIRTY_BYTES = 8 << 20


class L2Table(Unsaved):
    """One L2 table."""

    __slots__ = ("entries", "fresh", "offset")

    def __init__(self, offset: int, entries: array[int], fresh: bool) -> None:
        super().__init__(len(entries))
        self.offset = offset
        self.entries = entries
        self.fresh = fresh
        """Not in the file yet, and nothing there leads to it."""


class Tables:
    """L1 and L2.  ``lazy`` leaves the counts to a repair or a clean close."""

    def __init__(self, file: BlockImage, header: Header, refcounts: Refcounts) -> None:
        self._file = file
        self._header = header
        self._refcounts = refcounts
        self.lazy = False
        self.data_file: BlockImage | None = None
        """The external data file, flushed before anything leads to it."""
        self.l1 = words(file.read(header.l1_offset, header.l1_size * 8))
        self._l1_dirty: set[int] = set()
        self._cache: dict[int, L2Table] = {}
        self._dirty: dict[int, L2Table] = {}
        cluster = header.cluster_size
        self._limit = max(4, _CACHE_BYTES // cluster)
        self._dirty_limit = max(4, _DIRTY_BYTES // cluster)
        self.touched = False
        """Whether the tables differ from what the file has."""

    def use_l1(self, l1: array[int]) -> None:
        """Go on with another L1 table, which is in the file."""
        self.l1 = l1
        self._l1_dirty.clear()

    def forget(self) -> None:
        """Read all L2 tables anew: something else changed them in the file."""
        self._cache.clear()

    def at(self, index: int) -> L2Table | None:
        """The L2 table of an L1 entry, for reading; None if there is none."""
        offset = self.l1[index] & OFFSET
        if not offset:
            return None
        table = self._cache.get(offset)
        if table is not None:
            return table
        cluster = self._header.cluster_size
        if offset & cluster - 1:
            raise OSError(errno.EIO, f"{self._file.name}: L2 table {index} is not aligned")
        table = L2Table(offset, words(self._file.read(offset, cluster)), False)
        if len(self._cache) >= self._limit:
            self._evict()
        self._cache[offset] = table
        return table

    def _evict(self) -> None:
        clean = [offset for offset in self._cache if offset not in self._dirty]
        for offset in clean[: max(1, self._limit // 4)]:
            del self._cache[offset]

    def owned(self, index: int) -> L2Table | None:
        """The L2 table if its clusters may be written in place; nobody else has it."""
        return self.at(index) if self.l1[index] & COPIED else None

    def writable(self, index: int) -> L2Table:
        """The L2 table for changes: made if it is missing, copied if a snapshot has it too."""
        if len(self._dirty) >= self._dirty_limit:
            self.commit()
        table = self.at(index)
        if table is not None and self.l1[index] & COPIED:
            return table
        cluster = self._header.cluster_size
        entries = table.entries[:] if table else array("Q", bytes(cluster))
        offset, _ = self._refcounts.allocate(1)
        fresh = L2Table(offset, entries, True)
        if table:
            self._refcounts.free(table.offset)
        self._cache[offset] = fresh
        self._dirty[offset] = fresh
        self.l1[index] = offset | COPIED
        self._l1_dirty.add(index)
        self.touched = True
        return fresh

    def set(self, table: L2Table, low: int, values: array[int]) -> None:
        """Change words of a table that ``writable`` gave."""
        entries = table.entries
        entries[low : low + len(values)] = values
        table.touch(low, low + len(values))
        self._dirty[table.offset] = table
        self._cache[table.offset] = table
        self.touched = True

    def set_l1_flag(self, index: int, alone: bool) -> None:
        """Whether nobody else has the L2 table."""
        entry = self.l1[index] & ~COPIED | (COPIED if alone else 0)
        if entry != self.l1[index]:
            self.l1[index] = entry
            self._l1_dirty.add(index)
            self.touched = True

    def drop(self, index: int) -> None:
        """Take an L2 table out; its entries' clusters are the caller's to free."""
        offset = self.l1[index] & OFFSET
        self._cache.pop(offset, None)
        self._dirty.pop(offset, None)
        self.l1[index] = 0
        self._l1_dirty.add(index)
        self.touched = True

    def commit(self) -> None:
        """Make all changes durable, data of the image's own file included."""
        if self.touched or self._refcounts.dirty or self._refcounts.pending:
            self._write_first()
            self._write_links()
            self._refcounts.release()
        self._file.flush()

    def _write_first(self) -> None:
        """What nothing in the file refers to yet, and the counts."""
        for table in self._dirty.values():
            if table.fresh:
                self._file.write(table.offset, word_bytes(table.entries))
        if not self.lazy:
            self.write_counts()
        if self.data_file:
            self.data_file.flush()
        if self.touched:
            self._file.flush()

    def write_new(self, data: bytes) -> int:
        """Write something to adjacent clusters of its own, to which nothing leads yet, and make
        it and its counts durable; its offset, 0 if it is empty."""
        offset = 0
        if data:
            clusters = -(-len(data) >> self._header.cluster_bits)
            offset = self._refcounts.allocate_adjacent(clusters)
            self._file.write(offset, data)
        self.write_counts()
        self._file.flush()
        return offset

    def write_counts(self) -> None:
        """Write the refcounts, and then the table that leads to new blocks of them."""
        self._refcounts.write_blocks()
        if self._refcounts.table_dirty:
            self._file.flush()
            self._refcounts.write_table()

    def _write_links(self) -> None:
        for table in self._dirty.values():
            if not table.fresh and table.low < table.high:
                data = word_bytes(table.entries[table.low : table.high])
                self._file.write(table.offset + table.low * 8, data)
            table.fresh = False
            table.clean()
        self._dirty.clear()
        if self._l1_dirty:
            low, high = min(self._l1_dirty), max(self._l1_dirty) + 1
            data = word_bytes(self.l1[low:high])
            self._file.write(self._header.l1_offset + low * 8, data)
            self._l1_dirty.clear()
        if self.touched:
            self.touched = False
            self._file.flush()

"""Reference counts of host clusters, and the allocation of clusters by them.

Changes stay in memory until ``write_blocks`` and ``write_table``; the image calls them in
the order that a crash forgives.  What is freed counts until ``release``, so that no cluster
gets new contents while the file's tables still lead to its old ones.
"""

from __future__ import annotations

import errno
from array import array
from collections.abc import Callable

from jitemu.devices.block.image import BlockImage
from jitemu.devices.block.qcow2.header import MAX_REFTABLE_BYTES, Header
from jitemu.devices.block.qcow2.packing import (
    Counts,
    Unsaved,
    pack_counts,
    unpack_counts,
    word_bytes,
    words,
    zero_counts,
)

OFFSET_MASK = (1 << 64) - 512
_CACHE_BYTES = 16 << 20


class _Block(Unsaved):
    """One refcount block."""

    __slots__ = ("values",)

    def __init__(self, values: Counts) -> None:
        super().__init__(len(values))
        self.values = values


class Refcounts:
    """Counts by cluster number.  ``save_header`` is called when the table has moved."""

    def __init__(self, file: BlockImage, header: Header, save_header: Callable[[], None]) -> None:
        self._file = file
        self._header = header
        self._save_header = save_header
        self.bits = header.refcount_bits
        self.maximum = (1 << self.bits) - 1
        self.per_block = header.cluster_size * 8 // self.bits
        self._shift = header.cluster_bits
        size = header.reftable_clusters << header.cluster_bits
        self.table = words(file.read(header.reftable_offset, size))
        self._blocks: dict[int, _Block] = {}
        self._dirty: set[int] = set()
        self._limit = max(4, _CACHE_BYTES // (self.per_block * max(8, self.bits) // 8))
        self._fresh: set[int] = set()
        """Blocks whose place is not in the file's table yet."""
        self._pending: list[tuple[int, int, bool]] = []
        self._hint = 1

    @property
    def dirty(self) -> bool:
        return bool(self._dirty)

    @property
    def table_dirty(self) -> bool:
        return bool(self._fresh)

    @property
    def pending(self) -> bool:
        """Whether something waits for ``release``."""
        return bool(self._pending)

    def _load(self, index: int) -> _Block | None:
        block = self._blocks.get(index)
        if block is not None:
            return block
        offset = self.table[index] & OFFSET_MASK if index < len(self.table) else 0
        if not offset:
            return None
        if offset & (1 << self._shift) - 1:
            raise OSError(errno.EIO, f"{self._file.name}: refcount block {index} is not aligned")
        data = self._file.read(offset, 1 << self._shift)
        block = self._blocks[index] = _Block(unpack_counts(self.bits, data))
        if len(self._blocks) > self._limit:
            self._evict(index)
        return block

    def _evict(self, keep: int) -> None:
        clean = [index for index in self._blocks if index not in self._dirty and index != keep]
        for index in clean[: max(1, self._limit // 4)]:
            del self._blocks[index]

    def get(self, cluster: int) -> int:
        """How often the cluster is referred to."""
        index, at = divmod(cluster, self.per_block)
        block = self._load(index)
        return block.values[at] if block else 0

    def change(self, cluster: int, count: int, delta: int) -> None:
        """Add to the counts of some clusters; what another program freed already stays at 0."""
        if delta < 0:
            self._hint = max(1, min(self._hint, cluster))  # never the header
        while count > 0:
            index, at = divmod(cluster, self.per_block)
            end = min(self.per_block, at + count)
            block = self._load(index)
            if block is None and delta > 0:
                block = self._create(index)
            if block:
                values = block.values
                for k in range(at, end):
                    value = values[k] + delta
                    if value > self.maximum:
                        raise OSError(errno.EINVAL, "a cluster's reference count would overflow")
                    values[k] = max(0, value)
                block.touch(at, end)
                self._dirty.add(index)
            cluster += end - at
            count -= end - at

    def free(self, offset: int, count: int = 1, discard: bool = False) -> None:
        """Drop a reference of clusters once the tables no longer have it."""
        cluster = offset >> self._shift
        if self._pending:
            first, length, same = self._pending[-1]
            if first + length == cluster and same == discard:
                self._pending[-1] = first, length + count, discard
                return
        self._pending.append((cluster, count, discard))

    def release(self) -> None:
        """The file's tables are up to date: what was freed may be used again."""
        pending, self._pending = self._pending, []
        for cluster, count, discard in pending:
            self.change(cluster, count, -1)
            if discard:
                self._discard_free(cluster, cluster + count)

    def _discard_free(self, cluster: int, end: int) -> None:
        """Give the host what nothing refers to any more, in runs."""
        while cluster < end:
            stop = cluster
            while stop < end and not self.get(stop):
                stop += 1
            if stop > cluster:
                self._file.discard(cluster << self._shift, stop - cluster << self._shift)
            cluster = stop + 1

    def allocate(self, count: int) -> tuple[int, int]:
        """Offset and number (at most ``count``) of adjacent clusters, now counted once."""
        cluster = self._hint
        while True:
            index, at = divmod(cluster, self.per_block)
            if self._lost(index):
                cluster = (index + 1) * self.per_block
                continue
            block = self._load(index) or self._create(index)
            try:
                at = block.values.index(0, at)
            except ValueError:
                cluster = (index + 1) * self.per_block
                continue
            stop = self._run(block.values, at, min(at + count, self.per_block))
            self._mark(index, block, at, stop)
            cluster = index * self.per_block + at
            self._hint = cluster + stop - at
            return cluster << self._shift, stop - at

    def _lost(self, index: int) -> bool:
        """Whether the file has all clusters of a block, but not the block.

        A writer that was killed leaves this: it wrote data far behind the file's end, and not
        yet the block's place in the table.  A damaged table looks the same, so nothing is
        allocated there.
        """
        return (
            index > 0
            and self.missing_block(index * self.per_block)
            and self._file_end() >= (index + 1) * self.per_block
        )

    @staticmethod
    def _run(values: Counts, at: int, end: int) -> int:
        while at < end and not values[at]:
            at += 1
        return at

    def _mark(self, index: int, block: _Block, at: int, stop: int) -> None:
        block.values[at:stop] = array(block.values.typecode, [1]) * (stop - at)
        block.touch(at, stop)
        self._dirty.add(index)

    def allocate_adjacent(self, count: int) -> int:
        """The offset of exactly ``count`` adjacent clusters."""
        for index in range(len(self.table)):
            block = self._load(index)
            at = max(0, self._hint - index * self.per_block)
            while block and at + count <= self.per_block:
                try:
                    at = block.values.index(0, at)
                except ValueError:
                    break
                stop = self._run(block.values, at, min(at + count, self.per_block))
                if stop - at == count:
                    self._mark(index, block, at, stop)
                    return index * self.per_block + at << self._shift
                at = stop + 1
        return self._claim_tail(count) << self._shift

    def tail(self) -> int:
        """The first cluster behind the file and all that is in use."""
        return max(self._file_end(), self.last_used() + 1)

    def _file_end(self) -> int:
        """The first cluster behind the file; a device's end says nothing of what is used."""
        return -(-self._file.size >> self._shift) if self._file.grows else 0

    def last_used(self) -> int:
        """The last cluster with a count; -1 if none has."""
        for index in range(len(self.table) - 1, -1, -1):
            block = self._load(index)
            if block:
                used = len(block.values.tobytes().rstrip(b"\0"))
                if used:
                    return index * self.per_block + -(-used // block.values.itemsize) - 1
        return -1

    def _create(self, index: int) -> _Block:
        """A block for clusters that have none, in the first of them that the file has not got.

        Clusters before it count as used: if a damaged table lost their block, they are.
        """
        if index >= MAX_REFTABLE_BYTES // 8:
            raise OSError(errno.EFBIG, f"{self._file.name}: the refcount table cannot grow further")
        if index >= len(self.table):
            self._grow_table(index)
            block = self._load(index)
            if block:
                return block
        first = index * self.per_block
        used = max(0, self._file_end() - first)
        if index == 0 or used >= self.per_block:
            raise OSError(errno.EIO, f"{self._file.name}: refcount block {index} is missing")
        block = self._place(index, first + used)
        self._mark(index, block, 0, used + 1)
        return block

    def _place(self, index: int, cluster: int) -> _Block:
        self.table[index] = cluster << self._shift
        block = self._blocks[index] = _Block(zero_counts(self.bits, self.per_block))
        block.touch(0, self.per_block)
        self._dirty.add(index)
        self._fresh.add(index)
        return block

    def _missing(self, first: int, count: int) -> list[int]:
        """The blocks to make for ``count`` clusters from ``first`` on, and for themselves."""
        missing: list[int] = []
        while True:
            last = first + count + len(missing) - 1
            found = [
                index
                for index in range(first // self.per_block, last // self.per_block + 1)
                if index >= len(self.table) or not self.table[index]
            ]
            if len(found) == len(missing):
                return found
            missing = found

    def _claim_tail(self, count: int) -> int:
        """Clusters behind all others, with the blocks that count them behind these."""
        first = self.tail()
        missing = self._missing(first, count)
        last = (first + count + len(missing) - 1) // self.per_block
        if last >= len(self.table):
            self._grow_table(last)
            return self._claim_tail(count)
        self._fill(first, count, missing)
        return first

    def _fill(self, first: int, count: int, missing: list[int]) -> None:
        for k, index in enumerate(missing):
            self._place(index, first + count + k)
        self.change(first, count + len(missing), 1)

    def _grow_table(self, index: int) -> None:
        """A longer table that has room for block ``index``, in a new place."""
        first = self.tail()
        entries = (index + 1) * 3 // 2
        while True:
            size = entries * 8
            clusters = -(-size >> self._shift)
            missing = self._missing(first, clusters)
            last = (first + clusters + len(missing) - 1) // self.per_block
            if last < clusters << self._shift >> 3:
                break
            entries = last + 1
        if clusters << self._shift > MAX_REFTABLE_BYTES:
            raise OSError(errno.EFBIG, f"{self._file.name}: the refcount table cannot grow further")
        old = self._header.reftable_offset, self._header.reftable_clusters
        self.table.extend([0] * ((clusters << self._shift >> 3) - len(self.table)))
        self._fill(first, clusters, missing)
        self._header.reftable_offset = first << self._shift
        self._header.reftable_clusters = clusters
        self.write_blocks()
        self._file.write(self._header.reftable_offset, word_bytes(self.table))
        self._fresh.clear()
        self._file.flush()
        self._save_header()
        self._file.flush()
        self.free(*old)

    def missing_block(self, cluster: int) -> bool:
        """Whether no refcount block has the cluster."""
        index = cluster // self.per_block
        return index >= len(self.table) or not self.table[index]

    def count_used(self, end: int, limit: int) -> int:
        """Clusters before ``end`` that are in use; counting stops at ``limit``."""
        used = 0
        for index in range(min(len(self.table), -(-end // self.per_block))):
            values = self.block_values(index)[: end - index * self.per_block]
            used += len(values) - values.count(0)
            if used >= limit:
                break
        return used

    def block_values(self, index: int) -> list[int]:
        """All counts of one block; zeros where there is none."""
        block = self._load(index)
        return list(block.values) if block else [0] * self.per_block

    def set(self, cluster: int, count: int) -> None:
        """Correct one count."""
        self.change(cluster, 1, count - self.get(cluster))

    def change_width(self, order: int, counts: dict[int, int], end: int) -> None:
        """Go on with refcounts of 2 to the ``order`` bits, in new blocks behind ``end``."""
        self._header.refcount_order = order
        self.bits = 1 << order
        self.maximum = (1 << self.bits) - 1
        self.per_block = self._header.cluster_size * 8 // self.bits
        self._limit = max(4, _CACHE_BYTES // (self.per_block * max(8, self.bits) // 8))
        self.rebuild(counts, end)

    def rebuild(self, counts: dict[int, int], end: int) -> None:
        """A new table with new blocks behind cluster ``end``, from counts of clusters."""
        self._blocks.clear()
        self._dirty.clear()
        self._fresh.clear()
        self._pending.clear()
        self._hint = 1
        wanted = sorted({cluster // self.per_block for cluster in counts})
        self.table = array("Q", bytes(8 * (max(wanted, default=0) + 1)))
        first = end
        while True:
            table_clusters = max(1, -(-len(self.table) * 8 >> self._shift))
            last = first + table_clusters + len(wanted) - 1
            more = range(first // self.per_block, last // self.per_block + 1)
            grown = sorted({*wanted, *more})
            self.table.extend([0] * (grown[-1] + 1 - len(self.table)))
            if len(grown) == len(wanted) and len(self.table) * 8 <= table_clusters << self._shift:
                break
            wanted = grown
        self.table.extend([0] * ((table_clusters << self._shift >> 3) - len(self.table)))
        for k, index in enumerate(wanted):
            self._place(index, first + table_clusters + k)
        for cluster, count in counts.items():
            self.change(cluster, 1, count)
        self.change(first, table_clusters + len(wanted), 1)
        if table_clusters << self._shift > MAX_REFTABLE_BYTES:
            raise OSError(errno.EFBIG, "File too large")
        self.write_blocks()
        self._file.write(first << self._shift, word_bytes(self.table))
        self._fresh.clear()
        self._file.flush()
        self._header.reftable_offset = first << self._shift
        self._header.reftable_clusters = table_clusters
        self._save_header()
        self._file.flush()

    def write_blocks(self) -> None:
        """Write what changed in the blocks."""
        for index in sorted(self._dirty):
            block = self._blocks[index]
            low = block.low & ~7
            data = pack_counts(self.bits, block.values[low : (block.high + 7) & ~7])
            self._file.write((self.table[index] & OFFSET_MASK) + low * self.bits // 8, data)
            block.clean()
        self._dirty.clear()

    def write_table(self) -> None:
        """Write the places of new blocks, which the file has by now."""
        for index in sorted(self._fresh):
            where = self._header.reftable_offset + index * 8
            self._file.write(where, word_bytes(self.table[index : index + 1]))
        self._fresh.clear()

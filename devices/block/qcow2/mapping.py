"""From guest offsets to host offsets: runs of clusters that are stored in one way.

``ClusterMap`` is for images whose L2 entries are one word; ``subclusters.py`` has the
other kind.  A map changes tables and moves data; what needs no cluster of the guest as a
whole (encryption, bitmaps, ranges of requests) is the image's.
"""

from __future__ import annotations

import errno
from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from jitemu.devices.block.buffers import zeros
from jitemu.devices.block.image import BlockImage
from jitemu.devices.block.qcow2.refcounts import Refcounts
from jitemu.devices.block.qcow2.tables import (
    COMPRESSED,
    COPIED,
    OFFSET,
    ZERO_FLAG,
    L2Table,
    Tables,
)
from jitemu.devices.buffers import part

UNALLOCATED, ZERO, DATA, PACKED = range(4)
EntryChange = Callable[[int], int]
Run = tuple[int, int, int]
"""Kind, length in bytes, and where: a host offset (0: none), or a packed cluster's L2 entry."""


class Image(Protocol):
    """What a map needs of its image."""

    cluster_bits: int
    size: int
    has_zero_flag: bool
    encrypted: bool
    external: bool
    """Guest data is in a data file, at the guest's offsets."""
    unmap: bool
    tables: Tables
    refcounts: Refcounts
    data_file: BlockImage

    @property
    def has_backing(self) -> bool: ...

    def read(self, offset: int, length: int) -> bytes: ...

    def put(self, host: int, buffers: Sequence[memoryview]) -> None:
        """Write guest data to its place, encrypted if need be."""
        ...

    def free_packed(self, entry: int) -> None:
        """Drop a compressed cluster's references."""
        ...


class ClusterMap:
    """One word an entry."""

    words_per_entry = 1

    def __init__(self, image: Image) -> None:
        self.image = image
        self.bits = image.cluster_bits
        self.cluster = 1 << self.bits
        self.entries = self.cluster // (8 * self.words_per_entry)
        self.l2_bits = self.bits + self.entries.bit_length() - 1

    def span(self, offset: int, length: int) -> int:
        """How much of a range one L2 table describes."""
        return min(length, ((offset >> self.l2_bits) + 1 << self.l2_bits) - offset)

    def index(self, offset: int) -> int:
        """The entry of an offset in its L2 table."""
        return (offset >> self.bits) & (self.entries - 1)

    def runs(self, offset: int, length: int) -> Iterator[Run]:
        """The range in pieces that are stored in one way."""
        end = offset + length
        while offset < end:
            span = self.span(offset, end - offset)
            table = self.image.tables.at(offset >> self.l2_bits)
            if table is None:
                yield UNALLOCATED, span, 0
                offset += span
                continue
            stop = offset + span
            while offset < stop:
                run = self._run(table, offset, stop - offset)
                yield run
                offset += run[1]

    def _run(self, table: L2Table, offset: int, length: int) -> Run:
        entries = table.entries
        inside = offset & self.cluster - 1
        at = self.index(offset)
        last = self.index(offset + length - 1)
        entry = entries[at]
        kind = self.kind(entry)
        count = at + 1
        where = 0
        if kind == PACKED:
            where = entry
        elif kind == DATA or entry & OFFSET:
            expected = entry + self.cluster
            while count <= last and entries[count] == expected:
                count += 1
                expected += self.cluster
            where = self.host(entry) + inside
        else:
            while count <= last and self._same(entries[count], kind):
                count += 1
        return kind, min(length, (count - at << self.bits) - inside), where

    def _same(self, entry: int, kind: int) -> bool:
        """Whether an entry without a place is of a kind."""
        return not entry & OFFSET and self.kind(entry) == kind

    def kind(self, entry: int) -> int:
        """How an L2 entry's cluster is stored."""
        if entry & COMPRESSED:
            return PACKED
        if entry & ZERO_FLAG and self.image.has_zero_flag:
            return ZERO
        if entry & OFFSET or (self.image.external and entry & COPIED):
            return DATA
        return UNALLOCATED

    def host(self, entry: int) -> int:
        """The cluster's place; EIO where it cannot be one."""
        offset = entry & OFFSET
        if offset & self.cluster - 1:
            raise OSError(
                errno.EIO, f"cluster at 0x{offset:x} is not aligned; the image is corrupt"
            )
        return offset

    def write(self, offset: int, buffers: Sequence[memoryview], length: int) -> None:
        """Write, in place where nobody else has the clusters."""
        done = 0
        while done < length:
            span = self.span(offset, length - done)
            count = self._write_in_place(offset, buffers, done, span)
            if not count:
                count = self._write_new(offset, buffers, done, span)
            done += count
            offset += count

    def _write_in_place(
        self, offset: int, buffers: Sequence[memoryview], start: int, length: int
    ) -> int:
        table = self.image.tables.owned(offset >> self.l2_bits)
        if table is None or not self.in_place(table.entries[self.index(offset)]):
            return 0
        _, count, host = self._run(table, offset, length)
        self.image.put(host, part(buffers, start, count))
        return count

    def in_place(self, entry: int) -> bool:
        """Whether a write may go to the cluster itself."""
        return entry >> 62 == 2 and not entry & ZERO_FLAG and self.kind(entry) == DATA

    def _write_new(
        self, offset: int, buffers: Sequence[memoryview], start: int, length: int
    ) -> int:
        """Write to clusters that are not the guest's yet; how many bytes were written."""
        table = self.image.tables.writable(offset >> self.l2_bits)
        at = self.index(offset)
        last = self.index(offset + length - 1)
        inside = offset & self.cluster - 1
        host, count = self._reserved(table, at, last)
        reused = count > 0
        if not reused:
            host, count = self._take(table, at, last, offset - inside)
        length = min(length, (count << self.bits) - inside)
        try:
            self._fill(offset, part(buffers, start, length), length, host, inside, reused)
        except BaseException:
            if not reused and not self.image.external:
                self.image.refcounts.change(host >> self.bits, count, -1)
            raise
        self._point(table, at, host, count)
        return length

    def _reserved(self, table: L2Table, at: int, last: int) -> tuple[int, int]:
        """Clusters that read as zeros but have a place of their own: offset and number."""
        entries = table.entries
        entry = entries[at]
        if entry >> 62 != 2 or not entry & OFFSET or not entry & ZERO_FLAG:
            return 0, 0
        count = at + 1
        while count <= last and entries[count] == entry + (count - at << self.bits):
            count += 1
        return self.host(entry), count - at

    def _take(self, table: L2Table, at: int, last: int, guest: int) -> tuple[int, int]:
        """New clusters for the entries from ``at`` on that may not be written in place."""
        entries = table.entries
        end = at + 1
        while end <= last and entries[end] >> 62 != 2:
            end += 1
        if self.image.external:
            return guest, end - at
        return self.image.refcounts.allocate(end - at)

    def _fill(
        self,
        offset: int,
        pieces: list[memoryview],
        length: int,
        host: int,
        inside: int,
        zeroed: bool,
    ) -> None:
        """Write data to new clusters, and around it what the guest's clusters had before."""
        image = self.image
        rest = self.behind(offset + length, self.cluster)
        untouched = host >= image.data_file.size and not image.encrypted
        head = self._before(offset - inside, inside, zeroed, untouched)
        tail = self._before(offset + length, rest, zeroed, untouched)
        skipped = inside if head is None else 0
        image.put(host + skipped, [*(head or ()), *pieces, *(tail or ())])

    def behind(self, end: int, unit: int) -> int:
        """How much to write behind a request's end, to the next unit; an external data file
        ends with the disk."""
        rest = -end & unit - 1
        if self.image.external:
            rest = max(0, min(rest, -(-self.image.size // 512) * 512 - end))
        return rest

    def _before(
        self, offset: int, length: int, zeroed: bool, untouched: bool
    ) -> list[memoryview] | None:
        """What a range has to read as; None if the place reads as that without a write."""
        if not length:
            return []
        image = self.image
        if not zeroed and self.has_content(offset, length):
            inner = max(0, min(length, image.size - offset))
            data = image.read(offset, inner) + bytes(length - inner)
            return [memoryview(data)]
        return None if untouched else list(zeros(length))

    def has_content(self, offset: int, length: int) -> bool:
        """Whether some byte of the range may be other than 0."""
        length = min(length, self.image.size - offset)
        if length <= 0:
            return False
        backing = self.image.has_backing
        return any(
            kind > ZERO or (kind == UNALLOCATED and backing)
            for kind, _, _ in self.runs(offset, length)
        )

    def _point(self, table: L2Table, at: int, host: int, count: int) -> None:
        """Let entries lead to clusters, and drop what they had."""
        old = table.entries[at : at + count]
        first = host | COPIED
        new = array("Q", range(first, first + (count << self.bits), self.cluster))
        self.image.tables.set(table, at, new)
        if any(old):
            for entry, now in zip(old, new, strict=True):
                if entry & COMPRESSED or entry & OFFSET != now & OFFSET:
                    self.drop(entry)

    def drop(self, entry: int) -> None:
        """The guest's cluster is not there any more."""
        if entry & COMPRESSED:
            self.image.free_packed(entry)
        elif entry & OFFSET and not self.image.external:
            offset = self.host(entry)
            self.image.refcounts.free(offset, 1, self.image.unmap)
        elif self.image.external and self.image.unmap and entry & (COPIED | OFFSET):
            self.image.data_file.discard(self.host(entry), self.cluster)

    def zero(self, offset: int, count: int, unmap: bool) -> None:
        """Let ``count`` whole clusters read as zeros by their entries alone."""
        self._change(offset, count, lambda entry: self._zeroed(entry, unmap))

    def _zeroed(self, entry: int, unmap: bool) -> int:
        if self.kind(entry) == ZERO and not unmap:
            return entry
        if unmap or entry >> 62 != 2:
            return ZERO_FLAG
        return entry | ZERO_FLAG

    def discard(self, offset: int, count: int) -> None:
        """Give ``count`` whole clusters back; what is under them must not appear again."""
        empty = ZERO_FLAG if self.image.has_zero_flag else 0

        def without(entry: int) -> int:
            return entry if not entry and not self.image.has_backing else empty

        self._change(offset, count, without)

    def erase(self, offset: int, count: int) -> None:
        """Let ``count`` whole clusters be unallocated, so that the backing image shows."""
        self._change(offset, count, lambda _entry: 0)

    def reserve(self, offset: int, count: int) -> list[tuple[int, int]]:
        """Give clusters a place without writing to it; those that have one keep it.
        Offsets and lengths of the new places."""
        places: list[tuple[int, int]] = []
        end = offset + (count << self.bits)
        while offset < end:
            span = self.span(offset, end - offset)
            table = self.image.tables.writable(offset >> self.l2_bits)
            at, last = self.index(offset), self.index(offset + span - 1)
            if table.entries[at * self.words_per_entry]:
                offset += self.cluster
                continue
            host, taken = self._take_free(table, at, last, offset)
            self._place(table, at, host, taken)
            places.append((host, taken << self.bits))
            offset += taken << self.bits
        return places

    def _take_free(self, table: L2Table, at: int, last: int, guest: int) -> tuple[int, int]:
        step = self.words_per_entry
        end = at + 1
        while end <= last and not table.entries[end * step]:
            end += 1
        if self.image.external:
            return guest, end - at
        return self.image.refcounts.allocate(end - at)

    def _place(self, table: L2Table, at: int, host: int, count: int) -> None:
        self._point(table, at, host, count)

    def _change(self, offset: int, count: int, change: EntryChange) -> None:
        tables = self.image.tables
        end = offset + (count << self.bits)
        nothing_stays = change(0) == 0
        while offset < end:
            span = self.span(offset, end - offset)
            index = offset >> self.l2_bits
            table = tables.at(index)
            if table is None and nothing_stays:
                offset += span
                continue
            old = self._slice(table, offset, span)
            new = array("Q", map(change, old))
            if new != old:
                table = tables.writable(index)
                tables.set(table, self.index(offset), new)
                for before, after in zip(old, new, strict=True):
                    lost = before & ~after & COPIED if self.image.external else 0
                    if (before ^ after) & (OFFSET | COMPRESSED) or lost:
                        self.drop(before)
            offset += span

    def _slice(self, table: L2Table | None, offset: int, span: int) -> array[int]:
        if table is None:
            return array("Q", bytes(8 * (span >> self.bits)))
        at = self.index(offset)
        return table.entries[at : at + (span >> self.bits)]

"""Extended L2 entries: each cluster has 32 subclusters that are allocated or zero by
themselves (specification: "Extended L2 Entries")."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence

from jitemu.devices.block.qcow2.mapping import (
    DATA,
    PACKED,
    UNALLOCATED,
    ZERO,
    ClusterMap,
    Image,
    Run,
)
from jitemu.devices.block.qcow2.tables import COMPRESSED, COPIED, OFFSET, L2Table
from jitemu.devices.buffers import part

PairChange = Callable[[int, int], tuple[int, int]]
SUBCLUSTERS = 32
ALL = (1 << SUBCLUSTERS) - 1


def _same(bits: int, at: int) -> int:
    """How many bits from ``at`` on, of 32, are set."""
    return min(SUBCLUSTERS, ((~bits >> at) & -(~bits >> at)).bit_length() - 1 + at) - at


class SubclusterMap(ClusterMap):
    """Two words an entry: where the cluster is, and a bitmap (allocated low, zero high)."""

    words_per_entry = 2

    def __init__(self, image: Image) -> None:
        super().__init__(image)
        self.sub_bits = self.bits - 5
        self.sub = 1 << self.sub_bits

    def _run(self, table: L2Table, offset: int, length: int) -> Run:
        at = self.index(offset)
        inside = offset & self.cluster - 1
        entry, bitmap = table.entries[2 * at], table.entries[2 * at + 1]
        if entry & COMPRESSED:
            return PACKED, min(length, self.cluster - inside), entry
        first = inside >> self.sub_bits
        kind, until = self._kind_at(entry, bitmap, first)
        reach = (until << self.sub_bits) - inside
        placed = kind == DATA or bool(entry & OFFSET)
        where = self.host(entry) + inside if placed else 0
        while until == SUBCLUSTERS and reach < length:
            at += 1
            following, bitmap = table.entries[2 * at], table.entries[2 * at + 1]
            expected = entry + self.cluster if placed else 0
            if following & COMPRESSED or (following != expected and (placed or following & OFFSET)):
                break
            entry = following
            now, until = self._kind_at(entry, bitmap, 0)
            if now != kind:
                break
            reach += until << self.sub_bits
        return kind, min(length, reach), where

    def _kind_at(self, entry: int, bitmap: int, first: int) -> tuple[int, int]:
        """How subcluster ``first`` is stored, and where that ends."""
        has_place = entry & OFFSET or (self.image.external and entry & COPIED)
        allocated = bitmap & ALL if has_place else 0
        zero = bitmap >> SUBCLUSTERS & ~allocated
        if allocated >> first & 1:
            return DATA, first + _same(allocated, first)
        if zero >> first & 1:
            return ZERO, first + _same(zero, first)
        return UNALLOCATED, first + _same(~(allocated | zero) & ALL, first)

    def _touched(self, inside: int, length: int) -> int:
        """The bits of the subclusters that a range in a cluster touches."""
        first = inside >> self.sub_bits
        last = min(SUBCLUSTERS - 1, inside + length - 1 >> self.sub_bits)
        return (2 << last) - (1 << first)

    def _owned(self, entry: int) -> bool:
        has_place = entry & OFFSET or self.image.external
        return entry >> 62 == 2 and bool(has_place)

    def _write_in_place(
        self, offset: int, buffers: Sequence[memoryview], start: int, length: int
    ) -> int:
        table = self.image.tables.owned(offset >> self.l2_bits)
        if table is None or not self._owned(table.entries[2 * self.index(offset)]):
            return 0
        kind, count, host = self._run(table, offset, length)
        if kind == DATA:
            self.image.put(host, part(buffers, start, count))
            return count
        return 0

    def _write_new(
        self, offset: int, buffers: Sequence[memoryview], start: int, length: int
    ) -> int:
        table = self.image.tables.writable(offset >> self.l2_bits)
        at = self.index(offset)
        inside = offset & self.cluster - 1
        entry = table.entries[2 * at]
        if self._owned(entry):
            # the subclusters have their place already, up to the next one with data
            _, count, _ = self._run(table, offset, length)
            count = min(count, self.cluster - inside)
            self._fill_around(offset, part(buffers, start, count), count, self.host(entry))
            self._mark(table, at, self.host(entry), 1, inside, count)
            return count
        if entry & (OFFSET | COMPRESSED) and not self.image.external:
            return self._copy(table, offset, buffers, start, min(length, self.cluster - inside))
        last = self.index(offset + length - 1)
        count = self._without_place(table, at, last)
        host = offset - inside
        if not self.image.external:
            host, count = self.image.refcounts.allocate(count)
        length = min(length, (count << self.bits) - inside)
        try:
            self._fill_around(offset, part(buffers, start, length), length, host)
        except BaseException:
            if not self.image.external:
                self.image.refcounts.change(host >> self.bits, count, -1)
            raise
        self._mark(table, at, host, count, inside, length)
        return length

    @staticmethod
    def _without_place(table: L2Table, at: int, last: int) -> int:
        end = at + 1
        while end <= last and not table.entries[2 * end] & (OFFSET | COMPRESSED | COPIED):
            end += 1
        return end - at

    def _fill_around(
        self, offset: int, pieces: list[memoryview], length: int, cluster: int
    ) -> None:
        """Write data and the rest of its first and last subcluster."""
        image = self.image
        inside = offset & self.cluster - 1
        before = offset & self.sub - 1
        behind = self.behind(offset + length, self.sub)
        untouched = cluster >= image.data_file.size and not image.encrypted
        head = self._before(offset - before, before, False, untouched)
        tail = self._before(offset + length, behind, False, untouched)
        where = cluster + inside - (0 if head is None else before)
        image.put(where, [*(head or ()), *pieces, *(tail or ())])

    def _mark(
        self, table: L2Table, at: int, host: int, count: int, inside: int, length: int
    ) -> None:
        new = array("Q")
        for k in range(count):
            bits = self._touched(inside, length)
            old = table.entries[2 * (at + k) + 1]
            new.append(host + (k << self.bits) | COPIED)
            new.append((old | bits) & ~(bits << SUBCLUSTERS))
            length -= self.cluster - inside
            inside = 0
        self.image.tables.set(table, 2 * at, new)

    def _copy(
        self, table: L2Table, offset: int, buffers: Sequence[memoryview], start: int, length: int
    ) -> int:
        """Write to a cluster that is packed or shared: to a whole copy of it."""
        image = self.image
        at = self.index(offset)
        inside = offset & self.cluster - 1
        old = table.entries[2 * at]
        room = min(self.cluster, image.size - (offset - inside))
        whole = bytearray(image.read(offset - inside, room).ljust(self.cluster, b"\0"))
        view = memoryview(whole)
        for piece in part(buffers, start, length):
            view[inside : inside + len(piece)] = piece
            inside += len(piece)
        host, _ = image.refcounts.allocate(1)
        try:
            image.put(host, [view])
        except BaseException:
            image.refcounts.change(host >> self.bits, 1, -1)
            raise
        image.tables.set(table, 2 * at, array("Q", [host | COPIED, ALL]))
        self.drop(old)
        return length

    def _place(self, table: L2Table, at: int, host: int, count: int) -> None:
        new = array("Q")
        for k in range(count):
            new.extend((host + (k << self.bits) | COPIED, table.entries[2 * (at + k) + 1]))
        self.image.tables.set(table, 2 * at, new)

    def zero(self, offset: int, count: int, unmap: bool) -> None:
        def zeroed(entry: int, _bitmap: int) -> tuple[int, int]:
            keeps = self._owned(entry) and not unmap
            return (entry if keeps else 0), ALL << SUBCLUSTERS

        self._change_entries(offset, count, zeroed)

    def discard(self, offset: int, count: int) -> None:
        def without(entry: int, bitmap: int) -> tuple[int, int]:
            if not entry and not bitmap and not self.image.has_backing:
                return 0, 0
            return 0, ALL << SUBCLUSTERS

        self._change_entries(offset, count, without)

    def erase(self, offset: int, count: int) -> None:
        self._change_entries(offset, count, lambda _entry, _bitmap: (0, 0))

    def zero_parts(self, offset: int, length: int) -> None:
        """Let whole subclusters of one cluster read as zeros."""
        tables = self.image.tables
        table = tables.writable(offset >> self.l2_bits)
        at = 2 * self.index(offset)
        bits = self._touched(offset & self.cluster - 1, length)
        entry, bitmap = table.entries[at : at + 2]
        tables.set(table, at, array("Q", [entry, bitmap & ~bits | bits << SUBCLUSTERS]))

    def packed(self, offset: int) -> bool:
        """Whether the cluster is a compressed one, which has no subclusters."""
        table = self.image.tables.at(offset >> self.l2_bits)
        return table is not None and bool(table.entries[2 * self.index(offset)] & COMPRESSED)

    def _change_entries(self, offset: int, count: int, change: PairChange) -> None:
        tables = self.image.tables
        end = offset + (count << self.bits)
        nothing_stays = change(0, 0) == (0, 0)
        while offset < end:
            span = self.span(offset, end - offset)
            number = span >> self.bits
            table = tables.at(offset >> self.l2_bits)
            if table is None and nothing_stays:
                offset += span
                continue
            at = 2 * self.index(offset)
            old = table.entries[at : at + 2 * number] if table else array("Q", bytes(16 * number))
            new = array("Q")
            for k in range(0, 2 * number, 2):
                new.extend(change(old[k], old[k + 1]))
            if new != old:
                tables.set(tables.writable(offset >> self.l2_bits), at, new)
                for k in range(0, 2 * number, 2):
                    if old[k] != new[k]:
                        self.drop(old[k])
            offset += span

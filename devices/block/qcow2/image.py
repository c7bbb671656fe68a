"""A qcow2 image that is open."""

from __future__ import annotations

import errno
from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jitemu.devices.block.buffers import are_zero, clear, joined, store
from jitemu.devices.block.hostfile import HostFile
from jitemu.devices.block.image import BlockImage, Extent, check_range
from jitemu.devices.block.qcow2 import header as h
from jitemu.devices.block.qcow2 import zeroing
from jitemu.devices.block.qcow2.compression import Descriptor, compress, decompress
from jitemu.devices.block.qcow2.mapping import DATA, PACKED, UNALLOCATED, ZERO, ClusterMap
from jitemu.devices.block.qcow2.refcounts import Refcounts
from jitemu.devices.block.qcow2.subclusters import SubclusterMap
from jitemu.devices.block.qcow2.tables import Tables
from jitemu.devices.buffers import part, total

if TYPE_CHECKING:
    from jitemu.devices.block.luks import Volume
    from jitemu.devices.block.luks_ciphers import Cipher
    from jitemu.devices.block.qcow2.bitmaps import Tracker

_SECTOR = 512


class Qcow2Image(BlockImage):
    """Guest data by way of L1 and L2 tables, the backing image where they have nothing.

    Whoever opens it sets ``backing``, data file and volume before its use.
    """

    format = "qcow2"

    def __init__(self, file: BlockImage, header: h.Header, *, read_only: bool) -> None:
        self.file = file
        self.name = file.name
        self.header = header
        self.read_only = read_only
        self.size = header.size & -_SECTOR
        self.detect_zeroes = ""
        self.unmap = False
        self.data_file = file
        self.external = bool(header.incompatible & h.DATA_FILE)
        self.raw_external = self.external and bool(header.autoclear & h.RAW_DATA_FILE)
        self.encrypted = False
        self.has_zero_flag = header.version > 2
        self.cluster_bits = header.cluster_bits
        self.refcounts = Refcounts(file, header, self.save_header)
        self.tables = Tables(file, header, self.refcounts)
        self.map = SubclusterMap(self) if header.extended_l2 else ClusterMap(self)
        self.tracker: Tracker | None = None
        self._backing: BlockImage | None = None
        self._cipher: Cipher | None = None
        self.volume: Volume | None = None
        """The keys of an encrypted image that is unlocked."""
        self._unpacked: tuple[int, bytes] = (0, b"")
        self._packed_end = 0
        self._preallocated: bool | None = None
        self._closed = False
        self._set_lazy()

    def _set_lazy(self) -> None:
        self.tables.lazy = self.header.version > 2 and bool(
            self.header.compatible & h.LAZY_REFCOUNTS
        )

    @property
    def has_backing(self) -> bool:
        return self._backing is not None

    @property
    def backing(self) -> BlockImage | None:
        """What shows where nothing is allocated."""
        return self._backing

    @backing.setter
    def backing(self, image: BlockImage | None) -> None:
        self._backing = image

    def use_volume(self, volume: Volume) -> None:
        """Encrypt sectors, numbered by their place in the file."""
        self.volume, self._cipher = volume, volume.cipher
        self.encrypted = True

    def use_data_file(self, image: BlockImage) -> None:
        """Keep guest data in another file."""
        self.data_file = image
        self.tables.data_file = image

    def readv(self, offset: int, buffers: Sequence[memoryview]) -> None:
        length = total(buffers)
        check_range(self, offset, length)
        done = 0
        for kind, count, where in self.map.runs(offset, length):
            pieces = buffers if count == length else part(buffers, done, count)
            if kind == DATA:
                if self._cipher:
                    self._read_encrypted(where, pieces, count)
                else:
                    self.data_file.readv(where, pieces)
            elif kind == UNALLOCATED and self._backing:
                self._read_backing(self._backing, offset + done, pieces, count)
            elif kind == PACKED:
                self._read_packed(where, offset + done, pieces, count)
            else:
                clear(pieces)
            done += count

    @staticmethod
    def _read_backing(
        backing: BlockImage, offset: int, pieces: Sequence[memoryview], count: int
    ) -> None:
        inside = max(0, min(count, backing.size - offset))
        if inside == count:
            backing.readv(offset, pieces)
            return
        if inside:
            backing.readv(offset, part(pieces, 0, inside))
        clear(part(pieces, inside, count - inside))

    def _read_encrypted(self, where: int, pieces: Sequence[memoryview], count: int) -> None:
        assert self._cipher
        start = where & -_SECTOR
        end = -(-(where + count) & -_SECTOR)
        plain = self._cipher.decrypt(start, self.data_file.read(start, end - start))
        store(pieces, memoryview(plain)[where - start : where - start + count])

    def _read_packed(
        self, entry: int, offset: int, pieces: Sequence[memoryview], count: int
    ) -> None:
        if self._unpacked[0] != entry:
            place = Descriptor.of(entry, self.cluster_bits)
            data = self.file.read(place.offset, place.length)
            plain = decompress(self.header.compression, data, self.header.cluster_size)
            self._unpacked = entry, plain
        inside = offset & self.header.cluster_size - 1
        store(pieces, memoryview(self._unpacked[1])[inside : inside + count])

    def writev(self, offset: int, buffers: Sequence[memoryview]) -> None:
        length = total(buffers)
        if self.detect_zeroes and are_zero(buffers):
            self.write_zeroes(offset, length, self.detect_zeroes == "unmap")
            return
        self._begin_change(offset, length)
        self._write_clusters(offset, buffers, length)

    def write_data(self, offset: int, data: bytes) -> None:
        """Write as it is, zeros too."""
        self._begin_change(offset, len(data))
        self._write_clusters(offset, [memoryview(data)], len(data))

    def _write_clusters(self, offset: int, buffers: Sequence[memoryview], length: int) -> None:
        if self._cipher and (offset | length) % _SECTOR:
            start = offset & -_SECTOR
            end = min(self.size, -(-(offset + length) & -_SECTOR))
            head = self.read(start, offset - start)
            tail = self.read(offset + length, end - offset - length)
            buffers = [memoryview(head), *buffers, memoryview(tail)]
            tail_pad = -(end - start) % _SECTOR
            buffers.append(memoryview(bytes(tail_pad)))
            offset, length = start, end - start + tail_pad
        self.map.write(offset, buffers, length)

    def _begin_change(self, offset: int, length: int) -> None:
        if self.read_only:
            raise OSError(errno.EROFS, f"{self.name} is read-only")
        check_range(self, offset, length)
        if self.header.bitmaps:
            self._track(offset, length)
        if self.tables.lazy and not self.header.incompatible & h.DIRTY:
            self.header.incompatible |= h.DIRTY
            self.save_header()
            self.file.flush()

    def _track(self, offset: int, length: int) -> None:
        if self.tracker is None:
            from jitemu.devices.block.qcow2.bitmaps import Tracker

            self.tracker = Tracker(self)
        self.tracker.mark(offset, length)

    def put(self, host: int, buffers: Sequence[memoryview]) -> None:
        if not self.external:
            self._guard(host)
        if self._cipher:
            data = self._cipher.encrypt(host, joined(buffers))
            buffers = [memoryview(data)]
        self.data_file.writev(host, buffers)

    def _guard(self, host: int) -> None:
        """Refuse what a corrupt image would have: guest data over its own tables."""
        header = self.header
        if (
            host < header.cluster_size
            or 0 <= host - header.l1_offset < header.l1_size * 8
            or 0 <= host - header.reftable_offset < header.reftable_clusters << header.cluster_bits
        ):
            raise OSError(errno.EIO, f"{self.name}: guest data would overwrite metadata; corrupt")

    def free_packed(self, entry: int) -> None:
        first, count = Descriptor.of(entry, self.cluster_bits).clusters(self.cluster_bits)
        self.refcounts.free(first << self.cluster_bits, count)
        self._unpacked = 0, b""
        if first <= self._packed_end >> self.cluster_bits < first + count:
            self._packed_end = 0  # the cluster may get other contents

    def write_compressed(self, offset: int, data: bytes, packed: bytes | None = None) -> None:
        """Write one cluster, compressed where that is shorter (or ``packed`` already)."""
        cluster = self.header.cluster_size
        self._begin_change(offset, len(data))
        if packed is None:
            packed = compress(self.header.compression, data.ljust(cluster, b"\0"))
        if len(packed) >= cluster:
            self.map.write(offset, [memoryview(data)], len(data))
            return
        table = self.tables.writable(offset >> self.map.l2_bits)
        where = self._packed_place(len(packed))
        self.file.write(where, packed)
        self._packed_end = where + len(packed)
        step = self.map.words_per_entry
        at = self.map.index(offset) * step
        old = table.entries[at]
        new = [Descriptor.entry(where, len(packed), self.cluster_bits), 0]
        self.tables.set(table, at, array("Q", new[:step]))
        self.map.drop(old)

    def _packed_place(self, length: int) -> int:
        """Room behind the last compressed cluster, or in a new one."""
        counts = self.refcounts
        end = self._packed_end
        room = -end % self.header.cluster_size
        current = end >> self.cluster_bits
        shared = room and 0 < counts.get(current) < counts.maximum
        if shared and room >= length:
            counts.change(current, 1, 1)
            return end
        fresh, _ = counts.allocate(1)
        if shared and fresh == end + room:
            counts.change(current, 1, 1)
            return end
        return fresh

    def forget_packing(self) -> None:
        """Put the next compressed cluster into a new host cluster."""
        self._packed_end = 0
        self._unpacked = 0, b""

    def write_zeroes(self, offset: int, length: int, unmap: bool = False) -> None:
        self._begin_change(offset, length)
        if self.raw_external:
            self.data_file.write_zeroes(offset, length, unmap and self.unmap)
        zeroing.zero(self, offset, length, unmap and self.unmap and not self.raw_external)

    def discard(self, offset: int, length: int) -> None:
        self._begin_change(offset, length)
        if not self.unmap:
            return
        if self.raw_external:
            self.data_file.discard(offset, length)
            return
        start, count, _ = zeroing.whole_clusters(self, offset, length)
        if count and (self.has_zero_flag or not self._backing):
            self.map.discard(start, count)

    def make_empty(self) -> None:
        """Let the backing image show everywhere."""
        self._begin_change(0, self.size)
        self.map.erase(0, -(-self.size >> self.cluster_bits))
        self.flush()

    def save_header(self) -> None:
        """Write the header cluster."""
        self.file.write(0, self.header.pack())

    def flush(self) -> None:
        if self.read_only:
            return
        if self.external:
            self.data_file.flush()
        self.tables.commit()

    def resize(self, size: int) -> None:
        from jitemu.devices.block.qcow2.resize import resize

        resize(self, size)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            if not self.read_only:
                self.settle()
        finally:
            self.close_files()

    def close_files(self) -> None:
        """Let go of all files as they are."""
        self._closed = True
        if self._backing:
            self._backing.close()
        if self.data_file is not self.file:
            self.data_file.close()
        self.file.close()

    def stop_tracking(self) -> None:
        """Write the bitmaps back; the next write begins anew."""
        if self.tracker:
            self.tracker.store()
            self.tracker = None

    def settle(self) -> None:
        """Leave the file as an image that nobody has open."""
        self.stop_tracking()
        if self._packed_end % self.header.cluster_size:
            self._pad_file()
        self.flush()
        if self.refcounts.dirty:  # of what the flush freed
            self.tables.write_counts()
        if self.header.incompatible & h.DIRTY:
            self.file.flush()
            self.header.incompatible &= ~h.DIRTY
            self.save_header()
        self.file.flush()

    def _pad_file(self) -> None:
        """Readers may expect the last compressed cluster's sectors to be there."""
        end = -(-self._packed_end & -self.header.cluster_size)
        if self.file.size < end and self.file.grows:
            self.file.resize(end)

    def extent(self, offset: int, length: int) -> Extent:
        check_range(self, offset, length)
        runs = self.map.runs(offset, length)
        kind, count, where = next(runs)
        if kind != PACKED:
            for following, more, place in runs:
                if following != kind or ((where or place) and place != where + count):
                    break
                count += more
        data = kind in (DATA, PACKED)
        zero = kind == ZERO
        if kind == UNALLOCATED:
            behind = self._backing.size - offset if self._backing else 0
            zero = behind <= 0
            count = count if zero else min(count, behind)
        found = Extent(count, data, zero, kind != UNALLOCATED)
        found.compressed = kind == PACKED
        if (kind == DATA or (where and kind != PACKED)) and not self._cipher:
            found.offset = where
            found.file = self.data_file.name
            if kind == DATA and self._is_preallocated():
                below = self.data_file.extent(where, count)
                found.length, found.zero = below.length, below.zero
        return found

    def _is_preallocated(self) -> bool:
        """Whether many clusters are reserved that the host's file has no space for yet."""
        if self._preallocated is None:
            self._preallocated = False
            if isinstance(self.file, HostFile):
                used = -(-self.file.allocated_bytes >> self.cluster_bits)
                limit = max(used * 10 // 9, used + 2)
                end = -(-self.file.size >> self.cluster_bits)
                self._preallocated = self.refcounts.count_used(end, limit) >= limit
        return self._preallocated

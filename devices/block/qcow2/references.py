"""What the tables of an image refer to: the counts that its refcounts should have."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jitemu.devices.block.qcow2.compression import Descriptor
from jitemu.devices.block.qcow2.mapping import DATA
from jitemu.devices.block.qcow2.packing import words
from jitemu.devices.block.qcow2.tables import COMPRESSED, OFFSET

if TYPE_CHECKING:
    from jitemu.devices.block.qcow2.image import Qcow2Image

_CHUNK = 4096


class References:
    """A count for each cluster of the file, kept in pieces: files may be sparse and huge."""

    def __init__(self) -> None:
        self._chunks: dict[int, array[int]] = {}

    def add(self, cluster: int) -> None:
        """One more reference."""
        index, at = divmod(cluster, _CHUNK)
        chunk = self._chunks.get(index)
        if chunk is None:
            chunk = self._chunks[index] = array("Q", bytes(8 * _CHUNK))
        chunk[at] += 1

    def get(self, cluster: int) -> int:
        """How many references were counted."""
        chunk = self._chunks.get(cluster // _CHUNK)
        return chunk[cluster % _CHUNK] if chunk else 0

    def slice(self, start: int, count: int) -> list[int]:
        """The counts of some clusters."""
        found: list[int] = []
        while count:
            index, at = divmod(start, _CHUNK)
            size = min(count, _CHUNK - at)
            chunk = self._chunks.get(index)
            found += chunk[at : at + size] if chunk else [0] * size
            start += size
            count -= size
        return found

    def nonzero(self) -> dict[int, int]:
        """The counts of all clusters that are referred to."""
        return {
            index * _CHUNK + at: count
            for index, chunk in self._chunks.items()
            for at, count in enumerate(chunk)
            if count
        }

    @property
    def highest(self) -> int:
        """The last cluster that is referred to; -1 if none is."""
        for index in sorted(self._chunks, reverse=True):
            chunk = self._chunks[index]
            for at in range(_CHUNK - 1, -1, -1):
                if chunk[at]:
                    return index * _CHUNK + at
        return -1


@dataclass(slots=True)
class Usage:
    """How the active disk's clusters are stored."""

    allocated: int = 0
    fragmented: int = 0
    compressed: int = 0


class Collector:
    """Walks all that an image holds.  ``say`` gets a line for each error."""

    def __init__(self, image: Qcow2Image, say: Callable[[str], None]) -> None:
        self.image = image
        self.header = image.header
        self.found = References()
        self.usage = Usage()
        self.errors = 0
        self._say = say
        self._end = -(-image.file.size >> image.cluster_bits)

    def error(self, text: str) -> None:
        """Count and say one error of the tables."""
        self.errors += 1
        self._say(f"ERROR {text}")

    def region(self, offset: int, size: int, what: str) -> None:
        """A reference to each cluster that a range lies in."""
        if not size:
            return
        bits = self.image.cluster_bits
        last = offset + size - 1 >> bits
        if last > self._end:
            self.error(f"{what}: offset 0x{offset:x} size 0x{size:x} is beyond the end of the file")
            return
        for cluster in range(offset >> bits, last + 1):
            self.found.add(cluster)

    def collect(self, with_refcounts: bool = True) -> References:
        """All references; those of the refcount table and its blocks may be left out."""
        header = self.header
        self.region(0, header.cluster_size, "header")
        self._tree(self.image.tables.l1, header.l1_offset, header.l1_size, True)
        self._snapshots()
        if header.crypt_length:
            self.region(header.crypt_offset, header.crypt_length, "encryption header")
        self._bitmaps()
        if with_refcounts:
            self._refcounts()
        return self.found

    def _tree(self, l1: array[int], offset: int, size: int, active: bool) -> None:
        self.region(offset, size * 8, "L1 table")
        cluster = self.header.cluster_size
        for index, entry in enumerate(l1):
            place = entry & OFFSET
            if not place:
                continue
            if place & cluster - 1:
                self.error(f"L2 table is not cluster aligned; L1 entry {index} corrupted")
                continue
            self.region(place, cluster, "L2 table")
            if place >> self.image.cluster_bits <= self._end:
                self._l2(words(self.image.file.read(place, cluster)), active)

    def _l2(self, entries: array[int], active: bool) -> None:
        image = self.image
        step = image.map.words_per_entry
        expected = 0
        for entry in entries[::step]:
            if not entry:
                continue
            if entry & COMPRESSED:
                place = Descriptor.of(entry, image.cluster_bits)
                self.region(
                    place.offset & -512, place.length + place.offset % 512, "compressed cluster"
                )
                if active:
                    self.usage.allocated += 1
                    self.usage.compressed += 1
                    self.usage.fragmented += 1
                continue
            place_of_data = entry & OFFSET
            if not place_of_data and image.map.kind(entry) != DATA:
                continue
            if place_of_data & self.header.cluster_size - 1:
                self.error(
                    f"offset={place_of_data:x}: Cluster is not properly aligned;"
                    " L2 entry corrupted."
                )
                continue
            if active:
                self.usage.allocated += 1
                self.usage.fragmented += bool(expected and place_of_data != expected)
                expected = place_of_data + self.header.cluster_size
            if not image.external:
                self.region(place_of_data, self.header.cluster_size, "data cluster")

    def _snapshots(self) -> None:
        from jitemu.devices.block.qcow2.snapshots import read_table

        if not self.header.snapshots:
            return
        try:
            table, size = read_table(self.image)
        except OSError as error:
            self.error(f"snapshot table: {error.strerror}")
            return
        for snapshot in table:
            if snapshot.l1_offset & self.header.cluster_size - 1:
                self.error(f"snapshot {snapshot.id}: L1 table is not cluster aligned")
                continue
            l1 = words(self.image.file.read(snapshot.l1_offset, snapshot.l1_size * 8))
            self._tree(l1, snapshot.l1_offset, snapshot.l1_size, False)
        self.region(self.header.snapshots_offset, size, "snapshot table")

    def _bitmaps(self) -> None:
        from jitemu.devices.block.qcow2.bitmaps import read_directory, table_clusters

        if not self.header.bitmaps:
            return
        self.region(
            self.header.bitmap_directory_offset,
            self.header.bitmap_directory_size,
            "bitmap directory",
        )
        try:
            directory = read_directory(self.image)
        except OSError as error:
            self.error(f"bitmap directory: {error.strerror}")
            return
        for bitmap in directory:
            self.region(bitmap.table_offset, bitmap.table_size * 8, "bitmap table")
            for offset in table_clusters(self.image, bitmap):
                self.region(offset, self.header.cluster_size, "bitmap data")

    def _refcounts(self) -> None:
        header = self.header
        self.region(
            header.reftable_offset, header.reftable_clusters * header.cluster_size, "refcount table"
        )
        for index, entry in enumerate(self.image.refcounts.table):
            if not entry:
                continue
            if entry & header.cluster_size - 1:
                self.error(
                    f"refcount block {index} is not cluster aligned; refcount table entry corrupted"
                )
            else:
                self.region(entry, header.cluster_size, f"refcount block {index}")

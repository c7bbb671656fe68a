"""Persistent dirty bitmaps: their directory, their bits, and keeping them up to date.

Specification: "Bitmaps extension".  A bitmap's table has an entry for each cluster of bits.
"""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jitemu.devices.block.qcow2 import header as h
from jitemu.devices.block.qcow2.packing import word_bytes, words
from jitemu.devices.block.qcow2.tables import OFFSET
from jitemu.messages import fail

if TYPE_CHECKING:
    from array import array

    from jitemu.devices.block.qcow2.image import Qcow2Image

IN_USE = 1
AUTO = 2
_ENTRY = struct.Struct(">QIIBBHI")
_ALL_ONES = 1
MAX_BITMAPS = 65535
MAX_DIRECTORY_BYTES = 1024 * MAX_BITMAPS
MAX_TABLE_ENTRIES = 0x8000000
MAX_NAME = 1023
MIN_GRANULARITY_BITS = 9
MAX_GRANULARITY_BITS = 31


@dataclass(slots=True)
class Bitmap:
    """One entry of the directory."""

    name: str
    table_offset: int
    table_size: int
    """Entries."""
    flags: int
    granularity_bits: int
    extra: bytes = b""
    kind: int = 1

    def pack(self) -> bytes:
        """The directory's form, padded."""
        name = self.name.encode("utf-8", "surrogateescape")
        head = _ENTRY.pack(
            self.table_offset,
            self.table_size,
            self.flags,
            self.kind,
            self.granularity_bits,
            len(name),
            len(self.extra),
        )
        packed = head + self.extra + name
        return packed + bytes(-len(packed) % 8)


def read_directory(image: Qcow2Image) -> list[Bitmap]:
    """All bitmaps; OSError (EINVAL) if the directory is damaged."""
    header = image.header
    if header.bitmaps > MAX_BITMAPS or header.bitmap_directory_size > MAX_DIRECTORY_BYTES:
        raise OSError(errno.EINVAL, "bitmap directory is too large")
    data = image.file.read(header.bitmap_directory_offset, header.bitmap_directory_size)
    found: list[Bitmap] = []
    at = 0
    for _ in range(header.bitmaps):
        if at + _ENTRY.size > len(data):
            raise OSError(errno.EINVAL, "bitmap directory is truncated")
        offset, size, flags, kind, granularity, name, extra = _ENTRY.unpack_from(data, at)
        start = at + _ENTRY.size + extra
        if start + name > len(data) or size > MAX_TABLE_ENTRIES or offset % header.cluster_size:
            raise OSError(errno.EINVAL, "bitmap directory entry is damaged")
        if not MIN_GRANULARITY_BITS <= granularity <= MAX_GRANULARITY_BITS:
            raise OSError(errno.EINVAL, "bitmap granularity is out of range")
        text = data[start : start + name].decode("utf-8", "surrogateescape")
        more = data[at + _ENTRY.size : start]
        found.append(Bitmap(text, offset, size, flags, granularity, more, kind))
        at = start + name
        at += -at % 8
    return found


def list_bitmaps(image: Qcow2Image) -> list[Bitmap]:
    """All bitmaps; UserError if the directory is damaged."""
    if not image.header.bitmaps:
        return []
    try:
        return read_directory(image)
    except OSError as error:
        fail(f"Could not open '{image.name}': {error.strerror}")


def _table(image: Qcow2Image, bitmap: Bitmap) -> array[int]:
    room = max(0, image.file.size - bitmap.table_offset) // 8
    return words(image.file.read(bitmap.table_offset, min(bitmap.table_size, room) * 8))


def table_clusters(image: Qcow2Image, bitmap: Bitmap) -> list[int]:
    """The offsets of the clusters with the bitmap's bits."""
    return [entry & OFFSET for entry in _table(image, bitmap) if entry & OFFSET]


def read_bits(image: Qcow2Image, bitmap: Bitmap) -> bytearray:
    """The bits, eight a byte, the first in the lowest."""
    cluster = image.header.cluster_size
    size = bits_bytes(image.size, bitmap.granularity_bits)
    bits = bytearray(size)
    for k, entry in enumerate(_table(image, bitmap)):
        start = k * cluster
        if start >= size:
            break
        length = min(cluster, size - start)
        if entry & OFFSET:
            bits[start : start + length] = image.file.read(entry & OFFSET, length)
        elif entry & _ALL_ONES:
            bits[start : start + length] = b"\xff" * length
    return bits


def bits_bytes(size: int, granularity_bits: int) -> int:
    """Bytes for the bits of a disk."""
    count = -(-size >> granularity_bits)
    return -(-count // 8)


def write_bits(image: Qcow2Image, bitmap: Bitmap, bits: bytes | bytearray) -> None:
    """Put the bits and a table of them into new clusters; the directory is not written."""
    cluster = image.header.cluster_size
    counts = image.refcounts
    entries = -(-len(bits) // cluster)
    table = words(bytes(8 * max(1, entries)))
    for k in range(entries):
        piece = bytes(bits[k * cluster : (k + 1) * cluster]).ljust(cluster, b"\0")
        if any(piece):
            table[k], _ = counts.allocate(1)
            image.file.write(table[k], piece)
    bitmap.table_size = max(1, entries)
    bitmap.table_offset = counts.allocate_adjacent(-(-bitmap.table_size * 8 // cluster))
    image.file.write(bitmap.table_offset, word_bytes(table))


def free_bits(image: Qcow2Image, bitmap: Bitmap) -> None:
    """Give back the clusters of a bitmap that the directory will not have any more."""
    for offset in table_clusters(image, bitmap):
        image.refcounts.free(offset)
    clusters = -(-bitmap.table_size * 8 >> image.cluster_bits)
    image.refcounts.free(bitmap.table_offset, clusters)


def write_directory(image: Qcow2Image, bitmaps: list[Bitmap]) -> None:
    """A new directory in a new place, and a header that leads to it."""
    header, counts = image.header, image.refcounts
    old_offset, old_size = header.bitmap_directory_offset, header.bitmap_directory_size
    had = header.bitmaps
    data = b"".join(bitmap.pack() for bitmap in bitmaps)
    offset = image.tables.write_new(data)
    header.bitmaps = len(bitmaps)
    header.bitmap_directory_offset, header.bitmap_directory_size = offset, len(data)
    header.autoclear = header.autoclear & ~h.BITMAPS | (h.BITMAPS if bitmaps else 0)
    image.save_header()
    image.file.flush()
    if had:
        counts.free(old_offset, -(-old_size >> header.cluster_bits))


class Tracker:
    """Marks writes in the enabled bitmaps while an image is open.

    From the first write on they are in use on disk: after a crash nobody trusts them.
    """

    def __init__(self, image: Qcow2Image) -> None:
        self._image = image
        self._all = list_bitmaps(image)
        self._live: list[tuple[Bitmap, bytearray]] = []
        for bitmap in self._all:
            if bitmap.flags & AUTO and not bitmap.flags & IN_USE:
                self._live.append((bitmap, read_bits(image, bitmap)))
                bitmap.flags |= IN_USE
        if self._live:
            write_directory(image, self._all)

    def mark(self, offset: int, length: int) -> None:
        """Set the bits of a range."""
        if not length:
            return
        for bitmap, bits in self._live:
            first = offset >> bitmap.granularity_bits
            last = offset + length - 1 >> bitmap.granularity_bits
            set_range(bits, first, last)

    def store(self) -> None:
        """Write the bits back; they are good again."""
        for bitmap, bits in self._live:
            free_bits(self._image, bitmap)
            write_bits(self._image, bitmap, bits)
            bitmap.flags &= ~IN_USE
        if self._live:
            write_directory(self._image, self._all)


def set_range(bits: bytearray, first: int, last: int) -> None:
    """Set bits from ``first`` to ``last``, both included."""
    start, end = -(-first // 8), (last + 1) // 8
    if start < end:
        bits[start:end] = b"\xff" * (end - start)
        edges = [*range(first, start * 8), *range(end * 8, last + 1)]
    else:
        edges = list(range(first, last + 1))
    for bit in edges:
        bits[bit // 8] |= 1 << bit % 8

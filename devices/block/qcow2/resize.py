"""Change the size of a disk."""

from __future__ import annotations

import errno
from array import array
from typing import TYPE_CHECKING

from jitemu.devices.block.qcow2 import header as h
from jitemu.devices.block.qcow2.packing import word_bytes
from jitemu.devices.block.qcow2.tables import OFFSET

if TYPE_CHECKING:
    from jitemu.devices.block.qcow2.image import Qcow2Image


def resize(image: Qcow2Image, size: int) -> None:
    """Grow or shrink to ``size`` bytes; OSError says why that cannot be."""
    if image.read_only:
        raise OSError(errno.EROFS, f"{image.name} is read-only")
    header = image.header
    if header.snapshots and header.version < 3:
        raise OSError(errno.ENOTSUP, "Can't resize a version 2 image which has snapshots")
    entries = h.l1_entries(header, size)
    if entries > h.MAX_L1_BYTES // 8:
        raise OSError(errno.EFBIG, "The image size is too large")
    image.forget_packing()
    image.stop_tracking()
    if size < image.size:
        _shrink(image, size, entries)
    else:
        _grow(image, size, entries)
    before = image.size
    header.size = image.size = size
    if header.bitmaps:
        _resize_bitmaps(image, size)
    image.flush()
    image.save_header()
    image.file.flush()
    if image.external and image.data_file.grows:
        image.data_file.resize(-(-size // 512) * 512)
    if image.raw_external and size > before:  # the new part is the raw file's, too
        image.map.reserve(before, -(-(size - before) >> image.cluster_bits))
        image.flush()


def _shrink(image: Qcow2Image, size: int, entries: int) -> None:
    """Drop clusters and L2 tables behind the new end, before the header says so: what a
    crash leaves has nothing there that a later growth could show."""
    tables, bits = image.tables, image.cluster_bits
    first = -(-size >> bits) << bits
    count = -(-image.size >> bits) - (first >> bits)
    if count > 0:
        image.map.erase(first, count)
    image.flush()
    for index in range(entries, len(tables.l1)):
        place = tables.l1[index] & OFFSET
        if place:
            tables.drop(index)
            image.refcounts.free(place)
    image.flush()
    inside = size & (1 << bits) - 1
    if inside:
        _clear_behind(image, size, min(image.size, first))
    image.flush()
    _trim_file(image)


def _clear_behind(image: Qcow2Image, start: int, end: int) -> None:
    """Zero the rest of the last cluster: a later growth must not show it."""
    if end > start:
        image.write_zeroes(start, end - start)


def _trim_file(image: Qcow2Image) -> None:
    """Give the host what is behind the last cluster in use."""
    if image.external or image.tables.lazy or not image.file.grows:
        return
    image.tables.write_counts()
    used = image.refcounts.last_used() + 1 << image.cluster_bits
    if used < image.file.size:
        image.file.resize(used)


def _grow(image: Qcow2Image, size: int, entries: int) -> None:
    header = image.header
    inside = image.size & header.cluster_size - 1
    backing = image.backing
    if entries > header.l1_size:
        _move_l1(image, max(entries, 1))
    old = image.size
    if backing and backing.size > old:
        # what the backing image has behind the old end must not appear
        header.size = image.size = size
        image.write_zeroes(old, min(size, backing.size) - old)
    elif inside:
        stop = min(size, old - inside + header.cluster_size)
        header.size = image.size = size
        if image.map.has_content(old, stop - old):
            image.write_zeroes(old, stop - old)


def _move_l1(image: Qcow2Image, entries: int) -> None:
    """A longer L1 table in a new place; what it leads to stays where it is."""
    header, counts = image.header, image.refcounts
    image.flush()
    l1 = image.tables.l1
    longer = array("Q", l1)
    longer.extend([0] * (entries - len(l1)))
    place = counts.allocate_adjacent(-(-entries * 8 >> header.cluster_bits))
    image.file.write(place, word_bytes(longer))
    image.tables.write_counts()
    image.file.flush()
    old = header.l1_offset, header.l1_size
    header.l1_offset, header.l1_size = place, entries
    image.tables.use_l1(longer)
    image.save_header()
    image.file.flush()
    if old[1]:
        counts.free(old[0], -(-old[1] * 8 >> header.cluster_bits))


def _resize_bitmaps(image: Qcow2Image, size: int) -> None:
    from jitemu.devices.block.qcow2.bitmaps import (
        bits_bytes,
        free_bits,
        list_bitmaps,
        read_bits,
        write_bits,
        write_directory,
    )

    image.stop_tracking()
    bitmaps = list_bitmaps(image)
    for bitmap in bitmaps:
        bits = read_bits(image, bitmap)
        wanted = bits_bytes(size, bitmap.granularity_bits)
        bits = bits[:wanted].ljust(wanted, b"\0")
        free_bits(image, bitmap)
        write_bits(image, bitmap, bits)
    write_directory(image, bitmaps)

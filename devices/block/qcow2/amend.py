"""Change an image's format options in place."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from jitemu.devices.block.qcow2 import header as h
from jitemu.devices.block.qcow2.packing import word_bytes, words
from jitemu.devices.block.qcow2.references import Collector
from jitemu.devices.block.qcow2.snapshots import list_snapshots
from jitemu.devices.block.qcow2.tables import COMPRESSED, COPIED, OFFSET, ZERO_FLAG
from jitemu.messages import fail

if TYPE_CHECKING:
    from jitemu.devices.block.qcow2.image import Qcow2Image


def set_backing(image: Qcow2Image, name: str, format: str) -> None:
    """Another backing file's name; nothing of the disk is touched."""
    header = image.header
    if name and header.autoclear & h.RAW_DATA_FILE and image.external:
        fail("Backing file not supported for images with data_file_raw=on")
    before = header.backing_file, header.backing_format
    header.backing_file, header.backing_format = name, format
    try:
        image.save_header()
    except BaseException:
        header.backing_file, header.backing_format = before
        raise
    image.file.flush()


def set_lazy(image: Qcow2Image, lazy: bool) -> None:
    """lazy_refcounts=on|off."""
    header = image.header
    if lazy and header.version < 3:
        fail(
            "Lazy refcounts only supported with compatibility level 1.1 and above"
            " (use compat=1.1 or greater)"
        )
    if not lazy:
        image.tables.lazy = False
        image.flush()
        image.tables.write_counts()
        image.file.flush()
        header.incompatible &= ~h.DIRTY
    header.compatible = header.compatible & ~h.LAZY_REFCOUNTS | (h.LAZY_REFCOUNTS if lazy else 0)
    image.save_header()
    image.file.flush()


def set_refcount_bits(image: Qcow2Image, bits: int) -> None:
    """Another width of refcounts; UserError if a count does not fit."""
    header = image.header
    if bits == header.refcount_bits:
        return
    if header.version < 3:
        fail(
            "Different refcount widths than 16 bits require compatibility level 1.1 or above"
            " (use compat=1.1 or greater)"
        )
    image.forget_packing()
    image.flush()
    image.tables.write_counts()
    collector = Collector(image, lambda _line: None)
    found = collector.collect(with_refcounts=False).nonzero()
    if collector.errors:
        fail(f"{image.name}: the image has errors; repair it with check -r all first")
    for cluster, count in sorted(found.items()):
        if count >> bits:
            fail(
                f"Cannot decrease refcount entry width to {bits} bits: Cluster at offset"
                f" {cluster << image.cluster_bits:#x} has a refcount of {count}"
            )
    image.refcounts.change_width(bits.bit_length() - 1, found, image.refcounts.tail())


def set_version(image: Qcow2Image, version: int) -> None:
    """compat=1.1 or compat=0.10; UserError for what version 2 cannot have."""
    header = image.header
    if version == header.version:
        return
    if version == 3:
        header.version, header.refcount_order = 3, 4
        image.has_zero_flag = True
        image.save_header()
        image.file.flush()
        return
    if header.refcount_bits != 16:
        fail("compat=0.10 requires refcount_bits=16")
    if image.external:
        fail("Cannot downgrade an image with a data file")
    if header.incompatible & ~(h.DIRTY | h.CORRUPT):
        fail("Cannot downgrade an image with incompatible features set")
    if any(s.disk_size != image.size for s in list_snapshots(image)):
        fail("Internal snapshots prevent downgrade of image")
    set_lazy(image, False)
    _expand_zeros(image)
    header.version = 2
    header.incompatible = header.compatible = header.autoclear = header.bitmaps = 0
    header.unknown_fields = b""
    image.has_zero_flag = False
    image.save_header()
    image.file.flush()


def _expand_zeros(image: Qcow2Image) -> None:
    """Give zero clusters data or nothing: version 2 has no flag for them."""
    image.flush()
    bits = image.cluster_bits
    l1_tables = [image.tables.l1]
    for snapshot in list_snapshots(image):
        l1_tables.append(words(image.file.read(snapshot.l1_offset, snapshot.l1_size * 8)))
    places = {entry & OFFSET for l1 in l1_tables for entry in l1 if entry & OFFSET}
    freed: list[tuple[int, int]] = []
    for place in sorted(places):
        entries = words(image.file.read(place, 1 << bits))
        times = image.refcounts.get(place >> bits)
        if _expand_table(image, entries, times, freed):
            image.tables.write_counts()
            image.file.flush()
            image.file.write(place, word_bytes(entries))
    image.file.flush()
    for cluster, times in freed:
        image.refcounts.change(cluster, 1, -times)
    image.tables.forget()
    image.flush()


def _expand_table(
    image: Qcow2Image, entries: array[int], times: int, freed: list[tuple[int, int]]
) -> bool:
    changed = False
    for at, entry in enumerate(entries):
        if entry & COMPRESSED or not entry & ZERO_FLAG:
            continue
        changed = True
        if entry & OFFSET:
            freed.append(((entry & OFFSET) >> image.cluster_bits, times))
        if not image.header.backing_file:
            entries[at] = 0
            continue
        host, _ = image.refcounts.allocate(1)
        image.refcounts.change(host >> image.cluster_bits, 1, times - 1)
        image.put(host, [memoryview(bytes(1 << image.cluster_bits))])
        entries[at] = host | (COPIED if times == 1 else 0)
    return changed


def set_data_file(image: Qcow2Image, name: str) -> None:
    """Another name of the external data file."""
    if not image.external:
        fail("data-file can only be set for images that use an external data file")
    image.header.data_file = name
    image.save_header()
    image.file.flush()

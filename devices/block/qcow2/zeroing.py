"""Zeros without data: whole clusters and subclusters by their entries, the rest written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jitemu.devices.block.qcow2.mapping import UNALLOCATED, ZERO
from jitemu.devices.block.qcow2.subclusters import SubclusterMap

if TYPE_CHECKING:
    from jitemu.devices.block.qcow2.image import Qcow2Image

_PIECE = 1 << 20


def zero(image: Qcow2Image, offset: int, length: int, unmap: bool) -> None:
    """Let a range read as zeros; with ``unmap`` its clusters are given back."""
    start, count, whole = whole_clusters(image, offset, length)
    if not image.has_zero_flag:
        _write(image, offset, length)
    elif not count:
        _zero_inside(image, offset, length)
    else:
        _zero_inside(image, offset, start - offset)
        image.map.zero(start, count, unmap)
        _zero_inside(image, start + whole, offset + length - start - whole)


def whole_clusters(image: Qcow2Image, offset: int, length: int) -> tuple[int, int, int]:
    """The clusters that lie in a range: offset, number, bytes.  The disk's end ends one."""
    cluster = image.header.cluster_size
    start = -(-offset & -cluster)
    end = offset + length
    stop = end if end == image.size else end & -cluster
    if stop <= start:
        return offset, 0, 0
    return start, -(-(stop - start) // cluster), stop - start


def _zero_inside(image: Qcow2Image, offset: int, length: int) -> None:
    """Zero a range that has no whole cluster; subclusters by their bits."""
    end = offset + length
    while offset < end:
        stop = min(end, (offset >> image.cluster_bits) + 1 << image.cluster_bits)
        _zero_part(image, offset, stop)
        offset = stop


def _zero_part(image: Qcow2Image, offset: int, end: int) -> None:
    if isinstance(image.map, SubclusterMap) and not image.map.packed(offset):
        sub = image.map.sub
        start = -(-offset & -sub)
        stop = end & -sub
        if start < stop:
            _write(image, offset, start - offset)
            image.map.zero_parts(start, stop - start)
            offset = stop
    _write(image, offset, end - offset)


def _write(image: Qcow2Image, offset: int, length: int) -> None:
    """Write zeros where something else may be."""
    for kind, count, _ in list(image.map.runs(offset, length)):
        if kind > ZERO or (kind == UNALLOCATED and image.has_backing):
            for at in range(offset, offset + count, _PIECE):
                image.write_data(at, bytes(min(_PIECE, offset + count - at)))
        offset += count

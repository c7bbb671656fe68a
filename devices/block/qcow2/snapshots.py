"""Internal snapshots: their table, and taking, applying and deleting them."""

from __future__ import annotations

import errno
import struct
import time
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jitemu.devices.block.qcow2 import header as h
from jitemu.devices.block.qcow2.compression import Descriptor
from jitemu.devices.block.qcow2.packing import word_bytes, words
from jitemu.devices.block.qcow2.tables import COMPRESSED, COPIED, OFFSET
from jitemu.messages import fail

if TYPE_CHECKING:
    from jitemu.devices.block.qcow2.image import Qcow2Image

_ENTRY = struct.Struct(">QIHHIIQII")
_MAX_EXTRA = 1024
_MAX_TABLE_BYTES = 64 << 20


@dataclass(slots=True)
class Snapshot:
    """One entry of the snapshot table."""

    id: str
    name: str
    l1_offset: int
    l1_size: int
    seconds: int
    nanoseconds: int
    clock_ns: int
    """The guest's time since it started."""
    state_size: int
    """Bytes of saved machine state."""
    disk_size: int
    icount: int = (1 << 64) - 1
    """Instructions the guest had executed; all ones if nobody counted."""
    unknown: bytes = b""

    def pack(self) -> bytes:
        """The table's form, padded."""
        extra = struct.pack(">QQQ", self.state_size, self.disk_size, self.icount) + self.unknown
        identity = self.id.encode("utf-8", "surrogateescape")
        name = self.name.encode("utf-8", "surrogateescape")
        head = _ENTRY.pack(
            self.l1_offset,
            self.l1_size,
            len(identity),
            len(name),
            self.seconds,
            self.nanoseconds,
            self.clock_ns,
            min(self.state_size, 0xFFFFFFFF),
            len(extra),
        )
        packed = head + extra + identity + name
        return packed + bytes(-len(packed) % 8)


def read_table(image: Qcow2Image) -> tuple[list[Snapshot], int]:
    """The snapshots, and the bytes that their table takes; OSError (EIO) if it is damaged."""
    offset = image.header.snapshots_offset
    start = offset
    found: list[Snapshot] = []
    for _ in range(image.header.snapshots):
        snapshot, size = _read_entry(image, offset)
        found.append(snapshot)
        offset += size
        if offset - start > _MAX_TABLE_BYTES:
            raise OSError(errno.EIO, "Snapshot table is too large")
    return found, offset - start


def _read_entry(image: Qcow2Image, offset: int) -> tuple[Snapshot, int]:
    fields = _ENTRY.unpack(image.file.read(offset, _ENTRY.size))
    l1_offset, l1_size, id_size, name_size, seconds, nanoseconds, clock, state, extra = fields
    if extra > _MAX_EXTRA:
        raise OSError(errno.EIO, "Too much extra metadata in snapshot table entry")
    if l1_size > h.MAX_L1_BYTES // 8:
        raise OSError(errno.EIO, "Snapshot L1 table too large")
    rest = image.file.read(offset + _ENTRY.size, extra + id_size + name_size)
    more = rest[:extra]
    disk_size, icount = image.header.size, (1 << 64) - 1
    if extra >= 8:
        state = struct.unpack_from(">Q", more)[0]
    if extra >= 16:
        disk_size = struct.unpack_from(">Q", more, 8)[0]
    if extra >= 24:
        icount = struct.unpack_from(">Q", more, 16)[0]
    snapshot = Snapshot(
        rest[extra : extra + id_size].decode("utf-8", "surrogateescape"),
        rest[extra + id_size :].decode("utf-8", "surrogateescape"),
        l1_offset,
        l1_size,
        seconds,
        nanoseconds,
        clock,
        state,
        disk_size,
        icount,
        more[24:],
    )
    size = _ENTRY.size + len(rest)
    return snapshot, size + -size % 8


def list_snapshots(image: Qcow2Image) -> list[Snapshot]:
    """All snapshots, the oldest first; UserError if the table is damaged."""
    try:
        return read_table(image)[0]
    except OSError as error:
        fail(f"Could not open '{image.name}': {error.strerror}")


def find(image: Qcow2Image, wanted: str, by_id: bool = True) -> Snapshot | None:
    """The snapshot with that id (if ``by_id``), or else that name."""
    table = list_snapshots(image)
    found = [snapshot for snapshot in table if by_id and snapshot.id == wanted]
    found += [snapshot for snapshot in table if snapshot.name == wanted]
    return found[0] if found else None


def _write_table(image: Qcow2Image, table: list[Snapshot]) -> None:
    """A new table in a new place; then the header leads to it."""
    data = b"".join(snapshot.pack() for snapshot in table)
    header, counts = image.header, image.refcounts
    old_offset, old_size = header.snapshots_offset, read_table(image)[1]
    offset = image.tables.write_new(data)
    header.snapshots, header.snapshots_offset = len(table), offset
    image.save_header()
    image.file.flush()
    if old_size:
        counts.free(old_offset, -(-old_size >> header.cluster_bits))


def _tree_clusters(image: Qcow2Image, l1: array[int]) -> dict[int, int]:
    """Clusters of an L1 table's tree (L2 tables and data), with how often it has them."""
    found: dict[int, int] = {}
    bits = image.cluster_bits
    step = image.map.words_per_entry
    end = image.refcounts.tail() << bits
    for l1_entry in l1:
        place = l1_entry & OFFSET
        if not place:
            continue
        if place >= end or place & (1 << bits) - 1:
            raise OSError(errno.EIO, "an L1 table leads out of the file")
        found[place >> bits] = found.get(place >> bits, 0) + 1
        for entry in words(image.file.read(place, 1 << bits))[::step]:
            if entry & COMPRESSED:
                first, count = Descriptor.of(entry, bits).clusters(bits)
                for cluster in range(first, first + count):
                    found[cluster] = found.get(cluster, 0) + 1
            elif entry & OFFSET and not image.external:
                cluster = image.map.host(entry) >> bits
                if cluster << bits >= end:
                    raise OSError(errno.EIO, "an L2 table leads out of the file")
                found[cluster] = found.get(cluster, 0) + 1
    return found


def _set_copied(image: Qcow2Image) -> None:
    """Let the COPIED flags of the active tables say which clusters have one reference."""
    tables, counts, bits = image.tables, image.refcounts, image.cluster_bits
    step = image.map.words_per_entry
    for index, l1_entry in enumerate(tables.l1):
        place = l1_entry & OFFSET
        if not place:
            continue
        table = tables.at(index)
        assert table
        entries = table.entries[:]
        for at in range(0, len(entries), step):
            entry = entries[at]
            if entry & OFFSET and not entry & COMPRESSED and not image.external:
                alone = counts.get(image.map.host(entry) >> bits) == 1
                entries[at] = entry & ~COPIED | (COPIED if alone else 0)
        if entries != table.entries:
            tables.set(table, 0, entries)
        tables.set_l1_flag(index, counts.get(place >> bits) == 1)


def _check_room(image: Qcow2Image, clusters: dict[int, int]) -> None:
    """Whether the refcounts are wide enough for one more of each."""
    counts = image.refcounts
    if any(counts.get(c) + times > counts.maximum for c, times in clusters.items()):
        raise OSError(errno.EINVAL, "Invalid argument")


def _change_counts(image: Qcow2Image, clusters: dict[int, int], sign: int) -> None:
    for cluster, times in clusters.items():
        image.refcounts.change(cluster, 1, sign * times)


def take(image: Qcow2Image, name: str) -> Snapshot:
    """A new snapshot of the disk as it is; OSError (EINVAL) if refcounts are too narrow.

    While it is made the image is marked dirty (version 3), so that after a crash whoever
    opens it counts again.
    """
    if image.external:
        raise OSError(errno.ENOTSUP, "Operation not supported")
    table = list_snapshots(image)
    if len(table) >= h.MAX_SNAPSHOTS:
        raise OSError(errno.EFBIG, "File too large")
    _settle(image)
    tree = _tree_clusters(image, image.tables.l1)
    _check_room(image, tree)
    numbers = [int(s.id) for s in table if s.id.isdigit()]
    now = time.time_ns()
    l1 = image.tables.l1
    with _Marked(image):
        _change_counts(image, tree, 1)
        size = max(1, -(-len(l1) * 8 >> image.cluster_bits))
        place = image.refcounts.allocate_adjacent(size)
        plain = array("Q", [entry & ~COPIED for entry in l1])
        image.file.write(place, word_bytes(plain))
        _set_copied(image)
        image.flush()
        snapshot = Snapshot(
            str(max(numbers, default=0) + 1),
            name,
            place,
            len(l1),
            now // 10**9 & 0xFFFFFFFF,
            now % 10**9,
            0,
            0,
            image.size,
            0,
        )
        _write_table(image, [*table, snapshot])
        image.flush()
    return snapshot


def apply(image: Qcow2Image, snapshot: Snapshot) -> None:
    """Let the disk be what it was; the snapshot stays."""
    if snapshot.disk_size != image.size:
        if image.header.version < 3:
            raise OSError(errno.ENOTSUP, "Operation not supported")
        image.resize(snapshot.disk_size)
    _settle(image)
    header, counts = image.header, image.refcounts
    wanted = words(image.file.read(snapshot.l1_offset, snapshot.l1_size * 8))
    if snapshot.l1_offset & header.cluster_size - 1:
        raise OSError(errno.EIO, "Snapshot L1 table offset invalid")
    old_tree = _tree_clusters(image, image.tables.l1)
    new_tree = _tree_clusters(image, wanted)
    _check_room(image, new_tree)
    size = max(snapshot.l1_size, h.l1_entries(header, image.size))
    wanted.extend([0] * (size - len(wanted)))
    with _Marked(image):
        _change_counts(image, new_tree, 1)
        place = counts.allocate_adjacent(max(1, -(-size * 8 >> image.cluster_bits)))
        image.file.write(place, word_bytes(wanted))
        image.tables.write_counts()
        image.file.flush()
        old = header.l1_offset, header.l1_size
        header.l1_offset, header.l1_size = place, size
        image.save_header()
        image.file.flush()
        image.tables.use_l1(wanted)
        image.tables.forget()
        _change_counts(image, old_tree, -1)
        if old[1]:
            counts.free(old[0], -(-old[1] * 8 >> image.cluster_bits))
        image.flush()
        _set_copied(image)
        image.flush()


def delete(image: Qcow2Image, snapshot: Snapshot) -> None:
    """Forget a snapshot and what only it has."""
    _settle(image)
    table = list_snapshots(image)
    l1 = words(image.file.read(snapshot.l1_offset, snapshot.l1_size * 8))
    tree = _tree_clusters(image, l1)
    with _Marked(image):
        _write_table(image, [other for other in table if other.id != snapshot.id])
        _change_counts(image, tree, -1)
        image.refcounts.free(
            snapshot.l1_offset, max(1, -(-snapshot.l1_size * 8 >> image.cluster_bits))
        )
        image.flush()
        _set_copied(image)
        image.flush()


def _settle(image: Qcow2Image) -> None:
    """Have all in the file, and nothing waiting to be freed."""
    image.forget_packing()
    image.flush()


class _Marked:
    """The dirty bit while counts and flags do not fit each other."""

    def __init__(self, image: Qcow2Image) -> None:
        self._image = image
        self._was = image.header.incompatible & h.DIRTY

    def _mark(self, dirty: int) -> None:
        header = self._image.header
        if header.version > 2 and header.incompatible & h.DIRTY != dirty:
            header.incompatible ^= h.DIRTY
            self._image.save_header()
            self._image.file.flush()

    def __enter__(self) -> None:
        self._mark(h.DIRTY)

    def __exit__(self, kind: type[BaseException] | None, *_rest: object) -> None:
        if kind is None:
            self._image.flush()
            self._mark(self._was)


def show(image: Qcow2Image, snapshot: Snapshot) -> None:
    """Let a read-only image read as the snapshot does."""
    l1 = words(image.file.read(snapshot.l1_offset, snapshot.l1_size * 8))
    needed = h.l1_entries(image.header, snapshot.disk_size)
    if snapshot.l1_offset & image.header.cluster_size - 1 or len(l1) < needed:
        fail(f"{image.name}: snapshot '{snapshot.name}' is damaged")
    image.tables.use_l1(l1)
    image.size = snapshot.disk_size

"""Packs: files of compiled regions, kept between runs.

A pack is written under another name and renamed, so it is there whole or not at all.  After
that only its stamps change, which say when a region was last used and decide nothing but
what is thrown away first.  Every entry has a checksum over itself and its region, keyed by
the code generator's version: what is damaged or not ours is never run.

In the file, little-endian:

    header      magic, key, number of buckets (a power of two), number of entries
    buckets     index of the first entry of each bucket, and the number of entries
    entries     by bucket, which the page of the region's head gives
    stamps      seconds since 1970, for each entry
    regions     marshalled
"""

from __future__ import annotations

import marshal
import os
import struct
import time

from jitemu.backend_llvm.cache import digest_of
from jitemu.backend_llvm.objects import Region
from jitemu.cachedir import write_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


ENDING = ".pack"
KEY_SIZE = 16
_MAGIC = b"jitemu-regions1\n"
_HEADER = struct.Struct("<16s16sII")
_ENTRY = struct.Struct("<Q8s8s8sIB3x16sQ")
_CHECKED = _ENTRY.size - 24
"""Bytes of an entry that its checksum covers: all before it."""
_STAMP = struct.Struct("<I")
_SHIFT = 12
_BUCKETS_FOR_EACH = 2
"""Buckets for each entry: most pages of guest code are in an empty one, which costs no read."""
_MOST = 1 << 24
_START = 8
_USED_SECONDS = 3600

Pieces = list[tuple[int, bytes]]
"""Guest code: (guest address, bytes)."""


class Entry:
    """A region of a pack, by what is known of it without reading it."""

    FIXED = _ENTRY.size + _STAMP.size + 4 * 2 * _BUCKETS_FOR_EACH
    """Bytes that it takes in a pack, at most, beside its region."""
    __slots__ = ("check", "context", "head", "index", "offset", "size", "source", "start", "used")

    def __init__(
        self,
        head: int,
        start: bytes,
        context: bytes,
        source: bytes,
        size: int,
        check: bytes = b"",
        offset: int = 0,
        index: int = 0,
    ) -> None:
        self.head = head
        """Guest pc of its head."""
        self.start = start
        """The first bytes of its guest code."""
        self.context = context
        """What else it was made for (``context_of``)."""
        self.source = source
        """Hash of its guest code."""
        self.size = size
        """Bytes of the marshalled region."""
        self.check = check
        self.offset = offset
        self.index = index
        """Of the entry in its pack."""
        self.used = 0
        """When it was last used, in seconds since 1970."""

    def packed(self) -> bytes:
        """As it is in the file."""
        short = len(self.start)
        start = self.start.ljust(_START, b"\0")
        fields = (self.head, start, self.context, self.source, self.size, short)
        return _ENTRY.pack(*fields, self.check, self.offset)

    def checksum(self, key: bytes, region: bytes) -> bytes:
        """Over the entry and its region."""
        return digest_of(self.packed()[:_CHECKED] + region, 16, key)


Kept = tuple[Entry, bytes]
"""An entry with its marshalled region."""


def key_of(name: str) -> bytes:
    """The key of packs that a code generator of this name may use."""
    return digest_of(name.encode(), KEY_SIZE)


def context_of(holes: Any, limit: int, forbidden: Iterable[str]) -> bytes:
    """What decides a region beside its guest code, hashed."""
    return digest_of(repr((sorted(holes.items()), limit, sorted(forbidden))).encode(), 8)


def bytes_at(pieces: Pieces, address: int, size: int) -> bytes:
    """Guest code from one of the pieces; nothing (or less) if it is not there."""
    for start, data in pieces:
        if start <= address < start + len(data):
            return data[address - start : address - start + size]
    return b""


def keep_region(key: bytes, context: bytes, region: Region, pieces: Pieces) -> Kept:
    """What a pack keeps of a region, made from these pieces of guest code."""
    sources = [(pc, bytes_at(pieces, pc, size)) for pc, size in region.covered]
    content = marshal.dumps((region.plain(), sources))
    source = digest_of(marshal.dumps(sources), 8)
    start = bytes_at(sources, region.head, _START)
    entry = Entry(region.head, start, context, source, len(content))
    entry.check = entry.checksum(key, content)
    entry.used = int(time.time())
    return entry, content


def write_pack(path: str, key: bytes, kept: list[Kept]) -> bool:
    """Write a pack; whether it could be written."""
    buckets = 1
    while buckets < len(kept) * _BUCKETS_FOR_EACH:
        buckets *= 2
    ordered = sorted(kept, key=lambda item: (item[0].head >> _SHIFT) % buckets)
    firsts = [0] * (buckets + 1)
    for entry, _ in ordered:
        firsts[(entry.head >> _SHIFT) % buckets + 1] += 1
    for number in range(buckets):
        firsts[number + 1] += firsts[number]
    at = _HEADER.size + 4 * len(firsts) + (_ENTRY.size + _STAMP.size) * len(ordered)
    entries: list[bytes] = []
    for entry, content in ordered:
        entry.offset = at
        at += len(content)
        entries.append(entry.packed())
    stamps = [_STAMP.pack(entry.used) for entry, _ in ordered]
    head = _HEADER.pack(_MAGIC, key, buckets, len(ordered))
    table = struct.pack(f"<{len(firsts)}I", *firsts)
    return write_file(path, [head, table, *entries, *stamps, *(c for _, c in ordered)])


class Pack:
    """A pack that is open for reading.  The caller closes ``fd``."""

    def __init__(self, fd: int, key: bytes) -> None:
        """ValueError if it is not a pack of this key, OSError if it cannot be read."""
        self.fd = fd
        self.key = key
        self.size = os.fstat(fd).st_size
        head = os.pread(fd, _HEADER.size, 0)
        if len(head) < _HEADER.size:
            raise ValueError("too short")
        magic, found, self._buckets, self.count = _HEADER.unpack(head)
        if magic != _MAGIC or found != key or not 0 < self._buckets < _MOST:
            raise ValueError("not a pack of this version")
        self._entries = _HEADER.size + 4 * (self._buckets + 1)
        self._stamps = self._entries + _ENTRY.size * self.count
        table = os.pread(fd, 4 * (self._buckets + 1), _HEADER.size)
        if self._stamps + _STAMP.size * self.count > self.size:
            raise ValueError("cut off")
        self._firsts = memoryview(table).cast("I")

    def find(self, page: int) -> list[Entry]:
        """The entries of regions whose head is in a page of guest code."""
        bucket = page % self._buckets
        first, end = self._firsts[bucket], self._firsts[bucket + 1]
        return [e for e in self._read(first, end) if e.head >> _SHIFT == page]

    def entries(self) -> list[Entry]:
        """All entries, with when they were used."""
        found = self._read(0, self.count)
        stamps = os.pread(self.fd, _STAMP.size * self.count, self._stamps)
        for entry, (used,) in zip(found, _STAMP.iter_unpack(stamps), strict=False):
            entry.used = used
        return found

    def _read(self, first: int, end: int) -> list[Entry]:
        if not first < end <= self.count:
            return []
        data = os.pread(self.fd, (end - first) * _ENTRY.size, self._entries + first * _ENTRY.size)
        found: list[Entry] = []
        for index, fields in enumerate(_ENTRY.iter_unpack(data), first):
            head, start, context, source, size, short, check, offset = fields
            found.append(Entry(head, start[:short], context, source, size, check, offset, index))
        return found

    def content(self, entry: Entry) -> bytes | None:
        """An entry's marshalled region, or None where the file is damaged."""
        if entry.size > self.size or entry.offset > self.size:
            return None
        data = os.pread(self.fd, entry.size, entry.offset)
        return data if entry.checksum(self.key, data) == entry.check else None

    def mark_used(self, entry: Entry, now: float) -> None:
        """Note that a region is used (no more than once an hour)."""
        at = self._stamps + _STAMP.size * entry.index
        try:
            (before,) = _STAMP.unpack(os.pread(self.fd, _STAMP.size, at))
            if not 0 <= now - before < _USED_SECONDS:
                os.pwrite(self.fd, _STAMP.pack(int(now) & 0xFFFFFFFF), at)
        except OSError:  # a cache that cannot be written is as good to read
            return


def read_region(content: bytes) -> tuple[Region, Pieces]:
    """The region in a pack, and the guest code that it was made from."""
    plain, sources = marshal.loads(content)
    return Region.of(plain), sources


def open_pack(path: str, key: bytes) -> Pack | None:
    """Open a pack; None if it is gone, damaged or another version's."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except PermissionError:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return None
    except OSError:
        return None
    try:
        return Pack(fd, key)
    except (ValueError, OSError):
        os.close(fd)
        return None


def count_entries(folder: str) -> int:
    """How many regions the packs of a folder say they have, whoever's they are."""
    count = 0
    for name in pack_names(folder):
        try:
            with open(os.path.join(folder, name), "rb") as file:
                head = file.read(_HEADER.size)
        except OSError:
            continue
        if len(head) == _HEADER.size and head.startswith(_MAGIC):
            count += _HEADER.unpack(head)[3]
    return count


def pack_names(folder: str) -> list[str]:
    """Names of the packs in a folder."""
    try:
        return sorted(name for name in os.listdir(folder) if name.endswith(ENDING))
    except OSError:
        return []

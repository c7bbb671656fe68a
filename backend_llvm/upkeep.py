"""Care of the cache folder: packs are merged, and what was not used for long is removed.

Compile workers and ``jitemu cache`` do this, one process at a time.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress

from jitemu import cachedir
from jitemu.backend_llvm.packs import (
    ENDING,
    Kept,
    keep_region,
    key_of,
    open_pack,
    pack_names,
    write_pack,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jitemu.backend_llvm.objects import Region
    from jitemu.backend_llvm.packs import Pieces

DEFAULT_LIMIT = 1 << 30
LIMIT_FILE = "limit"
_ABANDONED_SECONDS = 600
"""Half-written files older than this are of processes that were killed."""
_LARGEST_PACK = 128 << 20
"""Larger packs are not merged: they are held in memory for that."""
_SMALL_PACK = 1 << 20
"""Smaller ones are always merged."""
_KEPT_SHARE = 0.8
"""Of the limit, after things had to be removed."""


@contextmanager
def alone(folder: str, wait: bool = False) -> Generator[bool]:
    """While this holds, no other process changes what is there.  False: one does."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(fd)


class Unit:
    """What can be removed at once: a stencil set, or the regions of one code generator."""

    def __init__(self, kind: str, path: str) -> None:
        self.kind = kind
        self.path = path
        self.bytes = 0
        self.used = 0.0
        files = [path]
        if os.path.isdir(path):
            files += [os.path.join(path, name) for name in os.listdir(path)]
        for file in files:
            with suppress(OSError):
                status = os.stat(file)
                self.bytes += status.st_size if not os.path.isdir(file) else 0
                self.used = max(self.used, status.st_mtime, status.st_atime)

    def remove(self) -> None:
        """Remove it; what others have removed meanwhile is no error."""
        if os.path.isdir(self.path):
            shutil.rmtree(self.path, ignore_errors=True)
        else:
            with suppress(OSError):
                os.unlink(self.path)


def units() -> list[Unit]:
    """Everything in the cache."""
    found: list[Unit] = []
    for kind in cachedir.KINDS:
        folder = os.path.join(cachedir.folder(), kind)
        with suppress(OSError):
            found += [Unit(kind, os.path.join(folder, name)) for name in sorted(os.listdir(folder))]
    return found


def limit() -> int:
    """Bytes that the cache may take."""
    try:
        with open(os.path.join(cachedir.folder(), LIMIT_FILE), encoding="ascii") as file:
            return int(file.read(64))
    except (OSError, ValueError):
        return DEFAULT_LIMIT


def set_limit(size: int) -> bool:
    """Change it; whether that could be written."""
    path = os.path.join(cachedir.folder(), LIMIT_FILE)
    return cachedir.write_file(path, [f"{size}\n".encode()])


class Store:
    """Where a compile worker puts its regions: they are written some at a time."""

    def __init__(self, folder: str, name: str) -> None:
        self.folder = folder
        self.name = name
        self.key = key_of(name)
        self.unsaved: list[Kept] = []
        self.since = time.monotonic()
        """When something was last written."""

    def add(self, context: bytes, region: Region, pieces: Pieces) -> None:
        """Keep a region that was made from these pieces of guest code."""
        self.unsaved.append(keep_region(self.key, context, region, pieces))

    def save(self) -> None:
        """Write what has come since the last time."""
        self.since = time.monotonic()
        if self.unsaved:
            write_pack(_new_path(self.folder), self.key, self.unsaved)
            self.unsaved = []

    def tidy(self) -> None:
        """Merge packs, and keep the cache below its limit."""
        with suppress(OSError), alone(self.folder) as allowed:
            if allowed:
                _remove_abandoned(self.folder)
                merge(self.folder, self.key)
                trim(limit(), self.name)


def _new_path(folder: str) -> str:
    return os.path.join(folder, f"{time.time_ns():x}-{os.getpid()}{ENDING}")


def _remove_abandoned(folder: str) -> None:
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if name.endswith(cachedir.TEMPORARY):
            with suppress(OSError):
                if time.time() - os.stat(path).st_mtime > _ABANDONED_SECONDS:
                    os.unlink(path)


def merge(folder: str, key: bytes) -> None:
    """Merge small packs, each with those that are together no less than half its size."""
    sizes: list[tuple[int, str]] = []
    for name in pack_names(folder):
        path = os.path.join(folder, name)
        with suppress(OSError):
            sizes.append((os.stat(path).st_size, path))
    sizes.sort()
    chosen: list[str] = []
    total = 0
    for size, path in sizes:
        if size > _LARGEST_PACK or size > max(2 * total, _SMALL_PACK):
            if len(chosen) > 1:
                break
            chosen, total = [], 0
        chosen.append(path)
        total += size
    if len(chosen) > 1:
        rewrite(folder, key, chosen)


def rewrite(folder: str, key: bytes, paths: list[str], wanted: set[bytes] | None = None) -> None:
    """Make one pack of these: each region once, if its checksum is wanted (None: all are)."""
    kept: dict[tuple[int, bytes, bytes], Kept] = {}
    for path in paths:
        for entry, content in read_pack(path, key):
            identity = (entry.head, entry.context, entry.source)
            other = kept.get(identity)
            if wanted is not None and entry.check not in wanted:
                continue
            if other is None or other[0].used < entry.used:
                kept[identity] = (entry, content)
    if not kept or write_pack(_new_path(folder), key, list(kept.values())):
        for path in paths:
            with suppress(OSError):
                os.unlink(path)


def read_pack(path: str, key: bytes) -> list[Kept]:
    """What is whole in a pack."""
    pack = open_pack(path, key)
    if pack is None:
        return []
    try:
        contents = [(entry, pack.content(entry)) for entry in pack.entries()]
        return [(entry, content) for entry, content in contents if content is not None]
    finally:
        os.close(pack.fd)


def trim(most: int, current: str = "") -> None:
    """Keep the cache below so many bytes.

    First go stencils and regions of other versions, the least recently used first, then
    regions of the ``current`` one (by default the one used last).
    """
    found = units()
    total = sum(unit.bytes for unit in found)
    if total <= most:
        return
    most = int(most * _KEPT_SHARE)
    found.sort(key=lambda unit: unit.used)
    current = current or os.path.basename(found[-1].path)
    for unit in found:
        if total <= most:
            return
        if os.path.basename(unit.path) != current:
            unit.remove()
            total -= unit.bytes
    folder = os.path.join(cachedir.folder(), cachedir.REGIONS, current)
    size = sum(unit.bytes for unit in found if unit.path == folder)
    _trim_packs(folder, key_of(current), max(size - (total - most), 0))


def _trim_packs(folder: str, key: bytes, most: int) -> None:
    """Leave those regions used last that fit into so many bytes."""
    paths = [os.path.join(folder, name) for name in pack_names(folder)]
    uses: list[tuple[int, int, bytes]] = []
    for path in paths:
        uses += [(e.used, e.size + e.FIXED, e.check) for e, _ in read_pack(path, key)]
    wanted: set[bytes] = set()
    for _, size, check in sorted(uses, reverse=True):
        most -= size
        if most < 0:
            break
        wanted.add(check)
    for path in paths:
        rewrite(folder, key, [path], wanted)


def clear() -> None:
    """Remove all stencils and regions."""
    for unit in units():
        unit.remove()

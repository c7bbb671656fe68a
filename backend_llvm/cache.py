"""Files kept between runs: written whole or not at all, checked when loaded."""

from __future__ import annotations

import marshal
import os
import struct
import sys
import time
from _imp import source_hash  # that of .pyc files; hashlib's take longer to load than to work

from jitemu.cachedir import is_private, trusted, write_file
from jitemu.hostmemory import map_memory, view_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from jitemu.cachedir import Buffer

_MAGIC = b"jitemu-cache-4\n\0"
_HEADER = struct.Struct("<16sIIQQQ")
"""Magic, checksum of what follows but the time, length of the value, offset of the tables, the
file's length, and the time that it has if nobody has written to it since it was made."""
_CHECK = struct.Struct("<I")
_LENGTHS = slice(20, 40)
"""Of the header, what the checksum is of as well."""
PAGE = 4096
_READ, _WRITE, _MAP_PRIVATE = 1, 2, 2
_NEVER = -1
"""No file's time."""
_TOUCH_SECONDS = 3600
"""Uses are told apart by the hour: what is newer than this is not marked again."""


def digest_of(data: bytes | memoryview, size: int, key: bytes = b"") -> bytes:
    """A hash of so many bytes, up to 16; the key has 16.  It tells damage, not forgery: nobody
    else can write to the cache."""
    low, high = (int.from_bytes(half, "little", signed=True) for half in (key[:8], key[8:]))
    return (source_hash(low, data) + source_hash(high ^ 1, data))[:size]


def fingerprint(frontend: str) -> str:
    """Changes with the program's own files and a frontend's, and the processor: by the files'
    sizes and times, which tell it at each start."""
    return _key(frontend, _stamp, ".py")


def content_key(frontend: str) -> str:
    """The same by what is in the files and the lists of common stencils, and the Python: it
    outlives a copy, and takes several times as long."""
    return _key(frontend, _content, (".py", ".txt"), sys.implementation.cache_tag.encode())


def _key(
    frontend: str,
    seen: Callable[[str, int], tuple[Any, ...]],
    endings: str | tuple[str, ...],
    more: bytes = b"",
) -> str:
    top = os.path.dirname(os.path.dirname(__file__))
    parts: list[bytes] = [_processor(), more]
    for name in ("", "ir", "runtime", "backend_llvm", f"frontends/{frontend}"):
        fd = os.open(os.path.join(top, name), os.O_RDONLY | os.O_CLOEXEC)
        try:  # relative to the folder: half the time of looking up whole paths
            names = sorted(name for name in os.listdir(fd) if name.endswith(endings))
            parts.append(repr([(name, *seen(name, fd)) for name in names]).encode())
        finally:
            os.close(fd)
    return digest_of(b"".join(parts), 16).hex()


def _stamp(name: str, folder: int) -> tuple[int, int]:
    info = os.stat(name, dir_fd=folder)
    return info.st_size, info.st_mtime_ns


def _content(name: str, folder: int) -> tuple[bytes]:
    fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    with open(fd, "rb", buffering=0) as file:
        return (digest_of(file.read(), 16),)


def _processor() -> bytes:
    with open("/proc/cpuinfo", "rb") as f:
        head = f.read(4096).split(b"\n\n")[0]
    keep = (b"model name", b"flags", b"stepping")
    return b"\n".join(line for line in head.split(b"\n") if line.startswith(keep))


def mark_used(path: str, now: float) -> None:
    """Have the time of access of a file or folder tell that it was used in this hour."""
    try:
        info = os.stat(path)
        if now - max(info.st_atime, info.st_mtime) > _TOUCH_SECONDS:
            os.utime(path, ns=(int(now * 1e9), info.st_mtime_ns))
    except OSError:  # a cache that cannot be written is as good to read
        return


def load(path: str) -> tuple[Any, memoryview] | None:
    """What was saved there: the value, and the tables in memory of this process's own.

    None if there is nothing whole.  A file that was saved to the end, and has not been written to
    since, is whole; of others the checksum tells, which takes as long as much of a start.
    """
    if not (is_private(os.path.dirname(path)) and trusted()):
        return None
    return _found(*_map(path))


def load_checked(path: str, copy: str = "") -> tuple[Any, memoryview, bool] | None:
    """``load`` of a file that is not in the cache, whose checksum tells in any case; and whether
    it was copied to a path there, if one is given."""
    view, _ = _map(path)
    found = _found(view, _NEVER)
    if found is None:
        return None
    magic, check, length, start, size, _ = _HEADER.unpack_from(view)
    now = time.time_ns()
    header = _HEADER.pack(magic, check, length, start, size, now)
    return *found, bool(copy) and write_file(copy, [header, view[_HEADER.size :]], now)


def _found(view: memoryview, modified: int) -> tuple[Any, memoryview] | None:
    if len(view) < _HEADER.size:
        return None
    magic, check, length, start, size, made = _HEADER.unpack_from(view)
    payload = view[_HEADER.size :]
    if magic != _MAGIC or size != len(view) or not _HEADER.size + length <= start <= size:
        return None
    if modified != made and _checksum(view[_LENGTHS], payload) != check:
        return None
    return marshal.loads(payload[:length]), view[start:]


def _map(path: str) -> tuple[memoryview, int]:
    """A file's contents in private memory (nothing where it cannot be read), and the time of its
    last change.  The guest does not see a descriptor of it."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return memoryview(b""), 0
    status = os.fstat(fd)
    address = map_memory(None, status.st_size, _READ | _WRITE, _MAP_PRIVATE, fd)
    os.close(fd)
    view = view_of(address, status.st_size) if address else memoryview(b"")
    return view, status.st_mtime_ns


def save(
    path: str,
    value: Any,
    tables: bytes,
    write: Callable[[str, Sequence[Buffer], int], bool] = write_file,
) -> bool:
    """Save a value of plain Python types, and tables that begin at a page of the file; whether
    it could be written."""
    data = marshal.dumps(value)
    start = (_HEADER.size + len(data) + PAGE - 1) & -PAGE
    payload = data.ljust(start - _HEADER.size, b"\0") + tables
    size, now = _HEADER.size + len(payload), time.time_ns()
    header = bytearray(_HEADER.pack(_MAGIC, 0, len(data), start, size, now))
    _CHECK.pack_into(header, len(_MAGIC), _checksum(header[_LENGTHS], payload))
    return write(path, [header, payload], now)


def _checksum(lengths: Buffer, payload: Buffer) -> int:
    from zlib import crc32  # a start does not need it, as nobody writes to the files

    return crc32(payload, crc32(lengths))

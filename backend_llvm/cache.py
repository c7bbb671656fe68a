"""Files kept between runs: written whole or not at all, checked when loaded."""

from __future__ import annotations

import marshal
import os
import struct
import time
from _imp import source_hash  # that of .pyc files; hashlib's take longer to load than to work

from jitemu.cachedir import is_private, trusted, write_file
from jitemu.hostmemory import map_memory, view_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MAGIC = b"jitemu-cache-3\n\0"
_HEADER = struct.Struct("<16sIIQQQ")
"""Magic, checksum of what follows, length of the value, offset of the tables, the file's length,
and the time that it has if nobody has written to it since it was made."""
PAGE = 4096
_READ, _WRITE, _MAP_PRIVATE = 1, 2, 2
_TOUCH_SECONDS = 3600
"""Uses are told apart by the hour: what is newer than this is not marked again."""


def digest_of(data: bytes | memoryview, size: int, key: bytes = b"") -> bytes:
    """A hash of so many bytes, up to 16; the key has 16.  It tells damage, not forgery: nobody
    else can write to the cache."""
    low, high = (int.from_bytes(half, "little", signed=True) for half in (key[:8], key[8:]))
    return (source_hash(low, data) + source_hash(high ^ 1, data))[:size]


def fingerprint(frontend: str) -> str:
    """Changes with the program's own files and a frontend's, the Python, and the processor."""
    top = os.path.dirname(os.path.dirname(__file__))
    seen: list[bytes] = [_processor()]
    for name in ("", "ir", "runtime", "backend_llvm", f"frontends/{frontend}"):
        seen.append(repr(_stamps(os.path.join(top, name))).encode())
    return digest_of(b"".join(seen), 16).hex()


def _stamps(folder: str) -> list[tuple[str, int, int]]:
    """Names, sizes and times of a folder's modules."""
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)  # half the time of looking up whole paths
    try:
        names = sorted(name for name in os.listdir(fd) if name.endswith(".py"))
        found = [(name, os.stat(name, dir_fd=fd)) for name in names]
    finally:
        os.close(fd)
    return [(name, info.st_size, info.st_mtime_ns) for name, info in found]


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
    view, modified = _map(path)
    if len(view) < _HEADER.size:
        return None
    magic, check, length, start, size, made = _HEADER.unpack_from(view)
    payload = view[_HEADER.size :]
    if magic != _MAGIC or size != len(view) or not _HEADER.size + length <= start <= size:
        return None
    if modified != made and _checksum(payload) != check:
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


def save(path: str, value: Any, tables: bytes) -> bool:
    """Save a value of plain Python types, and tables that begin at a page of the file; whether
    it could be written."""
    data = marshal.dumps(value)
    start = (_HEADER.size + len(data) + PAGE - 1) & -PAGE
    payload = data.ljust(start - _HEADER.size, b"\0") + tables
    size, now = _HEADER.size + len(payload), time.time_ns()
    header = _HEADER.pack(_MAGIC, _checksum(payload), len(data), start, size, now)
    return write_file(path, [header, payload], now)


def _checksum(data: bytes | memoryview) -> int:
    from zlib import crc32  # a start does not need it, as nobody writes to the files

    return crc32(data)

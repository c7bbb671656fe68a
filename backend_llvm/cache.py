"""Files kept between runs: written whole or not at all, checked when loaded."""

from __future__ import annotations

import marshal
import os
import struct
from zlib import crc32

try:  # hashlib loads OpenSSL, which takes longer than all that is hashed here
    from _blake2 import blake2b
except ImportError:
    from hashlib import blake2b

from jitemu.cachedir import is_private, trusted, write_file
from jitemu.hostmemory import map_memory, view_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MAGIC = b"jitemu-cache-2\n\0"
_HEADER = struct.Struct("<16sIIQ")
"""Magic, checksum of what follows, length of the value, offset of the tables."""
PAGE = 4096
_READ, _WRITE, _MAP_PRIVATE = 1, 2, 2
_TOUCH_SECONDS = 3600
"""Uses are told apart by the hour: what is newer than this is not marked again."""


def digest_of(data: bytes | memoryview, size: int, key: bytes = b"") -> bytes:
    """A hash of so many bytes."""
    return blake2b(data, digest_size=size, key=key).digest()


def fingerprint(frontend: str) -> str:
    """Changes with the program's own files and a frontend's, the Python, and the processor."""
    here = os.path.dirname(os.path.realpath(__file__))
    top = os.path.dirname(here)
    digest = blake2b(digest_size=16)
    folders = [here, os.path.join(top, "frontends", frontend), *_engine_folders()]
    for path in folders:
        with os.scandir(path) as entries:
            for entry in sorted(entries, key=lambda e: e.name):
                if entry.name.endswith(".py"):
                    info = entry.stat()
                    digest.update(f"{entry.name} {info.st_size} {info.st_mtime_ns}\n".encode())
    digest.update(_processor())
    return digest.hexdigest()


def _engine_folders() -> list[str]:
    import jitemu

    base = os.path.dirname(os.path.realpath(jitemu.__file__))
    return [base, os.path.join(base, "ir"), os.path.join(base, "runtime")]


def _processor() -> bytes:
    with open("/proc/cpuinfo", "rb") as f:
        head = f.read(4096).split(b"\n\n")[0]
    keep = (b"model name", b"flags", b"stepping")
    return b"\n".join(line for line in head.split(b"\n") if line.startswith(keep))


def mark_used(path: str, now: float) -> None:
    """Have a file's or folder's time tell that it was used in this hour."""
    try:
        if now - os.stat(path).st_mtime > _TOUCH_SECONDS:
            os.utime(path)
    except OSError:  # a cache that cannot be written is as good to read
        return


def load(path: str) -> tuple[Any, memoryview] | None:
    """What was saved there: the value, and the tables in memory of this process's own.

    None if there is nothing whole.
    """
    if not (is_private(os.path.dirname(path)) and trusted()):
        return None
    view = _map(path)
    if view is None or len(view) < _HEADER.size:
        return None
    magic, check, length, start = _HEADER.unpack_from(view)
    payload = view[_HEADER.size :]
    if magic != _MAGIC or start > len(view) or crc32(payload) != check:
        return None
    return marshal.loads(payload[:length]), view[start:]


def _map(path: str) -> memoryview | None:
    """A file's contents in private memory; the guest does not see a descriptor of it."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    size = os.fstat(fd).st_size
    address = map_memory(None, size, _READ | _WRITE, _MAP_PRIVATE, fd)
    os.close(fd)
    return view_of(address, size) if address else None


def save(path: str, value: Any, tables: bytes) -> bool:
    """Save a value of plain Python types, and tables that begin at a page of the file; whether
    it could be written."""
    data = marshal.dumps(value)
    start = (_HEADER.size + len(data) + PAGE - 1) & -PAGE
    payload = data.ljust(start - _HEADER.size, b"\0") + tables
    header = _HEADER.pack(_MAGIC, crc32(payload), len(data), start)
    return write_file(path, [header, payload])

"""Files kept between runs: written whole or not at all, checked when loaded."""

from __future__ import annotations

import marshal
import os

try:  # hashlib loads OpenSSL, which takes longer than all that is hashed here
    from _blake2 import blake2b
except ImportError:
    from hashlib import blake2b

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

STENCILS, REGIONS = "stencils", "regions"
"""Folders below the cache folder."""
TEMPORARY = ".new"
"""Ending of files that are being written."""
_MAGIC = b"jitemu-cache-1\n"
_OTHERS_WRITE = 0o022
_TOUCH_SECONDS = 3600
"""Uses are told apart by the hour: what is newer than this is not marked again."""


def digest_of(data: bytes | memoryview, size: int, key: bytes = b"") -> bytes:
    """A hash of so many bytes."""
    return blake2b(data, digest_size=size, key=key).digest()


def folder() -> str:
    """The user's cache folder of jitemu."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):
        base = os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "jitemu")


def is_private(path: str) -> bool:
    """A folder that is this user's, and that nobody else can write."""
    try:
        status = os.stat(path)
    except OSError:
        return False
    return status.st_uid == os.geteuid() and not status.st_mode & _OTHERS_WRITE


def trusted() -> bool:
    """The cache folder, where it exists, is the user's alone to write."""
    return is_private(folder()) or not os.path.lexists(folder())


def make_private(path: str) -> bool:
    """Make a folder below the cache folder; False if it, or one on the way, cannot be used."""
    try:
        os.makedirs(os.path.dirname(folder()), exist_ok=True)
        at = folder()
        for name in ("", *os.path.relpath(path, at).split(os.sep)):
            at = os.path.join(at, name)
            if not os.path.isdir(at):
                os.makedirs(at, 0o700, exist_ok=True)
            if not is_private(at):
                return False
    except OSError:
        return False
    return True


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


def load(path: str) -> Any:
    """What was saved there, or None if there is nothing whole."""
    if not (is_private(os.path.dirname(path)) and trusted()):
        return None
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError:
        return None
    start = len(_MAGIC) + 32
    if not data.startswith(_MAGIC) or len(data) < start:
        return None
    payload = memoryview(data)[start:]
    if digest_of(payload, 32) != data[len(_MAGIC) : start]:
        return None
    return marshal.loads(payload)


def save(path: str, value: Any) -> bool:
    """Save a value of plain Python types; whether it could be written."""
    payload = marshal.dumps(value)
    return write_file(path, [_MAGIC, digest_of(payload, 32), payload])


def write_file(path: str, pieces: list[bytes]) -> bool:
    """Write a file below the cache folder whole or not at all; whether it is there."""
    temporary = f"{path}.{os.getpid()}{TEMPORARY}"
    if not make_private(os.path.dirname(path)):
        return False
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            file.writelines(pieces)
        os.replace(temporary, path)
    except OSError:
        from contextlib import suppress

        with suppress(OSError):
            os.unlink(temporary)
        return False
    return True

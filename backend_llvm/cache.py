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

_MAGIC = b"jitemu-cache-1\n"


def digest_of(data: bytes | memoryview, size: int) -> bytes:
    """A hash of so many bytes."""
    return blake2b(data, digest_size=size).digest()


def folder() -> str:
    """The user's cache folder of jitemu."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "jitemu")


def fingerprint() -> str:
    """Changes with the program's own files, the Python, and the host processor."""
    here = os.path.dirname(os.path.realpath(__file__))
    top = os.path.dirname(here)
    digest = blake2b(digest_size=16)
    folders = [here, os.path.join(top, "frontends", "riscv"), *_engine_folders()]
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


def load(path: str) -> Any:
    """What was saved there, or None if there is nothing whole."""
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


def save(path: str, value: Any) -> None:
    """Save a value of plain Python types; a failure to write is no error."""
    payload = marshal.dumps(value)
    data = _MAGIC + digest_of(payload, 32) + payload
    temporary = f"{path}.{os.getpid()}"
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except OSError:
        from contextlib import suppress

        with suppress(OSError):
            os.unlink(temporary)

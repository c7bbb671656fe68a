"""Files kept between runs: written whole or not at all, checked when loaded."""

from __future__ import annotations

import hashlib
import marshal
import os
from pathlib import Path
from typing import Any

_MAGIC = b"jitemu-cache-1\n"


def folder() -> Path:
    """The user's cache folder of jitemu."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "jitemu"


def fingerprint() -> str:
    """Changes with the program's own files, the Python, and the host processor."""
    here = os.path.dirname(os.path.realpath(__file__))
    top = os.path.dirname(here)
    digest = hashlib.blake2b(digest_size=16)
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


def load(path: Path) -> Any:
    """What was saved there, or None if there is nothing whole."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    start = len(_MAGIC) + 32
    if not data.startswith(_MAGIC) or len(data) < start:
        return None
    if hashlib.blake2b(data[start:], digest_size=32).digest() != data[len(_MAGIC) : start]:
        return None
    return marshal.loads(data[start:])


def save(path: Path, value: Any) -> None:
    """Save a value of plain Python types; a failure to write is no error."""
    payload = marshal.dumps(value)
    data = _MAGIC + hashlib.blake2b(payload, digest_size=32).digest() + payload
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)

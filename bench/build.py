"""Builds the C programs, once for each content, in the user's cache folder."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from jitemu.messages import fail

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.model import Guest

PROGRAMS = Path(__file__).parent / "programs"
HOST_COMPILER = "gcc"
# No contraction: a multiply and an add round twice on every machine, so that checksums of
# floating-point work are the same everywhere; programs say fma() where they want it.
FLAGS = ("-O2", "-static", "-s", "-ffp-contract=off", "-Wall", "-Wextra")


def cache_folder() -> Path:
    """Where built programs, input files and initramfs overlays are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "jitemu-bench"


def keep(name: str, pieces: Iterable[bytes]) -> Path:
    """A file of the cache folder with this content; written whole or not at all."""
    path = cache_folder() / name
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f"{path.name}.{os.getpid()}")
    with scratch.open("wb") as file:
        file.writelines(pieces)
    scratch.replace(path)
    return path


def sources() -> list[str]:
    """The names of all programs."""
    return sorted(path.stem for path in PROGRAMS.glob("*.c"))


def build(name: str, guest: Guest | None) -> Path:
    """The program ``name`` for a guest or the host; UserError when that cannot be done."""
    compiler = guest.compiler if guest else HOST_COMPILER
    flags = (*FLAGS, *guest.flags) if guest else FLAGS
    if not shutil.which(compiler):
        fail(f"{compiler} is not installed; apt install {guest.package if guest else compiler}")
    source = PROGRAMS / f"{name}.c"
    text = source.read_bytes()
    headers = [p for p in sorted(PROGRAMS.glob("*.h")) if f'"{p.name}"'.encode() in text]
    content = b"\0".join([text, *(p.read_bytes() for p in headers)])
    version = subprocess.run([compiler, "--version"], capture_output=True, check=False).stdout
    key = hashlib.sha256(b"\0".join([content, version, repr(flags).encode()])).hexdigest()[:16]
    path = cache_folder() / "programs" / f"{name}-{compiler}-{key}"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f"{path.name}.{os.getpid()}")
    made = subprocess.run(
        [compiler, *flags, "-o", str(scratch), str(source), "-lm"],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        fail(f"{source}: {compiler} fails: {made.stderr.strip().splitlines()[-1:]}")
    scratch.replace(path)
    return path

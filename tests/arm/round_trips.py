"""Compressors of Debian's armhf there and back, beside qemu-arm.

``python -m tests.arm.round_trips [MiB]`` is the long form: 50 MiB unless told otherwise.
"""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from jitemu.cachedir import folder as cache_folder

COMPRESSORS = ("gzip", "bzip2", "xz")
Words = Sequence[str | Path]


def mixed_data(size: int, seed: int) -> bytes:
    """Text, numbers, noise and repetitions, each in turn."""
    rng = random.Random(seed)
    vocabulary = [rng.randbytes(rng.randrange(2, 6)).hex() for _ in range(4000)]
    data = bytearray()
    while len(data) < size:
        kind = rng.randrange(4)
        if kind == 0:
            data += " ".join(rng.choices(vocabulary, k=9000)).encode()
        elif kind == 1:
            data += b"".join(
                n.to_bytes(4, "little") for n in range(rng.randrange(1 << 20), 1 << 20, 99)
            )
        elif kind == 2:
            data += rng.randbytes(30000)
        else:
            at = rng.randrange(max(1, len(data)))
            data += data[at : at + 100000]
    return bytes(data[:size])


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _filter(words: Words, source: Path, target: Path) -> tuple[int, str]:
    """(status, digest of the output) of a program between two files."""
    with source.open("rb") as standard, target.open("wb") as output:
        done = subprocess.run(words, stdin=standard, stdout=output, check=False)
    return done.returncode, _digest(target)


def round_trip(name: str, ours: Words, theirs: Words, root: Path, data: Path) -> list[str]:
    """What differs of a compressor's runs by two emulators, and from the data."""
    program = ("-L", root, root / "usr/bin" / name)
    packed, again = data.with_suffix(f".{name}"), data.with_suffix(f".{name}.again")
    found: list[str] = []
    for options, source, target in ((("-c",), data, packed), (("-d", "-c"), packed, again)):
        results = [_filter((*who, *program, *options), source, target) for who in (theirs, ours)]
        if results[0] != results[1] or results[1][0]:
            found.append(f"{name} {' '.join(options)}: {results[1]}, not {results[0]}")
    if _digest(again) != _digest(data):
        found.append(f"{name}: not what was compressed")
    return found


def main() -> int:
    """All of them."""
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    root = Path(cache_folder()) / "guests/armhf-root/root"
    found: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        data.write_bytes(mixed_data(size << 20, 1))
        for name in COMPRESSORS:
            ours = (sys.executable, "-m", "jitemu", "user-arm")
            differ = round_trip(name, ours, ("qemu-arm",), root, data)
            print(*differ, f"{name}, {size} MiB: {len(differ)} differ", sep="\n", flush=True)
            found += differ
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())

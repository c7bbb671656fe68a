"""Runs an emulator with a new disk of its own.

    python -m bench.new_disk FORMAT MIB EMULATOR WORD...

The disk is empty, so what the guest writes has to be given a place in the file; it is removed
at the end, and the exit status is the emulator's.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence

from bench.build import cache_folder


def drive(file: str, kind: str) -> list[str]:
    """The words that put an image into the machine as its first disk."""
    return [
        *("-drive", f"file={file},format={kind},if=none,id=d"),
        *("-device", "virtio-blk-device,drive=d"),
    ]


def main(words: Sequence[str]) -> int:
    """Make the disk, run the emulator."""
    kind, mib, *emulator = words
    with tempfile.TemporaryDirectory(dir=cache_folder()) as folder:
        file = f"{folder}/disk"
        create = ("-m", "jitemu", "img", "create", "-q", "-f", kind, file, f"{mib}M")
        subprocess.run([sys.executable, *create], check=True)
        return subprocess.run([*emulator, *drive(file, kind)], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

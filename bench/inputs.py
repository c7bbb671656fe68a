"""What command templates name: built programs, guests, input files."""

from __future__ import annotations

import os
import string
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bench import build
from jitemu.get.cpio import Cpio
from jitemu.messages import fail, note

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bench.model import Contestant, Guest, Row

# Inside a guest's initramfs overlay.
PROGRAM_IN_GUEST = "bench/program"
DISK_KIB = 1 << 20  # of the disk that rows read and write


class Inputs:
    """Fills in templates.  What a template does not name is neither built nor fetched."""

    def __init__(
        self, jitemu: Sequence[str], guest: Guest, root: str = "", linux: str = ""
    ) -> None:
        """``root``: the guest's sysroot; ``linux``: a folder with Image and initramfs."""
        self.jitemu = tuple(jitemu)
        self.guest = guest
        self._given = {guest.root: root, "riscv64-linux": linux}
        self._found: dict[str, Path] = {}

    def command(
        self, row: Row, template: Sequence[str], contestant: Contestant, size: int
    ) -> list[str]:
        """The words to run; UserError when something that they need is not there."""
        several = {
            "{user}": self._emulator(contestant.user),
            "{system}": self._emulator(contestant.system),
        }
        words: list[str] = []
        for word in template:
            words += several[word] if word in several else [self._fill(word, row, size)]
        return words

    def _emulator(self, words: Sequence[str]) -> list[str]:
        return [w for word in words for w in (self.jitemu if word == "{jitemu}" else [word])]

    def _fill(self, word: str, row: Row, size: int) -> str:
        makers: dict[str, Callable[[], object]] = {
            "n": lambda: size,
            "python": lambda: sys.executable,
            "program": lambda: build.build(row.source, self.guest),
            "native": lambda: build.build(row.source, None),
            "root": lambda: self.folder(self.guest.root),
            "scripts": lambda: Path(__file__).parent / "scripts",
            "image": lambda: self.folder("riscv64-linux") / "Image",
            "initrd": self._initramfs,
            "modules": lambda: self.folder("riscv64-linux") / "initramfs.cpio.gz",
            "overlay": lambda: self._overlay(row, "initramfs-small.cpio.gz"),
            "modules_overlay": lambda: self._overlay(row, "initramfs.cpio.gz"),
            "disk": lambda: data_file(DISK_KIB),
            "disk_qcow2": lambda: self._qcow2(data_file(DISK_KIB)),
            "data": lambda: data_file(size),
        }
        names = {name for _, name, _, _ in string.Formatter().parse(word) if name}
        return word.format_map({name: makers[name]() for name in names})

    def folder(self, guest: str) -> Path:
        """The folder of a fetched guest (of programs: the sysroot itself)."""
        if guest not in self._found:
            given = self._given[guest]
            path = Path(given).resolve() if given else self._fetch(guest)
            probe = path / ("usr/bin" if guest == self.guest.root else "Image")
            if not probe.exists():
                fail(f"{path}: no {probe.name} in it; it should hold {guest}")
            self._found[guest] = path
        return self._found[guest]

    def _fetch(self, guest: str) -> Path:
        note(f"fetching {guest} (jitemu get {guest})")
        command = [*self.jitemu, "get", guest]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        lines = done.stdout.split("\n")
        path = next((line.strip() for line in reversed(lines) if line.strip()), "")
        if done.returncode or not path:
            fail(f"{guest} cannot be fetched; name its folder with --root or --linux")
        folder = Path(path)
        return folder / "root" if (folder / "root/usr/bin").exists() else folder

    def _qcow2(self, raw: Path) -> Path:
        """A qcow2 image with a file's contents."""
        path = raw.with_suffix(".qcow2")
        if not path.exists():
            scratch = path.with_name(f"{path.name}.{os.getpid()}")
            words = ("img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(scratch))
            subprocess.run([*self.jitemu, *words], check=True)
            scratch.replace(path)
        return path

    def _initramfs(self) -> Path:
        return self.folder("riscv64-linux") / "initramfs-small.cpio.gz"

    def _overlay(self, row: Row, initramfs: str) -> Path:
        """The guest's initramfs with a second archive behind it that holds the program."""
        program = build.build(row.source, self.guest)
        first = (self.folder("riscv64-linux") / initramfs).read_bytes()
        archive = Cpio()
        archive.file(PROGRAM_IN_GUEST, program.read_bytes(), 0o755)
        padding = bytes(-len(first) % 4)  # the kernel looks for the next archive at 4-byte steps
        return build.keep(
            f"overlays/{program.name}-{initramfs}.cpio", [first, padding, archive.finish()]
        )


def data_file(kib: int) -> Path:
    """A file of that many KiB of text-like data, always the same, that compresses a little."""
    name = f"data/text-{kib}k"
    path = build.cache_folder() / name
    if path.exists():
        return path
    return build.keep(name, _text(kib << 10))


def _text(length: int) -> Iterator[bytes]:
    state, words = 1, bytearray()
    while len(words) < 1 << 18:
        state = state * 6364136223846793005 + 1442695040888963407 & (1 << 64) - 1
        words += b"%x " % (state >> 44 & 0xFFF if state >> 63 else state >> 36)
    for number in range(length):
        piece = b"%d\n" % number + words
        yield piece[:length]
        length -= len(piece)
        if length <= 0:
            return

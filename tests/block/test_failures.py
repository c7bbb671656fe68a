"""The host refuses writes: errors reach the caller, and the image stays sound."""

from __future__ import annotations

import errno
import random
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from jitemu.devices.block.hostfile import HostFile
from jitemu.devices.block.opening import open_node
from tests.block.both import qemu_img
from tests.block.crash import CLEAN, LEAKS, SECTOR, allowed, history, perform, random_image

pytestmark = pytest.mark.skipif(not shutil.which("qemu-img"), reason="qemu-img is not installed")


class FullDisk(HostFile):
    """A file on a disk that is sometimes full."""

    def __init__(self, path: str, chance: random.Random) -> None:
        super().__init__(path, read_only=False)
        self._chance = chance
        self.odds = 0.0

    def writev(self, offset: int, buffers: Sequence[memoryview]) -> None:
        if self._chance.random() < self.odds:
            raise OSError(errno.ENOSPC, "No space left on device")
        super().writev(offset, buffers)


@pytest.mark.parametrize("seed", range(12))
def test_a_full_disk_loses_nothing_that_was_flushed(seed: int, tmp_path: Path) -> None:
    path = tmp_path / "image.qcow2"
    options = random_image(seed, path)
    operations = history(seed, options.size // SECTOR, 120)
    file = FullDisk(str(path), random.Random(seed))
    image = open_node({"driver": "qcow2", "file": file, "discard": "unmap"})
    failed: set[int] = set()
    for number, operation in enumerate(operations):
        file.odds = 0.2 if number % 20 > 10 else 0.0
        try:
            perform(image, number, operation)
        except OSError as error:
            assert error.errno == errno.ENOSPC
            failed.add(number)
    assert failed
    file.odds = 0.0
    image.flush()
    content = image.read(0, image.size)
    image.close()
    check = qemu_img(tmp_path, "check", str(path))
    assert check.status in (CLEAN, LEAKS), check
    raw = tmp_path / "image.raw"
    assert qemu_img(tmp_path, "convert", "-O", "raw", str(path), str(raw)).status == 0
    assert raw.read_bytes() == content
    end = len(operations)
    sectors = options.size // SECTOR
    for sector, stamps in enumerate(allowed(operations, end, end, sectors, frozenset(failed))):
        stamp = int.from_bytes(content[sector * SECTOR : sector * SECTOR + 4], "little")
        assert stamp in stamps, f"sector {sector} has {stamp}, not one of {sorted(stamps)}"

"""The host refuses writes: errors reach the caller, and the image stays sound."""

from __future__ import annotations

import errno
import os
import random
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from jitemu.devices.block.hostfile import HostFile
from jitemu.devices.block.opening import open_node
from jitemu.devices.block.qcow2.create import CreateOptions, create
from jitemu.devices.block.qcow2.image import Qcow2Image
from tests.block.both import jitemu_img, qemu_img
from tests.block.crash import CLEAN, LEAKS, SECTOR, allowed, history, perform, random_image

pytestmark = pytest.mark.skipif(not shutil.which("qemu-img"), reason="qemu-img is not installed")


def test_clusters_that_lost_their_refcount_block_are_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "a.qcow2"
    create(str(path), CreateOptions(size=4 << 20, cluster_size=512, refcount_bits=64))
    node = {"driver": "qcow2", "file": {"filename": str(path)}}
    with open_node(node) as image:
        assert isinstance(image, Qcow2Image)
        image.write(0, b"first" * 20_000)
        image.flush()
        table = image.header.reftable_offset
        last = max(index for index, entry in enumerate(image.refcounts.table) if entry)
    with path.open("r+b") as file:
        file.seek(table + 8 * last)
        file.write(bytes(8))
    with open_node(node) as image:
        image.write(1 << 20, b"second" * 100_000)
    for _ in range(2):
        with open_node(node, read_only=True) as image:
            assert image.read(0, 100_000) == b"first" * 20_000
            assert image.read(1 << 20, 600_000) == b"second" * 100_000
        assert jitemu_img(tmp_path, "check", "-r", "all", str(path)).status == CLEAN
    assert qemu_img(tmp_path, "check", str(path)).status == CLEAN


@pytest.mark.parametrize("end", [200 << 10, 9 << 20])
def test_a_file_far_longer_than_its_refcount_blocks_is_used_on(end: int, tmp_path: Path) -> None:
    """A writer that was killed leaves this: data is written before the tables that count it."""
    path = tmp_path / "a.qcow2"
    create(str(path), CreateOptions(size=4 << 20, cluster_size=512, refcount_bits=64))
    os.truncate(path, end)
    node = {"driver": "qcow2", "file": {"filename": str(path)}}
    with open_node(node) as image:
        image.write(0, b"first" * 100_000)
    with open_node(node, read_only=True) as image:
        assert image.read(0, 500_000) == b"first" * 100_000
    assert qemu_img(tmp_path, "check", str(path)).status in (CLEAN, LEAKS)


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

"""Images whose writer was killed, or whose host lost power: flushed data and sound tables.

Each sector that an operation writes has the operation's number in it.  After a crash a sector
must have what the last flushed operation left, or what one since then wrote.
"""

from __future__ import annotations

import mmap
import os
import random
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jitemu.devices.block.buffers import joined
from jitemu.devices.block.hostfile import HostFile
from jitemu.devices.block.image import BlockImage
from jitemu.devices.block.opening import open_image, open_node
from jitemu.devices.block.qcow2.create import CreateOptions, create

SECTOR = 512
UNMAP = {"discard": "unmap"}
CLEAN, LEAKS = 0, 3
"""Exit statuses of qemu-img check that are allowed."""


@dataclass(frozen=True)
class Operation:
    """One of a history; sectors."""

    kind: str
    start: int
    count: int


def history(seed: int, sectors: int, length: int) -> list[Operation]:
    """A random history: writes, zeros, discards and flushes."""
    chance = random.Random(seed)
    found: list[Operation] = []
    for _ in range(length):
        kind = chance.choices(("write", "zero", "discard", "flush"), (10, 2, 2, 3))[0]
        start = chance.randrange(sectors)
        count = min(sectors - start, chance.choice((1, 2, 8, 40, 300)))
        found.append(Operation(kind, start, count))
    return found


def random_image(seed: int, path: Path) -> CreateOptions:
    """An empty image; small clusters, so that tables change often."""
    chance = random.Random(seed)
    cluster = 1 << chance.choice((9, 9, 10, 12, 14, 16))
    options = CreateOptions(size=chance.randint(200, 6000) * SECTOR, cluster_size=cluster)
    options.version = chance.choice((2, 3, 3))
    if options.version == 3:
        options.refcount_bits = 1 << chance.randint(0, 6)
        options.extended_l2 = cluster >= 16384 and chance.random() < 0.5
    create(str(path), options)
    return options


def perform(image: BlockImage, number: int, operation: Operation) -> None:
    """Do one operation of a history."""
    start, length = operation.start * SECTOR, operation.count * SECTOR
    match operation.kind:
        case "write":
            stamp = struct.pack("<I", number + 1) * (SECTOR // 4)
            image.write(start, stamp * operation.count)
        case "zero":
            image.write_zeroes(start, length, bool(number & 1))
        case "discard":
            image.discard(start, length)
        case _:
            image.flush()


def allowed(
    operations: Sequence[Operation],
    flushed: int,
    begun: int,
    sectors: int,
    unsure: frozenset[int] = frozenset(),
) -> list[set[int]]:
    """The stamps that each sector may have: the first ``flushed`` operations are durable (but
    for those in ``unsure``), the ones up to ``begun`` may be."""
    found: list[set[int]] = [{0} for _ in range(sectors)]
    for number, operation in enumerate(operations[:begun]):
        if operation.kind == "flush":
            continue
        for sector in range(operation.start, operation.start + operation.count):
            stamps = {number + 1} if operation.kind == "write" else {0}
            # a discard may leave what was there, and so may all that is not flushed
            if number >= flushed or number in unsure or operation.kind == "discard":
                stamps |= found[sector]
            found[sector] = stamps
    return found


def verify(
    path: Path, operations: Sequence[Operation], flushed: int, begun: int, size: int
) -> None:
    """QEMU finds leaks at most, and every sector has an allowed stamp."""
    check = subprocess.run(["qemu-img", "check", str(path)], capture_output=True, text=True)
    assert check.returncode in (CLEAN, LEAKS), (check.returncode, check.stdout, check.stderr)
    raw = path.with_suffix(".raw")
    subprocess.run(
        ["qemu-img", "convert", "-f", "qcow2", "-O", "raw", str(path), str(raw)], check=True
    )
    data = raw.read_bytes()
    for sector, stamps in enumerate(allowed(operations, flushed, begun, size // SECTOR)):
        content = data[sector * SECTOR : (sector + 1) * SECTOR]
        stamp = struct.unpack_from("<I", content)[0]
        assert content == content[:4] * (SECTOR // 4), f"sector {sector} is torn"
        assert stamp in stamps, f"sector {sector} has {stamp}, not one of {sorted(stamps)}"


def kill_writer(seed: int, folder: Path) -> None:
    """Kill a process that writes, at a random moment, and look at its image."""
    path = folder / "killed.qcow2"
    options = random_image(seed, path)
    operations = history(seed, options.size // SECTOR, 4000)
    counters = mmap.mmap(-1, 12)
    child = os.fork()
    if child == 0:
        _write_until_killed(path, operations, counters)
    while counters[8] == 0:
        time.sleep(0.001)
    time.sleep(random.Random(seed).uniform(0, 0.08))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    flushed, begun = struct.unpack_from("<II", counters)
    verify(path, operations, flushed, begun, options.size)
    with open_image(str(path), "qcow2") as image:  # and goes on working
        image.write(0, b"x" * SECTOR)
    done = subprocess.run(["qemu-img", "check", "-q", str(path)], capture_output=True)
    assert done.returncode in (CLEAN, LEAKS), done


def _write_until_killed(path: Path, operations: Sequence[Operation], counters: mmap.mmap) -> None:
    """The child: how many operations are flushed, and begun, is in ``counters`` (and that it
    has begun at all).  Never returns."""
    try:
        image = open_image(str(path), "qcow2", options=UNMAP)
        counters[8] = 1
        for number, operation in enumerate(operations):
            struct.pack_into("<I", counters, 4, number + 1)
            perform(image, number, operation)
            if operation.kind == "flush":
                struct.pack_into("<I", counters, 0, number + 1)
        time.sleep(60)
    finally:
        counters[8] = 1
        os._exit(1)


class Recorder(HostFile):
    """A host file that remembers its writes, and where flushes stood between them."""

    def __init__(self, path: str) -> None:
        super().__init__(path, read_only=False)
        self.writes: list[tuple[int, bytes]] = []
        self.barriers: list[int] = []
        """The number of writes before each flush."""

    def writev(self, offset: int, buffers: Sequence[memoryview]) -> None:
        super().writev(offset, buffers)
        self.writes.append((offset, joined(buffers)))

    def write_zeroes(self, offset: int, length: int, unmap: bool = False) -> None:
        super().write_zeroes(offset, length, unmap)
        self.writes.append((offset, bytes(length)))

    def discard(self, offset: int, length: int) -> None:
        super().discard(offset, length)
        self.writes.append((offset, bytes(length)))

    def flush(self) -> None:
        self.barriers.append(len(self.writes))


def lose_power(seed: int, folder: Path) -> None:
    """Let the host lose some of the writes since the last flush of the file, whole or sector
    by sector, and look at the image."""
    chance = random.Random(seed)
    path, before, after = (folder / name for name in ("live", "before", "after.qcow2"))
    options = random_image(seed, path)
    shutil.copyfile(path, before)
    operations = history(seed, options.size // SECTOR, 60)
    file = Recorder(str(path))
    image = open_node({"driver": "qcow2", "file": file, **UNMAP})
    marks: list[tuple[int, int]] = []
    for number, operation in enumerate(operations):
        perform(image, number, operation)
        if operation.kind == "flush":
            marks.append((number + 1, len(file.barriers)))
    image.close()
    for _ in range(4):
        cut = chance.randint(0, len(file.barriers))
        durable = file.barriers[cut - 1] if cut else 0
        end = file.barriers[cut] if cut < len(file.barriers) else len(file.writes)
        shutil.copyfile(before, after)
        with after.open("r+b") as target:
            for number, (offset, data) in enumerate(file.writes[:end]):
                _replay(target.fileno(), offset, data, number < durable, chance)
        flushed = max((number for number, barriers in marks if barriers <= cut), default=0)
        verify(after, operations, flushed, len(operations), options.size)


def _replay(fd: int, offset: int, data: bytes, durable: bool, chance: random.Random) -> None:
    if durable or chance.random() < 0.4:
        os.pwrite(fd, data, offset)
    elif chance.random() < 0.5:
        for at in range(0, len(data), SECTOR):
            stop = at + SECTOR - offset % SECTOR
            if chance.random() < 0.5:
                os.pwrite(fd, data[at:stop], offset + at)

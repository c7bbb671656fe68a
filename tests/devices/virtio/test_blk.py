"""The block device against a plain model of a disk."""

from __future__ import annotations

import errno
import random
import struct
from collections.abc import Sequence

import pytest

from jitemu.devices.block.drive import Drive
from jitemu.devices.block.image import BlockImage, check_range
from jitemu.devices.virtio import blk
from jitemu.devices.virtio.blk import VirtioBlk
from tests.devices.virtio.driver import NEEDS_RESET, Buffer, MockDriver, MockHost

SECTORS = 2048
IN, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES = 0, 1, 4, 8, 11, 13


class MemoryImage(BlockImage):
    """A disk in memory that remembers what it was asked."""

    name = "memory"
    size = SECTORS * 512

    def __init__(self) -> None:
        self.data = bytearray(self.size)
        self.calls: list[tuple[str, int, int]] = []
        self.error = 0

    def _note(self, name: str, offset: int, length: int) -> None:
        check_range(self, offset, length)
        if self.error:
            raise OSError(self.error, "made up")
        self.calls.append((name, offset, length))

    def readv(self, offset: int, buffers: Sequence[memoryview]) -> None:
        self._note("read", offset, sum(map(len, buffers)))
        for buffer in buffers:
            buffer[:] = self.data[offset : offset + len(buffer)]
            offset += len(buffer)

    def writev(self, offset: int, buffers: Sequence[memoryview]) -> None:
        self._note("write", offset, sum(map(len, buffers)))
        for buffer in buffers:
            self.data[offset : offset + len(buffer)] = buffer
            offset += len(buffer)

    def write_zeroes(self, offset: int, length: int, unmap: bool = False) -> None:
        self._note("unmap" if unmap else "zero", offset, length)
        self.data[offset : offset + length] = bytes(length)

    def discard(self, offset: int, length: int) -> None:
        self._note("discard", offset, length)

    def flush(self) -> None:
        self._note("flush", 0, 0)

    def resize(self, size: int) -> None:
        self.data = self.data[:size].ljust(size, b"\0")
        self.size = size

    def close(self) -> None:
        self.calls.append(("close", 0, 0))


class Rig:
    def __init__(self, writeback: bool = True, read_only: bool = False, **texts: str) -> None:
        self.image = MemoryImage()
        self.image.read_only = read_only
        self.host = MockHost(8 << 20, disk=Drive("disk", self.image, writeback))
        properties = {key.replace("__", "-"): text for key, text in texts.items()}
        self.device = VirtioBlk(self.host, {"drive": "disk", **properties})
        self.driver = MockDriver(self.device, self.host)
        self.driver.start()

    def request(
        self, kind: int, sector: int, data: bytes = b"", room: int = 0, pieces: int = 1 << 30
    ) -> tuple[int, bytes]:
        """Status and data of one request."""
        header = struct.pack("<IIQ", kind, 0, sector)
        driver, ring = self.driver, self.driver.queues[0]
        heap = driver.heap
        source = driver.allocate(16 + len(data), header + data)
        target = driver.allocate(room + 1, b"\xaa" * (room + 1))

        def cut(start: int, size: int, writable: bool) -> list[Buffer]:
            steps = range(0, size, pieces)
            return [Buffer(start + at, min(pieces, size - at), writable) for at in steps]

        buffers = cut(source, 16 + len(data), False) + cut(target, room + 1, True)
        if len(buffers) > ring.size // 2:
            ring.offer(ring.indirect(driver.allocate(16 * len(buffers)), buffers))
        else:
            ring.offer(ring.chain(buffers))
        driver.notify()
        assert len(ring.completed()) == 1, driver.errors
        driver.heap = heap
        answer = driver.space.dma_read(target, room + 1)
        return answer[-1], answer[:-1]


def test_configuration() -> None:
    rig = Rig(
        num__queues="3",
        logical_block_size="4096",
        min_io_size="4096",
        opt_io_size="65536",
        cyls="5",
        heads="6",
        secs="7",
    )
    config = b"".join(rig.driver.get(0x100 + i, 1).to_bytes(1, "little") for i in range(60))
    fields = struct.unpack("<QIIHBBIBBHIBBHIIIIIB3x", config)
    assert fields[0] == SECTORS
    assert fields[2:7] == (254, 5, 6, 7, 4096)
    assert fields[7:14] == (0, 0, 1, 16, 1, 0, 3)
    assert fields[14:17] == (0x3FFFFF, 1, 8)
    assert len(rig.driver.queues) == 3
    assert rig.driver.get(0x100, 2) == SECTORS & 0xFFFF
    assert rig.driver.offered() & blk.MQ
    assert not Rig().driver.offered() & (blk.MQ | blk.RO)
    assert Rig(read_only=True).driver.offered() & blk.RO


@pytest.mark.parametrize("pieces", [1, 7, 16, 512, 4096, 1 << 30])
def test_reads_and_writes_are_a_models(pieces: int) -> None:
    rig = Rig()
    source = random.Random(pieces)
    model = bytearray(SECTORS * 512)
    most = min(16, pieces * 500 // 512 or 1)
    for _ in range(60):
        sector, count = source.randrange(SECTORS - most), source.randrange(1, most + 1)
        count = min(count, most)
        start, end = sector * 512, (sector + count) * 512
        if source.random() < 0.5 and (end - start) // pieces < 900:
            data = source.randbytes(end - start)
            model[start:end] = data
            assert rig.request(OUT, sector, data, pieces=pieces) == (0, b"")
        elif (end - start) // pieces < 900:
            assert rig.request(IN, sector, room=end - start, pieces=pieces) == (
                0,
                model[start:end],
            )
    assert rig.image.data == model


def test_requests_beyond_the_disk_or_of_parts_of_sectors() -> None:
    rig = Rig()
    before = bytes(rig.image.data)
    for sector in (SECTORS - 1, SECTORS, 1 << 55, (1 << 64) - 1):
        assert rig.request(OUT, sector, b"x" * 1024)[0] == 1
        assert rig.request(IN, sector, room=1024)[0] == 1
        assert rig.request(WRITE_ZEROES, 0, struct.pack("<QII", sector, 2, 0))[0] == 1
        assert rig.request(DISCARD, 0, struct.pack("<QII", sector, 2, 0))[0] == 1
    assert rig.request(OUT, 0, b"x" * 100)[0] == 1
    assert rig.request(IN, 0, room=513)[0] == 1
    assert rig.request(IN, 0) == (0, b"")
    assert Rig(logical_block_size="4096").request(IN, 0, room=512)[0] == 1
    assert (bytes(rig.image.data), rig.driver.status & NEEDS_RESET) == (before, 0)


def test_flush_identity_and_unknown_requests() -> None:
    rig = Rig(serial="a serial number that is too long")
    assert rig.request(FLUSH, 0)[0] == 0
    assert rig.image.calls == [("flush", 0, 0)]
    assert rig.request(GET_ID, 0, room=20) == (0, b"a serial number that")
    assert rig.request(GET_ID, 0, room=4) == (0, b"a se")
    for kind in (2, 3, 10, 14, 0xFFFF_FFFF):
        assert rig.request(kind, 0, room=8)[0] == 2


def test_discard_and_zeroes() -> None:
    rig = Rig()
    rig.image.data[:] = b"\xff" * len(rig.image.data)
    assert rig.request(DISCARD, 0, struct.pack("<QII", 8, 16, 0))[0] == 0
    assert rig.request(WRITE_ZEROES, 0, struct.pack("<QII", 4, 2, 0))[0] == 0
    assert rig.request(WRITE_ZEROES, 0, struct.pack("<QII", 10, 2, 1))[0] == 0
    assert rig.image.calls == [("discard", 4096, 8192), ("zero", 2048, 1024), ("unmap", 5120, 1024)]
    assert rig.image.data[2047:3073] == b"\xff" + bytes(1024) + b"\xff"
    assert rig.request(DISCARD, 0, struct.pack("<QII", 8, 16, 1))[0] == 2
    assert rig.request(WRITE_ZEROES, 0, struct.pack("<QII", 8, 16, 2))[0] == 2
    assert rig.request(DISCARD, 0, struct.pack("<QII", 8, 16, 0) * 2)[0] == 1
    assert rig.request(DISCARD, 0, bytes(15))[0] == 1
    rig = Rig(discard="off", write__zeroes="off")
    assert rig.request(DISCARD, 0, struct.pack("<QII", 8, 16, 0))[0] == 2
    assert rig.request(WRITE_ZEROES, 0, struct.pack("<QII", 8, 16, 0))[0] == 2


def test_write_through_flushes_each_write() -> None:
    rig = Rig(writeback=False)
    assert rig.driver.get(0x120, 1) == 0
    rig.request(OUT, 0, bytes(512))
    assert [call[0] for call in rig.image.calls] == ["write", "flush"]
    rig.driver.put(0x120, 1, 1)
    rig.request(OUT, 0, bytes(512))
    assert [call[0] for call in rig.image.calls] == ["write", "flush", "write"]
    rig.driver.put(0x70, 0)
    assert rig.driver.get(0x120, 1) == 0, "a reset takes the drive's own mode up again"


def test_another_size_is_a_change_of_the_configuration() -> None:
    rig = Rig()
    rig.driver.acknowledge()
    generation = rig.driver.get(0xFC)
    rig.device.drive.resize(SECTORS * 1024)
    assert rig.driver.get(0xFC) != generation
    assert (rig.driver.irq.level, rig.driver.acknowledge()) == (True, 2)
    assert rig.driver.get(0x100) == SECTORS * 2
    assert rig.request(OUT, SECTORS * 2 - 1, bytes(512))[0] == 0
    rig.device.drive.resize(512)
    assert rig.request(IN, 1, room=512)[0] == 1
    with pytest.raises(OSError, match="multiple of 512"):
        rig.device.drive.resize(513)
    rig.image.read_only = True
    with pytest.raises(OSError, match="read-only"):
        rig.device.drive.resize(1024)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EROFS])
def test_errors_of_the_image_are_errors_of_the_disk(number: int) -> None:
    rig = Rig()
    rig.image.error = number
    assert rig.request(OUT, 0, bytes(512))[0] == 1
    assert rig.request(IN, 0, room=512)[0] == 1
    assert rig.request(FLUSH, 0)[0] == 1
    assert rig.driver.status & NEEDS_RESET == 0


@pytest.mark.parametrize("layout", ["no status", "no header", "short header"])
def test_requests_without_header_or_status(layout: str) -> None:
    rig = Rig()
    at = rig.driver.allocate(64)
    ring = rig.driver.queues[0]
    buffers = {
        "no status": [Buffer(at, 16)],
        "no header": [Buffer(at, 16, True)],
        "short header": [Buffer(at, 15), Buffer(at + 32, 1, True)],
    }
    ring.offer(ring.chain(buffers[layout]))
    rig.driver.notify()
    assert rig.driver.status & NEEDS_RESET


@pytest.mark.parametrize(
    "texts",
    [
        {"num-queues": "0"},
        {"queue-size": "100"},
        {"queue-size": "2"},
        {"logical_block_size": "1000"},
        {"physical_block_size": "4194304"},
        {"discard": "maybe"},
        {"drive": "other"},
        {"nothing": "1"},
    ],
)
def test_properties_that_cannot_be(texts: dict[str, str]) -> None:
    host = MockHost(disk=Drive("disk", MemoryImage()))
    with pytest.raises(ValueError, match=next(iter(texts))):
        VirtioBlk(host, {"drive": "disk"} | texts).realize()


def test_a_drive_is_needed() -> None:
    with pytest.raises(ValueError, match="drive property not set"):
        VirtioBlk(MockHost(), {})

"""One attack: a device with random rings, descriptors, requests and register accesses."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from pathlib import Path

from jitemu.devices.block.drive import Drive
from jitemu.devices.catalog import find
from jitemu.devices.p9.folder import Folder
from jitemu.devices.p9.server import Server
from jitemu.devices.virtio.device import VirtioDevice
from jitemu.memory.physical import BusError
from tests.devices.virtio.driver import (
    NEEDS_RESET,
    NEXT,
    RAM,
    WRITE,
    Buffer,
    DriverQueue,
    MockDriver,
    MockHost,
    MockStream,
)
from tests.devices.virtio.test_blk import MemoryImage
from tests.devices.virtio.test_net import MemoryNet

SIZE = 1 << 20
GUARD = RAM + SIZE // 2  # from here on nothing is offered to write
EDGES = (0, 1, 15, 16, 17, 511, 512, 4096, SIZE, 1 << 31, (1 << 32) - 1)
ADDRESSES = (0, RAM - 1, RAM, RAM + SIZE, 1 << 63, (1 << 64) - 1)


def _requests(model: str, source: random.Random) -> bytes:
    """The start of something that the device may read."""
    if model == "virtio-blk-device":
        kind = source.choice([0, 1, 4, 8, 11, 13, source.getrandbits(32)])
        sector = source.choice([0, 1, 2047, 2048, source.getrandbits(64)])
        ranges = struct.pack("<QII", source.choice([0, 2047, 1 << 63]), source.getrandbits(12), 0)
        return struct.pack("<IIQ", kind, 0, sector) + ranges
    if model == "virtio-serial-device":
        return struct.pack("<IHH", source.randrange(4), source.randrange(9), source.randrange(2))
    if model == "virtio-9p-device":
        kind = source.choice([*range(6, 28), *range(100, 128), source.getrandbits(8)])
        body = source.randbytes(source.randrange(60))
        size = source.choice([7 + len(body), source.getrandbits(32)])
        return struct.pack("<IBH", size, kind, 1) + body
    if model == "virtio-net-device" and source.random() < 0.5:
        return bytes((source.randrange(3), source.randrange(6))) + source.randbytes(6)
    return source.randbytes(64)


def _make(model: str, host: MockHost) -> VirtioDevice:
    texts = {
        "virtio-blk-device": {"drive": "disk"},
        "virtio-net-device": {"netdev": "net"},
        "virtio-9p-device": {"fsdev": "folder", "mount_tag": "t"},
    }.get(model, {})
    device = find(model)(host, texts)
    assert isinstance(device, VirtioDevice)
    return device


MODELS = (
    "virtio-blk-device",
    "virtio-net-device",
    "virtio-rng-device",
    "virtio-serial-device",
    "virtio-9p-device",
)


class Attack:
    """Deterministic for a model and a seed.  ``folder`` is for 9p."""

    def __init__(self, model: str, seed: int, folder: Path) -> None:
        self.source = random.Random(f"{model} {seed}")
        self.model = model
        self.net = MemoryNet(65521)
        (folder / "file").write_bytes(b"content")
        self.server = Server(Folder(str(folder), False), False)
        host = MockHost(
            SIZE,
            disk=Drive("disk", MemoryImage()),
            folder=self.server,
            virtconsole=MockStream(),
            virtserialport=MockStream(),
            net=self.net,
        )
        self.device = _make(model, host)
        self.driver = MockDriver(self.device, host, legacy=self.source.random() < 0.25)
        if model == "virtio-serial-device":
            for name in ("virtconsole", "virtserialport"):
                port = find(name)(host, {"chardev": name})
                self.device.attach(port)
                port.realize()
        guarded = SIZE - (GUARD - RAM)
        host.space.dma_write(GUARD, self.source.randbytes(guarded))
        self.guard = host.space.dma_read(GUARD, guarded)

    def run(self) -> None:
        for _ in range(self.source.randrange(1, 4)):
            self.driver.heap = RAM
            self.driver.start(event_index=self.source.random() < 0.5)
            for _ in range(self.source.randrange(1, 30)):
                self.source.choice(self.steps())()
        assert self.driver.space.dma_read(GUARD, len(self.guard)) == self.guard
        status = self.driver.status
        self.driver.heap = RAM
        self.driver.start()
        assert not self.driver.status & NEEDS_RESET, f"a reset from {status:#x} did not help"
        self.server.close()

    def steps(self) -> list[Callable[[], None]]:
        steps = [self.well_formed] * 4 + [self.descriptors, self.ring, self.register, self.scribble]
        return [*steps, self.frames] if self.model == "virtio-net-device" else steps

    def queue(self) -> tuple[int, DriverQueue]:
        index = self.source.randrange(min(len(self.driver.queues), 8))
        return index, self.driver.queues[index]

    def address(self) -> int:
        """Inside what may be written, as a rule."""
        if self.source.random() < 0.05:
            return self.source.choice(ADDRESSES)
        return self.source.randrange(GUARD - RAM - 0x2000) + RAM

    def length(self) -> int:
        if self.source.random() < 0.05:
            return self.source.choice([n for n in EDGES if n < 0x2000 or n >= SIZE])
        return self.source.choice([1, 8, 16, 512, 1024, self.source.randrange(1, 0x2000)])

    def well_formed(self) -> None:
        """A chain that is allowed, with something in it that looks like a request."""
        index, ring = self.queue()
        start = self.source.randrange(SIZE // 4, SIZE // 2 - 0x4000) + RAM
        request = _requests(self.model, self.source)
        self.driver.space.dma_write(start, request)
        buffers = [Buffer(start, len(request))] if self.source.random() < 0.9 else []
        for _ in range(self.source.randrange(4)):
            at = self.source.randrange(SIZE // 4, SIZE // 2 - 0x2000) + RAM
            size = self.source.choice([1, 512, 1024])
            writable = self.source.random() < 0.7 or bool(buffers and buffers[-1].writable)
            buffers.append(Buffer(at, size, writable))
        if buffers:
            ring.offer(ring.chain(buffers))
            self.driver.notify(index)

    def descriptors(self) -> None:
        """Descriptors at random, with edges."""
        index, ring = self.queue()
        for number in range(self.source.randrange(1, 8)):
            flags = self.source.choice([0, NEXT, WRITE, NEXT | WRITE, 4, 7, 0xFFFF])
            following = self.source.choice([number + 1, 0, ring.size, 0xFFFF])
            ring.descriptor(number, self.address(), self.length(), flags, following)
        heads = [0, 1, ring.size, 0xFFFF]
        ring.offer(*self.source.choices(heads, k=self.source.randrange(1, 3)))
        self.driver.notify(index)

    def ring(self) -> None:
        """The available ring's fields at random."""
        index, ring = self.queue()
        at = ring.available + self.source.choice([0, 2, 4 + 2 * ring.size])
        self.driver.space.write(at, 2, self.source.getrandbits(16))
        self.driver.notify(index)

    def register(self) -> None:
        """Any register, any value, any size."""
        at, size = self.source.randrange(0x180), self.source.choice([1, 2, 4, 8])
        value = self.source.choice([0, 1, 2, *EDGES, self.source.getrandbits(64)])
        if at in range(0x80, 0xA8):
            return  # rings elsewhere would be written where the guard is
        try:
            self.driver.put(at, value & ((1 << 8 * size) - 1), size)
            self.driver.get(at, size)
        except BusError:
            pass

    def frames(self) -> None:
        """From the host, and time for the event loop."""
        size = self.source.choice([14, 60, 1514, 60_000])
        self.net.give(self.source.randbytes(size))
        self.net.soon.turn()

    def scribble(self) -> None:
        """Over the rings."""
        _, ring = self.queue()
        at = self.source.randrange(ring.base, ring.end - 16)
        self.driver.space.dma_write(at, self.source.randbytes(self.source.randrange(1, 16)))
        for index in range(min(len(self.driver.queues), 6)):
            self.driver.notify(index)

"""A driver without a guest: lays virtqueues out in RAM and works the registers, as rust-vmm's
mock queues do, so that devices are tested by what a kernel would do to them."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from jitemu.devices.virtio.device import (
    RING_EVENT_IDX,
    RING_INDIRECT_DESC,
    VERSION_1,
    VirtioDevice,
)
from jitemu.devices.virtio.mmio import ModernTransport
from jitemu.devices.virtio.mmio_legacy import LegacyTransport
from jitemu.memory.physical import PhysicalSpace, Ram
from tests.devices.mocks import Control, MockTime, Wire

RAM = 0x8000_0000
PAGE = 4096
SLOT = 0x1000_8000
NEXT, WRITE, INDIRECT = 1, 2, 4
ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK, NEEDS_RESET = 1, 2, 4, 8, 64


class MockStream:
    """A char device that takes bytes by the run, ``left`` more for now."""

    def __init__(self, left: int = 1 << 30) -> None:
        self.on_input: Callable[[], None] | None = None
        self.on_writable: Callable[[], None] | None = None
        self.left = left
        self.sent = bytearray()
        self.waiting = bytearray()

    def room(self) -> int:
        return self.left

    def write(self, data: bytes) -> None:
        assert len(data) <= self.left
        self.left -= len(data)
        self.sent += data

    def read(self, count: int) -> bytes:
        data = bytes(self.waiting[:count])
        del self.waiting[:count]
        return data

    def type(self, data: bytes) -> None:
        self.waiting += data
        assert self.on_input is not None
        self.on_input()


class InlineWorker:
    """Runs jobs at once, in the thread that submits them."""

    def submit(self, job: Callable[[], None]) -> None:
        job()


class MockHost:
    """``devices.ports.Host`` around a memory of its own."""

    def __init__(self, size: int = 1 << 20, **backends: Any) -> None:
        self.memory: Any = PhysicalSpace(Ram(RAM, size))
        self.space: PhysicalSpace = self.memory
        self.time = MockTime()
        self.clock: Any = self.time
        self.scheduler: Any = self.time
        self.control: Any = Control()
        self.lock: Any = threading.RLock()
        self.backends = backends

    def worker(self, name: str) -> Any:
        return InlineWorker()

    def backend(self, kind: str, name: str) -> Any:
        if name not in self.backends:
            raise ValueError(f"can't find value '{name}'")
        return self.backends[name]


@dataclass
class Buffer:
    """One descriptor to be."""

    address: int
    length: int
    writable: bool = False
    flags: int = 0


@dataclass
class DriverQueue:
    """The driver's side of a queue of ``size`` whose rings lie from ``base`` on."""

    space: PhysicalSpace
    base: int
    size: int
    align: int = 4
    used_seen: int = 0
    next_descriptor: int = 0
    indices: list[int] = field(default_factory=lambda: [])

    @property
    def table(self) -> int:
        return self.base

    @property
    def available(self) -> int:
        return self.base + 16 * self.size

    @property
    def used(self) -> int:
        return (self.available + 6 + 2 * self.size + self.align - 1) & -self.align

    @property
    def end(self) -> int:
        return (self.used + 6 + 8 * self.size + 15) & ~15

    def descriptor(self, index: int, address: int, length: int, flags: int, following: int) -> None:
        self.space.dma_write(
            self.table + 16 * index, struct.pack("<QIHH", address, length, flags, following)
        )

    def chain(self, buffers: Sequence[Buffer]) -> int:
        """Descriptors in the table for the buffers; the head's index."""
        indices = [(self.next_descriptor + i) % self.size for i in range(len(buffers))]
        self.next_descriptor = (self.next_descriptor + len(buffers)) % self.size
        for place, buffer in enumerate(buffers):
            last = place == len(buffers) - 1
            flags = buffer.flags | WRITE * buffer.writable | (0 if last else NEXT)
            following = 0 if last else indices[place + 1]
            self.descriptor(indices[place], buffer.address, buffer.length, flags, following)
        return indices[0]

    def indirect(self, at: int, buffers: Sequence[Buffer]) -> int:
        """One descriptor that leads to a table at ``at``."""
        for place, buffer in enumerate(buffers):
            last = place == len(buffers) - 1
            flags = buffer.flags | WRITE * buffer.writable | (0 if last else NEXT)
            entry = struct.pack("<QIHH", buffer.address, buffer.length, flags, place + 1)
            self.space.dma_write(at + 16 * place, entry)
        return self.chain([Buffer(at, 16 * len(buffers), flags=INDIRECT)])

    def offer(self, *heads: int) -> None:
        """Put heads into the available ring."""
        index = self.space.read(self.available + 2, 2)
        for head in heads:
            self.space.write(self.available + 4 + 2 * (index % self.size), 2, head)
            index = (index + 1) & 0xFFFF
        self.space.write(self.available + 2, 2, index)

    def completed(self) -> list[tuple[int, int]]:
        """(head, bytes written) of the chains returned since the last call."""
        found: list[tuple[int, int]] = []
        while self.used_seen != self.space.read(self.used + 2, 2):
            at = self.used + 4 + 8 * (self.used_seen % self.size)
            found.append((self.space.read(at, 4), self.space.read(at + 4, 4)))
            self.used_seen = (self.used_seen + 1) & 0xFFFF
        return found


class MockDriver:
    """A device in a slot, and what a kernel does to it."""

    def __init__(self, device: VirtioDevice, host: MockHost, legacy: bool = False) -> None:
        self.legacy = legacy
        self.device, self.host, self.space = device, host, host.space
        device.realize()
        self.irq = Wire()
        self.errors: list[str] = []
        self.transport = (LegacyTransport if legacy else ModernTransport)(device, self.irq)
        self.transport.on_guest_error = self.errors.append
        self.space.map_mmio(SLOT, 0x1000, self.transport, "slot")
        self.transport.reset()
        self.queues: list[DriverQueue] = []
        self.heap = RAM

    def get(self, offset: int, size: int = 4) -> int:
        return self.space.mmio_read(SLOT + offset, size)

    def put(self, offset: int, value: int, size: int = 4) -> None:
        self.space.mmio_write(SLOT + offset, size, value)

    @property
    def status(self) -> int:
        return self.get(0x70)

    def offered(self) -> int:
        self.put(0x14, 0)
        low = self.get(0x10)
        self.put(0x14, 1)
        return self.get(0x10) << 32 | low

    def allocate(self, size: int, data: bytes = b"") -> int:
        """Room in RAM, 16-byte aligned."""
        at, self.heap = self.heap, (self.heap + size + 15) & ~15
        self.space.dma_write(at, data)
        return at

    def negotiate(self, features: int) -> bool:
        """Through FEATURES_OK; whether the device agreed."""
        if self.legacy:
            self.put(0x28, PAGE)  # before the reset, as Linux does
        self.put(0x70, 0)
        self.put(0x70, ACKNOWLEDGE)
        self.put(0x70, ACKNOWLEDGE | DRIVER)
        if self.legacy:
            self.put(0x20, features & 0xFFFF_FFFF)
            return True
        for half in (0, 1):
            self.put(0x24, half)
            self.put(0x20, features >> 32 * half & 0xFFFF_FFFF)
        self.put(0x70, ACKNOWLEDGE | DRIVER | FEATURES_OK)
        return bool(self.status & FEATURES_OK)

    def add_queue(self, index: int, size: int) -> DriverQueue:
        if self.legacy:
            return self._add_legacy_queue(index, size)
        queue = DriverQueue(self.space, self.heap, size)
        self.heap = queue.end
        self.space.dma_write(queue.base, bytes(queue.end - queue.base))
        self.put(0x30, index)
        self.put(0x38, size)
        for offset, address in ((0x80, queue.table), (0x90, queue.available), (0xA0, queue.used)):
            self.put(offset, address & 0xFFFF_FFFF)
            self.put(offset + 4, address >> 32)
        self.put(0x44, 1)
        return queue

    def _add_legacy_queue(self, index: int, size: int) -> DriverQueue:
        self.heap = (self.heap + PAGE - 1) & -PAGE
        queue = DriverQueue(self.space, self.heap, size, PAGE)
        self.heap = queue.end
        self.space.dma_write(queue.base, bytes(queue.end - queue.base))
        for offset, value in ((0x30, index), (0x38, size), (0x3C, PAGE)):
            self.put(offset, value)
        self.put(0x40, queue.base // PAGE)
        return queue

    def start(
        self, features: int | None = None, sizes: Sequence[int] = (), event_index: bool = True
    ) -> None:
        """All of the initialisation (3.1); queue sizes are the greatest unless given."""
        wanted = self.offered() if features is None else features
        wanted |= VERSION_1 | RING_INDIRECT_DESC
        wanted = wanted | RING_EVENT_IDX if event_index else wanted & ~RING_EVENT_IDX
        assert self.negotiate(wanted)
        self.queues = []
        for index, queue in enumerate(self.device.queues):
            size = sizes[index] if index < len(sizes) else queue.max_size
            self.queues.append(self.add_queue(index, size))
        agreed = 0 if self.legacy else FEATURES_OK
        self.put(0x70, ACKNOWLEDGE | DRIVER | agreed | DRIVER_OK)

    def notify(self, index: int = 0) -> None:
        self.put(0x50, index)

    def acknowledge(self) -> int:
        reasons = self.get(0x60)
        self.put(0x64, reasons)
        return reasons

    def request(
        self, readable: bytes, writable: int, queue: int = 0, pieces: int = 1 << 30
    ) -> bytes:
        """One request of readable bytes and room for an answer; what was written.  Buffers
        are cut into ``pieces`` bytes."""
        ring = self.queues[queue]
        heap = self.heap
        source, target = self.allocate(len(readable), readable), self.allocate(writable)
        buffers = [
            *(
                Buffer(source + at, min(pieces, len(readable) - at))
                for at in range(0, len(readable), pieces)
            ),
            *(
                Buffer(target + at, min(pieces, writable - at), True)
                for at in range(0, writable, pieces)
            ),
        ]
        if len(buffers) > ring.size:
            head = ring.indirect(self.allocate(16 * len(buffers)), buffers)
        else:
            head = ring.chain(buffers)
        ring.offer(head)
        self.notify(queue)
        done = ring.completed()
        assert [h for h, _ in done] == [head], (done, self.errors)
        self.heap = heap
        return self.space.dma_read(target, writable)[: done[0][1]]

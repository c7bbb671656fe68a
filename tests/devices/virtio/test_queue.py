"""Virtqueues: what a driver may lay out, and what it may not."""

from __future__ import annotations

import random
import struct

import pytest

from jitemu.devices.buffers import part
from jitemu.devices.virtio.queue import MAX_CHAIN, Queue, QueueError
from tests.devices.virtio.driver import INDIRECT, NEXT, RAM, WRITE, Buffer, DriverQueue, MockHost

DATA = RAM + 0x8000


class Rig:
    """A queue with both its ends."""

    def __init__(self, size: int = 8, event_index: bool = False, indirect: bool = True) -> None:
        self.host = MockHost()
        self.space = self.host.space
        self.driver = DriverQueue(self.space, RAM, size)
        self.queue = Queue(self.space, 0, 1024)
        self.queue.size = size
        self.queue.descriptors_at = self.driver.table
        self.queue.driver_at = self.driver.available
        self.queue.device_at = self.driver.used
        self.queue.start(indirect, event_index)

    def bad(self, head: int) -> str:
        self.driver.offer(head)
        with pytest.raises(QueueError) as error:
            self.queue.pop()
        return str(error.value)


def test_buffers_come_in_order_and_go_back() -> None:
    rig = Rig()
    rig.space.dma_write(DATA, b"hello world")
    head = rig.driver.chain([Buffer(DATA, 5), Buffer(DATA + 5, 6), Buffer(DATA + 100, 4, True)])
    assert rig.queue.pop() is None
    rig.driver.offer(head)
    chain = rig.queue.pop()
    assert chain is not None
    assert chain.read(100) == b"hello world"
    assert chain.read(3) == b"hel"
    assert (chain.read_size(), chain.write_size()) == (11, 4)
    assert chain.write(b"abcdef") == 4
    rig.queue.push(chain, 4)
    assert rig.driver.completed() == [(head, 4)]
    assert rig.space.dma_read(DATA + 100, 5) == b"abcd\0"
    assert rig.queue.pop() is None


def test_rings_wrap_beyond_65536_chains() -> None:
    rig = Rig(size=4)
    for number in range(70_000):
        head = rig.driver.chain([Buffer(DATA, 4)])
        rig.driver.offer(head)
        chain = rig.queue.pop()
        assert chain is not None
        rig.queue.push(chain, number & 0xFF)
        if number > 69_990 or number % 9999 == 0:
            assert (head, number & 0xFF) == rig.driver.completed()[-1]
        else:
            rig.driver.used_seen = (rig.driver.used_seen + 1) & 0xFFFF


def test_indirect_descriptors_alone_and_after_others() -> None:
    rig = Rig()
    rig.space.dma_write(DATA, bytes(range(100)))
    table = DATA + 0x1000
    head = rig.driver.indirect(table, [Buffer(DATA + 10 * i, 10) for i in range(10)])
    rig.driver.offer(head)
    chain = rig.queue.pop()
    assert chain is not None
    assert chain.read(200) == bytes(range(100))
    rig.driver.descriptor(0, DATA, 2, NEXT, 1)
    rig.driver.descriptor(1, table, 160, INDIRECT, 0)
    rig.driver.offer(0)
    chain = rig.queue.pop()
    assert chain is not None
    assert chain.read(4) == b"\0\1\0\1"


def test_an_indirect_table_may_be_longer_than_the_queue() -> None:
    rig = Rig(size=4)
    head = rig.driver.indirect(DATA + 0x10000, [Buffer(DATA + i, 1) for i in range(MAX_CHAIN)])
    rig.driver.offer(head)
    chain = rig.queue.pop()
    assert chain is not None
    assert len(chain.readable) == MAX_CHAIN


@pytest.mark.parametrize(
    ("address", "length"),
    [
        (RAM - 1, 2),
        (RAM + (1 << 20) - 1, 2),
        (RAM + (1 << 20), 1),
        (0, 16),
        (0x1000_8000, 4),
        ((1 << 64) - 8, 16),
        ((1 << 64) - 1, 0xFFFF_FFFF),
        (RAM, 0xFFFF_FFFF),
        (DATA, 0),
    ],
)
@pytest.mark.parametrize("flags", [0, WRITE, INDIRECT])
def test_buffers_outside_ram(address: int, length: int, flags: int) -> None:
    rig = Rig()
    rig.driver.descriptor(0, address, length, flags, 0)
    assert f"{address:#x}" in rig.bad(0)


def test_the_last_byte_of_ram_is_in_it() -> None:
    rig = Rig()
    rig.driver.descriptor(0, RAM + (1 << 20) - 1, 1, WRITE, 0)
    rig.driver.offer(0)
    chain = rig.queue.pop()
    assert chain is not None
    assert chain.write(b"xy") == 1


def test_loops_and_indices() -> None:
    rig = Rig()
    rig.driver.descriptor(0, DATA, 1, NEXT, 0)
    assert "loop" in rig.bad(0)
    rig = Rig()
    rig.driver.descriptor(0, DATA, 1, NEXT, 1)
    rig.driver.descriptor(1, DATA, 1, NEXT, 0)
    assert "loop" in rig.bad(0)
    for head in (8, 9, 0xFFFF):
        assert f"{head} is outside" in Rig().bad(head)
    rig = Rig()
    rig.driver.descriptor(0, DATA, 1, NEXT, 8)
    assert "8 is outside" in rig.bad(0)


def test_indirect_tables_that_are_wrong() -> None:
    table = DATA + 0x1000
    entry = struct.pack("<QIHH", DATA, 4, 0, 0)
    cases = {
        "misplaced": [
            (16, NEXT | INDIRECT, entry),
            (17, INDIRECT, entry * 2),
            (8, INDIRECT, entry),
        ],
        "outside": [(16, INDIRECT, struct.pack("<QIHH", DATA, 4, NEXT, 1))],
        "loop": [(16, INDIRECT, struct.pack("<QIHH", DATA, 4, NEXT, 0))],
    }
    for message, layouts in cases.items():
        for length, flags, content in layouts:
            rig = Rig()
            rig.space.dma_write(table, content)
            rig.driver.descriptor(0, table, length, flags, 0)
            assert message in rig.bad(0)
    rig = Rig()
    rig.space.dma_write(table, struct.pack("<QIHH", table, 16, INDIRECT, 0))
    rig.driver.descriptor(0, table, 16, INDIRECT, 0)
    assert "misplaced" in rig.bad(0), "a table in a table"
    rig = Rig(indirect=False)
    rig.driver.descriptor(0, table, 16, INDIRECT, 0)
    assert "misplaced" in rig.bad(0), "not negotiated"


def test_order_of_buffers_and_an_impossible_index() -> None:
    rig = Rig()
    head = rig.driver.chain([Buffer(DATA, 4, True), Buffer(DATA, 4)])
    assert "to read after" in rig.bad(head)
    rig = Rig()
    rig.space.write(rig.driver.available + 2, 2, 9)
    with pytest.raises(QueueError, match="9 chains in a ring of 8"):
        rig.queue.pop()


@pytest.mark.parametrize("size", [0, 3, 1025, 2048, 0xFFFF])
def test_sizes_that_cannot_be(size: int) -> None:
    rig = Rig()
    rig.queue.size = size
    with pytest.raises(QueueError, match=f"size {size}"):
        rig.queue.start(True, True)


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("descriptors_at", RAM + 8),
        ("driver_at", RAM + 1),
        ("device_at", RAM + 2),
        ("descriptors_at", RAM + (1 << 20) - 112),
        ("driver_at", RAM - 2),
        ("device_at", (1 << 64) - 4),
    ],
)
def test_rings_that_cannot_be_there(name: str, address: int) -> None:
    rig = Rig()
    setattr(rig.queue, name, address)
    with pytest.raises(QueueError):
        rig.queue.start(True, True)


def test_interrupts_by_flag() -> None:
    rig = Rig()
    assert not rig.queue.interrupt_wanted()
    for flag in (0, 1):
        rig.space.write(rig.driver.available, 2, flag)
        rig.driver.offer(rig.driver.chain([Buffer(DATA, 4)]))
        chain = rig.queue.pop()
        assert chain is not None
        rig.queue.push(chain)
        assert rig.queue.interrupt_wanted() is not bool(flag)
        assert not rig.queue.interrupt_wanted()


def test_interrupts_by_event_index_are_those_of_the_specifications_formula() -> None:
    rig = Rig(size=16, event_index=True)
    source = random.Random(1)
    total = 0
    for _ in range(3000):
        count = source.randrange(1, 17)
        event = (total + source.randrange(-3, 20)) & 0xFFFF
        rig.space.write(rig.driver.available + 4 + 2 * 16, 2, event)
        for _ in range(count):
            rig.driver.offer(rig.driver.chain([Buffer(DATA, 4)]))
            chain = rig.queue.pop()
            assert chain is not None
            rig.queue.push(chain)
        passed = any((total + i) & 0xFFFF == event for i in range(count))
        total = (total + count) & 0xFFFF
        assert rig.queue.interrupt_wanted() is passed


@pytest.mark.parametrize("event_index", [False, True])
def test_notifications_are_asked_for_again(event_index: bool) -> None:
    rig = Rig(event_index=event_index)
    used_flags, event = rig.driver.used, rig.driver.used + 4 + 8 * 8
    rig.queue.suppress()
    assert rig.space.read(used_flags, 2) == (0 if event_index else 1)
    rig.driver.offer(rig.driver.chain([Buffer(DATA, 4)]))
    assert rig.queue.resume()
    assert rig.queue.pop()
    assert not rig.queue.resume()
    assert rig.space.read(used_flags, 2) == 0
    assert rig.space.read(event, 2) == (1 if event_index else 0)


def test_writes_are_reported_for_the_pages_somebody_watches() -> None:
    rig = Rig()
    seen: list[tuple[int, int]] = []
    flags = [0] * 256
    flags[0x9] = 1
    rig.space.on_ram_write = lambda address, size: seen.append((address, size))
    rig.space.page_flags = flags
    buffers = [
        Buffer(DATA, 4, True),
        Buffer(DATA + 0xF00, 0x200, True),
        Buffer(DATA + 0x1000, 4, True),
    ]
    rig.driver.offer(rig.driver.chain(buffers))
    seen.clear()
    chain = rig.queue.pop()
    assert chain is not None
    rig.queue.push(chain, 4)
    assert seen == []
    rig.queue.push(chain, 5)
    assert seen == [(DATA + 0xF00, 0x200)]
    seen.clear()
    rig.queue.push(chain, 0x300)
    assert seen == [(DATA + 0xF00, 0x200), (DATA + 0x1000, 4)]


def test_slices_of_runs_of_views() -> None:
    data = bytes(range(60))
    views, at, source = [], 0, random.Random(2)
    while at < 60:
        size = source.randrange(1, 9)
        views.append(memoryview(data)[at : at + size])
        at += size
    for offset in range(62):
        for size in range(62):
            assert b"".join(part(views, offset, size)) == data[offset : offset + size]

"""The mmio transport: registers, negotiation, and what it does to drivers that break rules."""

from __future__ import annotations

import struct

import pytest

from jitemu.devices.virtio.device import RING_EVENT_IDX, RING_INDIRECT_DESC, VERSION_1
from jitemu.devices.virtio.rng import VirtioRng
from jitemu.memory.physical import BusError
from tests.devices.virtio.driver import (
    DRIVER_OK,
    FEATURES_OK,
    NEEDS_RESET,
    RAM,
    Buffer,
    MockDriver,
    MockHost,
)

RING = RING_INDIRECT_DESC | RING_EVENT_IDX


def make(**texts: str) -> MockDriver:
    host = MockHost()
    return MockDriver(VirtioRng(host, texts), host)


def test_identity() -> None:
    driver = make()
    assert driver.get(0).to_bytes(4, "little") == b"virt"
    assert [driver.get(at) for at in (4, 8, 0xC)] == [2, 4, int.from_bytes(b"QEMU", "little")]
    assert [driver.get(at) for at in (0xB0, 0xB4, 0xB8, 0xBC)] == [0xFFFF_FFFF] * 4
    driver.put(0x30, 1)
    assert driver.get(0x34) == 0
    driver.put(0x14, 2)
    assert driver.get(0x10) == 0
    with pytest.raises(BusError):
        driver.get(0x70, 1)
    with pytest.raises(BusError):
        driver.get(0x100, 8)
    assert driver.get(0x100) == 0


def test_features_that_were_not_offered_or_too_few_are_refused() -> None:
    driver = make()
    assert driver.offered() == RING | VERSION_1
    assert driver.negotiate(VERSION_1)
    assert not driver.negotiate(VERSION_1 | 1)
    assert not driver.negotiate(VERSION_1 | 1 << 33)
    assert not driver.negotiate(RING)
    assert driver.negotiate(VERSION_1 | RING)
    driver.put(0x24, 1)
    driver.put(0x20, 0)
    assert driver.device.features == VERSION_1 | RING, "fixed once they are agreed"
    assert make(event_idx="off", indirect_desc="off").offered() == VERSION_1


def test_a_request_and_its_interrupt() -> None:
    driver = make()
    driver.start()
    assert len(driver.request(b"", 64)) == 64
    assert driver.irq.level
    assert driver.acknowledge() == 1
    assert not driver.irq.level


def test_nothing_happens_before_the_driver_is_ready_and_after_a_reset() -> None:
    driver = make()
    driver.negotiate(VERSION_1)
    ring = driver.add_queue(0, 8)
    ring.offer(ring.chain([Buffer(RAM + 0x8000, 16, True)]))
    driver.notify()
    assert ring.completed() == []
    driver.put(0x70, driver.status | DRIVER_OK)
    driver.notify(1)
    driver.notify(0xFFFF_FFFF)
    assert ring.completed() == []
    driver.notify()
    assert ring.completed() == [(0, 16)]
    driver.put(0x70, 0)
    assert (driver.status, driver.get(0x60), driver.get(0x44), driver.irq.level) == (0,) * 4
    ring.offer(ring.chain([Buffer(RAM + 0x8000, 16, True)]))
    driver.notify()
    assert ring.completed() == []


def test_a_queue_can_be_stopped_and_set_up_elsewhere() -> None:
    driver = make()
    driver.start(sizes=[8])
    driver.request(b"", 8)
    driver.put(0x30, 0)
    assert driver.get(0x44) == 1
    driver.put(0x80, 0x1000)
    assert driver.device.queues[0].descriptors_at == driver.queues[0].table, "in use"
    driver.put(0x44, 0)
    assert driver.get(0x44) == 0
    driver.queues = [driver.add_queue(0, 4)]
    assert len(driver.request(b"", 8)) == 8


def test_a_broken_chain_needs_a_reset() -> None:
    driver = make()
    driver.start()
    ring = driver.queues[0]
    ring.offer(ring.chain([Buffer(0, 16, True)]))
    driver.notify()
    assert driver.status & NEEDS_RESET
    assert driver.acknowledge() & 2
    assert "virtio-rng-device: queue 0: buffer 0x0+0x10" in driver.errors[0]
    driver.put(0x70, driver.status & ~NEEDS_RESET)
    assert driver.status & NEEDS_RESET, "only a reset helps"
    driver.put(0x44, 1)
    assert driver.get(0x44) == 0
    driver.notify()
    assert ring.completed() == []
    driver.start()
    assert len(driver.request(b"", 8)) == 8


def test_a_queue_that_cannot_be_set_up_needs_a_reset() -> None:
    driver = make()
    assert driver.negotiate(VERSION_1)
    driver.put(0x38, 16)
    assert driver.status & NEEDS_RESET == 0
    driver.put(0x44, 1)
    assert driver.status & NEEDS_RESET and driver.status & FEATURES_OK


def test_configuration_changes_are_told() -> None:
    driver = make()
    driver.start()
    before = driver.get(0xFC)
    driver.transport.config_changed()
    assert driver.get(0xFC) == before + 1
    assert driver.acknowledge() == 2


def test_entropy_has_a_quota() -> None:
    driver = make(**{"max-bytes": "100", "period": "10"})
    driver.start()
    assert len(driver.request(b"", 80)) == 80
    assert len(driver.request(b"", 80)) == 20
    ring = driver.queues[0]
    head = ring.chain([Buffer(RAM + 0x8000, 50, True)])
    ring.offer(head)
    driver.notify()
    assert ring.completed() == []
    driver.host.time.advance(10_000_000)
    assert ring.completed() == [(head, 50)]


def test_entropy_differs_and_big_requests_are_cut() -> None:
    driver = make()
    driver.start()
    first, second = driver.request(b"", 4096, pieces=100), driver.request(b"", 4096)
    assert len(set(struct.unpack("<1024I", first) + struct.unpack("<1024I", second))) > 2000
    assert len(driver.request(b"", 100_000)) == 65536
    ring = driver.queues[0]
    ring.offer(ring.chain([Buffer(RAM + 0x8000, 50)]))
    driver.notify()
    assert driver.status & NEEDS_RESET

"""The layout from before virtio 1.0: registers, rings in pages, headers."""

from __future__ import annotations

import random

import pytest

from jitemu.devices.block.drive import Drive
from jitemu.devices.virtio.blk import HEADER, VirtioBlk
from jitemu.devices.virtio.device import RING_EVENT_IDX, RING_INDIRECT_DESC
from jitemu.devices.virtio.mmio_legacy import ANY_LAYOUT
from jitemu.devices.virtio.net import MRG_RXBUF, VirtioNet
from jitemu.devices.virtio.rng import VirtioRng
from tests.devices.virtio.driver import DRIVER_OK, NEEDS_RESET, PAGE, MockDriver, MockHost
from tests.devices.virtio.test_blk import IN, OUT, MemoryImage
from tests.devices.virtio.test_net import MAC, MemoryNet, Rig, frame

RING = RING_INDIRECT_DESC | RING_EVENT_IDX


def make() -> MockDriver:
    host = MockHost()
    return MockDriver(VirtioRng(host, {}), host, legacy=True)


def test_identity_and_features() -> None:
    driver = make()
    assert [driver.get(at) for at in (4, 8)] == [1, 4]
    assert driver.offered() == RING | ANY_LAYOUT
    driver.put(0x24, 1)
    driver.put(0x20, 1)  # there is no upper half to be accepted
    driver.put(0x24, 0)
    driver.put(0x20, RING_EVENT_IDX | 1 << 5)
    driver.put(0x70, 3)
    assert driver.device.features == RING_EVENT_IDX


def test_queues_are_runs_of_pages() -> None:
    driver = make()
    assert driver.get(0x40) == 0
    driver.start(sizes=[8])
    assert driver.get(0x40) == driver.queues[0].base // PAGE
    assert driver.queues[0].used % PAGE == 0
    assert len(driver.request(b"", 100)) == 100
    assert driver.acknowledge() == 1
    driver.put(0x40, 0)
    assert driver.get(0x40) == 0 and not driver.device.queues[0].ready
    driver.put(0x70, 0)
    driver.start(event_index=False)
    assert len(driver.request(b"", 50)) == 50


def test_a_driver_may_ask_before_it_is_ready() -> None:
    driver = make()
    driver.start()
    driver.put(0x70, 3)
    assert not driver.status & DRIVER_OK
    assert len(driver.request(b"", 9)) == 9


@pytest.mark.parametrize("page", [0xFFFF_FFFF, 1, 0x8000_0000 // PAGE + 255])
def test_queues_that_are_not_in_memory(page: int) -> None:
    driver = make()
    driver.put(0x28, PAGE)
    driver.put(0x3C, PAGE)
    driver.put(0x40, page)
    assert driver.status & NEEDS_RESET and driver.errors
    driver.put(0x40, 0x8000_0000 // PAGE)
    assert driver.get(0x40) == 0
    driver.put(0x70, 0)
    driver.start()
    assert len(driver.request(b"", 9)) == 9


def test_odd_alignments_break_nothing() -> None:
    for seed in range(300):
        dice = random.Random(seed)
        driver = make()
        for offset in dice.sample((0x28, 0x30, 0x38, 0x3C, 0x40), 5):
            driver.put(offset, dice.choice((0, 1, 3, 8, PAGE, 0x8_0000, dice.getrandbits(32))))
        driver.put(0x50, 0)
        assert driver.status in (0, NEEDS_RESET)


def test_a_disk() -> None:
    image = MemoryImage()
    host = MockHost(8 << 20, disk=Drive("disk", image))
    driver = MockDriver(VirtioBlk(host, {"drive": "disk"}), host, legacy=True)
    driver.start()
    data = random.Random(1).randbytes(4096)
    assert driver.request(HEADER.pack(OUT, 0, 8) + data, 1) == b"\0"
    assert image.data[4096:8192] == data
    assert driver.request(HEADER.pack(IN, 0, 8), 4097) == data + b"\0"


@pytest.mark.parametrize(("features", "size"), [(MRG_RXBUF, 12), (0, 10)])
def test_headers_of_frames(features: int, size: int) -> None:
    rig = Rig.__new__(Rig)
    rig.net, rig.places = MemoryNet(), {}
    rig.host = MockHost(1 << 22, n0=rig.net)
    rig.device = VirtioNet(rig.host, {"netdev": "n0"})
    rig.driver = MockDriver(rig.device, rig.host, legacy=True)
    rig.driver.start(features)
    rig.send(frame(), bytes(size))
    assert rig.net.frames == [frame()]
    rig.post(1600)
    rig.net.give(frame(MAC, 200))
    ((head, written),) = rig.driver.queues[0].completed()
    assert rig.driver.space.dma_read(rig.places[head][0], written)[size:] == frame(MAC, 200)

"""Consoles and ports, by the mock driver."""

from __future__ import annotations

import struct

import pytest

from jitemu.devices.virtio.console import MULTIPORT, VirtioSerial
from jitemu.devices.virtio.device import VERSION_1
from jitemu.devices.virtio.serial_port import VirtConsole, VirtSerialPort
from tests.devices.virtio.driver import NEEDS_RESET, Buffer, MockDriver, MockHost, MockStream

READY, ADD, PORT_READY, CONSOLE, OPEN, NAME = 0, 1, 3, 4, 6, 7


class Rig:
    """A console on port 0 and a named port on 1."""

    def __init__(self, multiport: bool = True) -> None:
        self.console, self.port = MockStream(), MockStream()
        self.host = MockHost(console=self.console, port=self.port)
        self.device = VirtioSerial(self.host, {"max_ports": "3"})
        self.driver = MockDriver(self.device, self.host)
        for model, texts in (
            (VirtConsole, {"chardev": "console"}),
            (VirtSerialPort, {"chardev": "port", "name": "org.example"}),
        ):
            child = model(self.host, texts)
            self.device.attach(child)
            child.realize()
        self.driver.start(VERSION_1 | (MULTIPORT if multiport else 0))
        if multiport:
            self.control(0xFFFF_FFFF, READY, 1)

    def control(self, port: int, event: int, value: int) -> None:
        self.driver.request(struct.pack("<IHH", port, event, value), 0, 3)

    def messages(self, count: int) -> list[bytes]:
        """What the device has to say, taken by buffers of 64 bytes."""
        ring = self.driver.queues[2]
        at = self.driver.allocate(64 * count)
        ring.offer(*(ring.chain([Buffer(at + 64 * i, 64, True)]) for i in range(count)))
        self.driver.notify(2)
        lengths = [length for _, length in ring.completed()]
        return [self.driver.space.dma_read(at + 64 * i, n) for i, n in enumerate(lengths)]

    def give_input_buffers(self, queue: int, sizes: list[int]) -> int:
        ring = self.driver.queues[queue]
        at = self.driver.allocate(sum(sizes))
        place = at
        for size in sizes:
            ring.offer(ring.chain([Buffer(place, size, True)]))
            place += size
        self.driver.notify(queue)
        return at


def test_ports_are_announced() -> None:
    rig = Rig()
    assert rig.driver.get(0x104) == 3
    assert rig.messages(9) == [struct.pack("<IHH", 0, ADD, 1), struct.pack("<IHH", 1, ADD, 1)]
    rig.control(7, PORT_READY, 1)
    assert rig.driver.queues[2].completed() == []


def test_port_details() -> None:
    rig = Rig()
    rig.messages(2)
    rig.control(0, PORT_READY, 1)
    assert rig.messages(2) == [struct.pack("<IHH", 0, CONSOLE, 1), struct.pack("<IHH", 0, OPEN, 1)]
    rig.control(1, PORT_READY, 1)
    name = struct.pack("<IHH", 1, NAME, 1) + b"org.example\0"
    assert rig.messages(2) == [name, struct.pack("<IHH", 1, OPEN, 1)]


def test_output_waits_for_room() -> None:
    rig = Rig()
    rig.console.left = 5000
    ring = rig.driver.queues[1]
    data = bytes(range(256)) * 40
    at = rig.driver.allocate(len(data), data)
    ring.offer(ring.chain([Buffer(at, 6000), Buffer(at + 6000, 4240)]), ring.chain([Buffer(at, 3)]))
    rig.driver.notify(1)
    assert (bytes(rig.console.sent), ring.completed()) == (data[:5000], [])
    rig.console.left = 1 << 20
    assert rig.console.on_writable is not None
    rig.console.on_writable()
    assert bytes(rig.console.sent) == data + data[:3]
    assert len(ring.completed()) == 2
    assert rig.driver.irq.level


def test_a_huge_buffer_does_not_hold_up_others() -> None:
    rig = Rig()
    ring = rig.driver.queues[1]
    at = rig.driver.heap
    ring.offer(ring.chain([Buffer(at, 512 * 1024)] * 4))
    rig.driver.notify(1)
    assert len(rig.console.sent) == 64 * 4096
    rig.host.time.advance(1)
    assert len(rig.console.sent) >= 4 * 512 * 1024
    assert len(ring.completed()) == 1


def test_input_waits_for_buffers_and_for_the_port_to_be_open() -> None:
    rig = Rig()
    rig.port.type(b"early")
    at = rig.give_input_buffers(4, [3, 100])
    assert rig.driver.queues[4].completed() == []
    rig.control(1, OPEN, 1)
    assert [n for _, n in rig.driver.queues[4].completed()] == [3, 2]
    assert rig.driver.space.dma_read(at, 5) == b"early"
    rig.port.type(b"more")
    assert rig.driver.queues[4].completed() == []
    rig.give_input_buffers(4, [10])
    assert [n for _, n in rig.driver.queues[4].completed()] == [4]
    rig.control(1, OPEN, 0)
    rig.give_input_buffers(4, [10])
    rig.port.type(b"lost?")
    assert rig.driver.queues[4].completed() == []


def test_without_multiport_the_console_is_just_there() -> None:
    rig = Rig(multiport=False)
    at = rig.give_input_buffers(0, [64])
    rig.console.type(b"hello")
    assert rig.driver.space.dma_read(at, 5) == b"hello"
    rig.driver.request(b"out", 0, 1)
    assert bytes(rig.console.sent) == b"out"


def test_a_reset_closes_ports() -> None:
    rig = Rig()
    rig.control(1, OPEN, 1)
    rig.driver.start(VERSION_1 | MULTIPORT)
    rig.give_input_buffers(4, [10])
    rig.port.type(b"x")
    assert rig.driver.queues[4].completed() == []


def test_control_messages_that_are_too_short_or_too_many() -> None:
    rig = Rig()
    for _ in range(1000):
        rig.control(1, PORT_READY, 1)
    assert len(rig.messages(100)) == 100
    ring = rig.driver.queues[3]
    ring.offer(ring.chain([Buffer(rig.driver.heap, 7)]))
    rig.driver.notify(3)
    assert rig.driver.status & NEEDS_RESET


def test_ports_that_cannot_be() -> None:
    rig = Rig()
    for texts, message in (
        ({"nr": "0"}, "in use"),
        ({"nr": "1"}, "in use"),
        ({"nr": "3"}, "max_p"),
    ):
        with pytest.raises(ValueError, match=message):
            rig.device.attach(VirtSerialPort(rig.host, texts))
    rig.device.attach(VirtConsole(rig.host, {}))
    with pytest.raises(ValueError, match="max_ports"):
        rig.device.attach(VirtConsole(rig.host, {}))
    with pytest.raises(ValueError, match="max_ports must"):
        VirtioSerial(rig.host, {"max_ports": "32"}).realize()

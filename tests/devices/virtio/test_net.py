"""The network device by the mock driver, on a back end that keeps frames."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from jitemu.devices.net.checksum import complete, ones_sum
from jitemu.devices.net.netdev import Netdev
from jitemu.devices.virtio import net
from jitemu.devices.virtio.device import VERSION_1
from jitemu.devices.virtio.net import VirtioNet
from tests.devices.virtio.driver import NEEDS_RESET, Buffer, MockDriver, MockHost
from tests.net import ethernet as eth

if TYPE_CHECKING:
    from jitemu.devices.net.netdev import Frame

HEADER = 12
MAC = bytes.fromhex("525400123456")
OTHER = bytes.fromhex("525400aaaaaa")
RX, TX, CONTROL = 0, 1, 2


class SoonLoop:
    """An event loop whose turns are taken by hand."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], None]] = []

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.soon.append(callback)

    def turn(self) -> None:
        while self.soon:
            self.soon.pop(0)()


class MemoryNet(Netdev):
    """Takes ``left`` frames more for now."""

    kind = "memory"

    def __init__(self, mtu: int = 1500) -> None:
        self.soon = SoonLoop()
        loop: Any = self.soon
        super().__init__("n0", loop)
        self.mtu = mtu
        self.left = 1 << 30
        self.frames: list[bytes] = []
        self.taken = 0

    def send(self, frames: Sequence[Frame]) -> int:
        count = min(self.left, len(frames))
        self.left -= count
        self.frames += [bytes(frame) for frame in frames[:count]]
        return count

    def took(self) -> None:
        self.taken += 1

    def give(self, *frames: bytes) -> None:
        for frame in frames:
            self.arrived(frame)
        self.deliver()


class Rig:
    def __init__(self, features: int | None = None, mtu: int = 1500, **texts: str) -> None:
        self.net = MemoryNet(mtu)
        self.host = MockHost(1 << 22, n0=self.net)
        self.device = VirtioNet(self.host, {"netdev": "n0", **texts})
        self.driver = MockDriver(self.device, self.host)
        self.driver.start(None if features is None else features | VERSION_1)
        self.places: dict[int, tuple[int, int]] = {}

    def send(self, frame: bytes, header: bytes = bytes(HEADER), pieces: int = 1 << 20) -> None:
        data = header + frame
        at = self.driver.allocate(len(data), data)
        ring = self.driver.queues[TX]
        cuts = range(0, len(data), pieces)
        ring.offer(ring.chain([Buffer(at + n, min(pieces, len(data) - n)) for n in cuts]))
        self.driver.notify(TX)
        self.net.soon.turn()

    def post(self, *sizes: int) -> None:
        """Buffers for frames."""
        ring = self.driver.queues[RX]
        for size in sizes:
            at = self.driver.allocate(size)
            head = ring.chain([Buffer(at, size, True)])
            self.places[head] = (at, size)
            ring.offer(head)
        self.driver.notify(RX)
        self.net.soon.turn()

    def received(self) -> list[bytes]:
        """Headers and frames that came, those in several buffers put together."""
        frames: list[bytes] = []
        parts = 0
        for head, written in self.driver.queues[RX].completed():
            data = self.driver.space.dma_read(self.places[head][0], written)
            if parts:
                frames[-1] += data
                parts -= 1
            else:
                frames.append(data)
                parts = struct.unpack_from("<H", data, 10)[0] - 1
        assert parts == 0
        return frames

    def command(self, kind: int, number: int, content: bytes = b"") -> int:
        return self.driver.request(bytes((kind, number)) + content, 1, CONTROL)[0]


def frame(to: bytes = MAC, size: int = 60, seed: int = 0) -> bytes:
    return to + OTHER + b"\x88\xb5" + random.Random(seed).randbytes(size - 14)


def test_frames_to_the_host() -> None:
    rig = Rig()
    frames = [frame(OTHER, size, size) for size in (14, 60, 61, 1514)]
    for each in frames:
        rig.send(each)
        rig.send(each, pieces=7)
        rig.send(each, pieces=HEADER)
    assert rig.net.frames == [each for each in frames for _ in range(3)]
    assert len(rig.driver.queues[TX].completed()) == 12


def test_frames_to_the_guest() -> None:
    rig = Rig()
    frames = [frame(MAC, size, size) for size in (14, 60, 1514)]
    rig.post(*[2048] * 4)
    rig.net.give(*frames)
    got = rig.received()
    assert [each[HEADER:] for each in got] == frames
    assert all(each[:HEADER] == bytes(10) + b"\1\0" for each in got)


def test_frames_wait_for_buffers() -> None:
    rig = Rig()
    frames = [frame(MAC, 100, n) for n in range(5)]
    rig.net.give(*frames)
    assert rig.received() == []
    rig.post(2048, 2048)
    assert [each[HEADER:] for each in rig.received()] == frames[:2]
    rig.post(2048, 2048, 2048, 2048)
    assert [each[HEADER:] for each in rig.received()] == frames[2:]
    assert not rig.net.incoming


def test_a_frame_in_several_buffers_comes_whole() -> None:
    rig = Rig(mtu=65521)
    large, small = frame(MAC, 60_000, 1), frame(MAC, 60, 2)
    rig.post(*[4096] * 10)
    rig.net.give(large, small)
    assert rig.received() == []  # nothing, rather than a part
    rig.post(*[4096] * 6)
    assert [each[HEADER:] for each in rig.received()] == [large, small]
    assert not rig.net.incoming


def test_without_mergeable_buffers_what_does_not_fit_is_dropped() -> None:
    rig = Rig(features=net.MAC_GIVEN)
    large, small = frame(MAC, 3000, 1), frame(MAC, 60, 2)
    rig.post(1526, 1526)
    rig.net.give(large, small)
    assert [each[HEADER:] for each in rig.received()] == [small]


def test_a_stopped_machine_gets_no_frames() -> None:
    rig = Rig()
    rig.post(2048)
    rig.net.hold(True)
    rig.net.give(frame())
    assert rig.received() == []
    rig.net.hold(False)
    assert len(rig.received()) == 1


def test_a_back_end_without_room_holds_the_guest_up() -> None:
    rig = Rig()
    rig.net.left = 3
    frames = [frame(OTHER, 60, n) for n in range(200)]
    for each in frames:
        rig.send(each)
    assert rig.net.frames == frames[:3]
    # a batch is taken from the guest and kept here, the rest stays with the guest
    assert len(rig.driver.queues[TX].completed()) <= 3 + net.BATCH
    rig.net.left = 1 << 30
    assert rig.net.on_writable is not None
    rig.net.on_writable()
    rig.net.soon.turn()
    assert rig.net.frames == frames


def test_configuration() -> None:
    rig = Rig(mac="52:54:00:00:00:07", mtu=9000)
    config = bytes(rig.driver.get(0x100 + at, 1) for at in range(12))
    assert config == bytes.fromhex("525400000007") + struct.pack("<HHH", 1, 1, 9000)
    assert rig.device.offered() & net.MTU
    assert rig.net.peer == (
        "virtio-net-device.0: index=0,type=nic,model=virtio-net-device,macaddr=52:54:00:00:00:07"
    )
    assert not Rig().device.offered() & (net.MTU | net.HOST_TSO4)
    with pytest.raises(ValueError, match="multicast"):
        Rig(mac="01:00:5e:00:00:01")
    with pytest.raises(ValueError, match="netdev property not set"):
        VirtioNet(MockHost(), {})


@pytest.mark.parametrize("size", [1, 2, 3, 19, 20, 21, 1460, 65_000])
def test_checksums_the_guest_leaves_to_be_done(size: int) -> None:
    rig = Rig(mtu=65521)
    data = random.Random(size).randbytes(size)
    packet = eth.tcp(("10.0.2.15", 1000), ("10.0.2.2", 80), 5, 6, eth.ACK, data)
    whole = eth.ethernet(OTHER, eth.IP, packet)
    partial = ~eth.checksum(eth.pseudo("10.0.2.15", "10.0.2.2", eth.TCP, 20 + size)) & 0xFFFF
    undone = whole[:50] + struct.pack(">H", partial) + whole[52:]
    rig.send(undone, struct.pack("<BBHHHHH", net.NEEDS_CSUM, 0, 0, 0, 34, 16, 0))
    assert rig.net.frames == [whole]
    assert eth.Segment(rig.net.frames[0]).intact


def test_checksums_against_the_definition() -> None:
    rng = random.Random(3)
    samples = [b"", b"\0", b"\0\0", b"\xff\xff", b"\xff" * 7, bytes(100)]
    samples += [rng.randbytes(rng.randrange(1, 3000)) for _ in range(300)]
    for data in samples:
        assert ~ones_sum(data) & 0xFFFF == eth.checksum(data), data.hex()
    # a UDP checksum of zero is sent as all ones
    frame = bytearray(b"\xff\xff\0\0")
    complete(frame, 0, 2)
    assert frame == b"\xff\xff\xff\xff"


@pytest.mark.parametrize(
    ("header", "size"),
    [
        (struct.pack("<BBHHHHH", 1, 0, 0, 0, 34, 16, 0), 40),
        (struct.pack("<BBHHHHH", 1, 0, 0, 0, 0xFFFF, 0xFFFF, 0), 60),
        (b"short", 0),
        (bytes(HEADER), 70_000),
    ],
)
def test_bad_frames_break_the_device(header: bytes, size: int) -> None:
    rig = Rig()
    rig.send(bytes(size), header)
    assert rig.net.frames == []
    assert rig.driver.status & NEEDS_RESET
    rig.driver.start()
    rig.send(frame(OTHER))
    assert len(rig.net.frames) == 1


def test_buffers_without_room_for_a_header_break_the_device() -> None:
    rig = Rig()
    rig.post(11)
    rig.net.give(frame())
    assert rig.driver.status & NEEDS_RESET


def test_receive_modes() -> None:
    rig = Rig()
    group = bytes.fromhex("01005e000001")
    by_name = {"own": MAC, "other": OTHER, "group": group, "all": eth.BROADCAST}

    def passing() -> set[str]:
        rig.post(*[2048] * 4)
        for name, to in by_name.items():
            rig.net.give(frame(to, 60, hash(name) % 100))
        names = {to: name for name, to in by_name.items()}
        return {names[each[HEADER : HEADER + 6]] for each in rig.received()}

    everything = {"own", "other", "group", "all"}
    assert passing() == everything
    assert rig.command(0, 0, b"\0") == 0  # not promiscuous
    assert passing() == {"own", "all"}
    assert rig.command(0, 1, b"\1") == 0  # all multicast
    assert passing() == {"own", "group", "all"}
    assert rig.command(0, 3, b"\1") == 0  # no multicast
    assert passing() == {"own", "all"}
    assert rig.command(0, 5, b"\1") == 0  # no broadcast
    assert passing() == {"own"}
    assert rig.command(0, 4, b"\1") == 0  # no unicast
    assert passing() == set()
    for number in range(1, 6):
        assert rig.command(0, number, b"\0") == 0
    tables = struct.pack("<I", 1) + OTHER + struct.pack("<I", 1) + group
    assert rig.command(1, 0, tables) == 0
    assert passing() == everything
    assert rig.command(1, 0, bytes(8)) == 0
    assert passing() == {"own", "all"}
    assert rig.command(1, 1, OTHER) == 0  # another address of its own
    assert passing() == {"other", "all"}
    assert bytes(rig.driver.get(0x100 + at, 1) for at in range(6)) == OTHER
    many = struct.pack("<I", 0) + struct.pack("<I", 100) + bytes(600)
    assert rig.command(1, 0, many) == 0  # too many to tell apart
    assert passing() == {"other", "all", "group"}


def test_vlans() -> None:
    rig = Rig()
    rig.post(*[2048] * 8)

    def tagged(number: int) -> bytes:
        return MAC + OTHER + b"\x81\x00" + struct.pack(">H", 0x6000 | number) + bytes(44)

    rig.net.give(tagged(5))
    assert rig.received() == []
    assert rig.command(2, 0, b"\5\0") == 0
    rig.net.give(tagged(5), tagged(6), frame())
    assert len(rig.received()) == 2
    assert rig.command(2, 1, b"\5\0") == 0
    rig.net.give(tagged(5))
    assert rig.received() == []


@pytest.mark.parametrize(
    ("kind", "number", "content"),
    [
        (0, 0, b""),
        (0, 9, b"\1"),
        (9, 0, b"\1"),
        (1, 0, b"\1\0\0"),
        (1, 0, struct.pack("<I", 0xFFFF_FFFF) + bytes(12)),
        (1, 0, bytes(9)),
        (1, 1, bytes(5)),
        (2, 0, struct.pack("<H", 4096)),
        (2, 0, b""),
    ],
)
def test_bad_commands_are_refused(kind: int, number: int, content: bytes) -> None:
    rig = Rig()
    assert rig.command(kind, number, content) == 1
    assert not rig.driver.status & NEEDS_RESET


def test_right_checksums_are_said_to_be() -> None:
    rig = Rig()
    rig.net.checks_sums = True
    rig.post(2048)
    rig.net.give(frame())
    assert rig.received()[0][0] == net.DATA_VALID

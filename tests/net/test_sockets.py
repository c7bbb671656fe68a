"""-netdev socket and tap, and captures: back ends that talk to each other."""

from __future__ import annotations

import random
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jitemu.devices.net.pcap import PcapDump
from jitemu.devices.net.sockets import StreamNet
from jitemu.messages import UserError
from jitemu.system.eventloop import EventLoop
from tests.net.ethernet import BROADCAST, ethernet
from tests.net.pcap import read_pcap
from tests.net.wire import Wire, turn_for


@pytest.fixture
def loop() -> Iterator[EventLoop]:
    loop = EventLoop()
    yield loop
    loop.close()


def free_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def frames(count: int, seed: int = 0) -> list[bytes]:
    rng = random.Random(seed)
    return [
        ethernet(BROADCAST, 0x88B5, rng.randbytes(rng.randrange(46, 9000))) for _ in range(count)
    ]


def stream_pair(loop: EventLoop) -> tuple[Wire, Wire]:
    server = Wire(loop, "socket,id=a,listen=127.0.0.1:0")
    assert isinstance(server.netdev, StreamNet)
    client = Wire(loop, f"socket,id=b,connect=127.0.0.1:{server.netdev.port}")
    server.until(lambda: "connection from" in server.netdev.describe())
    return server, client


def test_listen_and_connect(loop: EventLoop) -> None:
    server, client = stream_pair(loop)
    there, back = frames(200, 1), frames(200, 2)
    client.send(*there)
    server.send(*back)
    server.until(lambda: len(server.frames) == 200 and len(client.frames) == 200)
    assert server.frames == there
    assert client.frames == back
    client.netdev.close()
    server.until(lambda: "listening" in server.netdev.describe())
    server.send(*there)  # an unplugged cable takes everything
    again = Wire(loop, f"socket,id=c,connect=127.0.0.1:{vars(server.netdev)['port']}")
    server.until(lambda: "connection from" in server.netdev.describe())
    again.send(there[0])
    server.frames.clear()
    server.until(lambda: server.frames)
    assert server.frames == there[:1]
    again.netdev.close()
    server.netdev.close()


def test_a_peer_that_does_not_read_holds_the_guest_up(loop: EventLoop) -> None:
    server, client = stream_pair(loop)
    server.full = True
    told: list[bool] = []
    client.netdev.on_writable = lambda: told.append(True)
    waiting = frames(10_000, 3)
    taken = 0
    while True:
        with loop.lock:
            now = client.netdev.send(waiting[taken : taken + 50])
        taken += now
        turn_for(loop, 0.005)
        if now < 50:
            break
    assert taken < 10_000
    assert not told
    assert len(server.netdev.incoming) <= 4096
    server.full = False
    server.take()
    server.until(lambda: told and len(server.frames) == taken)
    assert server.frames == waiting[:taken]
    client.netdev.close()
    server.netdev.close()


def test_a_peer_that_speaks_something_else_is_dropped(loop: EventLoop) -> None:
    server = Wire(loop, "socket,id=a,listen=127.0.0.1:0")
    assert isinstance(server.netdev, StreamNet)
    with socket.create_connection(("127.0.0.1", server.netdev.port)) as peer:
        peer.sendall(struct.pack(">I", 3) + b"abc" + struct.pack(">I", 1 << 31))
        server.until(lambda: server.frames)
        server.until(lambda: "listening" in server.netdev.describe())
        assert peer.recv(1) == b""
    assert server.frames == [b"abc"]
    server.netdev.close()


def test_udp_pair(loop: EventLoop) -> None:
    one, two = free_udp_port(), free_udp_port()
    a = Wire(loop, f"socket,id=a,udp=127.0.0.1:{two},localaddr=127.0.0.1:{one}")
    b = Wire(loop, f"socket,id=b,udp=127.0.0.1:{one},localaddr=127.0.0.1:{two}")
    there = frames(20, 4)
    a.send(*there)
    b.until(lambda: len(b.frames) == 20)
    assert b.frames == there
    b.send(there[3])
    a.until(lambda: a.frames)
    assert a.frames == [there[3]]
    a.netdev.close()
    b.netdev.close()


def test_multicast_group(loop: EventLoop) -> None:
    port = free_udp_port()
    members = [
        Wire(loop, f"socket,id=m{i},mcast=230.0.0.7:{port},localaddr=127.0.0.1") for i in range(3)
    ]
    there = [ethernet(BROADCAST, 0x88B5, bytes((i,)) * 60) for i in range(5)]
    members[0].send(*there)
    members[2].until(lambda: all(len(m.frames) == 5 for m in members))
    assert members[1].frames == members[2].frames == there
    for member in members:
        member.netdev.close()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("socket,id=a", "exactly one of"),
        ("socket,id=a,listen=:1,connect=:2", "exactly one of"),
        ("socket,id=a,listen=:port", "port number"),
        ("socket,id=a,udp=127.0.0.1:9", "localaddr= is mandatory"),
        ("socket,id=a,mcast=127.0.0.1:9", "not a multicast address"),
        ("socket,id=a,connect=127.0.0.1:1", "Connection refused"),
        ("socket", "'id' is missing"),
        ("carrier-pigeon,id=a", "'carrier-pigeon' is no network back end; there are user, tap"),
        ("tap,id=a,script=/etc/up", "no script is run"),
        ("tap,id=a,ifname=a-name-that-is-too-long", "more than 15 characters"),
    ],
)
def test_what_cannot_be_is_said(loop: EventLoop, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Wire(loop, text)


def test_capture(loop: EventLoop, tmp_path: Path) -> None:
    server, client = stream_pair(loop)
    dumps = [
        PcapDump(server.netdev, str(tmp_path / "server.pcap")),
        PcapDump(client.netdev, str(tmp_path / "client.pcap"), 100),
    ]
    before = time.time()
    there, back = frames(3, 6), frames(2, 7)
    client.send(*there)
    server.until(lambda: len(server.frames) == 3)
    server.send(*back)
    server.until(lambda: len(client.frames) == 2)
    for dump in dumps:
        dump.close()
    whole = read_pcap(tmp_path / "server.pcap")
    assert [frame for _, _, frame in whole] == there + back
    assert all(before - 1 <= when <= time.time() for when, _, _ in whole)
    short = read_pcap(tmp_path / "client.pcap")
    assert [frame for _, _, frame in short] == [frame[:100] for frame in there + back]
    assert [size for _, size, _ in short] == [len(frame) for frame in there + back]
    client.netdev.close()
    server.netdev.close()


def test_a_capture_that_cannot_be_written(loop: EventLoop, tmp_path: Path) -> None:
    wire = Wire(loop, "socket,id=a,listen=127.0.0.1:0")
    with pytest.raises(UserError, match="cannot open"):
        PcapDump(wire.netdev, str(tmp_path / "none" / "file"))
    wire.netdev.close()


def test_tap(loop: EventLoop) -> None:
    """Frames to and from an interface, where making one is allowed."""
    try:
        wire = Wire(loop, "tap,id=t,ifname=jitemu0,script=no,downscript=no")
    except UserError:
        # then others cannot have one either
        tried = subprocess.run(["ip", "tuntap", "add", "jitemu1", "mode", "tap"], check=False)
        assert tried.returncode != 0
        return
    subprocess.run(["ip", "addr", "add", "10.99.7.1/24", "dev", "jitemu0"], check=True)
    subprocess.run(["ip", "link", "set", "jitemu0", "up"], check=True)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sender.sendto(b"to the tap", ("10.99.7.255", 9))
    assert wire.expect(lambda f: f.endswith(b"to the tap"))
    assert wire.netdev.describe() == "ifname=jitemu0,script=no,downscript=no"
    wire.netdev.close()

"""-netdev user without a guest: ARP, DHCP, TFTP and TCP spoken by hand to libslirp."""

from __future__ import annotations

import random
import resource
import socket
import struct
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from jitemu.devices.net import slirp
from jitemu.devices.net.user import UserNet
from jitemu.messages import UserError
from jitemu.system.eventloop import EventLoop
from tests.net import ethernet as eth
from tests.net.ethernet import ACK, FIN, PSH, RST, SYN, Segment
from tests.net.wire import Wire, turn_for

GUEST, HOST = "10.0.2.15", "10.0.2.2"


@pytest.fixture
def loop() -> Iterator[EventLoop]:
    loop = EventLoop()
    yield loop
    loop.close()


@pytest.fixture
def wires(loop: EventLoop) -> Iterator[list[Wire]]:
    made: list[Wire] = []
    yield made
    for wire in made:
        wire.netdev.close()


@pytest.fixture
def wire(loop: EventLoop, wires: list[Wire]) -> Wire:
    return user(loop, wires)


def user(loop: EventLoop, wires: list[Wire], *options: str) -> Wire:
    wire = Wire(loop, ",".join(["user", "id=n0", *options]))
    wires.append(wire)
    return wire


def host_mac(wire: Wire) -> bytes:
    wire.send(eth.arp_request(GUEST, HOST))
    reply = wire.expect(lambda f: f[12:14] == b"\x08\x06" and f[20:22] == b"\0\2")
    assert reply[28:32] == socket.inet_aton(HOST)
    return reply[22:28]


def test_arp(wire: Wire) -> None:
    assert host_mac(wire) == bytes.fromhex("52550a000202")


@pytest.mark.parametrize(
    ("options", "address", "router", "dns"),
    [
        ((), "10.0.2.15", "10.0.2.2", "10.0.2.3"),
        (
            ("net=192.168.7.0/24", "host=192.168.7.1", "dns=192.168.7.9", "dhcpstart=192.168.7.77"),
            *("192.168.7.77", "192.168.7.1", "192.168.7.9"),
        ),
        (("net=172.16.0.0/12",), "172.16.0.15", "172.16.0.2", "172.16.0.3"),
    ],
)
def test_dhcp(
    loop: EventLoop,
    wires: list[Wire],
    options: tuple[str, ...],
    address: str,
    router: str,
    dns: str,
) -> None:
    wire = user(loop, wires, "hostname=box", "domainname=lab", "bootfile=/b", *options)
    wire.send(eth.dhcp(1, 77))
    offered, told = eth.dhcp_reply(wire.expect(lambda f: f[12:14] == b"\x08\x00"))
    assert offered == address
    assert told[53] == b"\2"
    wire.send(eth.dhcp(3, 77, offered))
    given, told = eth.dhcp_reply(wire.expect(lambda f: f[12:14] == b"\x08\x00"))
    assert given == address
    assert told[53] == b"\5"
    assert told[3] == socket.inet_aton(router)
    assert told[6] == socket.inet_aton(dns)
    assert told[12] == b"box"
    assert told[15] == b"lab"


class GuestTcp:
    """The guest's end of one connection, with everything arriving in order."""

    def __init__(self, wire: Wire, mac: bytes, port: int, peer: tuple[str, int]) -> None:
        self.wire, self.mac = wire, mac
        self.port, self.peer = port, peer
        self.seq, self.ack = 1000, 0

    def send(self, flags: int, data: bytes = b"", options: bytes = b"") -> None:
        place = (GUEST, self.port)
        packet = eth.tcp(place, self.peer, self.seq, self.ack, flags, data, options)
        self.wire.send(eth.ethernet(self.mac, eth.IP, packet))
        self.seq += len(data) + bool(flags & (SYN | FIN))

    def segment(self, flag: int) -> Segment:
        frame = self.wire.expect(
            lambda f: eth.is_tcp(f) and Segment(f).to == self.port and bool(Segment(f).flags & flag)
        )
        segment = Segment(frame)
        assert segment.intact
        self.ack = segment.seq + len(segment.data) + bool(segment.flags & (SYN | FIN))
        return segment

    def receive(self, size: int) -> bytes:
        got = b""
        while len(got) < size:
            frame = self.wire.expect(lambda f: eth.is_tcp(f) and bool(Segment(f).data))
            segment = Segment(frame)
            assert segment.intact
            if segment.seq == self.ack:
                got += segment.data
                self.ack += len(segment.data)
            self.send(ACK)
        return got


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_host_connects_to_the_guest(loop: EventLoop, wires: list[Wire]) -> None:
    port = free_port()
    wire = user(loop, wires, f"hostfwd=tcp:127.0.0.1:{port}-:22")
    wire.send(eth.dhcp(1, 1))
    mac = host_mac(wire)
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.setblocking(False)
        syn = Segment(wire.expect(lambda f: eth.is_tcp(f) and bool(Segment(f).flags & SYN)))
        assert (syn.to_ip, syn.to) == (GUEST, 22)
        guest = GuestTcp(wire, mac, 22, (syn.source_ip, syn.source))
        guest.ack = syn.seq + 1
        guest.send(SYN | ACK)
        client.sendall(b"hello guest")
        assert guest.receive(11) == b"hello guest"
        guest.send(ACK | PSH, b"hello host")
        received = b""

        def arrived() -> bool:
            nonlocal received
            try:
                received += client.recv(100)
            except BlockingIOError:
                return False
            return received == b"hello host"

        wire.until(arrived)
        guest.send(ACK | FIN)
        client.setblocking(True)
        turn_for(loop, 0.05)
        assert client.recv(10) == b""


def test_bulk_in_large_segments(loop: EventLoop, wires: list[Wire]) -> None:
    """A guest that offers a large MSS gets large segments, which may be sent as well."""
    port = free_port()
    wire = user(loop, wires, f"hostfwd=tcp:127.0.0.1:{port}-:80")
    wire.send(eth.dhcp(1, 1))
    mac = host_mac(wire)
    data = random.Random(1).randbytes(200_000)
    with socket.create_connection(("127.0.0.1", port)) as client:
        syn = Segment(wire.expect(lambda f: eth.is_tcp(f) and bool(Segment(f).flags & SYN)))
        guest = GuestTcp(wire, mac, 80, (syn.source_ip, syn.source))
        guest.ack = syn.seq + 1
        guest.send(SYN | ACK, options=struct.pack(">BBH", 2, 4, 65000))
        guest.send(ACK)
        client.setblocking(False)
        sent = client.send(data)
        assert guest.receive(sent) == data[:sent]
        for at in range(0, 60_000, 20_000):
            guest.send(ACK, data[at : at + 20_000])
        received = b""

        def arrived() -> bool:
            nonlocal received
            try:
                received += client.recv(1 << 20)
            except BlockingIOError:
                return False
            return len(received) >= 60_000

        wire.until(arrived)
        assert received == data[:60_000]


def test_udp_forward(loop: EventLoop, wires: list[Wire]) -> None:
    port = free_port()
    wire = user(loop, wires, f"hostfwd=udp:127.0.0.1:{port}-:53")
    wire.send(eth.dhcp(1, 1))
    mac = host_mac(wire)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"ask", ("127.0.0.1", port))
        frame = wire.expect(lambda f: f[12:14] == b"\x08\x00" and f.endswith(b"ask"))
        source, sport = socket.inet_ntoa(frame[26:30]), struct.unpack_from(">H", frame, 34)[0]
        wire.send(eth.ethernet(mac, eth.IP, eth.udp((GUEST, 53), (source, sport), b"answer")))
        client.settimeout(5)
        assert client.recv(100) == b"answer"


@pytest.mark.parametrize(("mtu", "parts"), [(65521, 1), (1500, 3)])
def test_long_datagrams_for_the_guest(
    loop: EventLoop, wires: list[Wire], mtu: int, parts: int
) -> None:
    port = free_port()
    wire = user(loop, wires, f"hostfwd=udp:127.0.0.1:{port}-:53", f"mtu={mtu}")
    assert wire.netdev.mtu == mtu
    wire.send(eth.dhcp(1, 1))
    host_mac(wire)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.sendto(random.Random(1).randbytes(4000), ("127.0.0.1", port))
        packets = [
            wire.expect(lambda f: f[12:14] == b"\x08\x00" and f[23] == socket.IPPROTO_UDP)
            for _ in range(parts)
        ]
    assert max(map(len, packets)) <= mtu + 14
    assert sum(len(packet) - 34 for packet in packets) == 8 + 4000


@pytest.mark.parametrize("restrict", ["off", "on"])
def test_the_guest_connects_to_the_host(loop: EventLoop, wires: list[Wire], restrict: str) -> None:
    wire = user(loop, wires, f"restrict={restrict}")
    mac = host_mac(wire)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.3)
        guest = GuestTcp(wire, mac, 4000, (HOST, server.getsockname()[1]))
        guest.send(SYN)
        if restrict == "on":
            turn_for(loop, 0.2)
            with pytest.raises(TimeoutError):
                server.accept()
            return
        guest.segment(SYN)
        guest.send(ACK)
        guest.send(ACK | PSH, b"GET /")
        with server.accept()[0] as peer:
            assert peer.recv(100) == b"GET /"
            peer.sendall(b"here")
            assert guest.receive(4) == b"here"


def test_connections_one_after_another(wire: Wire) -> None:
    """Their descriptors get the same numbers again and again."""
    mac = host_mac(wire)
    with socket.create_server(("127.0.0.1", 0)) as server:
        for port in range(4000, 4030):
            guest = GuestTcp(wire, mac, port, (HOST, server.getsockname()[1]))
            guest.send(SYN)
            guest.segment(SYN)
            guest.send(ACK)
            with server.accept()[0] as peer:
                peer.sendall(b"text")
                assert guest.receive(4) == b"text"
            guest.segment(FIN)
            guest.send(ACK | FIN)


def test_guestfwd_to_a_character_device(loop: EventLoop, wires: list[Wire]) -> None:
    wire = user(loop, wires, "guestfwd=tcp:10.0.2.100:7-chardev:c0", "restrict=on")
    assert wire.opened == ["chardev:c0"]
    mac = host_mac(wire)
    guest = GuestTcp(wire, mac, 4001, ("10.0.2.100", 7))
    guest.send(SYN)
    guest.segment(SYN)
    guest.send(ACK)
    guest.send(ACK | PSH, b"to the device")
    wire.until(lambda: bytes(wire.stream.written) == b"to the device")
    data = bytes(range(256)) * 100
    wire.stream.waiting += data
    assert wire.stream.on_input is not None
    with loop.lock:
        wire.stream.on_input()
    assert guest.receive(len(data)) == data


def test_guestfwd_to_a_command(loop: EventLoop, wires: list[Wire]) -> None:
    wire = user(loop, wires, "guestfwd=tcp:10.0.2.100:7-cmd:cat")
    mac = host_mac(wire)
    guest = GuestTcp(wire, mac, 4001, ("10.0.2.100", 7))
    guest.send(SYN)
    guest.segment(SYN)
    guest.send(ACK)
    guest.send(ACK | PSH, b"round trip")
    assert guest.receive(10) == b"round trip"


def test_tftp(loop: EventLoop, wires: list[Wire], tmp_path: Path) -> None:
    (tmp_path / "boot").write_bytes(b"kernel")
    wire = user(loop, wires, f"tftp={tmp_path}")
    mac = host_mac(wire)
    read = b"\0\1boot\0octet\0"
    wire.send(eth.ethernet(mac, eth.IP, eth.udp((GUEST, 5000), (HOST, 69), read)))
    frame = wire.expect(lambda f: f[12:14] == b"\x08\x00" and f[23] == eth.UDP)
    assert frame[42:] == b"\0\3\0\1kernel"
    outside = b"\0\1../" + tmp_path.name.encode() + b"/boot\0octet\0"
    wire.send(eth.ethernet(mac, eth.IP, eth.udp((GUEST, 5001), (HOST, 69), outside)))
    frame = wire.expect(lambda f: f[12:14] == b"\x08\x00" and f[23] == eth.UDP)
    assert frame[42:44] == b"\0\5"


def test_forwards_come_and_go(wire: Wire) -> None:
    netdev, port = wire.netdev, free_port()
    assert isinstance(netdev, UserNet)
    netdev.add_hostfwd(f"tcp:127.0.0.1:{port}-:80")
    with pytest.raises(UserError, match="Could not set up host forwarding rule"):
        netdev.add_hostfwd(f"tcp:127.0.0.1:{port}-:81")
    assert str(port) in netdev.connections()
    socket.create_connection(("127.0.0.1", port)).close()
    assert netdev.remove_hostfwd(f"tcp:127.0.0.1:{port}")
    assert not netdev.remove_hostfwd(f"tcp:127.0.0.1:{port}")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("hostfwd=sctp::1-:2", r"Invalid host forwarding rule 'sctp::1-:2' \(Bad protocol name\)"),
        ("hostfwd=tcp::99999-:2", "Bad host port"),
        ("hostfwd=tcp::1-:0", "Bad guest port"),
        ("hostfwd=tcp:here:1-:2", "Bad host address"),
        ("hostfwd=tcp::1-there:2", "Bad guest address"),
        ("hostfwd=tcp::1-2", "Missing guest address"),
        ("hostfwd=tcp::1", "Bad host port separator"),
        ("hostfwd=tcp:1", "Missing : separator"),
        ("hostfwd=80", "No : separators"),
        ("guestfwd=tcp:1.2.3.4:5", "Invalid guest forwarding rule"),
        ("guestfwd=tcp:1.2.3.4:5-chardev:c", "Conflicting/invalid host:port"),
        ("net=10.0.2.0/30", "too small"),
        ("net=ten", "not an address"),
        ("host=10.0.3.1", "not in the network"),
        ("dns=10.0.2.2", "different addresses"),
        ("restrict=maybe", "expects 'on' or 'off'"),
        ("smell=good", "Invalid parameter 'smell'"),
        ("ipv4=off,ipv6=off", "leave nothing"),
        ("mtu=70000", "expected a number from 1280 to 65521"),
    ],
)
def test_what_cannot_be_is_said(loop: EventLoop, option: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Wire(loop, f"user,id=n0,{option}")


def test_a_missing_library_is_named(loop: EventLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    slirp.library.cache_clear()
    monkeypatch.setattr(slirp, "LIBRARY", "libnothere.so.9")
    monkeypatch.setattr("ctypes.util.find_library", {}.get)
    try:
        with pytest.raises(UserError, match="apt-get install libslirp0"):
            Wire(loop, "user,id=n0")
    finally:
        slirp.library.cache_clear()


def test_a_guest_that_does_not_read_holds_the_host_up(loop: EventLoop, wires: list[Wire]) -> None:
    wire = user(loop, wires)
    wire.full = True
    for _ in range(6000):
        wire.send(eth.arp_request(GUEST, HOST))
    assert 1024 <= len(wire.netdev.incoming) <= 4096
    turn_for(loop, 0.02)
    wire.full = False
    wire.take()
    assert host_mac(wire)


def fragment(packet: bytes, first: int, last: int) -> bytes:
    """Bytes [first, last) of a packet's payload as a fragment in a frame."""
    more = 0x2000 if 20 + last < len(packet) else 0
    head = bytearray(packet[:20])
    head[2:4] = struct.pack(">H", 20 + last - first)
    head[4:8] = struct.pack(">HH", 77, first >> 3 | more)
    head[10:12] = bytes(2)
    head[10:12] = struct.pack(">H", eth.checksum(bytes(head)))
    return eth.ethernet(b"\x52\x55\x0a\0\2\2", eth.IP, bytes(head) + packet[20 + first : 20 + last])


def test_fragments(wire: Wire) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        host_mac(wire)
        data = random.Random(4).randbytes(5000)
        packet = eth.udp((GUEST, 9), (HOST, server.getsockname()[1]), data)
        cuts = [*range(0, 5008, 1480), 5008]
        parts = [fragment(packet, a, b) for a, b in pairwise(cuts)]
        wire.send(*parts)
        assert server.recv(9000) == data
        # out of order, overlapping, cut short: nothing comes of it, and nothing else happens
        wire.send(*reversed(parts))
        wire.send(parts[0], parts[0], parts[2], parts[3])
        wire.send(parts[0], fragment(packet, 1472, 2960), *parts[2:])
        wire.send(parts[1][:-1], parts[3], parts[0][:30])
        for number in range(100):
            packet = packet[:16] + bytes((10, 0, 2, number)) + packet[20:]
            wire.send(fragment(packet, 0, 800))
        server.settimeout(0.1)
        with pytest.raises(TimeoutError):
            server.recv(9000)
    assert host_mac(wire)


def test_hostile_frames(wire: Wire) -> None:
    """Cut short, bent and random frames; the stack goes on."""
    rng = random.Random(5)
    good = [
        eth.arp_request(GUEST, HOST),
        eth.dhcp(1, 3),
        eth.ethernet(b"\x52\x55\x0a\0\2\2", eth.IP, eth.tcp((GUEST, 1), (HOST, 1), 1, 1, RST)),
        eth.ethernet(b"\x52\x55\x0a\0\2\2", eth.IP, eth.udp((GUEST, 1), (HOST, 69), b"\0\1a")),
    ]
    for _ in range(3000):
        frame = bytearray(rng.choice(good))
        for _ in range(rng.randrange(4)):
            frame[rng.randrange(len(frame))] = rng.randrange(256)
        wire.send(bytes(frame[: rng.randrange(len(frame) + 1)] if rng.random() < 0.3 else frame))
        wire.send(rng.randbytes(rng.randrange(100)))
    wire.send(b"", bytes(65535 + 18))
    wire.frames.clear()
    assert host_mac(wire)


def test_more_connections_than_select_can_watch(loop: EventLoop, wires: list[Wire]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2048
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip("this process may not have that many open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    try:
        wire = user(loop, wires)
        mac = host_mac(wire)
        with socket.create_server(("127.0.0.1", 0), backlog=2000) as server:
            peers: list[socket.socket] = []
            for port in range(2000, 2530):
                guest = GuestTcp(wire, mac, port, (HOST, server.getsockname()[1]))
                guest.send(SYN)
                guest.segment(SYN)
                guest.send(ACK)
                peers.append(server.accept()[0])
            assert max(peer.fileno() for peer in peers) > 1024
            peers[-1].sendall(b"last")
            frame = wire.expect(lambda f: eth.is_tcp(f) and bool(Segment(f).data))
            assert Segment(frame).data == b"last"
            for peer in peers:
                peer.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

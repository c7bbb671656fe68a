"""``-netdev socket``: frames to another machine's back end, over a stream (each with its length
before it, 32 bits big-endian) or as datagrams, to one peer or a multicast group."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress

from jitemu.devices.net.netdev import LARGEST_FRAME, Netdev
from jitemu.messages import fail
from jitemu.properties import STR, Options, prop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from jitemu.devices.net.netdev import Frame
    from jitemu.devices.ports import EventSource

    Address = tuple[str, int]

LENGTH = struct.Struct(">I")
CHUNK = 1 << 18
OUTPUT_ROOM = 1 << 20  # bytes the guest may be ahead of the peer
BATCH = 64


class SocketOptions(Options):
    """What ``-netdev socket`` takes: one of listen, connect, mcast and udp."""

    listen = prop(STR, "", "[host]:port: wait for one peer after another (TCP)")
    connect = prop(STR, "", "host:port: the peer that listens (TCP)")
    mcast = prop(STR, "", "group:port: a multicast group")
    udp = prop(STR, "", "host:port: the peer (with localaddr)")
    localaddr = prop(STR, "", "addr[:port]: this side, with udp or mcast")


def _address(option: str, text: str, port_needed: bool = True) -> Address:
    host, colon, port = text.rpartition(":")
    if not colon and not port_needed:
        host, port = text, "0"
    number = int(port) if port.isascii() and port.isdigit() else -1
    if not 0 <= number <= 65535:
        fail(f"-netdev socket: {option}={text}: port number is missing or not one")
    try:
        return (socket.gethostbyname(host) if host else "0.0.0.0"), number
    except (OSError, UnicodeError):
        fail(f"-netdev socket: {option}={text}: cannot find host '{host}'")


def make_socket_net(name: str, options: SocketOptions, loop: EventSource) -> Netdev:
    """The kind that the options ask for."""
    ways = [way for way in ("listen", "connect", "mcast", "udp") if getattr(options, way)]
    if len(ways) != 1:
        fail("-netdev socket: exactly one of listen=, connect=, mcast= or udp= is required")
    if options.localaddr and ways[0] not in ("mcast", "udp"):
        fail("-netdev socket: localaddr= is only valid with mcast= or udp=")
    if ways[0] in ("mcast", "udp"):
        return DatagramNet(name, options, loop)
    return StreamNet(name, options, loop)


class SocketNet(Netdev):
    """What both have: one descriptor that is read while the guest keeps up."""

    kind = "socket"

    def __init__(self, name: str, loop: EventSource) -> None:
        super().__init__(name, loop)
        self._socket: socket.socket | None = None
        self._reading = False
        self._text = ""

    def took(self) -> None:
        if self._socket is not None and not self._reading and not self.held_up:
            self._resume()

    def _use(self, peer: socket.socket) -> None:
        peer.setblocking(False)
        self._socket = peer
        self._resume()

    def _resume(self) -> None:
        assert self._socket is not None
        self._reading = True
        self.loop.add_reader(self._socket.fileno(), self._readable)

    def _readable(self) -> None:
        raise NotImplementedError

    def _received(self) -> None:
        """Tell the guest, and stop reading while it does not keep up."""
        if self.held_up and self._socket is not None:
            self._reading = False
            self.loop.remove_reader(self._socket.fileno())
        self.deliver()

    def _drop(self) -> None:
        if self._socket is not None:
            self.loop.remove_reader(self._socket.fileno())
            self.loop.remove_writer(self._socket.fileno())
            self._socket.close()
            self._socket = None
        self._reading = False

    def describe(self) -> str:
        return self._text

    def close(self) -> None:
        super().close()
        self._drop()


class StreamNet(SocketNet):
    """listen= and connect=."""

    def __init__(self, name: str, options: SocketOptions, loop: EventSource) -> None:
        super().__init__(name, loop)
        self._listener: socket.socket | None = None
        self._input = bytearray()
        self._output = bytearray()
        self._full = False
        way = "listen" if options.listen else "connect"
        text = getattr(options, way)
        address = _address(way, text)
        endpoint = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            if way == "listen":
                endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                endpoint.bind(address)
                endpoint.listen(1)
            else:
                endpoint.connect(address)
        except OSError as error:
            endpoint.close()
            fail(f"-netdev socket: {way}={text}: {error.strerror}")
        if way == "connect":
            self._text = f"connected to {text}"
            self._use(endpoint)
            return
        self._listener = endpoint
        self.port = endpoint.getsockname()[1]
        self._listen()

    def _listen(self) -> None:
        assert self._listener is not None
        self._text = f"listening on port {self._listener.getsockname()[1]}"
        self.loop.add_reader(self._listener.fileno(), self._accept)

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            peer, address = self._listener.accept()
        except OSError:
            return
        self.loop.remove_reader(self._listener.fileno())
        self._text = f"connection from {address[0]}:{address[1]}"
        self._use(peer)

    def _use(self, peer: socket.socket) -> None:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super()._use(peer)

    def send(self, frames: Sequence[Frame]) -> int:
        if self._socket is None:
            return len(frames)  # no peer: an unplugged cable
        taken = 0
        for frame in frames:
            if len(self._output) >= OUTPUT_ROOM:
                self._full = True
                break
            self._output += LENGTH.pack(len(frame))
            self._output += frame
            self.sent(frame)
            taken += 1
        self._flush()
        return taken

    def _flush(self) -> None:
        peer = self._socket
        if peer is None:
            return
        try:
            while self._output:
                del self._output[: peer.send(self._output)]
        except BlockingIOError:
            self.loop.add_writer(peer.fileno(), self._flush)
            return
        except OSError:
            self._hang_up()
            return
        self.loop.remove_writer(peer.fileno())
        self._has_room()

    def _has_room(self) -> None:
        if self._full:
            self._full = False
            if self.on_writable is not None:
                # not from inside ``send``
                self.loop.call_soon(self.on_writable)

    def _readable(self) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._hang_up()
            return
        self._input += data
        if not self._split():
            self._hang_up()
        self._received()

    def _split(self) -> bool:
        """Take whole frames off the input; False where the peer does not speak of frames."""
        input_, at = self._input, 0
        while len(input_) - at >= LENGTH.size:
            (size,) = LENGTH.unpack_from(input_, at)
            if size > LARGEST_FRAME:
                return False
            end = at + LENGTH.size + size
            if len(input_) < end:
                break
            self.arrived(bytes(input_[at + LENGTH.size : end]))
            at = end
        del input_[:at]
        return True

    def _hang_up(self) -> None:
        self._drop()
        self._input.clear()
        self._output.clear()
        self._text = "disconnected"
        self._has_room()
        if self._listener is not None:
            self._listen()

    def close(self) -> None:
        super().close()
        if self._listener is not None:
            self.loop.remove_reader(self._listener.fileno())
            self._listener.close()
            self._listener = None


class DatagramNet(SocketNet):
    """mcast= and udp=."""

    def __init__(self, name: str, options: SocketOptions, loop: EventSource) -> None:
        super().__init__(name, loop)
        endpoint = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        way = "mcast" if options.mcast else "udp"
        text = getattr(options, way)
        self._peer = _address(way, text)
        try:
            if way == "mcast":
                self._join(endpoint, options)
            elif not options.localaddr:
                fail("-netdev socket: localaddr= is mandatory with udp=")
            else:
                endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                endpoint.bind(_address("localaddr", options.localaddr))
        except OSError as error:
            endpoint.close()
            fail(f"-netdev socket: {way}={text}: {error.strerror}")
        self._text = f"socket: {way}={text}"
        self._use(endpoint)

    def _join(self, endpoint: socket.socket, options: SocketOptions) -> None:
        group, port = self._peer
        if socket.inet_aton(group)[0] & 0xF0 != 0xE0:
            fail(f"-netdev socket: mcast={options.mcast}: not a multicast address")
        local = _address("localaddr", options.localaddr, False)[0] if options.localaddr else ""
        endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        endpoint.bind((group, port))
        interface = socket.inet_aton(local or "0.0.0.0")
        membership = socket.inet_aton(group) + interface
        endpoint.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        endpoint.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
        if local:
            endpoint.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)

    def send(self, frames: Sequence[Frame]) -> int:
        assert self._socket is not None
        for frame in frames:
            with suppress(OSError):  # datagrams may be lost
                self._socket.sendto(frame, self._peer)
            self.sent(frame)
        return len(frames)

    def _readable(self) -> None:
        assert self._socket is not None
        for _ in range(BATCH):
            try:
                self.arrived(self._socket.recv(LARGEST_FRAME))
            except OSError:
                break
        self._received()

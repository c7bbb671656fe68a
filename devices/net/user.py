"""``-netdev user``: a network of the guest's own, whose connections are this process's."""

from __future__ import annotations

import select
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from jitemu.devices.net.fragments import Reassembler, is_fragment
from jitemu.devices.net.netdev import Netdev
from jitemu.devices.net.slirp import (
    FOREVER_MS,
    LARGEST_MTU,
    POLL_ERR,
    POLL_HUP,
    POLL_IN,
    POLL_OUT,
    POLL_PRI,
    Slirp,
    SlirpConfig,
)
from jitemu.messages import fail, warn
from jitemu.properties import BOOL, STR, Options, between, prop, prop_list

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jitemu.devices.net.netdev import Frame
    from jitemu.devices.ports import EventSource, StreamChardev, Timer

    OpenStream = Callable[[str, str], StreamChardev]

EVENTS = (
    (POLL_IN, select.EPOLLIN),
    (POLL_OUT, select.EPOLLOUT),
    (POLL_PRI, select.EPOLLPRI),
    (POLL_ERR, select.EPOLLERR),
    (POLL_HUP, select.EPOLLHUP),
)
MS = 1_000_000
SMALLEST_MTU = 1280  # of IPv6 (RFC 8200, 5)
ANY = IPv4Address(0)


class UserOptions(Options):
    """What ``-netdev user`` takes."""

    net = prop(STR, "10.0.2.0/24", "addr[/mask]: the guest's network")
    host = prop(STR, "", "addr: the host as the guest sees it (default the second address)")
    dns = prop(STR, "", "addr: the name server (default the third address)")
    dhcpstart = prop(STR, "", "addr: the first that DHCP gives (default the fifteenth)")
    hostname = prop(STR, "", "name: what DHCP says that the guest is called")
    domainname = prop(STR, "", "domain: what DHCP says that the guest is in")
    dnssearch = prop_list(STR, "domain: where DHCP has names looked up (several)")
    restrict = prop(BOOL, False, "nothing but the forwards gets out")
    ipv4 = prop(BOOL, True)
    ipv6 = prop(BOOL, True)
    hostfwd = prop_list(
        STR, "[tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport: a port of the host's (several)"
    )
    guestfwd = prop_list(
        STR, "[tcp]:server:port-dev|cmd:command: a port of the guest's network (several)"
    )
    tftp = prop(STR, "", "dir: what the TFTP server shows")
    tftp_server_name = prop(STR, "", "name: what DHCP calls the TFTP server")
    bootfile = prop(STR, "", "file: what DHCP says to boot")
    mtu = prop(
        between(SMALLEST_MTU, LARGEST_MTU),
        LARGEST_MTU,
        "bytes: the longest packet, the default as its cost is by the packet; 1500 for a guest"
        " that knows no other",
    )


def _network(text: str) -> IPv4Network:
    address, slash, mask = text.partition("/")
    if not slash:
        # without a mask, the address's class decides (QEMU's rule)
        first = int(IPv4Address(address)) >> 24
        mask = "8" if first < 128 else "16" if first < 192 else "24"
    return IPv4Network(f"{address}/{mask}", strict=False)


def slirp_config(options: UserOptions) -> SlirpConfig:
    """The virtual network that the options describe; UserError for one that cannot be."""
    config = SlirpConfig()
    try:
        config.network = network = _network(options.net)
    except ValueError:
        fail(f"-netdev user: net={options.net}: not an address and a mask, as 10.0.2.0/24")
    if network.prefixlen > 28:
        fail(f"-netdev user: net={options.net}: too small; give a mask of 28 bits at most")

    def address(name: str, offset: int) -> IPv4Address:
        text = getattr(options, name)
        try:
            found = IPv4Address(text) if text else network[offset]
        except ValueError:
            fail(f"-netdev user: {name}={text}: not an IPv4 address")
        if found not in network:
            fail(f"-netdev user: {name}={text}: not in the network {network}")
        return found

    config.host, config.nameserver = address("host", 2), address("dns", 3)
    config.dhcp_start = address("dhcpstart", min(15, network.num_addresses - 2))
    if len({config.host, config.nameserver, config.dhcp_start}) < 3:
        fail("-netdev user: host, dns and dhcpstart have to be different addresses")
    config.restricted = options.restrict
    config.ipv4, config.ipv6 = options.ipv4, options.ipv6
    if not config.ipv4 and not config.ipv6:
        fail("-netdev user: ipv4=off and ipv6=off leave nothing")
    config.hostname, config.domain = options.hostname, options.domainname
    config.search = options.dnssearch
    config.tftp, config.tftp_server = options.tftp, options.tftp_server_name
    config.bootfile, config.mtu = options.bootfile, options.mtu
    for name in ("hostname", "domainname", "tftp_server_name", "bootfile"):
        limit = 127 if name == "bootfile" else 255
        if len(getattr(options, name)) > limit:
            fail(f"-netdev user: {name.replace('_', '-')}: more than {limit} characters")
    return config


@dataclass(frozen=True)
class HostForward:
    """A port of the host that leads to one of the guest."""

    udp: bool
    host: tuple[IPv4Address, int]
    guest: tuple[IPv4Address, int]


def _protocol(text: str, allowed: tuple[str, ...]) -> tuple[str, str]:
    protocol, colon, rest = text.partition(":")
    if not colon:
        raise ValueError("No : separators")
    if protocol not in (*allowed, ""):
        raise ValueError("Bad protocol name")
    return protocol or allowed[0], rest


def _address(text: str, whose: str) -> IPv4Address:
    try:
        return IPv4Address(text) if text else ANY
    except ValueError:
        raise ValueError(f"Bad {whose} address") from None


def _port(text: str, lowest: int, whose: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() else -1
    if not lowest <= number <= 65535:
        raise ValueError(f"Bad {whose} port")
    return number


def _host_place(text: str) -> tuple[IPv4Address, str]:
    address, colon, rest = text.partition(":")
    if not colon:
        raise ValueError("Missing : separator")
    return _address(address, "host"), rest


def parse_hostfwd(rule: str) -> HostForward:
    """``[tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport``; ValueError says what is wrong."""
    protocol, rest = _protocol(rule, ("tcp", "udp"))
    host, rest = _host_place(rest)
    port, dash, rest = rest.partition("-")
    if not dash:
        raise ValueError("Bad host port separator")
    host_port = _port(port, 0, "host")
    address, colon, port = rest.partition(":")
    if not colon:
        raise ValueError("Missing guest address")
    guest = (_address(address, "guest"), _port(port, 1, "guest"))
    return HostForward(protocol == "udp", (host, host_port), guest)


class UserNet(Netdev):
    """libslirp in the event loop.  Its descriptors are behind one epoll descriptor, so a guest
    may have as many connections as this process may have open files."""

    kind = "user"
    checks_sums = True

    def __init__(
        self, name: str, options: UserOptions, loop: EventSource, open_stream: OpenStream
    ) -> None:
        super().__init__(name, loop)
        config = slirp_config(options)
        self.mtu = config.mtu
        self._network = config
        self._slirp = Slirp(config, loop.monotonic_ns)
        self._reassembler = Reassembler()
        self._epoll = select.epoll()
        self._registered: dict[int, int] = {}
        self._watched: list[tuple[int, int]] = []
        self._timer: Timer | None = None
        self._paused = False
        self._closed = False
        self._streams: list[StreamChardev] = []
        try:
            for rule in options.hostfwd:
                self.add_hostfwd(rule)
            for rule in options.guestfwd:
                self._add_guestfwd(rule, open_stream)
        except BaseException:
            self.close()
            raise
        loop.add_reader(self._epoll.fileno(), self._turn)
        self._arm()

    # Forwards

    def add_hostfwd(self, rule: str) -> None:
        """Open a port of the host's; UserError when that cannot be."""
        try:
            forward = parse_hostfwd(rule)
        except ValueError as error:
            fail(f"Invalid host forwarding rule '{rule}' ({error})")
        if not self._slirp.add_hostfwd(forward.udp, forward.host, forward.guest):
            fail(f"Could not set up host forwarding rule '{rule}'")
        self._after()

    def remove_hostfwd(self, rule: str) -> bool:
        """Close ``[tcp|udp]:[hostaddr]:hostport`` again; False if it was not open."""
        try:
            protocol, rest = _protocol(rule, ("tcp", "udp"))
            address, port = _host_place(rest)
            host = (address, _port(port, 1, "host"))
        except ValueError:
            fail("invalid format")
        removed = self._slirp.remove_hostfwd(protocol == "udp", host)
        self._after()
        return removed

    def _add_guestfwd(self, rule: str, open_stream: OpenStream) -> None:
        try:
            _, rest = _protocol(rule, ("tcp",))
            place, dash, target = rest.partition("-")
            if not dash or not target:
                raise ValueError("Missing device")
            address, colon, number = place.partition(":")
            if not colon:
                raise ValueError("Missing : separator")
            server, port = _address(address, "guest"), _port(number, 1, "guest")
        except ValueError as error:
            fail(f"Invalid guest forwarding rule '{rule}' ({error})")
        if target.startswith("cmd:"):
            added = self._slirp.add_command(server, port, target.removeprefix("cmd:"))
        else:
            stream = open_stream(target, f"guestfwd.tcp.{server}:{port}")
            self._streams.append(stream)
            added = self._slirp.add_stream(server, port, stream.write)

            def feed() -> None:
                """As much as the guest's connection takes; the rest when it says so."""
                while room := self._slirp.stream_room(server, port):
                    data = stream.read(min(room, 65536))
                    if not data:
                        break
                    self._slirp.stream_data(server, port, data)
                self._after()

            stream.on_input = feed
        if not added:
            fail(f"Conflicting/invalid host:port in guest forwarding rule '{rule}'")

    # Frames

    def send(self, frames: Sequence[Frame]) -> int:
        for frame in frames:
            self.sent(frame)
            whole = self._reassembler.add(frame) if is_fragment(frame) else frame
            if whole is not None:
                self._slirp.input(whole)
        self._after()
        return len(frames)

    def took(self) -> None:
        if self._paused and not self.held_up:
            self._arm()

    def _turn(self) -> None:
        """Descriptors are ready, or time has passed."""
        if self._closed:
            return
        came = dict(self._epoll.poll(0))
        ready = [_from_epoll(came.get(fd, 0)) for fd, _ in self._watched]
        self._slirp.poll(ready)
        self._after()

    def _expired(self) -> None:
        self._timer = None
        now = self.loop.monotonic_ns() // MS
        for handle, deadline in list(self._slirp.timers.items()):
            if deadline and deadline <= now:
                self._slirp.run_timer(handle)
        self._turn()

    def _after(self) -> None:
        """What every visit to the stack ends with: its frames to the guest, its wishes noted."""
        if self._closed:
            return
        slirp = self._slirp
        if slirp.notified:
            slirp.notified = False
            for stream in self._streams:
                if stream.on_input is not None:
                    self.loop.call_soon(stream.on_input)
        frames = slirp.frames
        if frames:
            waiting = frames[:]
            frames.clear()
            for frame in waiting:
                self.arrived(frame)
            self.deliver()
        self._arm()

    def _arm(self) -> None:
        """Have the loop call when the stack wants to be called."""
        watched, timeout = self._slirp.watch()
        self._paused = self.held_up
        if self._paused:
            watched = []  # ``took`` comes back here
        self._watched = watched
        wanted = {fd: _to_epoll(events) for fd, events in watched}
        registered, epoll, changed = self._registered, self._epoll, self._slirp.changed
        while changed:  # the number may stand for another file by now
            fd = changed.pop()
            if registered.pop(fd, None) is not None:
                with suppress(OSError):
                    epoll.unregister(fd)
        if wanted != registered:
            for fd in registered.keys() - wanted.keys():
                with suppress(OSError):  # closed, and so forgotten by the kernel already
                    epoll.unregister(fd)
            for fd, events in wanted.items():
                if registered.get(fd) != events:
                    self._register(fd, events)
            self._registered = wanted
        deadlines = [d * MS for d in self._slirp.timers.values() if d]
        if timeout != FOREVER_MS:
            deadlines.append(self.loop.monotonic_ns() + timeout * MS)
        self._set_timer(min(deadlines, default=None))

    def _register(self, fd: int, events: int) -> None:
        try:
            self._epoll.modify(fd, events)
        except FileNotFoundError:  # new, or a new file under an old number
            self._epoll.register(fd, events)

    def _set_timer(self, deadline: int | None) -> None:
        timer = self._timer
        if timer is not None:
            if deadline is not None and timer.deadline_ns <= deadline:
                return  # early enough: it looks again then
            self.loop.cancel(timer)
        self._timer = None
        if deadline is not None:
            self._timer = self.loop.call_at(deadline, self._expired)

    def describe(self) -> str:
        restricted = "on" if self._network.restricted else "off"
        return f"net={self._network.network.network_address},restrict={restricted}"

    def connections(self) -> str:
        """``info usernet``: what is open."""
        return self._slirp.connections()

    def close(self) -> None:
        super().close()
        if self._closed:
            return
        self._closed = True
        self.loop.remove_reader(self._epoll.fileno())
        self._set_timer(None)
        self._slirp.close()
        self._epoll.close()
        for stream in self._streams:
            stream.close()
        for error in self._slirp.guest_errors[:1]:
            warn(f"-netdev {self.id}: {error}")


def _to_epoll(events: int) -> int:
    return sum(flag for bit, flag in EVENTS if events & bit)


def _from_epoll(events: int) -> int:
    return sum(bit for bit, flag in EVENTS if events & flag)

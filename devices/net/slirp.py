"""libslirp's interface (libslirp.h, version 4), by ctypes.

The library is C with C's trust in its callers, so whatever reaches it is checked here, and
callbacks hand work over instead of doing it: nothing they call may raise or call back in.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
    byref,
    c_bool,
    c_char_p,
    c_int,
    c_int64,
    c_size_t,
    c_ssize_t,
    c_uint8,
    c_uint32,
    c_void_p,
)
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from itertools import count

from jitemu.messages import fail

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

LIBRARY = "libslirp.so.0"
PACKAGE = "libslirp0"
CONFIG_VERSION = 1  # the first, which every libslirp 4 takes
POLL_IN, POLL_OUT, POLL_PRI, POLL_ERR, POLL_HUP = 1, 2, 4, 8, 16
FOREVER_MS = 0xFFFF_FFFF
LARGEST_MTU = 65521  # IF_MTU_MAX

_Write = CFUNCTYPE(c_ssize_t, c_void_p, c_size_t, c_void_p)
_GuestError = CFUNCTYPE(None, c_char_p, c_void_p)
_ClockGet = CFUNCTYPE(c_int64, c_void_p)
_TimerCall = CFUNCTYPE(None, c_void_p)
_TimerNew = CFUNCTYPE(c_void_p, c_void_p, c_void_p, c_void_p)
_TimerFree = CFUNCTYPE(None, c_void_p, c_void_p)
_TimerMod = CFUNCTYPE(None, c_void_p, c_int64, c_void_p)
_PollFd = CFUNCTYPE(None, c_int, c_void_p)
_Notify = CFUNCTYPE(None, c_void_p)
_AddPoll = CFUNCTYPE(c_int, c_int, c_int, c_void_p)
_GetEvents = CFUNCTYPE(c_int, c_int, c_void_p)


class _Callbacks(Structure):
    _fields_ = (
        ("send_packet", _Write),
        ("guest_error", _GuestError),
        ("clock_get_ns", _ClockGet),
        ("timer_new", _TimerNew),
        ("timer_free", _TimerFree),
        ("timer_mod", _TimerMod),
        ("register_poll_fd", _PollFd),
        ("unregister_poll_fd", _PollFd),
        ("notify", _Notify),
    )


class InAddr(Structure):
    """struct in_addr, in network order."""

    _fields_ = (("s_addr", c_uint32),)

    @classmethod
    def of(cls, address: IPv4Address) -> InAddr:
        return cls.from_buffer_copy(address.packed)


class _In6Addr(Structure):
    _fields_ = (("s6_addr", c_uint8 * 16),)


class _Config(Structure):
    _fields_ = (
        ("version", c_uint32),
        ("restricted", c_int),
        ("in_enabled", c_bool),
        ("vnetwork", InAddr),
        ("vnetmask", InAddr),
        ("vhost", InAddr),
        ("in6_enabled", c_bool),
        ("vprefix_addr6", _In6Addr),
        ("vprefix_len", c_uint8),
        ("vhost6", _In6Addr),
        ("vhostname", c_char_p),
        ("tftp_server_name", c_char_p),
        ("tftp_path", c_char_p),
        ("bootfile", c_char_p),
        ("vdhcp_start", InAddr),
        ("vnameserver", InAddr),
        ("vnameserver6", _In6Addr),
        ("vdnssearch", POINTER(c_char_p)),
        ("vdomainname", c_char_p),
        ("if_mtu", c_size_t),
        ("if_mru", c_size_t),
        ("disable_host_loopback", c_bool),
        ("enable_emu", c_bool),
    )


_FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "slirp_new": (c_void_p, (POINTER(_Config), POINTER(_Callbacks), c_void_p)),
    "slirp_cleanup": (None, (c_void_p,)),
    "slirp_pollfds_fill": (None, (c_void_p, POINTER(c_uint32), _AddPoll, c_void_p)),
    "slirp_pollfds_poll": (None, (c_void_p, c_int, _GetEvents, c_void_p)),
    "slirp_input": (None, (c_void_p, c_void_p, c_int)),
    "slirp_add_hostfwd": (c_int, (c_void_p, c_int, InAddr, c_int, InAddr, c_int)),
    "slirp_remove_hostfwd": (c_int, (c_void_p, c_int, InAddr, c_int)),
    "slirp_add_exec": (c_int, (c_void_p, c_char_p, POINTER(InAddr), c_int)),
    "slirp_add_guestfwd": (c_int, (c_void_p, _Write, c_void_p, POINTER(InAddr), c_int)),
    "slirp_socket_can_recv": (c_size_t, (c_void_p, InAddr, c_int)),
    "slirp_socket_recv": (None, (c_void_p, InAddr, c_int, c_char_p, c_int)),
    "slirp_connection_info": (c_void_p, (c_void_p,)),
    "slirp_version_string": (c_char_p, ()),
}


@lru_cache(maxsize=1)
def library() -> Any:
    """libslirp with its functions' types; UserError where it is not installed."""
    try:
        found = ctypes.CDLL(ctypes.util.find_library("slirp") or LIBRARY)
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(found, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError):
        fail(
            f"-netdev user needs {LIBRARY} (version 4.1 or later), which is not installed here: "
            f"sudo apt-get install {PACKAGE}"
        )
    return found


class SlirpConfig:
    """The virtual network: addresses, and what its DHCP and TFTP servers tell."""

    restricted = False
    ipv4 = True
    ipv6 = True
    network = IPv4Network("10.0.2.0/24")
    host = IPv4Address("10.0.2.2")
    dhcp_start = IPv4Address("10.0.2.15")
    nameserver = IPv4Address("10.0.2.3")
    prefix6 = IPv6Address("fec0::")
    host6 = IPv6Address("fec0::2")
    nameserver6 = IPv6Address("fec0::3")
    hostname = ""
    domain = ""
    search: tuple[str, ...] = ()
    tftp = ""
    tftp_server = ""
    bootfile = ""
    mtu = LARGEST_MTU


class Slirp:
    """One user-mode network stack.  ``frames`` collects what it sends to the guest; ``timer_mod``
    and ``notify`` of ``host`` are called from inside it and must only note what to do."""

    def __init__(self, config: SlirpConfig, clock_ns: Callable[[], int]) -> None:
        self._library = library()
        self.frames: list[bytes] = []
        self.timers: dict[int, int] = {}
        """Deadlines, in ms of the clock, by handle; 0 while a timer is not set."""
        self.changed: set[int] = set()
        """Descriptors that were opened or closed; the reader empties it."""
        self.notified = False
        self.guest_errors: list[str] = []
        self._calls: dict[int, tuple[Any, int]] = {}
        self._handles = count(1)
        self._watched: list[tuple[int, int]] = []
        self._ready: list[int] = []
        self._guest_forwards: list[Any] = []
        string_at, frames = ctypes.string_at, self.frames

        def send_packet(data: int, size: int, _opaque: object) -> int:
            frames.append(string_at(data, size))
            return size

        def clock_get_ns(_opaque: object) -> int:
            return clock_ns()

        def get_events(index: int, _opaque: object) -> int:
            return self._ready[index] if 0 <= index < len(self._ready) else 0

        def add_poll(fd: int, events: int, _opaque: object) -> int:
            self._watched.append((fd, events))
            return len(self._watched) - 1

        self._add_poll, self._get_events = _AddPoll(add_poll), _GetEvents(get_events)
        self._callbacks = _Callbacks(
            _Write(send_packet),
            _GuestError(self._guest_error),
            _ClockGet(clock_get_ns),
            _TimerNew(self._timer_new),
            _TimerFree(self._timer_free),
            _TimerMod(self._timer_mod),
            _PollFd(self._fd_changed),
            _PollFd(self._fd_changed),
            _Notify(self._notify),
        )
        self._config = _native(config)
        self._handle = self._library.slirp_new(byref(self._config), byref(self._callbacks), None)
        if not self._handle:
            fail("-netdev user: libslirp does not take this network; look at net= and host=")

    def input(self, frame: bytes | bytearray | memoryview) -> None:
        """A frame from the guest."""
        data = frame if isinstance(frame, bytes) else bytes(frame)
        self._library.slirp_input(self._handle, data, len(data))

    def watch(self) -> tuple[list[tuple[int, int]], int]:
        """What to wait for: (descriptor, POLL_ bits) pairs, and ms at most (FOREVER_MS)."""
        self._watched = []
        timeout = c_uint32(FOREVER_MS)
        self._library.slirp_pollfds_fill(self._handle, byref(timeout), self._add_poll, None)
        return self._watched, timeout.value

    def poll(self, ready: list[int]) -> None:
        """Serve descriptors: the POLL_ bits that came true, in the order of ``watch``."""
        self._ready = ready
        self._library.slirp_pollfds_poll(self._handle, 0, self._get_events, None)

    def run_timer(self, handle: int) -> None:
        """A deadline of ``timers`` has passed."""
        call, argument = self._calls[handle]
        self.timers[handle] = 0
        call(argument)

    def add_hostfwd(
        self, udp: bool, host: tuple[IPv4Address, int], guest: tuple[IPv4Address, int]
    ) -> bool:
        """Forward a port of the host to one of the guest; False when it cannot be had."""
        here, there = InAddr.of(host[0]), InAddr.of(guest[0])
        add = self._library.slirp_add_hostfwd
        return add(self._handle, int(udp), here, host[1], there, guest[1]) == 0

    def remove_hostfwd(self, udp: bool, host: tuple[IPv4Address, int]) -> bool:
        remove = self._library.slirp_remove_hostfwd
        return remove(self._handle, int(udp), InAddr.of(host[0]), host[1]) == 0

    def add_command(self, server: IPv4Address, port: int, command: str) -> bool:
        """Run a command on the host for each connection of the guest to server:port."""
        add, address = self._library.slirp_add_exec, InAddr.of(server)
        return add(self._handle, command.encode(), byref(address), port) == 0

    def add_stream(self, server: IPv4Address, port: int, write: Callable[[bytes], None]) -> bool:
        """Have what the guest sends to server:port written by ``write``."""

        def received(data: int, size: int, _opaque: object) -> int:
            write(ctypes.string_at(data, size))
            return size

        callback, address = _Write(received), InAddr.of(server)
        self._guest_forwards.append(callback)
        add = self._library.slirp_add_guestfwd
        return add(self._handle, callback, None, byref(address), port) == 0

    def stream_room(self, server: IPv4Address, port: int) -> int:
        """Bytes that the guest's connection to server:port takes now."""
        return self._library.slirp_socket_can_recv(self._handle, InAddr.of(server), port)

    def stream_data(self, server: IPv4Address, port: int, data: bytes) -> None:
        """Send to the guest's connection, no more than ``stream_room``."""
        receive = self._library.slirp_socket_recv
        receive(self._handle, InAddr.of(server), port, data, len(data))

    def connections(self) -> str:
        """A table of what is open."""
        text = self._library.slirp_connection_info(self._handle)
        if not text:
            return ""
        try:
            return ctypes.string_at(text).decode(errors="replace")
        finally:
            _free(text)

    def close(self) -> None:
        """Close all connections and free everything."""
        if self._handle:
            self._library.slirp_cleanup(self._handle)
            self._handle = None

    # Callbacks

    def _guest_error(self, message: bytes, _opaque: object) -> None:
        if len(self.guest_errors) < 100:
            self.guest_errors.append(message.decode(errors="replace"))

    def _timer_new(self, call: int, argument: int, _opaque: object) -> int:
        handle = next(self._handles)
        self._calls[handle] = (_TimerCall(call), argument)
        self.timers[handle] = 0
        return handle

    def _timer_free(self, handle: int, _opaque: object) -> None:
        self._calls.pop(handle, None)
        self.timers.pop(handle, None)

    def _timer_mod(self, handle: int, deadline_ms: int, _opaque: object) -> None:
        self.timers[handle] = deadline_ms

    def _fd_changed(self, fd: int, _opaque: object) -> None:
        self.changed.add(fd)

    def _notify(self, _opaque: object) -> None:
        self.notified = True


def _free(text: int) -> None:
    """g_free, for what the library allocated by glib, which is loaded with it."""
    free = ctypes.CDLL("libglib-2.0.so.0").g_free
    free.argtypes = (c_void_p,)
    free(text)


def _native(config: SlirpConfig) -> _Config:
    """The library's form, which refers to bytes that live as long as it does."""

    def text(value: str) -> bytes | None:
        return value.encode() or None

    searched = (c_char_p * (len(config.search) + 1))(*[s.encode() for s in config.search], None)
    native = _Config(
        version=CONFIG_VERSION,
        restricted=int(config.restricted),
        in_enabled=config.ipv4,
        vnetwork=InAddr.of(config.network.network_address),
        vnetmask=InAddr.of(config.network.netmask),
        vhost=InAddr.of(config.host),
        in6_enabled=config.ipv6,
        vprefix_addr6=_In6Addr.from_buffer_copy(config.prefix6.packed),
        vprefix_len=64,
        vhost6=_In6Addr.from_buffer_copy(config.host6.packed),
        vhostname=text(config.hostname),
        tftp_server_name=text(config.tftp_server),
        tftp_path=text(config.tftp),
        bootfile=text(config.bootfile),
        vdhcp_start=InAddr.of(config.dhcp_start),
        vnameserver=InAddr.of(config.nameserver),
        vnameserver6=_In6Addr.from_buffer_copy(config.nameserver6.packed),
        vdomainname=text(config.domain),
        if_mtu=config.mtu,
        if_mru=config.mtu,
    )
    if config.search:
        native.vdnssearch = ctypes.cast(searched, POINTER(c_char_p))
        native.kept = searched  # pyright: ignore[reportAttributeAccessIssue]
    return native

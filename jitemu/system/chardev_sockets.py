"""Character devices that are stream sockets: unix: and tcp:, server or client."""

from __future__ import annotations

import os
import socket
import stat
import sys
import time
from contextlib import suppress

from jitemu.messages import fail
from jitemu.properties import BOOL, STR, Kind, Options, prop
from jitemu.system.chardev import HostChardev

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jitemu.system.eventloop import EventLoop, LoopTimer

SECOND = 1_000_000_000


def _seconds(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError("expects a number of seconds")
    return int(text)


class SocketOptions(Options):
    """What ``-chardev socket`` takes: a path, or a host and port."""

    path = prop(STR, "", "file: of a Unix socket")
    host = prop(STR, "", "addr: the address to listen at or connect to")
    port = prop(STR, "", "port: TCP's")
    server = prop(BOOL, False, "listen, and take one client after another")
    wait = prop(BOOL, True, "a server waits for the first before the guest starts")
    nowait = prop(BOOL, False, "the same as wait=off")
    nodelay = prop(BOOL, False, "send small packets at once (TCP_NODELAY)")
    reconnect = prop(Kind("seconds", _seconds), 0, "a client tries again after so long (0: never)")


class SocketChardev(HostChardev):
    """A server takes one client after another; a client may try again and again."""

    def __init__(self, loop: EventLoop, options: SocketOptions, where: str) -> None:
        super().__init__(loop)
        self._options = options
        self._where = where
        self._listener: socket.socket | None = None
        self._peer: socket.socket | None = None
        self._connecting: socket.socket | None = None
        self._retry: LoopTimer | None = None
        if options.path:
            self._family, self._address = socket.AF_UNIX, options.path
            self._name = f"unix:{options.path}"
        else:
            self._family, self._address = _tcp_address(options, where)
            self._name = f"tcp:{options.host}:{options.port}"
        if options.server:
            self._name += ",server=on"
            self._listen()
        elif options.reconnect:
            self._try()
        else:
            endpoint = socket.socket(self._family, socket.SOCK_STREAM)
            try:
                endpoint.connect(self._address)
            except (OSError, ValueError) as error:
                endpoint.close()
                self._cannot("connect", error)
            self._use(endpoint)

    @property
    def present(self) -> bool:
        return self._peer is not None

    @property
    def filename(self) -> str:
        return self._name if self._peer is not None else f"disconnected:{self._name}"

    def _cannot(self, what: str, error: Exception) -> None:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        fail(f"{self._where}: cannot {what}: {reason}")

    def _listen(self) -> None:
        path, options = self._options.path, self._options
        endpoint = socket.socket(self._family, socket.SOCK_STREAM)
        try:
            if path and os.path.exists(path) and stat.S_ISSOCK(os.stat(path).st_mode):
                os.unlink(path)  # of a server that is gone, or will not get a client more
            if not path:
                endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            endpoint.bind(self._address)
            endpoint.listen(1)
        except (OSError, ValueError) as error:
            endpoint.close()
            self._cannot("listen", error)
        self._listener = endpoint
        if options.wait and not options.nowait:
            name = self._name.removesuffix(",server=on")
            print(f"jitemu: waiting for connection on {name}", file=sys.stderr, flush=True)
            self._use(endpoint.accept()[0])
        else:
            self._loop.add_reader(endpoint.fileno(), self._accept)

    def _accept(self) -> None:
        assert self._listener is not None
        with suppress(OSError):  # it may have gone again
            peer = self._listener.accept()[0]
            self._loop.remove_reader(self._listener.fileno())
            self._use(peer)

    def _try(self) -> None:
        """Connect without waiting for it."""
        self._retry = None
        endpoint = socket.socket(self._family, socket.SOCK_STREAM)
        endpoint.setblocking(False)
        self._connecting = endpoint
        try:
            endpoint.connect(self._address)
        except BlockingIOError:
            self._loop.add_writer(endpoint.fileno(), self._connected)
            return
        except OSError:
            self._give_up()
            return
        self._connected()

    def _connected(self) -> None:
        endpoint = self._connecting
        assert endpoint is not None
        self._loop.remove_writer(endpoint.fileno())
        if endpoint.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._give_up()
            return
        self._connecting = None
        self._use(endpoint)

    def _give_up(self) -> None:
        if self._connecting is not None:
            self._connecting.close()
            self._connecting = None
        due = time.monotonic_ns() + self._options.reconnect * SECOND
        self._retry = self._loop.call_at(due, self._try)

    def _use(self, peer: socket.socket) -> None:
        peer.setblocking(False)
        if self._options.nodelay and not self._options.path:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._peer = peer
        self.attach(peer.fileno(), peer.fileno())
        self.opened()

    def hung_up(self) -> None:
        self.detach()
        if self._peer is not None:
            self._peer.close()
            self._peer = None
        if self._listener is not None:
            self._loop.add_reader(self._listener.fileno(), self._accept)
        elif self._options.reconnect:
            self._give_up()

    def close(self) -> None:
        super().close()
        if self._retry is not None:
            self._loop.cancel(self._retry)
        for endpoint in (self._peer, self._connecting, self._listener):
            if endpoint is not None:
                self._loop.remove_reader(endpoint.fileno())
                self._loop.remove_writer(endpoint.fileno())
                endpoint.close()
        if self._listener is not None and self._options.path:
            with suppress(OSError):
                os.unlink(self._options.path)


def _tcp_address(options: SocketOptions, where: str) -> tuple[int, tuple[str, int]]:
    """Family and address, looked up."""
    port = int(options.port) if options.port.isascii() and options.port.isdigit() else -1
    if not 0 <= port <= 65535:
        fail(f"{where}: port '{options.port}' is not a number from 0 to 65535")
    passive = socket.AI_PASSIVE if options.server else 0
    try:
        found = socket.getaddrinfo(
            options.host or None, port, type=socket.SOCK_STREAM, flags=passive
        )
    except (OSError, UnicodeError) as error:
        fail(f"{where}: cannot find host '{options.host}': {getattr(error, 'strerror', error)}")
    return found[0][0], (str(found[0][4][0]), port)

"""The guest's end of a back end in tests, and turning the event loop by hand."""

from __future__ import annotations

import time
from collections.abc import Callable

from jitemu.devices.net.backends import make_netdev
from jitemu.devices.net.netdev import Netdev
from jitemu.devices.ports import StreamChardev
from jitemu.system.eventloop import EventLoop

TIMEOUT_S = 10.0


class MemoryStream:
    """A character device that keeps what it is given."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.waiting = bytearray()
        self.on_input: Callable[[], None] | None = None
        self.on_writable: Callable[[], None] | None = None

    def put(self, byte: int) -> bool:
        self.written.append(byte)
        return True

    def room(self) -> int:
        return 65536

    def take_break(self) -> bool:
        return False

    def write(self, data: bytes) -> None:
        self.written += data

    def read(self, count: int) -> bytes:
        data = bytes(self.waiting[:count])
        del self.waiting[:count]
        return data

    def close(self) -> None:
        pass


class Wire:
    """A back end with a network device that keeps all frames."""

    def __init__(self, loop: EventLoop, text: str) -> None:
        self.loop = loop
        self.stream = MemoryStream()
        self.opened: list[str] = []
        self.netdev: Netdev = make_netdev(text, loop, self._open)
        self.netdev.peer = "test"
        self.netdev.on_incoming = self._incoming
        self.frames: list[bytes] = []
        self.full = False

    def _open(self, spec: str, label: str) -> StreamChardev:
        self.opened.append(spec)
        return self.stream

    def _incoming(self) -> None:
        if not self.full:
            self.take()

    def take(self) -> None:
        while self.netdev.incoming:
            self.frames.append(bytes(self.netdev.incoming.popleft()))
        self.netdev.took()

    def send(self, *frames: bytes) -> None:
        with self.loop.lock:
            assert self.netdev.send(frames) == len(frames)

    def until(self, met: Callable[[], object]) -> None:
        """Serve the loop until something is the case."""
        turn_until(self.loop, met)

    def expect(self, wanted: Callable[[bytes], bool]) -> bytes:
        """The first frame that is as wanted, and nothing before it kept."""

        def found() -> bytes | None:
            return next(filter(wanted, self.frames), None)

        self.until(found)
        frame = found()
        assert frame is not None
        del self.frames[: self.frames.index(frame) + 1]
        return frame


def turn_until(loop: EventLoop, met: Callable[[], object]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not met():
        assert time.monotonic() < deadline, "nothing more happened"
        loop.call_at(time.monotonic_ns() + 20_000_000, lambda: None)
        loop.turn()


def turn_for(loop: EventLoop, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        loop.call_at(time.monotonic_ns() + 5_000_000, lambda: None)
        loop.turn()

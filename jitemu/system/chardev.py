"""Host ends of serial ports: what is common to all, and those that are plain streams.

Bytes from the guest are collected and written out a millisecond later, so that a console
which sends one byte at a time costs a system call a line or so, not one a byte.
"""

from __future__ import annotations

import os
import select
import stat
import time
from contextlib import suppress

from jitemu.messages import fail

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from jitemu.system.eventloop import EventLoop, LoopTimer

FLUSH_AFTER_NS = 1_000_000
OUTPUT_ROOM = 64 * 1024  # bytes the guest may be ahead of the host
INPUT_ROOM = 64 * 1024  # bytes the host may be ahead of the guest
CLOSE_TIMEOUT_MS = 5000  # how long a reader that takes nothing delays the end


class NullChardev:
    """Goes nowhere, and nothing comes."""

    on_input: Callable[[], None] | None = None
    on_writable: Callable[[], None] | None = None

    def put(self, byte: int) -> bool:
        return True

    def read(self, count: int) -> bytes:
        return b""

    def take_break(self) -> bool:
        return False

    def close(self) -> None:
        pass


class HostChardev(NullChardev):
    """A stream over file descriptors, which come and go with ``attach`` and ``detach``."""

    def __init__(self, loop: EventLoop) -> None:
        self._loop = loop
        self._output = bytearray()
        self._input = bytearray()
        self._breaks = 0
        self._flush_timer: LoopTimer | None = None
        self._full = False
        self._input_fd = -1
        self._output_fd = -1

    # The device's side

    def put(self, byte: int) -> bool:
        output = self._output
        output.append(byte)
        if self._flush_timer is None:
            self._flush_timer = self._loop.call_at(time.monotonic_ns() + FLUSH_AFTER_NS, self.flush)
        if len(output) < OUTPUT_ROOM:
            return True
        self._full = True
        return False

    def read(self, count: int) -> bytes:
        data = bytes(self._input[:count])
        del self._input[:count]
        if self._input_fd >= 0 and len(self._input) < INPUT_ROOM:
            self._loop.add_reader(self._input_fd, self._readable)
        return data

    def take_break(self) -> bool:
        if self._breaks:
            self._breaks -= 1
            return True
        return False

    # The host's side

    def attach(self, input_fd: int, output_fd: int) -> None:
        """Connect to the host; -1 for a direction that does not exist."""
        self._input_fd, self._output_fd = input_fd, output_fd
        if input_fd >= 0:
            self._loop.add_reader(input_fd, self._readable)

    def detach(self) -> None:
        """The other side is gone: what it did not take is lost, and input has ended."""
        self._loop.remove_reader(self._input_fd)
        self._loop.remove_writer(self._output_fd)
        self._input_fd = self._output_fd = -1
        self._took(len(self._output))

    def hung_up(self) -> None:
        """Reading met the end of the stream, or an error."""
        self._loop.remove_reader(self._input_fd)
        self._input_fd = -1

    def flush(self) -> None:
        """Write what there is, as far as the host takes it now."""
        self._flush_timer = None
        if self._output_fd < 0:
            self._took(len(self._output))
            return
        try:
            self._took(os.write(self._output_fd, self._output))
        except BlockingIOError:
            pass
        except OSError:  # nobody reads any more; the guest goes on without a console
            self._took(len(self._output))
        if self._output:
            self._loop.add_writer(self._output_fd, self.flush)
        else:
            self._loop.remove_writer(self._output_fd)

    def close(self) -> None:
        """Write the rest, however long a reader that does read takes; then let go."""
        if self._flush_timer is not None:
            self._loop.cancel(self._flush_timer)
        while self._output and self._output_fd >= 0:
            poll = select.poll()
            poll.register(self._output_fd, select.POLLOUT)
            if not poll.poll(CLOSE_TIMEOUT_MS):
                break
            self.flush()
        self.detach()

    def received(self, data: bytes) -> None:
        """Queue input for the device."""
        self._input += data
        if self.on_input is not None:
            self.on_input()

    def send_break(self) -> None:
        self._breaks += 1
        if self.on_input is not None:
            self.on_input()

    def _readable(self) -> None:
        try:
            data = os.read(self._input_fd, 4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.hung_up()
            return
        self.received(data)
        if len(self._input) >= INPUT_ROOM:
            self._loop.remove_reader(self._input_fd)

    def _took(self, count: int) -> None:
        del self._output[:count]
        if self._full and not self._output:
            self._full = False
            if self.on_writable is not None:
                self.on_writable()


class FileChardev(HostChardev):
    """``file:PATH``: what the guest sends, in a new file."""

    def __init__(self, loop: EventLoop, path: str) -> None:
        super().__init__(loop)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        try:
            self._fd = os.open(path, flags, 0o666)
        except OSError as error:
            fail(f"-serial file:{path}: cannot open: {error.strerror}")
        self.attach(-1, self._fd)

    def close(self) -> None:
        super().close()
        os.close(self._fd)


class PtyChardev(HostChardev):
    """``pty``: a new pseudo-terminal.  While nobody has it open, output is lost, as on a
    real serial line."""

    LOOK_EVERY_NS = 250_000_000

    def __init__(self, loop: EventLoop, label: str) -> None:
        import tty

        super().__init__(loop)
        try:
            self._master, slave = os.openpty()
        except OSError as error:
            fail(f"-serial pty: cannot make a pseudo-terminal: {error.strerror}")
        tty.setraw(slave)
        os.set_blocking(self._master, False)
        self.path = os.ttyname(slave)
        os.close(slave)
        print(f"char device redirected to {self.path} (label {label})", flush=True)
        self._look_timer: LoopTimer | None = None
        self._look()

    def flush(self) -> None:
        if self._output_fd < 0 and not self._hung():
            self.attach(self._master, self._master)
        super().flush()

    def hung_up(self) -> None:
        self.detach()
        self._look()

    def close(self) -> None:
        super().close()
        if self._look_timer is not None:
            self._loop.cancel(self._look_timer)
        os.close(self._master)

    def _hung(self) -> bool:
        poll = select.poll()
        poll.register(self._master, 0)
        return bool(poll.poll(0))

    def _look(self) -> None:
        """There is no event for "somebody opened it", so look now and then until then."""
        self._look_timer = None
        if self._output_fd >= 0:
            return
        if self._hung():
            due = time.monotonic_ns() + self.LOOK_EVERY_NS
            self._look_timer = self._loop.call_at(due, self._look)
        else:
            self.attach(self._master, self._master)


class UnixChardev(HostChardev):
    """``unix:PATH[,server[,wait=off]]``: a stream socket; a server takes one client after
    another, and waits for the first unless told not to."""

    def __init__(self, loop: EventLoop, path: str, server: bool, wait: bool) -> None:
        import socket

        super().__init__(loop)
        self._path = path
        self._listener: socket.socket | None = None
        self._peer: socket.socket | None = None
        endpoint = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            if server:
                if os.path.exists(path) and stat.S_ISSOCK(os.stat(path).st_mode):
                    os.unlink(path)  # of a server that is gone, or will not get a client more
                endpoint.bind(path)
                endpoint.listen(1)
                self._listener = endpoint
            else:
                endpoint.connect(path)
        except (OSError, ValueError) as error:
            endpoint.close()
            what = "listen" if server else "connect"
            fail(f"-serial unix:{path}: cannot {what}: {getattr(error, 'strerror', error)}")
        if not server:
            self._connect(endpoint)
        elif wait:
            import sys

            print(f"jitemu: waiting for connection on unix:{path}", file=sys.stderr, flush=True)
            self._accept()
        else:
            loop.add_reader(endpoint.fileno(), self._accept)

    def _accept(self) -> None:
        assert self._listener is not None
        self._loop.remove_reader(self._listener.fileno())
        self._connect(self._listener.accept()[0])

    def _connect(self, peer: object) -> None:
        import socket

        assert isinstance(peer, socket.socket)
        peer.setblocking(False)
        self._peer = peer
        self.attach(peer.fileno(), peer.fileno())

    def hung_up(self) -> None:
        self.detach()
        if self._peer is not None:
            self._peer.close()
            self._peer = None
        if self._listener is not None:
            self._loop.add_reader(self._listener.fileno(), self._accept)

    def close(self) -> None:
        super().close()
        if self._peer is not None:
            self._peer.close()
        if self._listener is not None:
            self._loop.remove_reader(self._listener.fileno())
            self._listener.close()
            with suppress(OSError):
                os.unlink(self._path)

"""Host ends of serial ports, monitors and consoles: what is common to all of them.

Bytes from the guest are collected and written out a millisecond later, so that a console
which sends one byte at a time costs a system call a line or so, not one a byte.
"""

from __future__ import annotations

import os
import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from jitemu.system.eventloop import EventLoop, LoopTimer

FLUSH_AFTER_NS = 1_000_000
OUTPUT_ROOM = 64 * 1024  # bytes the guest may be ahead of the host
INPUT_ROOM = 64 * 1024  # bytes the host may be ahead of the guest
WRITE_ROOM = 1 << 20  # bytes written in pieces that may wait before the writer has to
CLOSE_TIMEOUT_MS = 5000  # how long a reader that takes nothing delays the end


class NullChardev:
    """Goes nowhere, and nothing comes."""

    filename = "null"
    """What ``info chardev`` shows."""
    present = True
    """Somebody is at the other end."""
    shared = False
    """One of several ends of the same device, of which one has the keyboard."""
    on_input: Callable[[], None] | None = None
    on_writable: Callable[[], None] | None = None

    on_focus: Callable[[], None] | None = None
    """Called when this end of a shared one gets the keyboard."""
    on_opened: Callable[[], None] | None = None
    """Called when somebody has connected."""
    on_log: Callable[[bytes], None] | None = None
    """Told what the guest sends (logfile=)."""

    def put(self, byte: int) -> bool:
        if self.on_log is not None:
            self.on_log(bytes((byte,)))
        return True

    def write(self, data: bytes) -> None:
        """Take bytes for the host, all of them."""
        if self.on_log is not None:
            self.on_log(data)

    def read(self, count: int) -> bytes:
        return b""

    def room(self) -> int:
        return OUTPUT_ROOM

    def take_break(self) -> bool:
        return False

    def send_break(self) -> None:
        """Have ``take_break`` say so."""

    def flush(self) -> None:
        pass

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
            self._flush_later()
        if len(output) < OUTPUT_ROOM:
            return True
        self._full = True
        return False

    def write(self, data: bytes) -> None:
        self._output += data
        if self._flush_timer is None:
            self._flush_later()
        self._full = self._full or len(self._output) >= OUTPUT_ROOM
        if len(self._output) > WRITE_ROOM and not self._drain():
            self._took(len(self._output))  # nobody there takes anything

    def room(self) -> int:
        """Bytes that ``write`` should be given now; ``on_writable`` says when there are more."""
        return 0 if self._full else OUTPUT_ROOM - len(self._output)

    def _flush_later(self) -> None:
        self._flush_timer = self._loop.call_at(time.monotonic_ns() + FLUSH_AFTER_NS, self.flush)

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

    def opened(self) -> None:
        """Somebody is there now."""
        if self.on_opened is not None:
            self.on_opened()

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
            self._flush_timer = None
        self._drain()
        self.detach()

    def _drain(self) -> bool:
        """Write all, waiting for a reader that takes something now and then."""
        while self._output and self._output_fd >= 0:
            poll = select.poll()
            poll.register(self._output_fd, select.POLLOUT)
            if not poll.poll(CLOSE_TIMEOUT_MS):
                return False
            self.flush()
        return True

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
        if self.on_log is not None and count:
            self.on_log(bytes(self._output[:count]))
        del self._output[:count]
        if self._full and not self._output:
            self._full = False
            if self.on_writable is not None:
                self.on_writable()

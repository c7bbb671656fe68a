"""``-serial``: which host end a serial port gets, and the one that is the user's terminal."""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from jitemu.messages import fail
from jitemu.system.chardev import (
    INPUT_ROOM,
    FileChardev,
    HostChardev,
    NullChardev,
    PtyChardev,
    UnixChardev,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from jitemu.system.eventloop import EventLoop
    from jitemu.system.terminal import SignalGuard

ESCAPE = 0x01  # Ctrl-A
HELP = (
    "\r\n"
    "C-a h    print this help\r\n"
    "C-a x    exit emulator\r\n"
    "C-a b    send break (magic sysrq)\r\n"
    "C-a c    switch between console and monitor\r\n"
    "C-a C-a  sends C-a\r\n"
)


class StdioChardev(HostChardev):
    """Standard input and output.  ``mux`` gives the keys of Ctrl-A their meaning and sends
    Ctrl-C and its kind to the guest; without it they act on this process."""

    def __init__(
        self, loop: EventLoop, guard: SignalGuard, mux: bool, leave: Callable[[], None]
    ) -> None:
        super().__init__(loop)
        self._mux = mux
        self._leave = leave
        self._escaped = False
        self._own_fd = -1
        for fd in (0, 1):
            with suppress(OSError):
                if os.isatty(fd):
                    from jitemu.system.terminal import Terminal

                    guard.add(Terminal(fd, signals=not mux))
                    break
        self.attach(0 if _is_open(0) else -1, self._open_output())

    def _open_output(self) -> int:
        """A descriptor whose writes do not wait.  Standard output itself must stay as it
        is, for it is shared with whoever started us, so terminals and pipes are opened
        anew; everything else takes what it is given."""
        if not _is_open(1):
            return -1
        mode = os.fstat(1).st_mode
        if stat.S_ISCHR(mode) or stat.S_ISFIFO(mode):
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            with suppress(OSError):
                self._own_fd = os.open("/proc/self/fd/1", flags)
                return self._own_fd
        return 1

    def received(self, data: bytes) -> None:
        super().received(self._keys(data) if self._mux else data)

    def _readable(self) -> None:
        super()._readable()
        if self._mux and self._input_fd >= 0 and len(self._input) >= INPUT_ROOM:
            # Ctrl-A x has to work however little the guest reads.
            del self._input[INPUT_ROOM:]
            self._loop.add_reader(self._input_fd, self._readable)

    def _keys(self, data: bytes) -> bytes:
        """Act on escape sequences; the rest is the guest's."""
        for_guest = bytearray()
        for key in data:
            if not self._escaped:
                if key == ESCAPE:
                    self._escaped = True
                else:
                    for_guest.append(key)
                continue
            self._escaped = False
            if key == ESCAPE:
                for_guest.append(key)
            elif key == ord("x"):
                self._say("jitemu: Terminated\r\n")
                self._leave()
                break
            elif key == ord("h"):
                self._say(HELP)
            elif key == ord("b"):
                self.send_break()
            elif key == ord("c"):
                self._say("\r\njitemu: there is no monitor yet\r\n")
        return bytes(for_guest)

    def _say(self, text: str) -> None:
        """Our own words, in order with the guest's."""
        self._output += text.encode()
        self.flush()

    def close(self) -> None:
        super().close()
        if self._own_fd >= 0:
            os.close(self._own_fd)
            self._own_fd = -1


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _unix(loop: EventLoop, spec: str) -> UnixChardev:
    path, *options = spec.removeprefix("unix:").split(",")
    server, wait = False, True
    for option in options:
        name, _, setting = option.partition("=")
        on = setting in ("", "on", "yes", "true")
        if not on and setting not in ("off", "no", "false"):
            fail(f"-serial {spec}: '{name}' is on or off, not '{setting}'")
        if name == "server":
            server = on
        elif name == "wait":
            wait = on
        elif name == "nowait":
            wait = not on
        else:
            fail(f"-serial {spec}: unknown option '{name}'; there are server and wait=on|off")
    return UnixChardev(loop, path, server, wait)


def open_serial(
    spec: str, index: int, loop: EventLoop, guard: SignalGuard, leave: Callable[[], None]
) -> NullChardev:
    """The host end that ``spec`` names, for serial port ``index``; UserError if it cannot
    be had.  ``leave`` is what Ctrl-A x does."""
    if spec in ("stdio", "mon:stdio"):
        return StdioChardev(loop, guard, spec.startswith("mon:"), leave)
    if spec in ("null", "none"):
        return NullChardev()
    if spec == "pty":
        return PtyChardev(loop, f"serial{index}")
    if spec.startswith("file:") and spec != "file:":
        return FileChardev(loop, spec.removeprefix("file:"))
    if spec.startswith("unix:") and spec != "unix:":
        return _unix(loop, spec)
    fail(f"-serial {spec}: no such character device; use stdio, null, pty, file:PATH or unix:PATH")

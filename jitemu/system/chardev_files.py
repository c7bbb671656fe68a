"""Character devices that are files of the host: stdio, file, pipe, pty."""

from __future__ import annotations

import os
import select
import stat
import time
from contextlib import suppress

from jitemu.messages import fail
from jitemu.properties import BOOL, STR, Options, prop
from jitemu.system.chardev import HostChardev

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jitemu.system.eventloop import EventLoop, LoopTimer
    from jitemu.system.terminal import SignalGuard


class StdioOptions(Options):
    """What ``-chardev stdio`` takes."""

    signal = prop(STR, "", "on|off: Ctrl-C and its kind act on this process")


class StdioChardev(HostChardev):
    """Standard input and output.  With ``signals`` the terminal's Ctrl-C and its kind act on
    this process, without they are keys like any other."""

    filename = "stdio"

    def __init__(self, loop: EventLoop, guard: SignalGuard, signals: bool) -> None:
        super().__init__(loop)
        self._own_fd = -1
        for fd in (0, 1):
            with suppress(OSError):
                if os.isatty(fd):
                    from jitemu.system.terminal import Terminal

                    guard.add(Terminal(fd, signals))
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


class FileOptions(Options):
    """What ``-chardev file`` takes."""

    path = prop(STR, "", "file: where output goes")
    input_path = prop(STR, "", "file: where input comes from")
    append = prop(BOOL, False, "keep what the file holds")


class FileChardev(HostChardev):
    """What the guest sends, in a new file; and what it reads, from another."""

    filename = "file"

    def __init__(self, loop: EventLoop, options: FileOptions, where: str) -> None:
        super().__init__(loop)
        kept = os.O_APPEND if options.append else os.O_TRUNC
        self._fds = [_open(options.path, os.O_WRONLY | os.O_CREAT | kept, where)]
        if options.input_path:
            self._fds.append(_open(options.input_path, os.O_RDONLY | os.O_NONBLOCK, where))
        self.attach(self._fds[-1] if options.input_path else -1, self._fds[0])

    def close(self) -> None:
        super().close()
        while self._fds:
            os.close(self._fds.pop())


def _open(path: str, flags: int, where: str) -> int:
    try:
        return os.open(path, flags | os.O_CLOEXEC, 0o666)
    except (OSError, ValueError) as error:
        fail(f"{where}: cannot open {path}: {getattr(error, 'strerror', error)}")


class PipeOptions(Options):
    """What ``-chardev pipe`` takes."""

    path = prop(STR, "", "name: the FIFOs name.in and name.out, or name for both")


class PipeChardev(HostChardev):
    """Two FIFOs, or one for both directions."""

    filename = "pipe"

    def __init__(self, loop: EventLoop, options: PipeOptions, where: str) -> None:
        super().__init__(loop)
        path = options.path
        # Opened to read and write, they neither wait for another process nor end with it.
        flags = os.O_RDWR | os.O_NONBLOCK
        if os.path.exists(path + ".in") and os.path.exists(path + ".out"):
            self._fds = [_open(path + end, flags, where) for end in (".in", ".out")]
        else:
            self._fds = [_open(path, flags, where)]
        self.attach(self._fds[0], self._fds[-1])

    def close(self) -> None:
        super().close()
        while self._fds:
            os.close(self._fds.pop())


class PtyChardev(HostChardev):
    """A new pseudo-terminal.  While nobody has it open, output is lost, as on a real serial
    line."""

    LOOK_EVERY_NS = 250_000_000

    def __init__(self, loop: EventLoop, label: str, where: str) -> None:
        import tty

        super().__init__(loop)
        try:
            self._master, slave = os.openpty()
        except OSError as error:
            fail(f"{where}: cannot make a pseudo-terminal: {error.strerror}")
        tty.setraw(slave)
        os.set_blocking(self._master, False)
        self.path = os.ttyname(slave)
        self.filename = f"pty:{self.path}"
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

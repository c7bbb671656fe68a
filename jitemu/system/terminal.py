"""The host's terminal: raw while the guest has it, as it was whatever ends the process."""

from __future__ import annotations

import os
import signal
import termios
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

IFLAG, OFLAG, CFLAG, LFLAG, CC = 0, 1, 2, 3, 6
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Terminal:
    """The terminal behind ``fd``.  With ``signals`` its keys (Ctrl-C, Ctrl-Z) still work on
    this process; without, they go to the guest like any other."""

    def __init__(self, fd: int, signals: bool) -> None:
        self.fd = fd
        self._saved = termios.tcgetattr(fd)
        self._raw = termios.tcgetattr(fd)
        raw = self._raw
        raw[IFLAG] &= ~(
            termios.IGNBRK
            | termios.BRKINT
            | termios.PARMRK
            | termios.ISTRIP
            | termios.INLCR
            | termios.IGNCR
            | termios.ICRNL
            | termios.IXON
        )
        raw[OFLAG] |= termios.OPOST
        raw[LFLAG] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.IEXTEN)
        if not signals:
            raw[LFLAG] &= ~termios.ISIG
        raw[CFLAG] = raw[CFLAG] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
        raw[CC][termios.VMIN] = 1
        raw[CC][termios.VTIME] = 0

    def set_raw(self) -> None:
        """Give it to the guest, unless it is another job's at the moment."""
        with suppress(termios.error, OSError):
            if os.tcgetpgrp(self.fd) == os.getpgrp():
                termios.tcsetattr(self.fd, termios.TCSANOW, self._raw)

    def restore(self) -> None:
        with suppress(termios.error):
            termios.tcsetattr(self.fd, termios.TCSANOW, self._saved)


class SignalGuard:
    """While entered: SIGINT, SIGTERM and SIGHUP call ``stop(signal number)``, SIGQUIT and
    SIGTSTP do what they always do after the terminal was restored, and SIGCONT makes it raw
    again.  ``wakeup_fd`` gets a byte for each signal, so that the main thread wakes up."""

    def __init__(self, stop: Callable[[int], None], wakeup_fd: int) -> None:
        self._stop = stop
        self._wakeup_fd = wakeup_fd
        self._terminals: list[Terminal] = []
        self._before: list[tuple[int, object]] = []
        self._wakeup_before = -1

    def add(self, terminal: Terminal) -> None:
        """Have a terminal raw while the guard is entered (add it before that)."""
        self._terminals.append(terminal)

    def restore_terminals(self) -> None:
        for terminal in self._terminals:
            terminal.restore()

    def __enter__(self) -> SignalGuard:
        import atexit

        for number in STOPPING:
            self._install(number, self._on_stop)
        self._install(signal.SIGQUIT, self._on_default)
        self._install(signal.SIGTSTP, self._on_default)
        self._install(signal.SIGCONT, self._on_continue)
        self._wakeup_before = signal.set_wakeup_fd(self._wakeup_fd, warn_on_full_buffer=False)
        for terminal in self._terminals:
            atexit.register(terminal.restore)
            terminal.set_raw()
        return self

    def __exit__(self, *_: object) -> None:
        import atexit

        signal.set_wakeup_fd(self._wakeup_before)
        for terminal in self._terminals:
            terminal.restore()
            atexit.unregister(terminal.restore)
        for number, handler in self._before:
            # None: a handler that was not installed from Python cannot be put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)  # pyright: ignore[reportArgumentType]

    def _install(self, number: int, handler: Callable[[int, FrameType | None], None]) -> None:
        before = signal.getsignal(number)
        # What nohup and background shells ignore stays ignored.
        if before is not signal.SIG_IGN:
            self._before.append((number, before))
            signal.signal(number, handler)

    def _on_stop(self, number: int, _frame: FrameType | None) -> None:
        self._stop(number)

    def _on_default(self, number: int, _frame: FrameType | None) -> None:
        self.restore_terminals()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        # Here again means stopped and continued, or not stopped at all, for the job has no
        # shell that could continue it.
        signal.signal(number, self._on_default)
        self._on_continue(number, None)

    def _on_continue(self, _number: int, _frame: FrameType | None) -> None:
        for terminal in self._terminals:
            terminal.set_raw()


def block_signals() -> None:
    """Leave signals to the main thread; for threads that run guest code."""
    signal.pthread_sigmask(
        signal.SIG_BLOCK,
        {*STOPPING, signal.SIGQUIT, signal.SIGTSTP, signal.SIGCONT, signal.SIGWINCH},
    )

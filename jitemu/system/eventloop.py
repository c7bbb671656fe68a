"""The event loop: timers, file descriptors and calls from other threads, in one thread.

It sleeps in select(2), which takes microseconds (epoll counts milliseconds, too coarse for
a guest's timer), and wakes only for something that is due.
"""

from __future__ import annotations

import errno
import os
import select
import threading
import time
from contextlib import suppress
from heapq import heapify, heappop, heappush

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from jitemu.devices.ports import Timer

    Callback = Callable[[], None]

LONGEST_SLEEP_NS = 3600 * 1_000_000_000
NEVER_NS = 1 << 64
CANCELLED_KEPT = 64  # cancelled timers that may stay in the heap before it is swept


class LoopTimer:
    """A call to come.  ``callback`` is None once it ran or was cancelled."""

    __slots__ = ("callback", "deadline_ns", "sequence")

    def __init__(self, deadline_ns: int, sequence: int, callback: Callback) -> None:
        self.deadline_ns = deadline_ns
        self.sequence = sequence
        self.callback: Callback | None = callback

    def __lt__(self, other: LoopTimer) -> bool:
        if self.deadline_ns != other.deadline_ns:
            return self.deadline_ns < other.deadline_ns
        return self.sequence < other.sequence


class EventLoop:
    """``lock`` is held around every callback.  ``call_at``, ``cancel``, ``call_soon``,
    ``stop`` may be called from any thread and from signal handlers; the rest under ``lock``."""

    def __init__(self, lock: threading.RLock | None = None) -> None:
        self.lock = threading.RLock() if lock is None else lock
        # Re-entrant, because a signal handler may call in while its thread is inside.
        self._mutex = threading.RLock()
        self._timers: list[LoopTimer] = []
        self._sequence = 0
        self._cancelled = 0
        self._soon: list[Callback] = []
        self._readers: dict[int, Callback] = {}
        self._writers: dict[int, Callback] = {}
        self._asleep_until = -1  # NEVER_NS at most; -1 while awake
        self._stopped = False
        self._wake_reader, self.wakeup_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    # Timers

    def call_at(self, deadline_ns: int, callback: Callback) -> LoopTimer:
        """Run ``callback`` once time.monotonic_ns() reaches ``deadline_ns``."""
        with self._mutex:
            self._sequence += 1
            timer = LoopTimer(deadline_ns, self._sequence, callback)
            heappush(self._timers, timer)
            wake = deadline_ns < self._asleep_until
        if wake:
            self._wake()
        return timer

    def cancel(self, timer: Timer) -> None:
        """Forget a timer; nothing happens if it ran already."""
        with self._mutex:
            if timer.callback is None:
                return
            timer.callback = None
            self._cancelled += 1
            if self._cancelled > CANCELLED_KEPT and self._cancelled * 2 > len(self._timers):
                self._timers = [t for t in self._timers if t.callback is not None]
                heapify(self._timers)
                self._cancelled = 0

    def monotonic_ns(self) -> int:
        """The clock of ``call_at``."""
        return time.monotonic_ns()

    def call_soon(self, callback: Callback) -> None:
        """Run ``callback`` in the loop's thread at its next turn."""
        with self._mutex:
            self._soon.append(callback)
        self._wake()

    # File descriptors

    def add_reader(self, fd: int, callback: Callback) -> None:
        """Call back whenever ``fd`` has something to read (or is at its end)."""
        self._readers[fd] = callback
        self._wake()

    def remove_reader(self, fd: int) -> None:
        self._readers.pop(fd, None)

    def add_writer(self, fd: int, callback: Callback) -> None:
        """Call back whenever ``fd`` can take something."""
        self._writers[fd] = callback
        self._wake()

    def remove_writer(self, fd: int) -> None:
        self._writers.pop(fd, None)

    # The loop

    def run(self) -> None:
        """Serve until ``stop``."""
        while not self._stopped:
            self.turn()

    def stop(self) -> None:
        self._stopped = True
        self._wake()

    def turn(self) -> None:
        """Run what is due, then sleep until there is more."""
        with self.lock:
            for callback in self._due():
                callback()
            readers, writers = list(self._readers), list(self._writers)
        ready, writable = self._sleep(readers, writers)
        with self.lock:
            for fd in ready:
                callback = self._readers.get(fd)
                if callback is not None:
                    callback()
            for fd in writable:
                callback = self._writers.get(fd)
                if callback is not None:
                    callback()

    def close(self) -> None:
        for fd in (self._wake_reader, self.wakeup_fd):
            with suppress(OSError):
                os.close(fd)
        self._wake_reader = self.wakeup_fd = -1

    def _due(self) -> list[Callback]:
        """Take what has to run now.  A timer cancelled by an earlier one of the same turn
        must not run, so timers are handed out as calls that look again."""
        due: list[Callback] = []
        with self._mutex:
            if self._soon:
                due, self._soon = self._soon, []
            timers, now = self._timers, time.monotonic_ns()
            while timers and (timers[0].callback is None or timers[0].deadline_ns <= now):
                timer = heappop(timers)
                if timer.callback is None:
                    self._cancelled -= 1
                else:
                    due.append(self._expiry(timer))
        return due

    def _expiry(self, timer: LoopTimer) -> Callback:
        def expire() -> None:
            callback, timer.callback = timer.callback, None
            if callback is not None:
                callback()
            else:
                self._cancelled -= 1  # counted by ``cancel``, but no longer in the heap

        return expire

    def _sleep(self, readers: list[int], writers: list[int]) -> tuple[list[int], list[int]]:
        with self._mutex:
            until = self._timers[0].deadline_ns if self._timers else NEVER_NS
            if self._soon or self._stopped:
                until = 0
            self._asleep_until = until
        wait = min(max(until - time.monotonic_ns(), 0), LONGEST_SLEEP_NS)
        try:
            ready, writable, _ = select.select(
                [self._wake_reader, *readers], writers, [], wait / 1e9
            )
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
            self._drop_closed()
            ready, writable = [], []
        self._asleep_until = -1
        if self._wake_reader in ready:
            ready.remove(self._wake_reader)
            with suppress(BlockingIOError):
                os.read(self._wake_reader, 4096)
        return ready, writable

    def _drop_closed(self) -> None:
        """Somebody closed a descriptor that is being watched: watch it no longer."""
        with self.lock:
            for table in (self._readers, self._writers):
                for fd in list(table):
                    try:
                        os.fstat(fd)
                    except OSError:
                        del table[fd]

    def _wake(self) -> None:
        # A full pipe wakes it just as well; a closed one has nobody to wake.
        with suppress(OSError):
            os.write(self.wakeup_fd, b"\0")

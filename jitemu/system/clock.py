"""The machine's time: it stands still while the machine is stopped, and so do its timers.

Machine time is the host's monotonic clock without the time spent stopped, in nanoseconds;
mtime counts it at 10 MHz from ``epoch_ns``.  With -icount icount.py's time is the host's.
"""

from __future__ import annotations

import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from jitemu.devices.ports import Scheduler, Timer

TIMEBASE_HZ = 10_000_000
TICK_NS = 1_000_000_000 // TIMEBASE_HZ
MASK64 = (1 << 64) - 1


class MachineClock:
    """mtime = (machine time - epoch) / 100 ns; harts compute the same from the host's clock."""

    def __init__(
        self,
        host: Callable[[], int] = time.monotonic_ns,
        wall: Callable[[], int] = time.time_ns,
    ) -> None:
        self._host = host
        self._behind_ns = 0  # the host's clock is ahead of the machine's by so much
        self._stopped_ns: int | None = None
        self.wall_ns = wall
        self.epoch_ns = host()
        self.on_epoch_change: Callable[[int], None] | None = None
        """Told the host's time of a running clock's tick 0 when that changes."""

    def ticks(self) -> int:
        return (self.monotonic_ns() - self.epoch_ns) // TICK_NS & MASK64

    def set_ticks(self, ticks: int) -> None:
        self.epoch_ns = self.monotonic_ns() - ticks * TICK_NS
        self._tell()

    def deadline_ns(self, ticks: int) -> int:
        return self.epoch_ns + ticks * TICK_NS

    def monotonic_ns(self) -> int:
        """Machine time."""
        if self._stopped_ns is not None:
            return self._stopped_ns
        return self._host() - self._behind_ns

    @property
    def host_epoch_ns(self) -> int:
        """The host's monotonic time at which a running clock's tick 0 was."""
        return self.epoch_ns + self._behind_ns

    def host_ns(self, machine_ns: int) -> int:
        """The host's monotonic time of a machine time, if the machine is not stopped."""
        return machine_ns + self._behind_ns

    def stop(self) -> None:
        """Time stands still."""
        if self._stopped_ns is None:
            self._stopped_ns = self.monotonic_ns()

    def go_on(self) -> None:
        """Time passes again, from where it stood."""
        if self._stopped_ns is not None:
            self._behind_ns = self._host() - self._stopped_ns
            self._stopped_ns = None
            self._tell()

    def _tell(self) -> None:
        if self.on_epoch_change is not None:
            self.on_epoch_change(self.host_epoch_ns)


class MachineTimer:
    """A call to come, at a machine time."""

    __slots__ = ("callback", "deadline_ns", "host")

    def __init__(self, deadline_ns: int, callback: Callable[[], None]) -> None:
        self.deadline_ns = deadline_ns
        self.callback: Callable[[], None] | None = callback
        self.host: Timer | None = None


class MachineTimers:
    """A scheduler in machine time: what is due while the machine is stopped waits.  Any thread
    may call it."""

    def __init__(self, clock: MachineClock, loop: Scheduler) -> None:
        self._clock = clock
        self._loop = loop
        self._mutex = threading.Lock()
        self._pending: set[MachineTimer] = set()
        self._stopped = False

    def call_at(self, deadline_ns: int, callback: Callable[[], None]) -> MachineTimer:
        timer = MachineTimer(deadline_ns, callback)
        with self._mutex:
            self._pending.add(timer)
            if not self._stopped:
                self._start(timer)
        return timer

    def cancel(self, timer: Timer) -> None:
        if isinstance(timer, MachineTimer):
            timer.callback = None
            with self._mutex:
                self._pending.discard(timer)
                self._hold(timer)

    def stop(self) -> None:
        """Hold everything back."""
        with self._mutex:
            self._stopped = True
            for timer in self._pending:
                self._hold(timer)

    def go_on(self) -> None:
        """The clock runs again."""
        with self._mutex:
            self._stopped = False
            for timer in self._pending:
                if timer.host is None:
                    self._start(timer)

    def _hold(self, timer: MachineTimer) -> None:
        if timer.host is not None:
            self._loop.cancel(timer.host)
            timer.host = None

    def _start(self, timer: MachineTimer) -> None:
        def expire() -> None:
            callback, timer.callback = timer.callback, None
            with self._mutex:
                self._pending.discard(timer)
                timer.host = None
            if callback is not None:
                callback()

        timer.host = self._loop.call_at(self._clock.host_ns(timer.deadline_ns), expire)

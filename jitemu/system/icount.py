"""Time by instructions executed (-icount), the same in every run.

The hart's thread does all that time decides, between two instructions: it executes up to
the next deadline (the hart's ``budget``), and then runs the timers that are due.  While the
guest waits for an interrupt, time goes on to the next deadline: at once, or at the host's
pace.
"""

from __future__ import annotations

import threading
import time
from heapq import heappop, heappush

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from typing import Any

    from jitemu.devices.ports import Timer
    from jitemu.system.hart import Hart

MAX_SHIFT = 10
WALL_NS = 946_684_800 * 1_000_000_000
"""What the real-time clock shows at power-on: 2000-01-01, as the host's differs by the run."""
LONGEST = 1 << 40
"""Instructions at a stretch where nothing is due."""
NEVER_NS = 1 << 62
"""Deadlines from here on are never reached."""
LONGEST_SLEEP_NS = 3600 * 1_000_000_000


class Icount:
    """-icount's values."""

    __slots__ = ("shift", "sleep")

    def __init__(self, shift: int, sleep: bool = True) -> None:
        self.shift = shift
        """An instruction takes 1 << shift nanoseconds."""
        self.sleep = sleep
        """Whether a guest that waits for a timer has the host wait too."""


class CountedTimer:
    """A call to come."""

    __slots__ = ("callback", "deadline_ns", "order")

    def __init__(self, deadline_ns: int, order: int, callback: Callable[[], None]) -> None:
        self.deadline_ns = deadline_ns
        self.order = order
        self.callback: Callable[[], None] | None = callback

    def __lt__(self, other: CountedTimer) -> bool:
        return (self.deadline_ns, self.order) < (other.deadline_ns, other.order)


class CountedTime:
    """The nanoseconds of one hart's instructions, and a scheduler in them."""

    def __init__(self, options: Icount, lock: AbstractContextManager[Any]) -> None:
        self._options = options
        self._lock = lock
        self._hart: Hart | None = None
        self._interrupt: Callable[[], None] = lambda: None
        self._thread = 0
        self._mutex = threading.Lock()
        self._timers: list[CountedTimer] = []
        self._order = 0

    def attach(self, hart: Hart, interrupt: Callable[[], None]) -> None:
        """Count this hart's instructions; ``interrupt`` has it look around, or wakes it."""
        self._hart = hart
        self._interrupt = interrupt
        hart.count(self._options.shift)

    def now(self) -> int:
        """Nanoseconds since power-on.  Any thread."""
        if self._hart is None:
            return 0
        with self._mutex:
            return self._hart.counted_ns

    # A scheduler (any thread)

    def call_at(self, deadline_ns: int, callback: Callable[[], None]) -> CountedTimer:
        """Run ``callback`` in the hart's thread once ``now`` reaches ``deadline_ns``."""
        with self._mutex:
            self._order += 1
            timer = CountedTimer(deadline_ns, self._order, callback)
            heappush(self._timers, timer)
        self.changed()
        return timer

    def cancel(self, timer: Timer) -> None:
        """Forget a timer; nothing happens if it ran already."""
        timer.callback = None

    def changed(self) -> None:
        """There may be a nearer deadline."""
        if threading.get_ident() == self._thread:
            self._allot()
        else:
            self._interrupt()

    # The hart's thread

    def begin(self) -> None:
        """Before the guest goes on: run what is due, take the interrupts that it raised, and
        allot instructions up to the next deadline."""
        self._thread = threading.get_ident()
        assert self._hart is not None
        self._run_due()
        with self._lock:
            self._hart.take_interrupt()
            self._allot()

    def wait(self, wake: threading.Event, wanted: Callable[[], bool]) -> None:
        """Until an interrupt is pending, or something else is ``wanted``; ``wake`` is set when
        that may have changed."""
        hart = self._hart
        assert hart is not None
        while True:
            wake.clear()
            if wanted() or hart.interrupt_pending():
                return
            deadline = self._next()
            if deadline is None:
                wake.wait()
            else:
                left = deadline - hart.counted_ns
                if self._options.sleep:
                    left = min(left, LONGEST_SLEEP_NS)
                    before = time.monotonic_ns()
                    if wake.wait(left / 1e9):
                        left = min(left, time.monotonic_ns() - before)
                with self._mutex:
                    hart.pass_time(left)
            self._run_due()

    def _run_due(self) -> None:
        while True:
            with self._mutex:
                timers, now = self._timers, self._hart.counted_ns if self._hart else 0
                while timers and timers[0].callback is None:
                    heappop(timers)
                if not timers or timers[0].deadline_ns > now:
                    return
                callback = heappop(timers).callback
            if callback is not None:
                with self._lock:
                    callback()

    def _next(self) -> int | None:
        """The nearest deadline that is to come."""
        hart = self._hart
        assert hart is not None
        with self._mutex:
            found = [t.deadline_ns for t in self._timers[:1]]
        timer = hart.next_timer_ns()
        if timer is not None and timer > hart.counted_ns:
            found.append(timer)
        return min((ns for ns in found if ns < NEVER_NS), default=None)

    def _allot(self) -> None:
        hart, deadline = self._hart, self._next()
        assert hart is not None
        with self._mutex:
            left = LONGEST
            if deadline is not None:
                left = -(hart.counted_ns - deadline >> self._options.shift)
            hart.allot(min(max(left, 0), LONGEST))

"""The machine's time base: mtime counts at 10 MHz over the host's monotonic clock."""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

TIMEBASE_HZ = 10_000_000
TICK_NS = 1_000_000_000 // TIMEBASE_HZ
MASK64 = (1 << 64) - 1


class MachineClock:
    """mtime = (monotonic - epoch) / 100 ns; harts compute the same from ``epoch_ns``."""

    def __init__(self) -> None:
        self.epoch_ns = time.monotonic_ns()
        self.on_epoch_change: Callable[[int], None] | None = None
        """Told the new epoch when a guest writes mtime."""

    def ticks(self) -> int:
        return (time.monotonic_ns() - self.epoch_ns) // TICK_NS & MASK64

    def set_ticks(self, ticks: int) -> None:
        self.epoch_ns = time.monotonic_ns() - ticks * TICK_NS
        if self.on_epoch_change is not None:
            self.on_epoch_change(self.epoch_ns)

    def deadline_ns(self, ticks: int) -> int:
        return self.epoch_ns + ticks * TICK_NS

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def wall_ns(self) -> int:
        return time.time_ns()

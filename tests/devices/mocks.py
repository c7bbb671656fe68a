"""Stand-ins for what surrounds a device: wires, time and the host's end of a serial line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


class Wire:
    """Remembers its level and each change of it."""

    def __init__(self) -> None:
        self.level = False
        self.changes: list[bool] = []

    def set(self, level: bool) -> None:
        if level != self.level:
            self.changes.append(level)
        self.level = level


@dataclass
class MockTimer:
    deadline_ns: int
    callback: Callable[[], None] | None


@dataclass
class MockTime:
    """Clock and scheduler in one; time passes by ``advance`` only."""

    now_ns: int = 1000
    epoch_ns: int = 0
    timers: list[MockTimer] = field(default_factory=lambda: [])

    def ticks(self) -> int:
        return (self.now_ns - self.epoch_ns) // 100

    def set_ticks(self, ticks: int) -> None:
        self.epoch_ns = self.now_ns - ticks * 100

    def deadline_ns(self, ticks: int) -> int:
        return self.epoch_ns + ticks * 100

    def monotonic_ns(self) -> int:
        return self.now_ns

    def wall_ns(self) -> int:
        return 1_700_000_000_000_000_000 + self.now_ns

    def call_at(self, deadline_ns: int, callback: Callable[[], None]) -> MockTimer:
        timer = MockTimer(deadline_ns, callback)
        self.timers.append(timer)
        return timer

    def cancel(self, timer: object) -> None:
        assert isinstance(timer, MockTimer)
        timer.callback = None

    def advance(self, ns: int) -> None:
        end = self.now_ns + ns
        while due := [t for t in self.timers if t.callback and t.deadline_ns <= end]:
            timer = min(due, key=lambda t: t.deadline_ns)
            self.now_ns = max(self.now_ns, timer.deadline_ns)
            callback, timer.callback = timer.callback, None
            assert callback is not None
            callback()
        self.now_ns = end


class MockChardev:
    """Collects what is sent; ``type`` is the host's keyboard."""

    def __init__(self) -> None:
        self.on_input: Callable[[], None] | None = None
        self.on_writable: Callable[[], None] | None = None
        self.sent = bytearray()
        self.room = 1 << 30
        self.waiting = bytearray()
        self.breaks = 0

    def put(self, byte: int) -> bool:
        self.sent.append(byte)
        self.room -= 1
        return self.room > 0

    def read(self, count: int) -> bytes:
        data = bytes(self.waiting[:count])
        del self.waiting[:count]
        return data

    def take_break(self) -> bool:
        if self.breaks:
            self.breaks -= 1
            return True
        return False

    def type(self, data: bytes) -> None:
        self.waiting += data
        assert self.on_input is not None
        self.on_input()

    def close(self) -> None:
        pass


class Control:
    """Machine control that only remembers."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.resets = 0

    def shutdown(self, status: int) -> None:
        self.statuses.append(status)

    def reset(self) -> None:
        self.resets += 1

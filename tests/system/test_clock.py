"""Machine time stands still while a machine is stopped."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from jitemu.system.clock import TICK_NS, MachineClock, MachineTimers
from jitemu.system.eventloop import EventLoop

MS = 1_000_000


@pytest.fixture
def loop() -> Iterator[EventLoop]:
    loop = EventLoop()
    yield loop
    loop.close()


def turn_for(loop: EventLoop, ms: int) -> None:
    ended: list[bool] = []

    def end() -> None:
        ended.append(True)
        loop.call_soon(lambda: None)  # or this turn would sleep, perhaps for ever

    loop.call_at(time.monotonic_ns() + ms * MS, end)
    while not ended:
        loop.turn()


def test_ticks_stand_still() -> None:
    clock = MachineClock()
    epochs: list[int] = []
    clock.on_epoch_change = epochs.append
    clock.set_ticks(1000)
    before = clock.ticks()
    clock.stop()
    stopped = clock.ticks()
    time.sleep(0.05)
    assert clock.ticks() == stopped
    clock.set_ticks(77)
    assert clock.ticks() == 77
    clock.go_on()
    assert 77 <= clock.ticks() < 77 + 40 * MS // TICK_NS
    assert before <= stopped < before + 40 * MS // TICK_NS
    # what a hart computes from the host's clock is the same
    ticks = (time.monotonic_ns() - epochs[-1]) // TICK_NS
    assert abs(ticks - clock.ticks()) < 5 * MS // TICK_NS


def test_timers_wait(loop: EventLoop) -> None:
    clock = MachineClock()
    timers = MachineTimers(clock, loop)
    seen: list[str] = []
    timers.call_at(clock.monotonic_ns() + 30 * MS, lambda: seen.append("before"))
    cancelled = timers.call_at(clock.monotonic_ns() + 30 * MS, lambda: seen.append("cancelled"))
    timers.stop()
    clock.stop()
    timers.call_at(clock.monotonic_ns() + 10 * MS, lambda: seen.append("meanwhile"))
    timers.cancel(cancelled)
    turn_for(loop, 60)
    assert seen == []
    clock.go_on()
    timers.go_on()
    start = time.monotonic_ns()
    while len(seen) < 2:
        turn_for(loop, 1)
    assert seen == ["meanwhile", "before"]
    assert time.monotonic_ns() - start >= 20 * MS
    turn_for(loop, 20)
    assert len(seen) == 2

"""The event loop: order, cancellation, threads, descriptors, and that it sleeps."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

import pytest

from jitemu.system.eventloop import EventLoop

MS = 1_000_000


@pytest.fixture
def loop() -> Iterator[EventLoop]:
    loop = EventLoop()
    yield loop
    loop.close()


def stop_in(loop: EventLoop, ms: float) -> None:
    loop.call_at(time.monotonic_ns() + int(ms * MS), loop.stop)


def test_timers_run_in_order_and_on_time(loop: EventLoop) -> None:
    start, seen = time.monotonic_ns(), list[tuple[str, int]]()

    def note(name: str) -> None:
        seen.append((name, time.monotonic_ns() - start))

    loop.call_at(start + 10 * MS, lambda: note("b"))
    loop.call_at(start + 5 * MS, lambda: note("a"))
    loop.call_at(start + 10 * MS, lambda: note("c"))
    stop_in(loop, 20)
    loop.run()
    assert [name for name, _ in seen] == ["a", "b", "c"]
    assert seen[0][1] >= 5 * MS
    assert seen[1][1] >= 10 * MS


def test_a_cancelled_timer_does_not_run_even_in_the_same_turn(loop: EventLoop) -> None:
    seen: list[str] = []
    now = time.monotonic_ns()
    loop.call_at(now, lambda: loop.cancel(second))
    second = loop.call_at(now, lambda: seen.append("second"))
    stop_in(loop, 2)
    loop.run()
    assert seen == []
    loop.cancel(second)


def test_many_cancelled_timers_do_not_pile_up(loop: EventLoop) -> None:
    for _ in range(10_000):
        loop.cancel(loop.call_at(1 << 62, loop.stop))
    assert len(vars(loop)["_timers"]) < 200


def test_an_earlier_timer_from_another_thread_wakes_it(loop: EventLoop) -> None:
    loop.call_at(time.monotonic_ns() + 10_000 * MS, loop.stop)
    start = time.monotonic()
    threading.Timer(0.02, lambda: stop_in(loop, 1)).start()
    loop.run()
    assert time.monotonic() - start < 2


def test_call_soon_from_another_thread(loop: EventLoop) -> None:
    threads: list[str] = []

    def there() -> None:
        threads.append(threading.current_thread().name)
        loop.stop()

    threading.Timer(0.02, lambda: loop.call_soon(there)).start()
    loop.run()
    assert threads == [threading.current_thread().name]


def test_descriptors(loop: EventLoop) -> None:
    reader, writer = os.pipe()
    got: list[bytes] = []

    def read() -> None:
        got.append(os.read(reader, 100))
        loop.remove_reader(reader)
        loop.stop()

    def write() -> None:
        os.write(writer, b"x")
        loop.remove_writer(writer)

    loop.add_reader(reader, read)
    loop.add_writer(writer, write)
    loop.run()
    assert got == [b"x"]
    os.close(reader)
    os.close(writer)


def test_a_descriptor_closed_behind_its_back_is_forgotten(loop: EventLoop) -> None:
    reader, writer = os.pipe()
    loop.add_reader(reader, lambda: None)
    os.close(reader)
    os.close(writer)
    stop_in(loop, 5)
    loop.run()


def test_it_sleeps(loop: EventLoop) -> None:
    stop_in(loop, 200)
    before = time.process_time()
    loop.run()
    assert time.process_time() - before < 0.02


def test_callbacks_run_under_the_lock(loop: EventLoop) -> None:
    free: list[bool] = []

    def look() -> None:
        def try_it() -> None:
            free.append(loop.lock.acquire(blocking=False))

        thread = threading.Thread(target=try_it)
        thread.start()
        thread.join()
        loop.stop()

    loop.call_soon(look)
    loop.run()
    assert free == [False]

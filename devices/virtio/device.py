"""What all virtio devices share: features, configuration space, and how requests reach them.

A model is one class in a file of this folder.  It says its type (virtio 1.2, chapter 5),
its queues and features, and either answers requests one at a time (``RequestDevice``) or
does something of its own when it is notified.  No model knows its transport.
"""

from __future__ import annotations

import threading
from functools import partial

from jitemu.devices.device import BOOL, Device, prop
from jitemu.devices.virtio.queue import Chain, Queue, QueueError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class Transport(Protocol):
        """A device's way to its driver.  Called with the lock held."""

        def used(self) -> None:
            """Interrupt the driver: chains were returned."""
            ...

        def config_changed(self) -> None: ...

        def broken(self, why: str) -> None:
            """The device cannot go on: it needs a reset (2.1.2)."""
            ...


RING_INDIRECT_DESC, RING_EVENT_IDX, VERSION_1 = 1 << 28, 1 << 29, 1 << 32
SIGNAL_EVERY = 8  # requests of a run between looks whether the driver wants to be told


class Later(Exception):
    """Raised by ``answer``: ask again at a time (monotonic nanoseconds)."""

    def __init__(self, deadline_ns: int) -> None:
        super().__init__()
        self.deadline_ns = deadline_ns


class VirtioDevice(Device):
    """The transport calls these with the lock held; ``features`` are those negotiated."""

    bus = "virtio-bus"
    type_id = 0
    indirect_desc = prop(BOOL, True, name="indirect_desc")
    event_idx = prop(BOOL, True, name="event_idx")
    transport: Transport
    features = 0

    def queue_sizes(self) -> list[int]:
        """The greatest size of each queue."""
        raise NotImplementedError

    def device_features(self) -> int:
        """The feature bits of its type that the device offers."""
        return 0

    def offered(self) -> int:
        """All that is offered, those of virtqueues with it."""
        ring = self.indirect_desc * RING_INDIRECT_DESC | self.event_idx * RING_EVENT_IDX
        return self.device_features() | ring | VERSION_1

    def config(self) -> bytes:
        """The configuration space as it is now."""
        return b""

    def write_config(self, offset: int, data: bytes) -> None:
        """The driver wrote there; most devices have nothing writable."""

    def realize(self) -> None:
        self.queues = [Queue(self.memory, i, n) for i, n in enumerate(self.queue_sizes())]

    def driver_ready(self) -> None:
        """The driver has set DRIVER_OK: all is negotiated."""

    def notified(self, queue: Queue) -> None:
        """The driver says that there is something in a queue that is ready."""
        raise NotImplementedError

    def quiesce(self) -> None:
        """No thread touches queues that are not ready when this returns."""

    def stop_queue(self, queue: Queue) -> None:
        """Leave a queue alone until it is set up again."""
        queue.ready = False
        self.quiesce()

    def reset(self) -> None:
        for queue in self.queues:
            queue.ready = False
        self.quiesce()
        self.features = 0
        for queue in self.queues:
            queue.reset()

    def signal(self, queue: Queue) -> None:
        """Tell the driver what was pushed, if it wants to know.  Any thread, without locks."""
        with self.host.lock:
            if queue.ready and queue.interrupt_wanted():
                self.transport.used()

    def guarded(self, work: Callable[[], None]) -> None:
        """Do what takes chains; a broken queue ends in a device that needs a reset."""
        try:
            work()
        except QueueError as error:
            with self.host.lock:
                self.transport.broken(str(error))


class RequestDevice(VirtioDevice):
    """Answers each chain by itself, one after another, on a worker thread of its own."""

    def answer(self, queue: Queue, chain: Chain) -> int:
        """Do what the request says; how many bytes of its writable part were written.
        On the worker's thread."""
        raise NotImplementedError

    def realize(self) -> None:
        super().realize()
        self._worker = self.host.worker(self.id or self.model)
        self._scheduled = [False] * len(self.queues)
        self._busy = threading.Lock()  # held by the worker while it may touch the queues

    def notified(self, queue: Queue) -> None:
        if not self._scheduled[queue.index]:
            self._scheduled[queue.index] = True
            self._worker.submit(partial(self.guarded, partial(self._serve, queue)))

    def quiesce(self) -> None:
        # While it is busy the worker never waits for the lock that the caller holds.
        with self._busy:
            pass

    def _serve(self, queue: Queue) -> None:
        self._scheduled[queue.index] = False
        while True:
            with self._busy:
                more = queue.ready and self._run(queue)
            self.signal(queue)
            if not more:
                return

    def _run(self, queue: Queue) -> bool:
        """Answer some requests; whether there are more."""
        queue.suppress()
        for _ in range(SIGNAL_EVERY):
            chain = queue.pop()
            if chain is None:
                return queue.resume()
            try:
                written = self.answer(queue, chain)
            except Later as later:
                queue.unpop()
                again = partial(self.notified, queue)
                self.host.scheduler.call_at(later.deadline_ns, again)
                return False
            queue.push(chain, written)
            if not queue.ready:
                return False
        return True

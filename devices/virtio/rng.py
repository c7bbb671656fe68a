"""The entropy device (virtio 1.2, section 5.4)."""

from __future__ import annotations

import os

from jitemu.devices.device import UINT32, UINT64, prop
from jitemu.devices.virtio.device import Later, RequestDevice
from jitemu.devices.virtio.queue import Chain, Queue, QueueError

MOST_AT_ONCE = 64 << 10  # bytes; a request may get less than it asks for
MS = 1_000_000


class VirtioRng(RequestDevice):
    """Each buffer comes back with random bytes, at most ``max_bytes`` in a ``period``."""

    model = "virtio-rng-device"
    aliases = ("virtio-rng",)
    about = "random numbers from the host"
    type_id = 4
    max_bytes = prop(UINT64, (1 << 63) - 1, "most bytes given in a period")
    period = prop(UINT32, 65536, "the period in milliseconds")

    def queue_sizes(self) -> list[int]:
        return [8]

    def realize(self) -> None:
        if not self.period:
            raise ValueError("'period' parameter expects a positive integer")
        super().realize()
        self._quota = self.max_bytes
        self._period_ends = 0

    def answer(self, queue: Queue, chain: Chain) -> int:
        if not chain.writable:
            raise QueueError("request without a buffer to fill")
        now = self.host.clock.monotonic_ns()
        if now >= self._period_ends:
            self._period_ends = now + self.period * MS
            self._quota = self.max_bytes
        size = min(chain.write_size(), MOST_AT_ONCE, self._quota)
        if size == 0:
            raise Later(self._period_ends)
        self._quota -= size
        return chain.write(os.urandom(size))

"""The virtio-mmio transport before virtio 1.0 (virtio 1.2, section 4.2.4), which is what QEMU's
virt machine has unless it is told otherwise, so that old drivers know no other."""

from __future__ import annotations

from jitemu.devices.registers import port, rw
from jitemu.devices.virtio.device import VERSION_1
from jitemu.devices.virtio.mmio import NEEDS_RESET, WORD, MmioTransport
from jitemu.devices.virtio.queue import DESCRIPTOR, RING_HEADER

ANY_LAYOUT = 1 << 27  # buffers may be cut anywhere, as in virtio 1.0


class LegacyTransport(MmioTransport):
    """A queue is one run of pages; the driver accepts features without asking whether it may."""

    layout = 1
    guest_page_size = rw(0x028, "bytes; the unit of QueuePFN")
    queue_align = rw(0x03C, "bytes; where the used ring begins")
    queue_pfn = port(0x040, "the page where the queue begins; 0: it is not used")

    def offered(self) -> int:
        return (self.device.offered() | ANY_LAYOUT) & WORD & ~VERSION_1

    def _reset_by_driver(self) -> None:
        size = self.guest_page_size  # Linux sets it before the reset that it begins with
        self.reset()
        self.guest_page_size = size

    def _agreed(self, value: int, new: int) -> int:
        self.device.features = self._accepted & self.offered()
        return value

    @queue_pfn.on_read
    def read_queue_pfn(self) -> int:
        queue = self._queue()
        if queue is None or not queue.ready or not self.guest_page_size:
            return 0
        return queue.descriptors_at // self.guest_page_size & WORD

    @queue_pfn.on_write
    def write_queue_pfn(self, value: int) -> None:
        queue = self._queue()
        if queue is None or self._status & NEEDS_RESET:
            return
        if queue.ready:
            self.device.stop_queue(queue)
        if value:
            self.device.features = self._accepted & self.offered()
            available = value * self.guest_page_size + queue.size * DESCRIPTOR.size
            used = available + RING_HEADER + 2 * queue.size + 2
            queue.descriptors_at = value * self.guest_page_size
            queue.driver_at = available
            queue.device_at = used + -used % (self.queue_align or 1)
            self._start(queue)

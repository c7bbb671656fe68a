"""The virtio-mmio transport (virtio 1.2, section 4.2): what both its layouts have, and that of
virtio 1.0 and later.  ``mmio_legacy.py`` has the one before."""

from __future__ import annotations

from jitemu.devices.registers import RegisterDevice, port, ro, rw
from jitemu.devices.virtio.device import (
    RING_EVENT_IDX,
    RING_INDIRECT_DESC,
    VERSION_1,
    VirtioDevice,
)
from jitemu.devices.virtio.queue import Queue, QueueError
from jitemu.memory.physical import BusError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jitemu.devices.ports import IrqLine

MAGIC = int.from_bytes(b"virt", "little")
VENDOR = int.from_bytes(b"QEMU", "little")
FEATURES_OK, DRIVER_OK, NEEDS_RESET = 8, 4, 64
USED, CONFIG_CHANGED = 1, 2
CONFIG = 0x100
WORD = 0xFFFF_FFFF
NO_REGION = WORD  # length and base of a shared memory region that does not exist


class EmptySlot(RegisterDevice):
    """What a driver finds where no device is plugged: device id 0, which it must ignore
    silently (4.2.3.1.1)."""

    access_sizes = (1, 2, 4)
    magic_value = ro(0x000, "'virt'", reset=MAGIC)
    version = ro(0x004, "as of the slots with devices")
    device_id = ro(0x008, "0: no device", reset=0)
    vendor_id = ro(0x00C, "subsystem vendor", reset=VENDOR)

    def __init__(self, version: int) -> None:
        super().__init__()
        self.version = version


class MmioTransport(RegisterDevice):
    """A slot with a device in it: what both layouts have."""

    access_sizes = (4,)
    layout = 0
    """What the version register says."""
    magic_value = ro(0x000, "'virt'", reset=MAGIC)
    version = ro(0x004, "1: legacy, 2: the layout of virtio 1.0 and later")
    device_id = ro(0x008, "the device's type")
    vendor_id = ro(0x00C, "subsystem vendor", reset=VENDOR)
    device_features = ro(0x010, "features offered, the half selected")
    device_features_sel = rw(0x014, "which half is seen")
    driver_features = port(0x020, "features accepted, the half selected")
    driver_features_sel = rw(0x024, "which half is written")
    queue_sel = rw(0x030, "the queue that the queue registers are of")
    queue_num_max = ro(0x034, "greatest size of the queue; 0: there is no such queue")
    queue_num = port(0x038, "size in use")
    queue_notify = port(0x050, "the number of a queue with new buffers")
    interrupt_status = ro(0x060, "bit 0: used buffers, bit 1: configuration changed")
    interrupt_ack = port(0x064, "bits that were seen to")
    status = port(0x070, "how far the driver is; 0 resets")

    def __init__(self, device: VirtioDevice, irq: IrqLine) -> None:
        self.device = device
        self._irq = irq
        self._accepted = 0
        self._status = 0
        super().__init__()
        device.transport = self

    def reset(self) -> None:
        self.device.reset()
        self.reset_registers()
        self._accepted = self._status = 0
        self._irq.set(False)

    # What the device asks (Transport)

    def used(self) -> None:
        self._interrupt(USED)

    def config_changed(self) -> None:
        if self._status & DRIVER_OK:
            self._interrupt(CONFIG_CHANGED)

    def broken(self, why: str) -> None:
        self.guest_error(f"{self.device.model}: {why}")
        for queue in self.device.queues:
            queue.ready = False
        self._status |= NEEDS_RESET
        MmioTransport.config_changed(self)

    def _interrupt(self, reason: int) -> None:
        self.interrupt_status |= reason
        self._irq.set(True)

    # Negotiation

    @device_id.on_read
    def read_device_id(self) -> int:
        return self.device.type_id

    def offered(self) -> int:
        """The features that a driver of this layout may accept."""
        raise NotImplementedError

    @version.on_read
    def read_version(self) -> int:
        return self.layout

    @device_features.on_read
    def read_device_features(self) -> int:
        half = self.device_features_sel
        return self.offered() >> 32 * half & WORD if half < 2 else 0

    @driver_features.on_write
    def write_driver_features(self, value: int) -> None:
        half = self.driver_features_sel
        if half < 2 and not self._status & FEATURES_OK:
            self._accepted = self._accepted & ~(WORD << 32 * half) | value << 32 * half

    @status.on_read
    def read_status(self) -> int:
        return self._status

    @status.on_write
    def write_status(self, value: int) -> None:
        if value == 0:
            self._reset_by_driver()
            return
        new = value & ~self._status & 0xFF
        self._status = self._agreed(value, new) & 0xFF | self._status & NEEDS_RESET
        if new & DRIVER_OK:
            self.device.driver_ready()

    def _reset_by_driver(self) -> None:
        self.reset()

    def _agreed(self, value: int, new: int) -> int:
        """The status that is to be kept; ``new`` are its bits that were not set before."""
        raise NotImplementedError

    # Queues

    def _queue(self) -> Queue | None:
        queues = self.device.queues
        return queues[self.queue_sel] if self.queue_sel < len(queues) else None

    @queue_num_max.on_read
    def read_queue_num_max(self) -> int:
        queue = self._queue()
        return 0 if queue is None else queue.max_size

    @queue_num.on_write
    def write_queue_num(self, value: int) -> None:
        queue = self._queue()
        if queue is not None and not queue.ready:
            queue.size = value

    def _start(self, queue: Queue) -> None:
        """Take a queue up that the driver has set up."""
        try:
            features = self.device.features
            queue.start(bool(features & RING_INDIRECT_DESC), bool(features & RING_EVENT_IDX))
        except QueueError as error:
            self.broken(str(error))

    def _may_notify(self) -> bool:
        return True

    @queue_notify.on_write
    def write_queue_notify(self, value: int) -> None:
        queues = self.device.queues
        if value < len(queues) and queues[value].ready and self._may_notify():
            self.device.notified(queues[value])

    @interrupt_ack.on_write
    def write_interrupt_ack(self, value: int) -> None:
        self.interrupt_status &= ~value
        self._irq.set(self.interrupt_status != 0)

    # The configuration space, which takes accesses of any size

    def read(self, offset: int, size: int) -> int:
        if offset < CONFIG:
            return super().read(offset, size)
        if size > 4:
            raise BusError("the configuration space does not answer accesses of 8 bytes")
        start = offset - CONFIG
        return int.from_bytes(self.device.config()[start : start + size], "little")

    def write(self, offset: int, size: int, value: int) -> None:
        if offset < CONFIG:
            super().write(offset, size, value)
        else:
            data = (value & (1 << size * 8) - 1).to_bytes(size, "little")
            self.device.write_config(offset - CONFIG, data)


class ModernTransport(MmioTransport):
    """The layout of virtio 1.0 and later."""

    layout = 2
    queue_ready = port(0x044, "1: the driver has set the queue up")
    queue_desc_low = port(0x080, "address of the descriptor table")
    queue_desc_high = port(0x084, "its upper half")
    queue_driver_low = port(0x090, "address of the available ring")
    queue_driver_high = port(0x094, "its upper half")
    queue_device_low = port(0x0A0, "address of the used ring")
    queue_device_high = port(0x0A4, "its upper half")
    shm_sel = rw(0x0AC, "which shared memory region; there is none")
    shm_len_low = ro(0x0B0, "its length", reset=NO_REGION)
    shm_len_high = ro(0x0B4, "its upper half", reset=NO_REGION)
    shm_base_low = ro(0x0B8, "its address", reset=NO_REGION)
    shm_base_high = ro(0x0BC, "its upper half", reset=NO_REGION)
    config_generation = ro(0x0FC, "changes with the configuration space")

    def offered(self) -> int:
        return self.device.offered()

    def config_changed(self) -> None:
        self.config_generation = (self.config_generation + 1) & WORD
        super().config_changed()

    def _agreed(self, value: int, new: int) -> int:
        if new & FEATURES_OK:
            # Also refused if the driver is older than virtio 1.0 (6.1).
            if self._accepted & ~self.offered() or not self._accepted & VERSION_1:
                return value & ~FEATURES_OK
            self.device.features = self._accepted
        return value

    def _may_notify(self) -> bool:
        return bool(self._status & DRIVER_OK)

    @queue_ready.on_read
    def read_queue_ready(self) -> int:
        queue = self._queue()
        return int(queue is not None and queue.ready)

    @queue_ready.on_write
    def write_queue_ready(self, value: int) -> None:
        queue = self._queue()
        if queue is None or self._status & NEEDS_RESET or queue.ready == (value == 1):
            return
        if value != 1:
            self.device.stop_queue(queue)
            return
        self._start(queue)

    def _address(self, name: str, shift: int, value: int) -> None:
        """Write half of a ring's address."""
        queue = self._queue()
        if queue is not None and not queue.ready:
            old = getattr(queue, name)
            setattr(queue, name, old & ~(WORD << shift) | value << shift)

    @queue_desc_low.on_write
    def write_desc_low(self, value: int) -> None:
        self._address("descriptors_at", 0, value)

    @queue_desc_high.on_write
    def write_desc_high(self, value: int) -> None:
        self._address("descriptors_at", 32, value)

    @queue_driver_low.on_write
    def write_driver_low(self, value: int) -> None:
        self._address("driver_at", 0, value)

    @queue_driver_high.on_write
    def write_driver_high(self, value: int) -> None:
        self._address("driver_at", 32, value)

    @queue_device_low.on_write
    def write_device_low(self, value: int) -> None:
        self._address("device_at", 0, value)

    @queue_device_high.on_write
    def write_device_high(self, value: int) -> None:
        self._address("device_at", 32, value)

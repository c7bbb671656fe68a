"""Goldfish real-time clock: wall time in nanoseconds, one alarm, one interrupt.

Register meanings: Android's goldfish virtual hardware description, "goldfish timer".
"""

from __future__ import annotations

from jitemu.devices.registers import RegisterDevice, port, ro, rw

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jitemu.devices.ports import Clock, IrqLine, Scheduler, Timer

LOW = 0xFFFF_FFFF
MASK64 = 0xFFFF_FFFF_FFFF_FFFF


class GoldfishRtc(RegisterDevice):
    access_sizes = (4,)
    time_low = port(0x00, "time, low half; reading latches the high half, writing sets it")
    time_high = port(0x04, "time, high half as latched; write it before the low half")
    alarm_low = port(0x08, "alarm, low half; writing it arms the alarm")
    alarm_high = port(0x0C, "alarm, high half; write it before the low half")
    irq_enabled = rw(0x10, "bit 0: the alarm raises the interrupt", mask=1)
    clear_alarm = port(0x14, "any write disarms the alarm")
    alarm_status = ro(0x18, "1 while the alarm is armed")
    clear_interrupt = port(0x1C, "any write lowers the interrupt")

    def __init__(self, clock: Clock, scheduler: Scheduler, irq: IrqLine) -> None:
        super().__init__()
        self._clock = clock
        self._scheduler = scheduler
        self._irq = irq
        self._offset_ns = 0  # guest's time less the host's: survives a reset, as a battery does
        self._latched_high = 0
        self._alarm_ns = 0
        self._pending = False
        self._timer: Timer | None = None

    def reset(self) -> None:
        self._disarm()
        self.reset_registers()
        self._latched_high = 0
        self._alarm_ns = 0
        self._pending = False
        self._irq.set(False)

    def _now(self) -> int:
        return (self._clock.wall_ns() + self._offset_ns) & MASK64

    @time_low.on_read
    def read_time_low(self) -> int:
        now = self._now()
        self._latched_high = now >> 32
        return now & LOW

    @time_high.on_read
    def read_time_high(self) -> int:
        return self._latched_high

    @time_low.on_write
    def write_time_low(self, value: int) -> None:
        now = self._now()
        self._offset_ns += (now & ~LOW | value) - now

    @time_high.on_write
    def write_time_high(self, value: int) -> None:
        now = self._now()
        self._offset_ns += (now & LOW | value << 32) - now

    @alarm_low.on_read
    def read_alarm_low(self) -> int:
        return self._alarm_ns & LOW

    @alarm_high.on_read
    def read_alarm_high(self) -> int:
        return self._alarm_ns >> 32

    @alarm_high.on_write
    def write_alarm_high(self, value: int) -> None:
        self._alarm_ns = self._alarm_ns & LOW | value << 32

    @alarm_low.on_write
    def write_alarm_low(self, value: int) -> None:
        self._alarm_ns = self._alarm_ns & ~LOW | value
        self._disarm()
        wait = self._alarm_ns - self._now()
        if wait <= 0:
            self._ring()
            return
        self.alarm_status = 1
        self._timer = self._scheduler.call_at(self._clock.monotonic_ns() + wait, self._ring)

    @irq_enabled.on_write
    def write_irq_enabled(self, value: int) -> None:
        self._update()

    @clear_alarm.on_write
    def write_clear_alarm(self, value: int) -> None:
        self._disarm()

    @clear_interrupt.on_write
    def write_clear_interrupt(self, value: int) -> None:
        self._pending = False
        self._update()

    def _ring(self) -> None:
        self._disarm()
        self._pending = True
        self._update()

    def _disarm(self) -> None:
        self.alarm_status = 0
        if self._timer is not None:
            self._scheduler.cancel(self._timer)
            self._timer = None

    def _update(self) -> None:
        self._irq.set(self._pending and bool(self.irq_enabled))

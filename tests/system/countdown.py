from jitemu.devices.device import UINT32, prop
from jitemu.devices.platform import PlatformDevice
from jitemu.devices.registers import ro, rw, w1c


class Countdown(PlatformDevice):
    model = "countdown"
    compatible = "example,countdown"
    unit_us = prop(UINT32, 1000, "microseconds of a tick")
    ident = ro(0x0, "'TICK'", reset=0x4B434954)
    ticks = rw(0x4, "writing starts the count")
    done = w1c(0x8, "bit 0: the time is up")

    @ticks.on_write
    def start(self, value: int) -> None:
        due = self.host.clock.monotonic_ns() + value * self.unit_us * 1000
        self.host.scheduler.call_at(due, self.finish)

    def finish(self) -> None:
        self.done = 1
        self.irq.set(True)

    @done.on_write
    def acknowledge(self, value: int) -> None:
        self.irq.set(bool(self.done))

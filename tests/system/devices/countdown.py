"""A timer of one's own: counts down and interrupts, and says how often in guest memory."""

from jitemu.devices.device import UINT32, prop
from jitemu.devices.platform import PlatformDevice
from jitemu.devices.registers import ro, rw, w1c


class Countdown(PlatformDevice):
    model = "countdown"
    about = "interrupts when the time is up"
    compatible = "example,countdown"
    unit_us = prop(UINT32, 1000, "microseconds of a tick")
    ident = ro(0x0, "'TICK'", reset=0x4B434954)
    ticks = rw(0x4, "writing starts the count")
    done = w1c(0x8, "bit 0: the time is up")
    counter_at = rw(0xC, "address of a word that counts how often, or 0")

    @ticks.on_write
    def start(self, value: int) -> None:
        due = self.host.clock.monotonic_ns() + value * self.unit_us * 1000
        self.host.scheduler.call_at(due, self.finish)

    def finish(self) -> None:
        self.done = 1
        if self.counter_at:
            word = self.memory.dma_view(self.counter_at, 4)
            word[:] = (int.from_bytes(word, "little") + 1).to_bytes(4, "little")
            self.memory.dma_written(self.counter_at, 4)
        self.irq.set(True)

    @done.on_write
    def acknowledge(self, value: int) -> None:
        self.irq.set(bool(self.done))

"""How to add a device, in full: a watchdog that bites by resetting the machine.

1. Write a class like this one in ``devices/``: the register table, then a hook for each
   register that does something, then ``reset``.  What it needs of the machine it takes as
   the protocols of ``devices/ports.py``.
2. Give it an address and interrupt in ``jitemu/system/memory_map.py``, make it in
   ``VirtBoard.__init__``, and its node in ``jitemu/system/devicetree.py``.
3. Test it as below: mock wires, time and control, no machine.
"""

from __future__ import annotations

from jitemu.devices.ports import Clock, IrqLine, MachineControl, Scheduler, Timer
from jitemu.devices.registers import RegisterDevice, ro, rw, w1c
from jitemu.memory.physical import PhysicalSpace, Ram
from tests.devices.mocks import Control, MockTime, Wire


class Watchdog(RegisterDevice):
    access_sizes = (4,)
    ident = ro(0x0, "'WDOG'", reset=0x474F4457)
    timeout_us = rw(0x4, "microseconds to the bark, twice that to the bite; 0 stops", mask=0xFFFF)
    status = w1c(0x8, "bit 0: barked; clearing it starts the time again", mask=1)

    def __init__(
        self, clock: Clock, scheduler: Scheduler, irq: IrqLine, control: MachineControl
    ) -> None:
        super().__init__()
        self._clock, self._scheduler, self._irq, self._control = clock, scheduler, irq, control
        self._timer: Timer | None = None

    def reset(self) -> None:
        self.reset_registers()
        self.restart(0)

    @timeout_us.on_write
    @status.on_write
    def restart(self, value: int) -> None:
        if self._timer is not None:
            self._scheduler.cancel(self._timer)
        self._irq.set(bool(self.status))
        if self.timeout_us:
            due = self._clock.monotonic_ns() + self.timeout_us * 1000
            self._timer = self._scheduler.call_at(due, self._expire)

    def _expire(self) -> None:
        if self.status:
            self._control.reset()
        self.status = 1
        self.restart(0)


def test_watchdog() -> None:
    space = PhysicalSpace(Ram(0x8000_0000, 0x1000))
    time, irq, control = MockTime(), Wire(), Control()
    space.map_mmio(0x1020_0000, 0x1000, Watchdog(time, time, irq, control), "watchdog")
    assert space.read(0x1020_0000, 4).to_bytes(4, "little") == b"WDOG"
    space.write(0x1020_0004, 4, 100)
    time.advance(100_000)
    assert irq.level
    space.write(0x1020_0008, 4, 1)
    assert (irq.level, control.resets) == (False, 0)
    time.advance(200_000)
    assert control.resets == 1

"""Core-local interruptors: the SiFive CLINT's layout, as RISC-V ACLINT 1.0 splits it into
MSWI (software interrupts), MTIMER (mtime, mtimecmp) and, on request, SSWI."""

from __future__ import annotations

from jitemu.devices.registers import RegisterDevice, bank, port, rw

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from jitemu.devices.ports import Clock, IrqLine, Scheduler, Timer

NEVER = (1 << 64) - 1


class Mswi(RegisterDevice):
    """Machine-level software interrupts: bit 0 of msip is the hart's MSIP."""

    access_sizes = (4,)
    msip = bank(rw(0x0, "bit 0: machine software interrupt pending", mask=1), "harts", 4)

    def __init__(self, outputs: Sequence[IrqLine]) -> None:
        self.harts = len(outputs)
        self._outputs = outputs
        super().__init__()

    def reset(self) -> None:
        self.reset_registers()
        for output in self._outputs:
            output.set(False)

    @msip.on_write
    def write_msip(self, hart: int, value: int) -> None:
        self._outputs[hart].set(bool(value & 1))


class Sswi(RegisterDevice):
    """Supervisor-level software interrupts: writing 1 sets SSIP, which software clears."""

    access_sizes = (4,)
    setssip = bank(port(0x0, "write 1: supervisor software interrupt"), "harts", 4)

    def __init__(self, outputs: Sequence[IrqLine]) -> None:
        self.harts = len(outputs)
        self._outputs = outputs
        super().__init__()

    @setssip.on_read
    def read_setssip(self, hart: int) -> int:
        return 0

    @setssip.on_write
    def write_setssip(self, hart: int, value: int) -> None:
        if value & 1:
            self._outputs[hart].set(True)


class Mtimer(RegisterDevice):
    """The machine timer: MTIP is high while mtime >= mtimecmp.

    Offsets count from mtimecmp's base (0x4000 of a CLINT).  ``mtime`` is 64 bits wide at
    0x7ff8; both answer 4- and 8-byte accesses.
    """

    access_sizes = (4, 8)
    mtimecmp = bank(rw(0x0000, "compare value of a hart", width=8, reset=NEVER), "harts", 8)
    mtime = port(0x7FF8, "the time base's counter", width=8)

    def __init__(self, clock: Clock, scheduler: Scheduler, outputs: Sequence[IrqLine]) -> None:
        self.harts = len(outputs)
        self._outputs = outputs
        self._clock = clock
        self._scheduler = scheduler
        self._timers: list[Timer | None] = [None] * self.harts
        super().__init__()

    def reset(self) -> None:
        self.reset_registers()
        for hart in range(self.harts):
            self._arm(hart)

    @mtime.on_read
    def read_mtime(self) -> int:
        return self._clock.ticks()

    @mtime.on_write
    def write_mtime(self, value: int) -> None:
        self._clock.set_ticks(value)
        for hart in range(self.harts):
            self._arm(hart)

    @mtimecmp.on_write
    def write_mtimecmp(self, hart: int, value: int) -> None:
        self._arm(hart)

    def _arm(self, hart: int) -> None:
        """Set MTIP to what the comparison says and see to its next change."""
        timer = self._timers[hart]
        if timer is not None:
            self._scheduler.cancel(timer)
            self._timers[hart] = None
        compare = self.mtimecmp[hart]
        reached = self._clock.ticks() >= compare
        self._outputs[hart].set(reached)
        if not reached and compare != NEVER:

            def expire() -> None:
                self._arm(hart)

            self._timers[hart] = self._scheduler.call_at(self._clock.deadline_ns(compare), expire)

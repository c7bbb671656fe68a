"""A hart for tests: ``program`` is Python code that runs in the place of guest code."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from jitemu.memory.physical import PhysicalSpace
from jitemu.system.hart import HartExit
from jitemu.trace import Log

Program = Callable[["FakeHart"], HartExit]


class FakeHart:
    """Each ``run`` calls ``program``; interrupts are kept as a pending mask."""

    def __init__(self, space: PhysicalSpace, hart_id: int, program: Program) -> None:
        self.space = space
        self.hart_id = hart_id
        self.program = program
        self.pc = 0
        self.registers = [0] * 32
        self.pending = 0
        self.enabled = 0
        self.kicked = threading.Event()
        self.supervisor = False
        self.resets = 0
        self.timer_ns: int | None = None
        self.epoch_ns = 0
        self.on_timer_change: Callable[[int | None], None] | None = None
        self.runs = 0

    def run(self) -> HartExit:
        self.runs += 1
        if self.kicked.is_set():
            self.kicked.clear()
            return HartExit.INTERRUPTED
        return self.program(self)

    def kick(self) -> None:
        self.kicked.set()

    def set_interrupt(self, number: int, level: bool) -> None:
        if level:
            self.pending |= 1 << number
        else:
            self.pending &= ~(1 << number)

    def register(self, name: str) -> int | None:
        return self.pc if name == "pc" else None

    def register_lines(self) -> list[str]:
        return [f" pc       {self.pc:016x}"]

    def use_log(self, log: Log) -> None:
        self.log = log

    def mapping_lines(self) -> list[str]:
        return ["No translation or protection"]

    def translate(self, address: int) -> int | None:
        return address

    def interrupt_pending(self) -> bool:
        timer = self.timer_ns is not None and time.monotonic_ns() >= self.timer_ns
        return timer or bool(self.pending & self.enabled)

    def next_timer_ns(self) -> int | None:
        return self.timer_ns

    def set_timer(self, deadline_ns: int | None) -> None:
        """What a guest's write of stimecmp does."""
        self.timer_ns = deadline_ns
        if self.on_timer_change is not None:
            self.on_timer_change(deadline_ns)

    def set_time_epoch(self, epoch_ns: int) -> None:
        self.epoch_ns = epoch_ns

    def read_gpr(self, index: int) -> int:
        return self.registers[index]

    def write_gpr(self, index: int, value: int) -> None:
        self.registers[index] = value

    def reset(self, pc: int) -> None:
        self.resets += 1
        self.pc = pc
        self.registers = [0] * 32
        self.supervisor = False

    def start_supervisor(self, pc: int, a0: int, a1: int) -> None:
        self.pc = pc
        self.supervisor = True
        self.registers[10], self.registers[11] = a0, a1

    # With -icount: each run executes all that it was allotted.

    shift = 0
    counted_ns = 0
    allotted = 0

    def count(self, shift: int) -> None:
        self.shift = shift

    def allot(self, instructions: int) -> None:
        self.allotted = instructions

    def pass_time(self, ns: int) -> None:
        self.counted_ns += ns

    def take_interrupt(self) -> None:
        self.taken = self.pending & self.enabled

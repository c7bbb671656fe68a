"""The reference interpreter with RISC-V's state, on the memory that the oracles have."""

from __future__ import annotations

from collections.abc import Sequence

from jitemu.frontends.riscv.state import RiscvState, S
from jitemu.ir.interp import Outcome, step
from jitemu.ir.machine import PAGE, Machine, PagedMemory
from jitemu.isa import Decoder
from tests.riscv.operands import CODE, MASK64, SCRATCH, SCRATCH_SIZE
from tests.riscv.oracle import Result

SCRATCH_END = SCRATCH + SCRATCH_SIZE
STEPS = 10_000
"""No block of ``random_block`` takes as many."""


class Reference:
    """Runs guest code by the micro-ops' Python meanings."""

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder
        self.memory = PagedMemory()
        self.memory.map(SCRATCH, SCRATCH_SIZE)
        self.machine = Machine(RiscvState, self.memory, "user", S)

    def start(self, code: bytes, x: Sequence[int], memory: bytes) -> None:
        """Make the hart ready to run code."""
        self.memory.put(CODE, code)
        for at in range(0, SCRATCH_SIZE, PAGE):
            self.memory.pages[(SCRATCH + at) // PAGE][:] = memory[at : at + PAGE]
        self.machine.registers["x"][:] = [*x, 0]
        self.machine.fields["reservation"] = MASK64
        self.machine.pc = CODE

    def step(self) -> Outcome:
        """Run an instruction."""
        return step(self.decoder, self.machine)

    def run(self, code: bytes, x: Sequence[int], memory: bytes, count: int = STEPS) -> Result:
        """Run code to its end, or so many instructions of it."""
        self.start(code, x, memory)
        while self.machine.pc != CODE + len(code) and count:
            outcome = self.step()
            assert outcome.kind in ("next", "jump"), (outcome, self.machine.pc)
            count -= 1
        assert count < STEPS
        pages = (self.memory.pages[a // PAGE] for a in range(SCRATCH, SCRATCH_END, PAGE))
        x_after = list(self.machine.registers["x"][:32])
        return Result(self.machine.pc, x_after, b"".join(pages))

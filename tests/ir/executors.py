"""What can run micro-op functions in tests: each executor takes a start and gives an end.

To hold another implementation against the filetests and the random functions, append it
to EXECUTORS.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from jitemu.frontends.riscv.state import RiscvState, S
from jitemu.ir import interp
from jitemu.ir.code import Function
from jitemu.ir.machine import Machine, PagedMemory

PC = 0x1_0000
MEMORY, READ_ONLY, SIZE = 0x2000_0000, 0x3000_0000, 8192
"""Two mapped ranges of the guest, the second read-only."""


@dataclass
class Start:
    """A state before: what is not named is 0."""

    x: dict[int, int] = field(default_factory=dict[int, int])
    fields: dict[str, int] = field(default_factory=dict[str, int])
    memory: dict[int, int] = field(default_factory=dict[int, int])
    """Bytes by address, in the mapped ranges."""
    args: tuple[int, ...] = ()
    """Of a native function."""


@dataclass
class End:
    """How it ended and the state after."""

    outcome: str
    """next, jump 0x.., exit n, exitnext n, leave 0x.., fault read|write 0x.., ret 0x.."""
    x: list[int]
    fields: dict[str, int]
    memory: bytes
    """Of the writable range."""


class Executor(Protocol):
    """Runs an instruction's body, at PC with a length of 4, or a native function."""

    name: str

    def run(self, function: Function, start: Start) -> End | None:
        """None if it does not run functions of this kind."""
        ...


class Interpreter:
    """The reference."""

    name = "interpreter"

    def run(self, function: Function, start: Start) -> End | None:
        memory = PagedMemory()
        memory.map(MEMORY, SIZE)
        memory.map(READ_ONLY, SIZE, writable=False)
        for address, byte in start.memory.items():
            memory.put(address, bytes([byte]))
        machine = Machine(RiscvState, memory, emitter=S)
        for index, value in start.x.items():
            machine.registers["x"][index] = value
        machine.fields.update({"pc": PC, **start.fields})
        if any(op.name == "ret" for block in function.blocks for op in block.ops):
            outcome = f"ret {interp.run_function(function, machine, *start.args):#x}"
        else:
            outcome = describe(interp.run_instruction(function, machine))
        x = machine.registers["x"][:32]
        return End(outcome, x, machine.fields, memory.get(MEMORY, SIZE))


def describe(outcome: interp.Outcome) -> str:
    """An outcome as filetests write it."""
    if outcome.kind in ("exit", "exitnext"):
        return f"{outcome.kind} {outcome.reason}"
    if outcome.kind in ("jump", "leave"):
        return f"{outcome.kind} {outcome.pc:#x}"
    if outcome.kind == "fault":
        return f"fault {outcome.access} {outcome.address:#x}"
    return outcome.kind


EXECUTORS: list[Executor] = [Interpreter()]

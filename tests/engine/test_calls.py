"""Calls that a region contains: functions inlined, and all the ways they come back."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from jitemu.frontends.riscv.i import EXIT_BREAKPOINT
from tests.engine.executors import UserMode, user_mode
from tests.engine.guest_code import Program, put_code, record_at, register, set_registers
from tests.engine.image import BLOCKS, SCRATCH

RA, SP, A0, A1, A2 = 1, 2, 10, 11, 12
ROUNDS = 50


def leaf(program: Program, name: str, amount: int) -> None:
    program.label(name)
    program.put("addi", rd=A0, rs1=A0, imm=amount)
    program.put("jalr", rd=0, rs1=RA, imm=0)


def outer(program: Program, name: str, *inner: str) -> None:
    """A function with a stack frame that calls others."""
    program.label(name)
    program.put("addi", rd=SP, rs1=SP, imm=-16)
    program.put("sd", rs1=SP, rs2=RA, imm=8)
    for function in inner:
        program.jump("jal", function, rd=RA)
        program.put("slli", rd=A0, rs1=A0, shamt=1)
        program.put("addi", rd=A0, rs1=A0, imm=1)
    program.put("ld", rd=RA, rs1=SP, imm=8)
    program.put("addi", rd=SP, rs1=SP, imm=16)
    program.put("jalr", rd=0, rs1=RA, imm=0)


def nested(program: Program) -> None:
    """Deeper than regions inline, and from several places."""
    for level in range(6):
        outer(program, f"f{level}", f"f{level + 1}", f"f{level + 1}")
    leaf(program, "f6", 5)


def recursive(program: Program) -> None:
    """a0 += a2 * (a2 + 1) / 2, for a2 = 5."""
    program.label("f0")
    program.put("addi", rd=A2, rs1=0, imm=5)
    program.label("again")
    program.jump("beq", "done", rs1=A2, rs2=0)
    program.put("addi", rd=SP, rs1=SP, imm=-16)
    program.put("sd", rs1=SP, rs2=RA, imm=8)
    program.put("add", rd=A0, rs1=A0, rs2=A2)
    program.put("addi", rd=A2, rs1=A2, imm=-1)
    program.jump("jal", "again", rd=RA)
    program.put("ld", rd=RA, rs1=SP, imm=8)
    program.put("addi", rd=SP, rs1=SP, imm=16)
    program.label("done")
    program.put("jalr", rd=0, rs1=RA, imm=0)


def returns_elsewhere(program: Program) -> None:
    """Skips the instruction behind the call, every other time."""
    program.label("f0")
    program.put("andi", rd=5, rs1=A1, imm=1)
    program.put("slli", rd=5, rs1=5, shamt=2)
    program.put("add", rd=RA, rs1=RA, rs2=5)
    program.put("jalr", rd=0, rs1=RA, imm=0)


def tail_calls(program: Program) -> None:
    """The function called returns for the one that jumped to it."""
    program.label("f0")
    program.put("addi", rd=A0, rs1=A0, imm=3)
    program.jump("jal", "f1", rd=0)
    leaf(program, "f1", 4)


def returns_by_another_register(program: Program) -> None:
    program.label("f0")
    program.put("addi", rd=5, rs1=RA, imm=0)
    program.jump("jal", "f1", rd=RA)
    program.put("jalr", rd=0, rs1=5, imm=0)
    leaf(program, "f1", 4)


def endless_inside(program: Program) -> None:
    """A loop within the function, which also calls."""
    program.label("f0")
    program.put("addi", rd=6, rs1=RA, imm=0)
    program.put("addi", rd=A2, rs1=0, imm=7)
    program.label("loop")
    program.jump("jal", "f1", rd=RA)
    program.put("addi", rd=A2, rs1=A2, imm=-1)
    program.jump("bne", "loop", rs1=A2, rs2=0)
    program.put("jalr", rd=0, rs1=6, imm=0)
    leaf(program, "f1", 4)


def main(function: Callable[[Program], None]) -> Program:
    """A loop that calls f0 twice a round."""
    program = Program()
    program.label("main")
    program.jump("jal", "f0", rd=RA)
    program.put("addi", rd=A0, rs1=A0, imm=100)
    program.put("xori", rd=A0, rs1=A0, imm=0x55)
    program.jump("jal", "f0", rd=RA)
    program.put("addi", rd=A0, rs1=A0, imm=200)
    program.put("addi", rd=A1, rs1=A1, imm=-1)
    program.jump("bne", "main", rs1=A1, rs2=0)
    program.put("ebreak")
    function(program)
    return program


def run(user: UserMode, program: Program) -> tuple[int, ...]:
    set_registers(user, {RA: 0, SP: SCRATCH + 4096, A0: 1, A1: ROUNDS, A2: 0, 5: 0, 6: 0})
    user.processor.pc = BLOCKS
    assert user.processor.run() == EXIT_BREAKPOINT
    assert user.processor.pc == BLOCKS + 28
    return tuple(register(user, index) for index in range(1, 32))


FUNCTIONS = (
    nested,
    recursive,
    returns_elsewhere,
    tail_calls,
    returns_by_another_register,
    endless_inside,
)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_calls_in_regions(function: Callable[[Program], None]) -> None:
    """The same as blocks, as a region of the loop, and with every label's block as one too."""
    user = user_mode()
    user.space.flush()
    program = main(function)
    put_code(user, program)
    expected = run(user, program)
    for labels in (["main"], list(program.labels)):
        for label in labels:
            head = record_at(user, program.labels[label])
            if head is not None and not head.region:
                assert user.force_region(head)
        assert run(user, program) == expected
    user.space.flush()

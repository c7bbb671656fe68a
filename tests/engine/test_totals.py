"""Counted loops whose iterations are known: the same as blocks do, wherever they come from."""

from __future__ import annotations

import random

import pytest

from jitemu.backend_llvm.counted import Counted
from jitemu.backend_llvm.totals import iterations_of
from tests.engine.executors import UserMode, user_mode
from tests.engine.guest_code import (
    Program,
    put_code,
    record_at,
    run_to_break,
)
from tests.engine.image import BLOCKS
from tests.engine.noted import noted_loops

A0, A1, A2, A3, A4, A5 = range(10, 16)
T0 = 5
BRANCHES = ("bne", "blt", "bge", "bltu", "bgeu")
STEPS = (1, -1, 2, -2, 3, 8, -24, 260)
LOOPS = 200
STRAIGHT = 6
"""Iterations of a small loop that become straight code."""


@pytest.fixture
def totals(monkeypatch: pytest.MonkeyPatch) -> list[Counted]:
    """The loops with known iterations of all regions that the test makes."""
    return noted_loops(monkeypatch, "find_totals")


def nest(rng: random.Random, far: bool) -> Program:
    """A loop by a0 from one constant to another in a loop by a2; a3 is the result.

    Sometimes it starts in two ways, ends early, starts again from where it ended, or its bound
    is what came from outside.  ``far``: it starts so far from what came from outside.
    """
    program = Program()
    step = rng.choice(STEPS)
    start = rng.randint(-40, 40)
    bound = start + step * rng.choice((0, 1, 3, STRAIGHT, 50, 300)) + rng.choice((0, 0, 1))
    if far:
        program.put("addi", rd=A5, rs1=A1, imm=max(-2048, min(start - bound, 2047)))
    program.label("around")
    if far:
        program.put("addi", rd=A0, rs1=A5, imm=rng.choice((0, 0, 0, 0, 1)))
    else:
        program.put("addi", rd=A0, rs1=0, imm=start)
    if rng.random() < 0.2:
        program.put("andi", rd=T0, rs1=A2, imm=1)
        program.jump("beq", "start", rs1=T0, rs2=0)
        program.put("addi", rd=A0, rs1=0, imm=rng.randint(-40, 40))
        program.label("start")
    if not far and rng.random() < 0.8:
        program.put("addi", rd=A1, rs1=0, imm=max(-2048, min(bound, 2047)))
    if rng.random() < 0.2:
        program.label("again")
        program.put("addi", rd=A4, rs1=A4, imm=-1)
        program.jump("bge", "out", rs1=0, rs2=A4)
    program.label("loop")
    program.put("slli", rd=T0, rs1=A3, shamt=5)
    program.put("xor", rd=A3, rs1=A3, rs2=T0)
    if rng.random() < 0.3:
        program.put("andi", rd=T0, rs1=A3, imm=0x7F0)
        program.jump("beq", "end", rs1=T0, rs2=0)
    program.put("addi" if far else rng.choice(("addi", "addiw")), rd=A0, rs1=A0, imm=step)
    program.put("add", rd=A3, rs1=A3, rs2=A0)
    operands = rng.choice(((A0, A1), (A0, A1), (A1, A0), (A0, 0)))
    program.put("addi", rd=A4, rs1=A4, imm=-1)
    program.jump("bge", "out", rs1=0, rs2=A4)
    branch = "bne" if far and rng.random() < 0.8 else rng.choice(BRANCHES)
    program.jump(branch, "loop", rs1=operands[0], rs2=operands[1])
    program.label("end")
    program.put("addi", rd=A2, rs1=A2, imm=-1)
    if "again" in program.labels:
        program.put("andi", rd=T0, rs1=A3, imm=3)
        program.jump("beq", "again", rs1=T0, rs2=0)
    program.jump("bne", "around", rs1=A2, rs2=0)
    program.label("out")
    program.put("ebreak")
    return program


def run(user: UserMode, bound: int, rounds: int) -> tuple[int, ...]:
    return run_to_break(
        user, {A0: 1, A1: bound, A2: rounds, A3: 1, A4: 20000, T0: 0}, (T0, A0, A1, A2, A3, A4)
    )


def test_same_iterations(totals: list[Counted]) -> None:
    rng = random.Random(3)
    user = user_mode()
    far_totals = 0
    for number in range(LOOPS):
        user.space.flush()
        far, before = number % 3 == 0, len(totals)
        program = nest(rng, far)
        put_code(user, program)
        values = [(rng.randint(0, 60), rounds) for rounds in (1, 2, 3, 20)]
        wanted = [run(user, *v) for v in values]
        head = record_at(user, BLOCKS)
        assert head is not None and user.force_region(head)
        assert [run(user, *v) for v in values] == wanted, program.labels
        far_totals += (len(totals) - before) * far
    user.space.flush()
    assert far_totals > LOOPS // 50
    assert len(totals) - far_totals > LOOPS // 8
    assert any(loop.copies == loop.total for loop in totals)


@pytest.mark.parametrize(
    ("start", "bound", "relation", "signed", "total"),
    [
        (0, 32, "ne", False, 32),
        (0, 1, "lt", True, 1),
        (5, 1, "lt", True, 1),  # the comparison is behind the first iteration
        (-3, 0, "lt", True, 3),
        (-3, 0, "lt", False, 1),
        (0, 3, "le", False, 4),
        (0, 1 << 20, "ne", False, None),  # more than a chunk
        ((1 << 31) - 1, 0, "gt", True, 1),  # wraps to the least number
    ],
)
def test_iterations(start: int, bound: int, relation: str, signed: bool, total: int | None) -> None:
    mask = (1 << 64) - 1
    head, register = (0, 0), ("x", A0)
    loop = Counted(head, register, 1, True, 64, 0, register, relation, signed, 4096, 1)
    assert iterations_of(loop, start & mask, bound & mask) == total

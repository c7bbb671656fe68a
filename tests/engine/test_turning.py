"""Loops that are entered in their midst, or end there: turned, they do the same as blocks do."""

from __future__ import annotations

import random

import pytest

from jitemu.backend_llvm import lifting, turning
from jitemu.backend_llvm.counted import Counted
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
LOOPS = 300
MOST_ITERATIONS = 20_000
BRANCHES = ("bne", "blt", "bge", "bltu", "bgeu")


@pytest.fixture
def turned(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Of each region: how many of its loops are turned."""
    found: list[int] = []

    def note(lifter: lifting.Lifter) -> None:
        before = len(lifter.frames)
        turning.turn_loops(lifter)
        found.append(len(lifter.frames) - before)

    monkeypatch.setattr(lifting, "turn_loops", note)
    return found


def work(rng: random.Random, program: Program, name: str) -> None:
    """Some instructions that change a3, perhaps with a branch, or the loop's end by chance."""
    for _ in range(rng.randrange(3)):
        program.put("slli", rd=T0, rs1=A3, shamt=rng.randrange(1, 9))
        program.put(rng.choice(("xor", "add")), rd=A3, rs1=A3, rs2=rng.choice((T0, A0)))
    if rng.random() < 0.3:
        program.put("andi", rd=T0, rs1=A3, imm=1)
        program.jump("beq", f"over.{name}", rs1=T0, rs2=0)
        program.put("xori", rd=A3, rs1=A3, imm=rng.randrange(2048))
        program.label(f"over.{name}")
    if rng.random() < 0.3:
        program.put("andi", rd=T0, rs1=A3, imm=rng.choice((0x7F0, 0x30)))
        program.jump("beq", "end", rs1=T0, rs2=0)


def nest(rng: random.Random) -> Program:
    """A loop by a0 in one by a2; a4 limits the iterations."""
    program = Program()
    step = rng.choice((1, -1, 2, 3, -8))
    program.label("around")
    program.put("addi", rd=A0, rs1=0, imm=rng.randint(-40, 40))
    if rng.random() < 0.5:
        program.put("addi", rd=A1, rs1=0, imm=rng.randint(-40, 60))
    if rng.random() < 0.7:
        program.jump("jal", rng.choice(("midst", "test")), rd=0)
    program.label("again")
    work(rng, program, "first")
    program.label("midst")
    work(rng, program, "second")
    program.put(rng.choice(("addi", "addiw")), rd=A0, rs1=A0, imm=step)
    program.put("addi", rd=A4, rs1=A4, imm=-1)
    program.jump("bge", "out", rs1=0, rs2=A4)
    program.label("test")
    operands = rng.choice(((A0, A1), (A1, A0), (A0, 0)))
    branch = rng.choice(BRANCHES)
    if rng.random() < 0.5:
        program.jump(branch, "end", rs1=operands[0], rs2=operands[1])
        work(rng, program, "third")
        program.jump("jal", "again", rd=0)
    else:
        program.jump(branch, "again", rs1=operands[0], rs2=operands[1])
    program.label("end")
    program.put("addi", rd=A2, rs1=A2, imm=-1)
    if rng.random() < 0.2:
        program.put("addi", rd=A4, rs1=A4, imm=-1)
        program.jump("bge", "out", rs1=0, rs2=A4)
        program.put("andi", rd=T0, rs1=A3, imm=3)
        program.jump("beq", rng.choice(("again", "test")), rs1=T0, rs2=0)
    program.jump("blt", "around", rs1=0, rs2=A2)
    program.label("out")
    program.put("ebreak")
    return program


def run(user: UserMode, bound: int, rounds: int) -> tuple[int, ...]:
    return run_to_break(
        user,
        {A0: 1, A1: bound, A2: rounds, A3: 1, A4: MOST_ITERATIONS, T0: 0},
        (T0, A0, A1, A2, A3, A4),
    )


def test_same_iterations(monkeypatch: pytest.MonkeyPatch, turned: list[int]) -> None:
    counted = noted_loops(monkeypatch, "find_counted")
    totals = noted_loops(monkeypatch, "find_totals")
    rng = random.Random(11)
    user = user_mode()
    for number in range(LOOPS):
        user.space.flush()
        program = nest(rng)
        put_code(user, program)
        values = [(rng.randint(0, 60), rounds) for rounds in (1, 2, 3, 20)]
        wanted = [run(user, *v) for v in values]
        head = record_at(user, program.labels["again"] if number % 3 == 0 else BLOCKS)
        if head is None:
            continue
        assert user.force_region(head)
        assert [run(user, *v) for v in values] == wanted, program.labels
    user.space.flush()
    assert len(turned) > LOOPS // 2  # all of which control comes to the head
    assert sum(turned) > LOOPS // 4
    assert len(counted) > LOOPS // 4
    assert _known(totals) > LOOPS // 40


def _known(loops: list[Counted]) -> int:
    return sum(loop.total is not None for loop in loops)

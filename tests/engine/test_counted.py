"""Counted loops in regions: the same iterations as blocks do, and requests are noticed."""

from __future__ import annotations

import random
import threading
import time

import pytest

from jitemu.backend_llvm.counted import Counted
from jitemu.runtime.exits import EXIT_REQUESTED
from tests.engine.executors import UserMode, user_mode
from tests.engine.guest_code import (
    Program,
    put_code,
    record_at,
    run_to_break,
    set_registers,
)
from tests.engine.image import BLOCKS
from tests.engine.noted import noted_loops

A0, A1, A2, A3, A4, A5 = range(10, 16)
MASK64 = (1 << 64) - 1
EDGES = (0, 1 << 31, 1 << 32, 1 << 63, (1 << 64) - (1 << 31))
BRANCHES = ("bne", "blt", "bge", "bltu", "bgeu")
KINDS = ("addi", "addiw", "addiw", "add", "addw", "skipped", "inner")
STEPS = (1, -1, 2, -2, 3, -3, 4, -4, 8, 24, -24, 260, 2047, -2048, 0)
LOOPS = 250


@pytest.fixture
def loops(monkeypatch: pytest.MonkeyPatch) -> list[Counted]:
    """The counted loops of all regions that the test makes."""
    return noted_loops(monkeypatch, "find_counted")


def near_an_edge(rng: random.Random) -> int:
    distance = rng.choice(
        (rng.randint(-9, 9), rng.randint(-3000, 3000), rng.randint(-(1 << 16), 0))
    )
    return rng.choice(EDGES) + distance & MASK64


def loop(rng: random.Random) -> Program:
    """a0 steps, a1 is its bound, a2 limits the iterations, a3 is the result, a4 a step."""
    program = Program()
    step, kind = rng.choice(STEPS), rng.choice(KINDS)
    nested = kind == "inner" or rng.random() < 0.3
    program.label("loop")
    if nested:
        program.put("addi", rd=A5, rs1=0, imm=rng.choice((1, 3, 9)))
        program.label("inner")
        program.put("add", rd=A3, rs1=A3, rs2=A5)
        program.put("addi", rd=A5, rs1=A5, imm=-1)
        if kind == "inner":
            program.put("addi", rd=A0, rs1=A0, imm=step)
        program.jump("bne", "inner", rs1=A5, rs2=0)
    program.put("slli", rd=5, rs1=A3, shamt=7)
    program.put("xor", rd=A3, rs1=5, rs2=A3)
    if kind in ("addi", "addiw"):
        program.put(kind, rd=A0, rs1=A0, imm=step)
    elif kind in ("add", "addw"):
        program.put(kind, rd=A0, rs1=A0, rs2=A4)
    elif kind == "skipped":  # not in every iteration
        program.put("andi", rd=5, rs1=A3, imm=1)
        program.jump("beq", "behind", rs1=5, rs2=0)
        program.put("addi", rd=A0, rs1=A0, imm=step)
        program.label("behind")
    program.put("add", rd=A3, rs1=A3, rs2=A0)
    program.put("addi", rd=A2, rs1=A2, imm=-1)
    program.jump("beq", "out", rs1=A2, rs2=0)
    operands = rng.choice(((A0, A1), (A1, A0), (A0, 0)))
    program.jump(rng.choice(BRANCHES), "loop", rs1=operands[0], rs2=operands[1])
    program.label("out")
    program.put("ebreak")
    return program


def run(user: UserMode, values: dict[int, int]) -> tuple[int, ...]:
    return run_to_break(user, {**values, A3: 1, A5: 0, 5: 0}, (5, A0, A1, A2, A3, A5))


def test_same_iterations() -> None:
    """Random steps, bounds and comparisons around the edges of the number ranges."""
    rng = random.Random(1)
    user = user_mode()
    for _ in range(LOOPS):
        user.space.flush()
        program = loop(rng)
        put_code(user, program)
        values: list[dict[int, int]] = []
        for _ in range(8):
            start = near_an_edge(rng)
            bound = start + rng.randint(0, 5000) * rng.choice(STEPS)
            if rng.random() < 0.3:
                bound = near_an_edge(rng)
            elif rng.random() < 0.5:  # as 32-bit sums get there
                bound = (bound + (1 << 31) & (1 << 32) - 1) - (1 << 31)
            step = rng.choice((*STEPS, rng.randint(-(1 << 40), 1 << 40), near_an_edge(rng)))
            rounds = rng.choice((1, 2, 70, 300, 20000))
            values.append({A0: start, A1: bound & MASK64, A2: rounds, A4: step & MASK64})
        wanted = [run(user, v) for v in values]
        head = record_at(user, BLOCKS)
        assert head is not None and user.force_region(head)
        assert [run(user, v) for v in values] == wanted, program.labels
    user.space.flush()


def test_entered_in_the_middle(loops: list[Counted]) -> None:
    """By a jump that is a call as well: such a loop has no head where a chunk could begin."""
    user = user_mode()
    user.space.flush()
    program = Program()
    program.put("addi", rd=A3, rs1=A3, imm=5)
    program.jump("jal", "middle", rd=A5)
    program.label("loop")
    program.put("addi", rd=A3, rs1=A3, imm=1)
    program.label("middle")
    program.put("addi", rd=A0, rs1=A0, imm=-1)
    program.jump("blt", "loop", rs1=0, rs2=A0)
    program.put("ebreak")
    put_code(user, program)
    wanted = [run(user, {A0: n, A1: 0, A2: 0, A4: 0}) for n in (1, 4, 9000)]
    head = record_at(user, BLOCKS)
    assert head is not None and user.force_region(head)
    assert [run(user, {A0: n, A1: 0, A2: 0, A4: 0}) for n in (1, 4, 9000)] == wanted
    assert not loops
    user.space.flush()


@pytest.mark.parametrize("step", ["addi", "add", "none"])
def test_endless_loops_notice_requests(step: str, loops: list[Counted]) -> None:
    """Loops that never meet their bound can be stopped."""
    user = user_mode()
    user.space.flush()
    program = Program()
    program.label("loop")
    if step == "addi":
        program.put("addi", rd=A0, rs1=A0, imm=2)
        program.jump("bne", "loop", rs1=A0, rs2=A1)
    elif step == "add":
        program.put("add", rd=A0, rs1=A0, rs2=A4)
        program.jump("bltu", "loop", rs1=A0, rs2=A1)
    else:
        program.put("addi", rd=A3, rs1=A3, imm=1)
        program.jump("bgeu", "loop", rs1=A0, rs2=0)
    program.put("ebreak")
    put_code(user, program)
    for first in (True, False):
        set_registers(user, {A0: 0, A1: 1, A4: 0, A3: 0})
        user.processor.pc = BLOCKS
        for delay in (0.02, 0.01, 0.03):
            timer = threading.Timer(delay, user.processor.kick)
            timer.start()
            begun = time.monotonic()
            assert user.processor.run() == EXIT_REQUESTED
            assert time.monotonic() - begun < 10
            timer.join()
        if first:
            head = record_at(user, BLOCKS)
            assert head is not None and user.force_region(head)
    assert bool(loops) == (step != "none")
    user.space.flush()

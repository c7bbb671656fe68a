"""Where registers are kept in 32 bits: the same results wherever narrow and wide ones meet."""

from __future__ import annotations

import random

import pytest

from jitemu.backend_llvm.lifting import lift
from jitemu.backend_llvm.regions import RegionLowering
from jitemu.backend_llvm.request import Request
from jitemu.runtime.worker import reader
from tests.engine.executors import Profile, UserMode, user_mode
from tests.engine.guest_code import (
    Program,
    put_code,
    record_at,
    run_to_break,
)
from tests.engine.image import BLOCKS

USED = (10, 11, 12, 13, 14)
COUNT, SUM, BIT = 5, 6, 7
WIDE = 0x1234_5678_9ABC_DEF0
LOOPS = 150


def write(rng: random.Random, program: Program) -> None:
    """An instruction that makes a register narrow or wide."""
    rd, one, other = (rng.choice(USED) for _ in range(3))
    way = rng.randrange(7)
    if way == 0:
        program.put("addiw", rd=rd, rs1=one, imm=rng.randint(-5, 5))
    elif way == 1:
        program.put("slliw", rd=rd, rs1=one, shamt=rng.randrange(32))
    elif way == 2:
        program.put(rng.choice(("mulw", "subw", "and", "xor")), rd=rd, rs1=one, rs2=other)
    elif way == 3:
        program.put("add", rd=rd, rs1=one, rs2=other)
    elif way == 4:
        program.put("addi", rd=rd, rs1=one, imm=rng.choice((0, 0, 2047, -2048)))
    elif way == 5:
        program.put("lui", rd=rd, imm=rng.choice((-0x8000_0000, 0x7FFF_F000)))
        program.put("addi", rd=rd, rs1=rd, imm=rng.choice((-2048, 2047)))
    else:
        program.put("slli", rd=rd, rs1=one, shamt=rng.choice((0, 1, 33)))


def ways(rng: random.Random) -> Program:
    """A loop of parts that one comes to in different ways, with exits here and there."""
    program = Program()
    program.label("loop")
    parts = rng.randint(2, 5)
    for part in range(parts):
        program.label(f"part{part}")
        for _ in range(rng.randint(1, 3)):
            write(rng, program)
        program.put("xor", rd=SUM, rs1=SUM, rs2=rng.choice(USED))
        program.put("slli", rd=BIT, rs1=SUM, shamt=rng.randrange(50))
        way = rng.random()
        if way < 0.5:
            program.jump("blt", f"part{rng.randint(part + 1, parts)}", rs1=BIT, rs2=0)
        elif way < 0.6:
            program.jump("bgeu", "out", rs1=rng.choice(USED), rs2=rng.choice(USED))
        elif way < 0.7:
            program.put("addi", rd=COUNT, rs1=COUNT, imm=-1)
            program.jump("blt", "out", rs1=COUNT, rs2=0)
            program.jump("blt", f"part{rng.randint(0, part)}", rs1=BIT, rs2=0)
    program.label(f"part{parts}")
    program.put("addi", rd=COUNT, rs1=COUNT, imm=-1)
    program.jump("blt", "loop", rs1=0, rs2=COUNT)
    program.label("out")
    program.put("ebreak")
    return program


def run(user: UserMode, values: tuple[int, ...]) -> tuple[int, ...]:
    return run_to_break(
        user,
        {COUNT: 30, SUM: 1, BIT: 0, **dict(zip(USED, values, strict=True))},
        (*USED, COUNT, SUM, BIT),
    )


def mixed(program: Program, seen: dict[tuple[str, int], int]) -> bool:
    """A register of the region is narrow on one way to a place and wide on another."""
    guest = user_mode().space.guest
    asked = Request(BLOCKS, {"exact": 0}, seen=seen)
    code = reader([(BLOCKS, program.assembled())])
    lifter = lift(guest.target, guest.decoder, code, asked)
    return "\nextend.0:" in RegionLowering(guest.target, asked, lifter, lifter.entries()).text()


@pytest.mark.parametrize("wide", [False, True])
def test_same_results(wide: bool) -> None:
    """``wide``: one of the registers was seen to hold more than 32 bits."""
    rng = random.Random(8 + wide)
    user = user_mode()
    met = 0
    for _ in range(LOOPS):
        user.space.flush()
        program = ways(rng)
        put_code(user, program)
        values = [tuple(rng.randint(-9, 9) for _ in USED) for _ in range(3)]
        values += [tuple(rng.choice((WIDE, -WIDE, 3)) for _ in USED)]
        wanted = [run(user, v) for v in values]
        head = record_at(user, BLOCKS)
        seen = {("x", rng.choice(USED)): WIDE} if wide else {}
        assert head is not None and user.force_region(head, profile=Profile(seen=seen))
        assert [run(user, v) for v in values] == wanted, program.labels
        met += mixed(program, seen)
    user.space.flush()
    assert met > LOOPS // 3


@pytest.mark.parametrize("first", [1 << 12, 0x7FFF_F000])
def test_constants_that_meet(first: int) -> None:
    """Each alone would give a sum that is known; of one it does not fit in 32 bits."""
    other = (1 << 12) + 0x7FFF_F000 - first
    program = Program()
    program.label("loop")
    program.put("lui", rd=11, imm=first)
    program.jump("bne", "join", rs1=10, rs2=0)
    program.put("lui", rd=11, imm=other)
    program.label("join")
    program.put("addi", rd=12, rs1=11, imm=2047)
    program.put("addi", rd=12, rs1=12, imm=2047)
    program.put("addi", rd=12, rs1=12, imm=2)
    program.put("addi", rd=COUNT, rs1=COUNT, imm=-1)
    program.jump("blt", "loop", rs1=0, rs2=COUNT)
    program.put("ebreak")
    user = user_mode()
    user.space.flush()
    put_code(user, program)
    values = [(value, 0, 0, 0, 0) for value in (0, 1)]
    wanted = [run(user, v) for v in values]
    head = record_at(user, BLOCKS)
    assert head is not None and user.force_region(head)
    assert [run(user, v) for v in values] == wanted
    user.space.flush()

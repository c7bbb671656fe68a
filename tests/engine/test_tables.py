"""Jumps through tables in regions: those seen, those not seen, and that they are sampled."""

from __future__ import annotations

import random

import pytest

from jitemu.runtime.exits import REQUEST_SAMPLE
from jitemu.runtime.profile import sampled_jumps
from tests.engine.executors import Profile, UserMode, user_mode
from tests.engine.guest_code import (
    Program,
    put_code,
    record_at,
    run_to_break,
    set_registers,
)
from tests.engine.image import BASE, SCRATCH

RA, T0, S0, A0, A1, A2, A3 = 1, 5, 8, 10, 11, 12, 13
WORK = (A3, 14, 18, 19, 20, 28, 29, 30)
"""Registers that the cases write; some are held in host registers, some are not."""
OPS = ("add", "sub", "xor", "addw", "subw", "and", "or", "sltu")
TABLE = SCRATCH
ROUNDS = 400
PROGRAMS = 40


def dispatch(program: Program, rng: random.Random, cases: int) -> None:
    """To the case that the low bits of a random number name; over after a0 rounds."""
    program.put("addi", rd=A0, rs1=A0, imm=-1)
    program.jump("beq", "end", rs1=A0, rs2=0)
    program.put("slli", rd=T0, rs1=A1, shamt=13)
    program.put("xor", rd=A1, rs1=A1, rs2=T0)
    program.put("srli", rd=T0, rs1=A1, shamt=7)
    program.put("xor", rd=A1, rs1=A1, rs2=T0)
    program.put("slli", rd=T0, rs1=A1, shamt=17)
    program.put("xor", rd=A1, rs1=A1, rs2=T0)
    program.put("andi", rd=T0, rs1=A1, imm=cases - 1)
    program.put("slli", rd=T0, rs1=T0, shamt=3)
    program.put("add", rd=T0, rs1=T0, rs2=A2)
    program.put("ld", rd=T0, rs1=T0, imm=0)
    program.label(f"jump{program.here:x}")
    program.put("jalr", rd=0, rs1=T0, imm=rng.choice((0, 1)))


def machine(rng: random.Random, cases: int) -> Program:
    """An interpreter: each case computes, and goes back to the dispatch or has its own."""
    program = Program()
    program.label("main")
    dispatch(program, rng, cases)
    for number in range(cases):
        program.label(f"case{number}")
        for _ in range(rng.randint(0, 4)):
            rd, rs1, rs2 = (rng.choice(WORK) for _ in range(3))
            program.put(rng.choice(OPS), rd=rd, rs1=rs1, rs2=rs2)
        ending = rng.random()
        if ending < 0.4:
            program.jump("jal", "main", rd=0)
        elif ending < 0.7:
            dispatch(program, rng, cases)
        elif ending < 0.85:
            program.jump("jal", "function", rd=RA)
            program.jump("jal", "main", rd=0)
        else:
            program.jump("bltu", "main", rs1=rng.choice(WORK), rs2=rng.choice(WORK))
            dispatch(program, rng, cases)
    program.label("function")
    program.put("addi", rd=A3, rs1=A3, imm=3)
    program.put("jalr", rd=0, rs1=RA, imm=0)
    program.label("end")
    program.put("ebreak")
    return program


def place(user: UserMode, program: Program, cases: int) -> None:
    put_code(user, program)
    at = TABLE - BASE
    table = b"".join(program.labels[f"case{n}"].to_bytes(8, "little") for n in range(cases))
    user.memory[at : at + len(table)] = table


def run(user: UserMode) -> tuple[int, ...]:
    set_registers(user, {register: 77 * register for register in WORK})
    return run_to_break(
        user, {A0: ROUNDS, A1: 88172645463325252, A2: TABLE, RA: 0, S0: 7, T0: 0}, range(1, 32)
    )


def jumps_of(program: Program, targets: list[int]) -> dict[int, dict[int, int]]:
    counts = {target: 9 - number for number, target in enumerate(targets)}
    places = [at for name, at in program.labels.items() if name.startswith("jump")]
    return dict.fromkeys(places, counts)


@pytest.mark.parametrize("known", [0, 1, 4, 5, 16])
def test_same_as_blocks(known: int) -> None:
    """With profiles of no case, some, or all: as blocks, and with regions of cases as well."""
    rng, user, cases = random.Random(known), user_mode(), 16
    for _ in range(PROGRAMS):
        user.space.flush()
        program = machine(rng, cases)
        place(user, program, cases)
        wanted = run(user)
        labels = [program.labels[f"case{n}"] for n in range(cases)]
        for head in (program.labels["main"], *rng.sample(labels, 2)):
            record = record_at(user, head)
            if record is not None and not record.region:
                jumps = jumps_of(program, rng.sample(labels, known))
                assert user.force_region(record, profile=Profile(jumps))
            assert run(user) == wanted
    user.space.flush()


def test_jumps_are_sampled() -> None:
    """Where a jump went while someone asked for a sample; a direct one back is none."""
    rng, user, cases = random.Random(3), user_mode(), 4
    user.space.flush()
    program = machine(rng, cases)
    place(user, program, cases)
    run(user)
    state = user.processor.state
    state["jump_count"] = 0
    for _ in range(20):
        state["exit_request"] = REQUEST_SAMPLE
        run(user)
    seen = sampled_jumps(user.processor)
    assert sum(map(sum, map(dict.values, seen.values()))) == state["jump_count"] > 0
    labels = program.labels
    assert set(seen) <= {at for name, at in labels.items() if name.startswith("jump")}
    targets = {target for found in seen.values() for target in found}
    assert targets <= {labels[f"case{n}"] for n in range(cases)}
    user.space.flush()

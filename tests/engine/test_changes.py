"""User mode: guest code that the guest itself overwrites."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from jitemu.frontends.riscv.i import EXIT_BREAKPOINT
from jitemu.frontends.riscv.zifencei import EXIT_FENCE_I
from jitemu.ir.machine import PAGE
from tests.engine.executors import UserMode, user_mode
from tests.engine.guest_code import Program, put_code, record_at, register, set_registers
from tests.engine.image import BASE, BLOCKS, encode

A0, A1, A2, A3 = 10, 11, 12, 13


@pytest.fixture
def user() -> Iterator[UserMode]:
    """User mode in which code pages can be written."""
    user = user_mode()
    user.space.flush()
    user.mappings.writable_code = True
    yield user
    user.space.flush()
    user.mappings.writable_code = False


def run(user: UserMode, program: Program) -> None:
    """To the program's ebreak."""
    user.processor.pc = program.start
    while (reason := user.processor.run()) == EXIT_FENCE_I:
        pass
    assert reason == EXIT_BREAKPOINT, (reason, hex(user.processor.pc))


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("name", ["sw", "amoswap.w", "fsw"])
@pytest.mark.parametrize(("distance", "fence"), [(64, True), (PAGE, False), (PAGE, True)])
def test_code_overwritten(
    user: UserMode, name: str, distance: int, fence: bool, regions: bool
) -> None:
    """A loop changes the function it calls; it is in the loop's own page or another.

    (In the same page, what follows in the block may be the old code without a fence.)
    """
    function = BLOCKS + distance
    program = Program()
    program.label("loop")
    program.put("jalr", rd=1, rs1=A0, imm=0)
    program.put("add", rd=14, rs1=14, rs2=A3)
    program.put("slli", rd=5, rs1=A1, shamt=20)
    program.put("or", rd=5, rs1=5, rs2=A2)
    if name == "fsw":
        program.put("fmv.w.x", rd=1, rs1=5)
        program.put("fsw", rs1=A0, rs2=1, imm=0)
    elif name == "sw":
        program.put("sw", rs1=A0, rs2=5, imm=0)
    else:
        program.put("amoswap.w", rd=0, rs1=A0, rs2=5)
    if fence:
        program.put("fence.i")
    program.put("addi", rd=A1, rs1=A1, imm=1)
    program.jump("blt", "loop", rs1=A1, rs2=15)
    program.put("ebreak")
    callee = Program(function)
    callee.put("addi", rd=A3, rs1=0, imm=0)
    callee.put("jalr", rd=0, rs1=1, imm=0)
    word = int.from_bytes(encode("addi", rd=A3, rs1=0, imm=0), "little")
    values = {A0: function, A1: 0, A2: word, A3: 0, 14: 0, 15: 20}
    for forced in (False, True)[: 1 + regions]:
        put_code(user, callee) if not forced else restore(user, function, word)
        if not forced:
            put_code(user, program)
        for pc in (BLOCKS, function):
            head = record_at(user, pc) if forced else None
            if head is not None and not head.region:
                user.force_region(head)
        set_registers(user, values)
        run(user, program)
        assert register(user, 14) == sum(range(19))


def restore(user: UserMode, address: int, word: int) -> None:
    """Write a word of code as the kernel would: what was made of its page is forgotten."""
    user.thread.user_space.invalidate(address, 4)
    user.memory[address - BASE : address - BASE + 4] = word.to_bytes(4, "little")

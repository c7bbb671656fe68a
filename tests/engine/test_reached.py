"""Regions of the code that has run: what is left out, and when a region is made again."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace

import pytest

from jitemu.backend_llvm.lifting import INLINE_LIMIT, Lifter, lift
from jitemu.backend_llvm.regions import draft_region
from jitemu.backend_llvm.request import Request
from jitemu.frontends.riscv.i import EXIT_BREAKPOINT
from jitemu.runtime.exits import EXIT_REQUESTED
from jitemu.runtime.profile import called_pages, reached_code
from jitemu.runtime.tiers import REGION_LIMIT, Tiers
from jitemu.runtime.worker import reader
from tests.engine.executors import CPU, UserMode, user_mode
from tests.engine.guest_code import Program, put_code, record_at, register, set_registers
from tests.engine.image import BLOCKS

PAGE = 4096
RA, A0, A1, A2, A3 = 1, 10, 11, 12, 13
ROUNDS = 200_000
DEADLINE_SECONDS = 30


def request(head: int, ran: Iterable[int] | None, made: frozenset[int] | None = None) -> Request:
    """A region's request, where control has come to these addresses, or to all."""
    reached = None
    if ran is not None:
        reached = {page: (0, 0) for page in range(BLOCKS // PAGE, BLOCKS // PAGE + 2)}
        for at in ran:
            mask = reached[at // PAGE][0] | 1 << at % PAGE // 2
            reached[at // PAGE] = mask, mask
    return Request(head, {"exact": 0}, reached=reached, made=made)


def lifted(program: Program, asked: Request) -> Lifter:
    """What the region of a program would be."""
    guest = user_mode().space.guest
    return lift(guest.target, guest.decoder, reader([(BLOCKS, program.assembled())]), asked)


def text_of(program: Program, asked: Request) -> str:
    """The region's LLVM text."""
    guest, read = user_mode().space.guest, reader([(BLOCKS, program.assembled())])
    draft = draft_region(guest.target, guest.decoder, read, asked)
    assert draft is not None
    return draft.text


def with_a_call(body: int) -> Program:
    """A loop with a call of a function with so many instructions, most of them behind a jump."""
    program = Program()
    program.label("loop")
    program.jump("jal", "function", rd=RA)
    program.label("back")
    program.jump("beq", "rare", rs1=A0, rs2=A1)
    program.jump("bne", "loop", rs1=A0, rs2=0)
    program.put("ebreak")
    program.label("rare")
    program.put("addi", rd=A2, rs1=A2, imm=1)
    program.put("ebreak")
    program.label("function")
    program.jump("beq", "short", rs1=A1, rs2=0)
    for _ in range(body):
        program.put("add", rd=A1, rs1=A1, rs2=A0)
    program.label("short")
    program.put("addi", rd=A0, rs1=A0, imm=-1)
    program.put("jalr", rd=0, rs1=RA, imm=0)
    return program


def test_jumps_that_nothing_has_taken() -> None:
    """They are left out and said to be; where nothing is known of that, all is lifted."""
    program = with_a_call(3)
    labels = program.labels
    program.assembled()
    every = lifted(program, request(BLOCKS, None))
    assert (0, labels["rare"]) in every.lifted
    assert not every.unreached
    ran = [labels[name] for name in ("loop", "back", "function", "short")]
    found = lifted(program, request(BLOCKS, ran))
    assert (0, labels["rare"]) not in found.lifted
    assert (1, labels["short"]) in found.lifted
    assert list(found.unreached) == [labels["rare"]]


def test_calls_that_have_not_returned() -> None:
    """Neither the function nor what is behind the call is lifted."""
    program = with_a_call(3)
    found = lifted(program, request(BLOCKS, [program.labels["function"]]))
    assert set(found.lifted) == {(0, BLOCKS)}
    assert list(found.unreached) == [program.labels["back"]]


def test_functions_count_by_what_has_run() -> None:
    """One that is too large as a whole is part of the region if what has run of it is not."""
    program = Program()
    program.jump("jal", "function", rd=RA)
    program.label("back")
    program.put("ebreak")
    program.label("function")
    program.jump("bne", "long", rs1=A1, rs2=0)
    program.label("out")
    program.put("jalr", rd=0, rs1=RA, imm=0)
    program.label("long")
    for _ in range(INLINE_LIMIT):
        program.put("add", rd=A1, rs1=A1, rs2=A0)
    program.jump("jal", "out", rd=0)
    program.assembled()
    labels = program.labels
    ran = [labels["back"], labels["function"]]
    assert not any(frame for frame, _ in lifted(program, request(BLOCKS, None)).lifted)
    assert (1, labels["out"]) in lifted(program, request(BLOCKS, ran)).lifted


def test_behind_a_function_that_is_cut_off() -> None:
    """The limit leaves the function's end out, so nothing leads behind its call."""
    program = Program()
    program.jump("jal", "function", rd=RA)
    for _ in range(3):
        program.put("add", rd=A1, rs1=A1, rs2=A0)
    program.put("ebreak")
    program.label("function")
    program.jump("jal", "body", rd=0)
    program.put("ebreak")
    program.label("body")
    program.put("add", rd=A1, rs1=A1, rs2=A0)
    program.put("jalr", rd=0, rs1=RA, imm=0)
    program.assembled()
    asked = request(BLOCKS, None)
    assert len(lifted(program, asked).lifted) == 7
    found = lifted(program, replace(asked, limit=4)).lifted
    assert list(found) == [(0, BLOCKS), (1, program.labels["function"])]


def nested() -> Program:
    """Three loops in each other."""
    program = Program()
    for name in ("outer", "middle", "inner"):
        program.label(name)
        program.put("addi", rd=A2, rs1=A2, imm=1)
    for name, count in (("inner", A0), ("middle", A1), ("outer", A3)):
        program.put("addi", rd=count, rs1=count, imm=-1)
        program.jump("bne", name, rs1=count, rs2=0)
    program.put("ebreak")
    program.assembled()
    return program


def test_the_loop_around_is_better() -> None:
    """A young head's region is that of the outermost loop around that has run and has none."""
    program = nested()
    outer, middle, inner = (program.labels[name] for name in ("outer", "middle", "inner"))
    for ran, made, head in (
        ([inner, middle, outer], frozenset[int](), outer),
        ([inner, middle], frozenset[int](), middle),
        ([inner, middle, outer], frozenset((outer,)), middle),
        ([inner, middle, outer], frozenset((outer, middle)), inner),
    ):
        found = lifted(program, request(inner, ran, made=made))
        assert found.request.head == head
        assert (0, inner) in found.lifted


def test_an_inner_loop_ends_where_outer_ones_go_back() -> None:
    """And these exits look whether the loop's head is to be sampled."""
    program = nested()
    outer, middle, inner = (program.labels[name] for name in ("outer", "middle", "inner"))
    found = lifted(program, request(inner, [inner, middle, outer]))
    assert found.request.head == inner
    assert found.cut
    assert found.around == {outer, middle}
    assert not {(0, outer), (0, middle)} & set(found.lifted)
    text = text_of(program, found.request)
    end = BLOCKS + len(program.code) - 4
    for target, sampled in ((outer, True), (middle, True), (end, False)):
        way, found_out, _ = text.partition(f"\nout.{target:x}:")[2].partition("musttail call")
        assert found_out
        assert ("br i1" in way) == sampled


def test_a_loop_that_is_entered_in_its_midst() -> None:
    """A way back to a place before the head is the head's own loop if the head's jump back is
    not passed without it; and a loop around is one still."""
    program = Program()
    program.label("outer")
    program.put("addi", rd=A1, rs1=A1, imm=1)
    program.jump("jal", "head", rd=0)
    program.label("next")
    program.put("addi", rd=A2, rs1=A2, imm=1)
    program.label("head")
    program.put("addi", rd=A0, rs1=A0, imm=-1)
    program.jump("beq", "next", rs1=A0, rs2=A2)
    program.put("addi", rd=A3, rs1=A3, imm=1)
    program.jump("bne", "head", rs1=A0, rs2=0)
    program.jump("bne", "outer", rs1=A1, rs2=A2)
    program.put("ebreak")
    outer, following, head = (program.labels[name] for name in ("outer", "next", "head"))
    found = lifted(program, request(head, [head, following, outer], frozenset([outer])))
    assert found.request.head == head
    assert found.around == {outer}
    assert (0, following) in found.lifted
    assert (0, outer) not in found.lifted


@pytest.mark.parametrize("behind", [20, REGION_LIMIT])
def test_a_loop_is_lifted_before_what_follows_it(behind: int) -> None:
    """Also the part of it that is put behind that."""
    program = Program()
    program.label("loop")
    program.jump("beq", "part", rs1=A0, rs2=A1)
    program.label("joined")
    program.put("addi", rd=A0, rs1=A0, imm=-1)
    program.jump("bne", "loop", rs1=A0, rs2=0)
    for _ in range(behind):
        program.put("add", rd=A2, rs1=A2, rs2=A3)
    program.put("ebreak")
    program.label("part")
    program.put("addi", rd=A3, rs1=A3, imm=1)
    program.jump("jal", "joined", rd=0)
    found = lifted(program, replace(request(program.labels["loop"], None), limit=REGION_LIMIT))
    part = program.labels["part"]
    assert {(0, part), (0, part + 4)} <= set(found.lifted)
    assert len(found.lifted) == min(behind + 5, REGION_LIMIT)


@pytest.mark.parametrize("first", ["read", "write"])
def test_values_at_the_entry_that_matter(first: str) -> None:
    """A register that only holds int in the region is checked if its first value is read."""
    program = Program()
    program.label("loop")
    if first == "write":
        program.put("addiw", rd=28, rs1=A0, imm=1)
    program.put("add", rd=A2, rs1=A2, rs2=28)
    program.put("addiw", rd=28, rs1=A0, imm=3)
    program.put("add", rd=A2, rs1=A2, rs2=28)
    program.put("addi", rd=A0, rs1=A0, imm=-1)
    program.jump("bne", "loop", rs1=A0, rs2=0)
    program.put("ebreak")
    user = user_mode()
    user.space.flush()
    put_code(user, program)
    wide = 0x1234_5678_9ABC
    wanted = [run(user, value) for value in (7, wide)]
    head = record_at(user, BLOCKS)
    assert head is not None
    assert user.force_region(head)
    assert [run(user, value) for value in (7, wide)] == wanted
    assert ("%x.28.i32.d = xor" in text_of(program, request(BLOCKS, None))) == (first == "read")
    user.space.flush()


def run(user: UserMode, value: int) -> int:
    set_registers(user, {A0: 50, A2: 0, 28: value})
    user.processor.pc = BLOCKS
    assert user.processor.run() == EXIT_BREAKPOINT
    return register(user, A2)


def test_what_blocks_tell() -> None:
    """Where blocks begin, and the pages that their exits lead to."""
    user = user_mode()
    user.space.flush()
    far = Program(BLOCKS + 9 * PAGE)
    far.put("jalr", rd=0, rs1=RA, imm=0)
    put_code(user, far)
    program = Program()
    program.jump("jal", "far", rd=RA)
    program.labels["far"] = far.start
    program.label("back")
    program.jump("beq", "never", rs1=0, rs2=A1)
    program.put("ebreak")
    program.label("never")
    program.put("ebreak")
    put_code(user, program)
    set_registers(user, {A1: 1})
    for _ in range(3):
        user.processor.pc = BLOCKS
        assert user.processor.run() == EXIT_BREAKPOINT
    head = record_at(user, BLOCKS)
    assert head is not None
    pages = called_pages(head, user.processor)
    assert far.start // PAGE in pages
    assert far.start // PAGE - 3 not in pages
    asked = Request(BLOCKS, {}, reached=reached_code(head, pages, user.processor))
    labels = program.labels
    assert [asked.has_run(at) for at in (BLOCKS, labels["back"], far.start)] == [True] * 3
    assert not asked.has_run(labels["back"] + 4)
    assert asked.has_run(labels["back"] + 4, back=True)
    assert not asked.has_run(labels["never"])
    assert not asked.has_run(labels["never"], back=True)
    user.space.flush()


def test_a_region_that_lacks_what_runs_is_made_again() -> None:
    """A jump is taken that was not taken when the loop became hot."""
    program = Program()
    program.label("loop")
    program.put("addi", rd=A2, rs1=A2, imm=3)
    program.jump("bne", "later", rs1=A1, rs2=0)
    program.label("on")
    program.put("addi", rd=A0, rs1=A0, imm=-1)
    program.jump("bne", "loop", rs1=A0, rs2=0)
    program.put("ebreak")
    program.label("later")
    program.put("xori", rd=A2, rs1=A2, imm=5)
    program.jump("jal", "on", rd=0)
    user = user_mode()
    user.space.flush()
    put_code(user, program)
    space, processor = user.space, user.processor
    code = program.assembled()
    tiers = Tiers(space, CPU, lambda _: lambda _: [(BLOCKS, code)], threshold=4)
    tiers.attach(processor, lambda: {"exact": 0})
    processor.requested = tiers.install
    tiers.start()
    try:
        lacking = region_after(user, 0, 0)
        assert space.unreached[lacking] == [program.labels["later"]]
        whole = region_after(user, 1, lacking)
        assert space.unreached[whole] == []
    finally:
        tiers.stop()
        processor.hot = lambda _: None
        processor.requested = lambda _: None
        processor.state["hot_threshold"] = 0
        space.flush()


def region_after(user: UserMode, taken: int, other: int) -> int:
    """Run the loop until its head has a region that is not the other one; the region's record."""
    end = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < end:
        set_registers(user, {A0: ROUNDS, A1: taken, A2: 0})
        user.processor.pc = BLOCKS
        while (reason := user.processor.run()) == EXIT_REQUESTED:
            pass
        assert reason == EXIT_BREAKPOINT
        value = 0
        for _ in range(ROUNDS if taken else 0):
            value = value + 3 ^ 5
        assert register(user, A2) == (value if taken else 3 * ROUNDS)
        head = record_at(user, BLOCKS)
        if head is not None and head.region not in (0, other):
            return head.region
    raise AssertionError("no new region")


def test_copy_of_a_register_that_is_written_constants() -> None:
    """Such a register stays wide, and so does its copy."""
    program = Program()
    program.put("slli", rd=23, rs1=A2, shamt=0)
    program.put("lui", rd=A2, imm=0)
    program.put("ebreak")
    user = user_mode()
    user.space.flush()
    put_code(user, program)
    results: list[int] = []
    for _ in range(2):
        set_registers(user, {A2: 0x1234_5678_9ABC_DEF0, 23: 0})
        user.processor.pc = BLOCKS
        assert user.processor.run() == EXIT_BREAKPOINT
        results.append(register(user, 23))
        head = record_at(user, BLOCKS)
        assert head is not None
        assert head.region or user.force_region(head)
    assert results == [0x1234_5678_9ABC_DEF0] * 2
    user.space.flush()

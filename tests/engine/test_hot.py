"""Loops as regions while the processor is kicked, sampled and interrupted at random times."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from functools import cache

import pytest

from jitemu.frontends.riscv.i import EXIT_BREAKPOINT
from jitemu.frontends.riscv.privileged import EXIT_WFI, SSI
from jitemu.runtime.exits import EXIT_REQUESTED, REQUEST_SAMPLE
from tests.engine.executors import Engine, user_mode
from tests.engine.guest_code import Program, put_code, record_at, register, set_registers
from tests.engine.image import BASE, BLOCKS, SCRATCH
from tests.engine.system_mode import DEVICE, SystemMode, in_machine_mode, in_supervisor_mode

OUTER = {False: 2000, True: 20000}
"""Rounds without and with regions."""
INNER = 150
MASK64 = (1 << 64) - 1
A0, A1, A2, A3, A4, A5 = range(10, 16)
SEED = 0x9E3779B97F4A7C15

ENGINES: tuple[Callable[[], Engine], ...] = (user_mode, in_machine_mode, in_supervisor_mode)


def nested_loops(stop: str) -> Program:
    """Two loops with a call, memory and an int counter; x28 is the result."""
    program = Program()
    program.label("outer")
    program.put("addi", rd=A1, rs1=0, imm=INNER)
    program.label("inner")
    program.put("slli", rd=5, rs1=28, shamt=13)
    program.put("xor", rd=28, rs1=28, rs2=5)
    program.put("srli", rd=5, rs1=28, shamt=7)
    program.put("xor", rd=28, rs1=28, rs2=5)
    program.put("sd", rs1=A2, rs2=28, imm=8)
    program.put("addiw", rd=A4, rs1=A4, imm=1)
    program.put("addi", rd=A1, rs1=A1, imm=-1)
    program.jump("bne", "inner", rs1=A1, rs2=0)
    program.jump("jal", "function", rd=1)
    program.put("ld", rd=6, rs1=A2, imm=8)
    program.put("add", rd=28, rs1=6, rs2=A3)
    program.put("addi", rd=A0, rs1=A0, imm=-1)
    program.jump("bne", "outer", rs1=A0, rs2=0)
    program.put(stop)
    program.label("function")
    program.put("addi", rd=A3, rs1=A3, imm=3)
    program.put("jalr", rd=0, rs1=1, imm=0)
    return program


@cache
def expected(outer: int) -> tuple[int, int, int]:
    """x28, x13, x14 after it."""
    value, added = SEED, 0
    for _ in range(outer):
        for _ in range(INNER):
            value ^= value << 13 & MASK64
            value ^= value >> 7
        added += 3
        value = value + added & MASK64
    return value, added, outer * INNER


def prepare(engine: Engine, program: Program, outer: int) -> None:
    """At the start of the loops, with few rounds done so that all blocks exist."""
    engine.space.flush()
    put_code(engine, program)
    for rounds in (1, outer):
        if isinstance(engine, SystemMode):
            engine.reset(BLOCKS)
        set_registers(engine, {A0: rounds, A2: SCRATCH + 64, A3: 0, A4: 0, 28: SEED})
        engine.processor.pc = BLOCKS
        if rounds == 1:
            while (reason := engine.processor.run()) == EXIT_REQUESTED:
                pass  # a kick of the attempt before
            assert reason in (EXIT_BREAKPOINT, EXIT_WFI)


def results(engine: Engine) -> tuple[int, int, int]:
    return register(engine, 28), register(engine, A3), register(engine, A4)


def force_all(engine: Engine, program: Program, order: random.Random) -> None:
    """Regions for the program's blocks, beginning anywhere."""
    places = [BLOCKS, *program.labels.values()]
    order.shuffle(places)
    for pc in places:
        head = record_at(engine, pc)
        if head is not None and not head.region:
            engine.force_region(head)


class Disturber:
    """Another thread that asks the processor to look around, at random times."""

    def __init__(self, engine: Engine, acts: list[Callable[[], None]]) -> None:
        self.engine = engine
        self.acts = acts
        self.done = threading.Event()
        self.count = 0
        self.thread = threading.Thread(target=self._disturb)

    def _disturb(self) -> None:
        rng = random.Random(7)
        while not self.done.is_set():
            time.sleep(rng.random() * 0.0004)
            rng.choice(self.acts)()
            self.count += 1

    def __enter__(self) -> Disturber:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.thread.join()
        self.engine.processor.kicked = False  # what came too late
        self.engine.processor.state["exit_request"] = 0


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("engine", ENGINES, ids=["user", "M", "S"])
def test_kicked(engine: Callable[[], Engine], regions: bool) -> None:
    made = engine()
    stop = "wfi" if isinstance(made, SystemMode) else "ebreak"
    program = nested_loops(stop)
    processor = made.processor
    kicks = 0
    acts = [processor.kick, processor.kick_inside, lambda: processor.request(REQUEST_SAMPLE)]
    for attempt in range(60):  # until one came in time on a busy machine
        if attempt >= 8 and kicks:
            break
        prepare(made, program, OUTER[regions])
        if regions:
            force_all(made, program, random.Random(attempt))
        with Disturber(made, acts):
            while (reason := processor.run()) == EXIT_REQUESTED:
                kicks += 1
        assert reason in (EXIT_BREAKPOINT, EXIT_WFI), (reason, hex(processor.pc))
        assert results(made) == expected(OUTER[regions])
    assert kicks


@pytest.mark.parametrize("regions", [False, True])
def test_interrupted(regions: bool) -> None:
    """S mode's handler uses a register, counts, and lowers the line; the loops notice nothing."""
    system = in_supervisor_mode()
    program = nested_loops("wfi")
    handler = Program(BLOCKS + 0x4000)
    handler.put("csrrw", rd=5, csr=0x140, rs1=5)
    handler.load_immediate(5, DEVICE)
    handler.put("sw", rs1=5, rs2=0, imm=0)
    handler.load_immediate(5, SCRATCH)
    handler.put("sd", rs1=5, rs2=6, imm=8)
    handler.put("ld", rd=6, rs1=5, imm=0)
    handler.put("addi", rd=6, rs1=6, imm=1)
    handler.put("sd", rs1=5, rs2=6, imm=0)
    handler.put("ld", rd=6, rs1=5, imm=8)
    handler.put("csrrw", rd=5, csr=0x140, rs1=5)
    handler.put("sret")
    original = system.device.write

    def lower(offset: int, size: int, value: int) -> None:
        system.hart.set_line(1, False)

    system.device.write = lower  # type: ignore[method-assign]
    taken = 0
    try:
        for attempt in range(64):  # a busy machine needs more of them
            if attempt >= 8 and taken > 3:
                break
            prepare(system, program, OUTER[regions])
            put_code(system, handler)
            system.memory[SCRATCH - BASE : SCRATCH - BASE + 8] = bytes(8)
            state = system.hart.state
            state["stvec"], state["mideleg"], state["mie"] = handler.start, SSI, SSI
            state["mstatus"] |= 2
            if regions:
                force_all(system, program, random.Random(attempt))
            with Disturber(system, [lambda: system.hart.set_line(1, True)]):
                while (reason := system.hart.run()) == EXIT_REQUESTED:
                    pass
            assert reason == EXIT_WFI
            assert results(system) == expected(OUTER[regions])
            system.hart.set_line(1, False)
            at = SCRATCH - BASE
            taken += int.from_bytes(system.memory[at : at + 8], "little")
        assert taken > 3
    finally:
        system.device.write = original  # type: ignore[method-assign]
        system.hart.set_line(1, False)

"""Regions that look for pages beforehand: random loops over pages that are not all there.

The blocks of the same program are what regions are compared with.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field

import pytest

from jitemu.frontends.riscv.privileged import EXIT_WFI
from jitemu.ir.machine import PAGE
from tests.engine.guest_code import Program, put_code, set_registers
from tests.engine.image import BASE, BLOCKS
from tests.engine.system_mode import (
    DEVICE,
    FREE,
    LEAF,
    TABLES,
    A,
    D,
    R,
    SystemMode,
    V,
    W,
    in_supervisor_mode,
)

HANDLER = BLOCKS + 0x8000
PAGES = 8
AROUND = range(FREE - (1 << 19), FREE + (1 << 20))
"""What the programs can reach."""
POINTERS = (2, 11, 12, 13)
STEP, COUNT, INNER = 18, 5, 9
NUMBERS = (14, 15, 16, 17, 28, 29, 30, 31)
SIZES = {"b": 1, "h": 2, "w": 4, "d": 8}
KINDS = (LEAF, LEAF, LEAF, LEAF & ~D, LEAF & ~(A | D), V | R | A, V | R | W, 0)
MOST_TRAPS = 300
SEEDS = range(24)


class Loops:
    """A random program: a loop with another in it, and accesses of all kinds in both.

    Some of the inner ones are entered in their midst, or may end there.
    """

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.program = Program()
        self._labels = 0
        program = self.program
        program.label("outer")
        self._body(rng.randrange(1, 6))
        program.put("addi", rd=INNER, rs1=0, imm=rng.randrange(1, 12))
        if rng.random() < 0.5:
            program.jump("jal", "midst", rd=0)
        program.label("inner")
        self._body(rng.randrange(1, 6))
        program.label("midst")
        self._body(rng.randrange(1, 6))
        if rng.random() < 0.3:
            program.put("andi", rd=6, rs1=rng.choice(NUMBERS), imm=7)
            program.jump("beq", "end", rs1=6, rs2=0)
        program.put("addi", rd=INNER, rs1=INNER, imm=-1)
        program.jump("bne", "inner", rs1=INNER, rs2=0)
        program.label("end")
        self._body(rng.randrange(4))
        program.put("addi", rd=COUNT, rs1=COUNT, imm=-1)
        program.jump("bne", "outer", rs1=COUNT, rs2=0)
        program.put("wfi")

    def _body(self, parts: int) -> None:
        kinds = (self._access, self._access, self._accesses, self._move, self._table, self._mix)
        for _ in range(parts):
            if self.rng.random() < 0.2:
                self._skip()
            self.rng.choice(kinds)()

    def _offset(self, size: int) -> int:
        offset = self.rng.choice((0, 8, 64, 120, -8, -64, self.rng.randrange(-300, 300)))
        return offset if self.rng.random() < 0.1 else offset & -size

    def _access(self, base: int = 0) -> None:
        rng, letter = self.rng, self.rng.choice("bhwd")
        base = base or rng.choice(POINTERS)
        offset = self._offset(SIZES[letter])
        if rng.random() < 0.5:
            self.program.put(f"s{letter}", rs1=base, rs2=rng.choice(NUMBERS), imm=offset)
        else:
            unsigned = "u" * (letter != "d" and rng.random() < 0.5)
            self.program.put(f"l{letter}{unsigned}", rd=rng.choice(NUMBERS), rs1=base, imm=offset)

    def _accesses(self) -> None:
        base = self.rng.choice(POINTERS)
        for _ in range(self.rng.randrange(2, 6)):
            self._access(base)

    def _move(self) -> None:
        pointer = self.rng.choice(POINTERS[1:])
        if self.rng.random() < 0.3:
            self.program.put("add", rd=pointer, rs1=pointer, rs2=STEP)
        else:
            step = self.rng.choice((1, 4, 8, 8, 64, -8, 256, self.rng.randrange(-99, 300)))
            self.program.put("addi", rd=pointer, rs1=pointer, imm=step)

    def _table(self) -> None:
        rng = self.rng
        self.program.put("andi", rd=6, rs1=rng.choice(NUMBERS), imm=rng.choice((15, 255, 1023)))
        self.program.put("slli", rd=6, rs1=6, shamt=3)
        self.program.put("add", rd=7, rs1=6, rs2=rng.choice(POINTERS))
        self._access(7)

    def _mix(self) -> None:
        rd, a, b = (self.rng.choice(NUMBERS) for _ in range(3))
        self.program.put(self.rng.choice(("add", "xor", "mul", "sub")), rd=rd, rs1=a, rs2=b)

    def _skip(self) -> None:
        """A branch over what comes next."""
        name = f"skip{self._labels}"
        self._labels += 1
        self.program.put("andi", rd=6, rs1=self.rng.choice(NUMBERS), imm=1)
        self.program.jump("beq", name, rs1=6, rs2=0)
        self._access()
        self.program.label(name)


@dataclass
class Outcome:
    """What can be seen of a run."""

    traps: list[tuple[int, ...]] = field(default_factory=list[tuple[int, ...]])
    """Cause, pc, address, and all registers."""
    end: tuple[int, ...] = ()
    memory: bytes = b""
    dirty: tuple[bool, ...] = ()
    device: list[tuple[str, int, int, int]] = field(default_factory=list[tuple[str, int, int, int]])


class Case:
    """A program, its memory, and what its pages are."""

    def __init__(self, seed: int) -> None:
        rng = random.Random(seed)
        self.program = Loops(rng).program
        self.data = rng.randbytes(len(AROUND))
        self.leaves = [
            (FREE + rng.randrange(PAGES) * PAGE, rng.choice(KINDS)) for _ in range(PAGES)
        ]
        if rng.random() < 0.3:
            self.leaves[rng.randrange(PAGES)] = DEVICE, LEAF
        self.registers = {number: rng.getrandbits(64) for number in NUMBERS}
        for pointer in POINTERS:
            at = FREE + rng.randrange(PAGES * PAGE)
            self.registers[pointer] = at & -16 if rng.random() < 0.8 else at
        self.registers[STEP] = rng.choice((0, 8, 40, 500, -16, 4096))
        self.registers[COUNT] = rng.randrange(1, 20)

    def run(self, system: SystemMode) -> Outcome:
        """Run it; what a trap complains of is mended before the program goes on."""
        system.memory[AROUND.start - BASE : AROUND.stop - BASE] = self.data
        for n, (physical, bits) in enumerate(self.leaves):
            system.set_leaf(FREE + n * PAGE, physical, bits)
        system.reset(BLOCKS)
        state = system.hart.state
        state["stvec"] = HANDLER
        system.device.data[:] = bytes(range(256)) * (len(system.device.data) // 256)
        system.device.log.clear()
        set_registers(system, {number: 0 for number in range(1, 32)} | self.registers)
        outcome = Outcome()
        while True:
            assert system.hart.run() == EXIT_WFI
            x = tuple(state.words[state.at["x"] + n] for n in range(1, 32))
            if system.hart.pc != HANDLER + 4:
                outcome.end = x
                break
            trap = state["scause"], state["sepc"], state["stval"]
            outcome.traps.append((*trap, *x))
            assert len(outcome.traps) < MOST_TRAPS
            self._mend(system, trap[2])
            system.hart.pc = trap[1]
        outcome.memory = hashlib.sha256(
            system.memory[AROUND.start - BASE : AROUND.stop - BASE]
        ).digest()
        outcome.dirty = tuple(self._leaf(system, n) >> 7 & 1 == 1 for n in range(PAGES))
        outcome.device = list(system.device.log)
        return outcome

    def _mend(self, system: SystemMode, address: int) -> None:
        number = (address - FREE) // PAGE
        assert 0 <= number < PAGES, "all other pages are there"
        system.set_leaf(FREE + number * PAGE, FREE + number * PAGE, LEAF & ~D)
        system.hart.native("flush_tlb")

    @staticmethod
    def _leaf(system: SystemMode, number: int) -> int:
        at = TABLES + 4 * PAGE + 8 * ((FREE - BASE) // PAGE + number) - BASE
        return int.from_bytes(system.memory[at : at + 8], "little")


@pytest.fixture
def system() -> SystemMode:
    """In S mode, with a handler that stops."""
    system = in_supervisor_mode()
    system.space.flush()
    handler = Program(HANDLER)
    handler.put("wfi")
    put_code(system, handler)
    return system


@pytest.mark.parametrize("seed", SEEDS)
def test_random_loops(system: SystemMode, seed: int) -> None:
    """Traps, registers, memory, dirty pages and device accesses are those of blocks."""
    compare(system, seed)


def compare(system: SystemMode, seed: int) -> Outcome:
    """Run a program's blocks, then regions in place of all blocks that were made."""
    case = Case(seed)
    put_code(system, case.program)
    try:
        by_blocks = case.run(system)
        for record in sorted(system.made(), key=lambda r: r.pc):
            if record.code and not record.region and record.pc < HANDLER:
                system.force_region(record)
        assert case.run(system) == by_blocks
    finally:
        for n in range(PAGES):
            system.set_leaf(FREE + n * PAGE, FREE + n * PAGE, LEAF)
    return by_blocks

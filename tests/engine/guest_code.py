"""Directed guest programs: a small assembler with labels, and a run in any mode."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from jitemu.frontends.riscv.i import EXIT_BREAKPOINT
from jitemu.runtime.records import Record
from tests.engine.executors import Engine
from tests.engine.image import BASE, BLOCKS, encode


class Program:
    """Instructions from an address on; ``at`` names the next one's address."""

    def __init__(self, start: int = BLOCKS) -> None:
        self.start = start
        self.code = bytearray()
        self.labels: dict[str, int] = {}
        self._jumps: list[tuple[int, str, dict[str, int], str]] = []

    @property
    def here(self) -> int:
        """The next instruction's address."""
        return self.start + len(self.code)

    def label(self, name: str) -> None:
        """Name this place."""
        self.labels[name] = self.here

    def put(self, name: str, **fields: int) -> None:
        """A 32-bit instruction."""
        self.code += encode(name, **fields)

    def short(self, word: int) -> None:
        """A 16-bit instruction's word."""
        self.code += word.to_bytes(2, "little")

    def jump(self, name: str, target: str, **fields: int) -> None:
        """A branch or jal to a label, which may come later."""
        self._jumps.append((len(self.code), name, fields, target))
        self.code += bytes(4)

    def load_immediate(self, rd: int, value: int) -> None:
        """A 32-bit value, zero-extended."""
        upper = value + 0x800 & 0xFFFFF000
        self.put("lui", rd=rd, imm=upper - ((upper >> 31 & 1) << 32))
        self.put("addi", rd=rd, rs1=rd, imm=(value + 0x800 & 0xFFF) - 0x800)
        self.put("slli", rd=rd, rs1=rd, shamt=32)
        self.put("srli", rd=rd, rs1=rd, shamt=32)

    def assembled(self) -> bytes:
        """The bytes, with all jumps filled in."""
        for at, name, fields, target in self._jumps:
            distance = self.labels[target] - (self.start + at)
            self.code[at : at + 4] = encode(name, imm=distance, **fields)
        return bytes(self.code)


def put_code(engine: Engine, program: Program) -> None:
    """Place a program; nothing is told of it."""
    code = program.assembled()
    at = program.start - BASE
    engine.memory[at : at + len(code)] = code


def set_registers(engine: Engine, values: Mapping[int, int]) -> None:
    """x registers."""
    state = engine.processor.state
    for index, value in values.items():
        state.words[state.at["x"] + index] = value & (1 << 64) - 1


def register(engine: Engine, index: int) -> int:
    """x[index]."""
    state = engine.processor.state
    return state.words[state.at["x"] + index]


def run_to_break(
    engine: Engine, given: Mapping[int, int], wanted: Iterable[int]
) -> tuple[int, ...]:
    """Run from the first block to an ebreak with some registers given; some that it leaves."""
    set_registers(engine, given)
    engine.processor.pc = BLOCKS
    assert engine.processor.run() == EXIT_BREAKPOINT
    return tuple(register(engine, index) for index in wanted)


def record_at(engine: Engine, pc: int) -> Record | None:
    """The block at an address."""
    return next((r for r in engine.space.tables.live() if r.pc == pc), None)

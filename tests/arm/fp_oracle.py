"""One floating-point or SIMD instruction, by Unicorn and by the reference interpreter."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from unicorn import arm_const as names

from jitemu.frontends.arm.registers import CLASSES, ArmState
from jitemu.frontends.arm.state import S
from jitemu.ir.interp import run_instruction, run_native
from jitemu.ir.machine import Machine, PagedMemory
from jitemu.isa import Instruction
from tests.arm.oracle import (
    AT,
    MIDDLE,
    SCRATCH_SIZE,
    SPECIAL,
    After,
    Case,
    Oracle,
    Reference,
    get_flags,
    random_word,
    set_flags,
)

FPSCR_BITS = 0xFFC0009F
"""N Z C V QC AHP DN FZ RMode, and the cumulative flags: the others are not compared."""
DOUBLES = [names.UC_ARM_REG_D0 + n for n in range(32)]


@dataclass
class FpCase(Case):
    """The same with the registers of floating point."""

    d: tuple[int, ...] = ()
    fpscr: int = 0


@dataclass
class FpAfter:
    """What it left."""

    core: After
    d: tuple[int, ...] = ()
    fpscr: int = 0


class FpOracle(Oracle):
    """Unicorn with floating point enabled."""

    def __init__(self) -> None:
        super().__init__()
        access = int(self.uc.reg_read(names.UC_ARM_REG_C1_C0_2))
        self.uc.reg_write(names.UC_ARM_REG_C1_C0_2, access | 0xF << 20)
        self.uc.reg_write(names.UC_ARM_REG_FPEXC, 1 << 30)

    def run_fp(self, case: FpCase, *, whole: bool = False) -> FpAfter:
        """The state after one instruction, or after all."""
        uc: Any = self.uc
        for register, value in zip(DOUBLES, case.d, strict=True):
            uc.reg_write(register, value)
        uc.reg_write(names.UC_ARM_REG_FPSCR, case.fpscr)
        core = self.run(case, whole=whole)
        if core.how != "next":
            return FpAfter(After(core.how))
        d = tuple(int(uc.reg_read(register)) for register in DOUBLES)
        return FpAfter(core, d, int(uc.reg_read(names.UC_ARM_REG_FPSCR)) & FPSCR_BITS)


class FpReference(Reference):
    """The interpreter."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = Machine(ArmState, PagedMemory(), "user", S, CLASSES)

    def run_fp(self, case: FpCase, *, window: int = 0) -> FpAfter:
        """The state after one instruction; with ``window``, where its memory is, after all."""
        machine = self.machine
        machine.registers["d"][:] = [*case.d, 0, 0, 0, 0]
        run_native("write_fpscr", machine, case.fpscr)
        core = self._block(case, window) if window else self.run(case)
        if core.how != "next":
            return FpAfter(After(core.how))
        fpscr = run_native("read_fpscr", machine)
        return FpAfter(core, tuple(machine.registers["d"][:32]), fpscr & FPSCR_BITS)

    def _block(self, case: FpCase, window: int) -> After:
        machine, memory = self.machine, PagedMemory()
        memory.put(window, case.memory)
        machine.memory = memory
        r = machine.registers["r"]
        r[:15] = case.registers
        set_flags(r, case.flags)
        pc = AT | case.thumb
        while (at := (pc & 0xFFFFFFFE) - AT) < len(case.code):
            decoded = self.decoder.decode_at(pc, case.code[at:])
            assert decoded is not None
            s = S("user", pc)
            decoded.build(s)
            outcome = run_instruction(s.function, machine, pc)
            if outcome.kind != "next":
                return After("misaligned" if outcome.address >> 32 else "fault")
            pc = self.decoder.following(pc, decoded)
        return After("next", pc, tuple(r[:15]), get_flags(r))


SINGLES = (
    *(0, 1, 2, 0x7FFFFF, 0x800000, 0x800001, 0xFFFFFF, 0x1000000, 0x3F800000, 0x3F800001),
    *(0x40000000, 0x3F000000, 0x3EFFFFFF, 0x4B000000, 0x4EFFFFFF, 0x4F000000, 0x4F7FFFFF),
    *(0x4F800000, 0x7F7FFFFF, 0x7F800000, 0x7F800001, 0x7FBFFFFF, 0x7FC00000, 0x7FC12345),
    *(0x7FFFFFFF, 0x33800000, 0x477FE000, 0x47800000, 0x38800000, 0x387FC000, 0x33000001),
    *(0x3FC00000, 0x40200000, 0x7E800000, 0x7E7FFFFF, 0x20000000, 0x1FFFFFFF, 0x0C800000),
)
DOUBLE_VALUES = (
    *(0, 1, 0xFFFFFFFFFFFFF, 0x10000000000000, 0x10000000000001, 0x3FF0000000000000),
    *(0x3FE0000000000000, 0x3FF8000000000000, 0x4004000000000000, 0x41DFFFFFFFC00000),
    *(0x41E0000000000000, 0x41EFFFFFFFE00000, 0x41F0000000000000, 0x7FEFFFFFFFFFFFFF),
    *(0x7FF0000000000000, 0x7FF0000000000001, 0x7FF8000000000000, 0x7FF8123456789ABC),
    *(0x36A0000000000000, 0x380FFFFFFFFFFFFF, 0x3810000000000000, 0x47EFFFFFE0000000),
    *(0x47EFFFFFF0000000, 0x3F10000000000000, 0x40EFFC0000000000, 0x380FFFFFE0000000),
)


def random_single(rng: random.Random) -> int:
    """A single, often special."""
    kind = rng.randrange(4)
    if kind == 0:
        return rng.choice(SINGLES) | rng.getrandbits(1) << 31
    if kind == 1:  # near 1, or near the least normal number
        return rng.getrandbits(32) & 0x80FFFFFF | rng.choice((0x3F, 0x3F, 0x40, 0x41, 0x00)) << 24
    if kind == 2:
        return rng.getrandbits(32)
    return (rng.choice(SINGLES) + rng.randrange(-2, 3)) & 0x7FFFFFFF | rng.getrandbits(1) << 31


def random_double(rng: random.Random) -> int:
    """A double, two singles, or any bits."""
    kind = rng.randrange(5)
    if kind == 0:
        return rng.choice(DOUBLE_VALUES) | rng.getrandbits(1) << 63
    if kind == 1:
        return rng.getrandbits(52) | rng.choice((0x3FF, 0x400, 0x3FE, 0, 1, 2)) << 52
    if kind == 2:
        return rng.getrandbits(64)
    if kind == 3:  # lanes of integers at their limits
        lanes = [rng.choice((0, 0xFF, 0x7F, 0x80, 1, rng.getrandbits(8))) for _ in range(8)]
        return int.from_bytes(bytes(lanes), "little")
    return random_single(rng) | random_single(rng) << 32


def random_fp_case(rng: random.Random, insn: Instruction) -> FpCase:
    """A random word of an encoding in a random state."""
    code, thumb = random_word(rng, insn)
    return fp_case_of(rng, code, thumb)


def fp_case_of(rng: random.Random, code: bytes, thumb: bool) -> FpCase:
    """A random state for a word."""
    registers = [
        rng.choice((rng.choice(SPECIAL), rng.getrandbits(32), MIDDLE + rng.randrange(-64, 64)))
        for _ in range(15)
    ]
    for n in rng.sample(range(15), 8):
        registers[n] = MIDDLE + rng.choice((0, 0, 4, 8, 16, rng.randrange(-64, 64)))
    d = [random_double(rng) for _ in range(32)]
    if rng.random() < 0.3:  # equal operands
        d[rng.randrange(32)] = d[rng.randrange(32)]
    fpscr = rng.choice((0, 0, 0, rng.getrandbits(32) & FPSCR_BITS, rng.getrandbits(5) << 22))
    memory = rng.randbytes(SCRATCH_SIZE)
    return FpCase(code, thumb, registers, rng.getrandbits(5) << 27, memory, tuple(d), fpscr)

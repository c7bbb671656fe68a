"""One ARM instruction, by Unicorn and by the reference interpreter."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from unicorn import arm_const as names
from unicorn import unicorn_const as kinds
from unicorn.unicorn import Uc, UcError

from jitemu.frontends.arm.cpu import parse_cpu
from jitemu.frontends.arm.decoder import ArmDecoder
from jitemu.frontends.arm.registers import GE, NZ, ArmState, C, Q, V
from jitemu.frontends.arm.state import A32, IT16, T16, UNCONDITIONAL, S, trees_of
from jitemu.ir.interp import run_instruction
from jitemu.ir.machine import Machine, PagedMemory
from jitemu.isa import Instruction

CODE, CODE_SIZE = 0x6A7C0000, 0x1000  # where random addresses seldom are
AT = CODE + 0x800
SCRATCH, SCRATCH_SIZE = 0x40000, 0x3000
MIDDLE = SCRATCH + SCRATCH_SIZE // 2
REGISTERS = [
    *(names.UC_ARM_REG_R0 + n for n in range(13)),
    *(names.UC_ARM_REG_SP, names.UC_ARM_REG_LR),
]
FLAGS = 0xF80F0000


@dataclass
class After:
    """What an instruction left; ``how`` is next, illegal, fault, misaligned or call.

    (Unicorn does not look at alignment.)
    """

    how: str
    pc: int = 0
    registers: tuple[int, ...] = ()
    flags: int = 0
    memory: bytes = b""


@dataclass
class Case:
    """One instruction and the state before it."""

    code: bytes
    thumb: bool
    registers: list[int]
    flags: int
    memory: bytes


MODELS = {
    "max": names.UC_CPU_ARM_MAX,
    "ti925t": names.UC_CPU_ARM_TI925T,
    "arm946": names.UC_CPU_ARM_946,
    "arm1026": names.UC_CPU_ARM_1026,
    "arm926": names.UC_CPU_ARM_926,
    "arm1136": names.UC_CPU_ARM_1136,
    "arm11mpcore": names.UC_CPU_ARM_11MPCORE,
    "arm1176": names.UC_CPU_ARM_1176,
    "cortex-a7": names.UC_CPU_ARM_CORTEX_A7,
    "cortex-a8": names.UC_CPU_ARM_CORTEX_A8,
    "cortex-a9": names.UC_CPU_ARM_CORTEX_A9,
    "cortex-a15": names.UC_CPU_ARM_CORTEX_A15,
}


class Oracle:
    """One of Unicorn's processors."""

    def __init__(self, model: str = "max") -> None:
        self.uc: Any = Uc(kinds.UC_ARCH_ARM, kinds.UC_MODE_ARM)
        self.uc.ctl_set_cpu_model(MODELS[model])
        self.uc.mem_map(CODE, CODE_SIZE)
        # What jumps there stops there: by count alone Unicorn at times goes on.
        self.uc.mem_map(SCRATCH, SCRATCH_SIZE, kinds.UC_PROT_READ | kinds.UC_PROT_WRITE)
        self.raised = 0
        self.uc.hook_add(kinds.UC_HOOK_INTR, self._interrupt)

    def _interrupt(self, uc: Any, number: int, _data: Any) -> None:
        self.raised = number
        uc.emu_stop()

    def run(self, case: Case, *, whole: bool = False) -> After:
        """The state after one instruction, or after the whole code.

        (Unicorn does not count an IT instruction.)
        """
        uc = self.uc
        uc.mem_write(CODE, bytes(CODE_SIZE))
        uc.mem_write(AT, case.code)
        uc.ctl_remove_cache(CODE, CODE + CODE_SIZE)
        if case.memory:
            uc.mem_write(SCRATCH, case.memory)
        uc.reg_write(names.UC_ARM_REG_CPSR, case.flags | 0x10 | case.thumb << 5)
        for name, value in zip(REGISTERS, case.registers, strict=True):
            uc.reg_write(name, value)
        self.raised = 0
        try:
            uc.emu_start(AT | case.thumb, AT + len(case.code), count=0 if whole else 1)
        except UcError as error:
            fetch = error.errno in (kinds.UC_ERR_FETCH_UNMAPPED, kinds.UC_ERR_FETCH_PROT)
            if error.errno == kinds.UC_ERR_INSN_INVALID:
                return After("illegal")
            if not fetch and error.errno in (
                kinds.UC_ERR_READ_UNMAPPED,
                kinds.UC_ERR_WRITE_UNMAPPED,
            ):
                return After("fault")
            if not fetch:
                return After("illegal")
        if self.raised:
            return After("call" if self.raised in (2, 7) else "illegal")
        cpsr = int(uc.reg_read(names.UC_ARM_REG_CPSR))
        pc = int(uc.reg_read(names.UC_ARM_REG_PC)) & ~1 | cpsr >> 5 & 1
        registers = tuple(int(uc.reg_read(name)) for name in REGISTERS)
        return After("next", pc, registers, cpsr & FLAGS, self.memory_after())

    def memory_after(self) -> bytes:
        """What is compared of the memory."""
        return bytes(self.uc.mem_read(SCRATCH, SCRATCH_SIZE))


class Reference:
    """The interpreter on the definitions."""

    def __init__(self, model: str = "max") -> None:
        self.decoder = ArmDecoder(parse_cpu(model))
        self.machine = Machine(ArmState, PagedMemory(), "user", S)

    def run(self, case: Case) -> After:
        """The state after one instruction."""
        machine = self.machine
        memory = PagedMemory()
        memory.map(CODE, CODE_SIZE)
        memory.put(AT, case.code)  # instructions may load it
        memory.put(SCRATCH, case.memory)
        machine.memory = memory
        r = machine.registers["r"]
        r[:15] = case.registers
        set_flags(r, case.flags)
        machine.fields["reservation"] = (1 << 64) - 1
        pc = AT | case.thumb
        decoded = self.decoder.decode_at(pc, case.code)
        if decoded is None:
            return After("illegal")
        s = S("user", pc)
        s.length = decoded.length
        decoded.build(s)
        outcome = run_instruction(s.function, machine, pc, decoded.length)
        if outcome.kind == "fault":
            return After("misaligned" if outcome.address >> 32 else "fault")
        if outcome.kind == "exit":
            return After("call")
        return self._state(outcome.pc & 0xFFFFFFFF, memory)

    def run_many(self, case: Case, count: int) -> After:
        """The state after so many instructions that do not jump."""
        machine = self.machine
        memory = PagedMemory()
        memory.put(SCRATCH, case.memory)
        machine.memory = memory
        machine.registers["r"][:15] = case.registers
        set_flags(machine.registers["r"], case.flags)
        pc = AT | case.thumb
        for _ in range(count):
            at = (pc & 0xFFFFFFFE) - AT
            decoded = self.decoder.decode_at(pc, case.code[at:])
            assert decoded is not None
            s = S("user", pc)
            decoded.build(s)
            assert run_instruction(s.function, machine, pc).kind == "next"
            pc = self.decoder.following(pc, decoded)
        return self._state(pc, memory)

    def _state(self, after: int, memory: PagedMemory) -> After:
        r = self.machine.registers["r"]
        registers = tuple(r[:15])
        return After("next", after, registers, get_flags(r), memory.get(SCRATCH, SCRATCH_SIZE))


def set_flags(r: list[int], flags: int) -> None:
    """N Z C V Q and GE as CPSR has them."""
    r[NZ] = (flags >> 31) << 63 | (flags >> 30 & 1 ^ 1)
    r[C], r[V], r[Q] = flags >> 29 & 1, flags >> 28 & 1, flags >> 27 & 1
    r[GE] = flags >> 16 & 15


def get_flags(r: list[int]) -> int:
    """The same back."""
    zero = r[NZ] & 0xFFFFFFFF == 0
    flags = r[NZ] >> 63 << 31 | zero << 30 | r[C] << 29 | r[V] << 28 | r[Q] << 27
    return flags | r[GE] << 16


SPECIAL = (0, 1, 2, 31, 32, 33, 255, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x8000, 0xFFFF)


def random_word(rng: random.Random, insn: Instruction) -> tuple[bytes, bool]:
    """A word of an encoding with random fields: (bytes, T32)."""
    word = insn.match | rng.getrandbits(32) & ~insn.mask & ((1 << insn.width) - 1)
    for spec in insn.fields:
        if spec.name == "cond":
            piece = spec.pieces[0]
            mask = 15 << piece.low
            predicate = rng.choice((14, 14, 14, rng.randrange(14)))
            if insn.when != "arm":
                predicate = rng.randrange(14)
            word = word & ~mask | predicate << piece.low
    tree = trees_of(insn)[0]
    if tree in (T16, IT16):
        return word.to_bytes(2, "little"), True
    if tree in (A32, UNCONDITIONAL):
        return word.to_bytes(4, "little"), False
    return (word >> 16 | (word & 0xFFFF) << 16).to_bytes(4, "little"), True


def random_case(rng: random.Random, code: bytes, thumb: bool) -> Case:
    """A random state for an instruction."""
    registers = [
        rng.choice((rng.choice(SPECIAL), rng.getrandbits(32), MIDDLE + rng.randrange(-64, 64)))
        for _ in range(15)
    ]
    registers[13] = MIDDLE + 4 * rng.randrange(-8, 8)
    flags = rng.getrandbits(5) << 27 | rng.getrandbits(4) << 16
    return Case(code, thumb, registers, flags, rng.randbytes(SCRATCH_SIZE))


ANY_PC = ("svc", "bkpt", "mrs", "msr", "mrc", "it", "nop")
"""Encodings that other tests look at, and hints (Unicorn leaves at some)."""


def predictable(insn: Instruction, case: Case, decoder: ArmDecoder) -> bool:
    """The architecture says what the instruction does: other cases are not compared.

    (The manual's UNPREDICTABLE: the pc or equal registers where they are not allowed, bit
    fields beyond bit 31, exclusive accesses that are not aligned, T32's SSAT16 and USAT16
    with a 1 where there is to be a 0.)
    """
    decoded = decoder.decode_at(AT | case.thumb, case.code)
    if decoded is None:
        return True
    insn, f = decoded.insn, decoded.fields
    name = insn.stencil
    numbers = {n: v for n, v in f.items() if n[0] == "r"}
    if name.startswith("swp"):
        base = f["rn"]
        distinct = base not in (f["rt"], f["rb"]) and 15 not in numbers.values()
        return distinct and (name == "swpb" or case.registers[base] % 4 == 0)
    if "ex" in name[:5] or insn.steps is not None:
        return several_predictable(insn, f)
    if case.thumb and name.endswith("sat_asr") and f["shamt"] == 32:
        return False
    if "bf" in name[:4]:
        return (
            15 not in numbers.values()
            and f["low"] + f.get("shamt", 0) < 32
            and f.get("top", 31) >= f["low"]
        )
    bad = 15 in numbers.values()
    if case.thumb:
        bad = bad and not name.startswith(("bx", "mov_pc", "add_pc"))
        bad = bad or (insn.width == 32 and 13 in numbers.values())
    elif bad:
        result = f.get("rd", f.get("rt"))
        moved = "_p" in name or any(f.get(n) == 15 for n in ("rm", "rs", "rb"))
        plain = name.startswith(("and", "eor", "sub", "rsb", "add", "adc", "sbc", "orr", "bic"))
        plain = plain or name.startswith(("mvn_", "mov_", "ldr_", "str_"))
        bad = not plain or moved or (result == 15 and "s_" in name)
        bad = bad or (name.endswith("r") and not name.startswith(("ldr", "str")))
    pair = "rb" in numbers and (f.get("rt", f.get("rd")) == f["rb"])
    back = "_p" in name and f.get("rn") in (f.get("rt"), f.get("rb"), f.get("rm"))
    odd = "ld" in name[:2] and "rb" in numbers and f.get("rn") in (f.get("rt"), f["rb"])
    odd = odd or ("rb" in numbers and f["rb"] == f.get("rn") and name.startswith("ld"))
    odd = odd or (name.startswith(("ldrd", "strd")) and f["rb"] == 15)
    odd = odd or (name.startswith("ldrd") and f.get("rm") in (f["rt"], f["rb"]))
    return not (bad or pair or back or odd)


def several_predictable(insn: Instruction, f: dict[str, int]) -> bool:
    """The same for LDM and STM."""
    if insn.steps is None:
        return False
    registers = f["list"]
    base = f.get("rn", 13)
    if registers.bit_count() < 2 or base == 15 or registers >> 15 or f.get("m"):
        return False
    if insn.width == 32 and insn.when == "t32" and registers & 0xA000:
        return False
    return not registers >> base & 1


def aligned_target(a: After, b: After) -> bool:
    """Both jumped to the same place, as far as the architecture says (not to 2 modulo 4)."""
    return a.how == b.how == "next" and a.pc & 3 == 2 and a.pc & ~3 == b.pc & ~3

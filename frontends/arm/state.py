"""ARM: the instruction set object, and the emitter that bodies write to."""

from __future__ import annotations

from jitemu.frontends.arm.registers import FP, FP_FLAGS, GE, NZ, PC, QC, VIEWS, C, Q, R, V
from jitemu.ir import builder
from jitemu.ir.code import Function
from jitemu.ir.emitter import Emitter, Register, RegisterFile
from jitemu.isa import Instruction, Isa

A32, UNCONDITIONAL, T32, T16, IT16 = range(5)
"""Decoder trees: A32's words with a predicate and those without, T32's, and T32's 16-bit words
outside and inside IT blocks."""


def trees_of(insn: Instruction) -> tuple[int, ...]:
    """Where an encoding belongs."""
    if insn.width == 16:
        return {"t16": (T16,), "it16": (IT16,)}.get(insn.when, (T16, IT16))
    if insn.when == "t32":
        return (T32,)
    bare = insn.mask >> 28 == 15 and insn.match >> 28 == 15
    return (UNCONDITIONAL if bare else A32,) if insn.width else ()


_OLD_T32 = ("bl.t1", "blx_t32")
"""Of the 32-bit encodings, those that were before Thumb-2, as pairs of 16-bit words."""
_NEW_T16 = ("cbz", "cbnz", "it", "nop.t1cps")


def encoding_needs(insn: Instruction) -> str | None:
    """The feature that a T32 encoding belongs to, whatever it means."""
    trees = trees_of(insn)
    if T32 in trees and insn.name not in _OLD_T32:
        return "v6t2"
    return "v6t2" if insn.name in _NEW_T16 else None


isa = Isa("arm", trees_of, crossing=True)
Word = builder.V
"""A value of 32 bits, unless said otherwise."""


class S(Emitter):
    """The emitter with ARM's registers and flags."""

    def __init__(self, mode: str, address: int | None = None, function: Function | None = None):
        super().__init__(mode, address, function)
        self._file = RegisterFile(self, R)
        self._jumps = False

    @property
    def pc(self) -> Word:
        """This instruction's address and Thumb bit, 64 bits."""
        return self.emit("pc", "", ()) if self.address is None else self.const(self.address_word)

    @property
    def address_word(self) -> int:
        """The low half of the pc word."""
        return (self.address or 0) & 0xFFFFFFFF

    @property
    def pc_read(self) -> Word:
        """What reading r15 gives: two instructions ahead, in Thumb two halfwords."""
        here = self.pc.trunc(32)
        return (here & -2) + 8 - ((here & 1) << 2)

    def reg(self, index: Register) -> Word:
        """A register."""
        if index == PC and isinstance(index, int):
            return self.pc_read
        return self._file[index].trunc(32)

    def aligned(self, address: Word, mask: Word | int, base: Word | None = None) -> Word:
        """An address for an access; where one of a mask's bits (of the low five) is set in it,
        one that no host has, so that the access faults: an alignment fault.

        ``base``: what has the same low bits as the address, and is at hand.
        """
        wrong = (address if base is None else base).zext() & mask
        return (
            self.emit("aligned", "", (address.zext(), wrong))
            if wrong.const != 0
            else address.zext()
        )

    def set_reg(self, index: Register, value: Word) -> None:
        """Write a register; a write to r15 is a jump, once all else is done."""
        self._file[index] = value.zext()
        self._jumps = self._jumps or index == PC

    def finish(self) -> None:
        if self._jumps and not self.ended:
            self.interwork(self._file[PC].trunc(32))

    def interwork(self, target: Word) -> None:
        """End: go on at an address whose bit 0 chooses the instruction set."""
        self.jump_register((target & ((target & 1) - 2 | 1) & ~(((target & 1) ^ 1) << 1)).zext())

    # Floating point and SIMD

    def view(self, kind: str, index: Register, type: str = "") -> Word:
        """A register of the bank: of kind b, h, s, d or q."""
        width = VIEWS[kind].bits
        return self.emit("vget", type or f"i{width}", (), (kind, index))

    def set_view(self, kind: str, index: Register, value: Word) -> None:
        """Write one."""
        self.emit("vset", value.type, (value,), (kind, index))

    @property
    def saturations(self) -> Word:
        """FPSCR.QC: not 0 where something saturated."""
        return RegisterFile(self, FP)[QC]

    def note_saturation(self, happened: Word) -> None:
        """QC is set if a word is not 0."""
        RegisterFile(self, FP)[QC] = self.saturations | happened

    def set_fp_flags(self, flags: Word) -> None:
        """N Z C V of FPSCR, at their places in 32 bits."""
        RegisterFile(self, FP)[FP_FLAGS] = flags.zext()

    @property
    def fp_flags(self) -> Word:
        """The same."""
        return RegisterFile(self, FP)[FP_FLAGS].trunc(32)

    # Flags

    def set_nz(self, result: Word) -> None:
        """N and Z of a result."""
        self._file[NZ] = result.sext()

    def set_nz_words(self, sign: Word, not_zero: Word) -> None:
        """N is the sign of one 64-bit word; Z, with it, that both are 0."""
        self._file[NZ] = (sign >> 63 << 63) | (sign | not_zero).ne(0).zext()

    def flag(self, index: int) -> Word:
        """C, V, Q (0 or 1) or GE."""
        return self._file[index].trunc(32)

    def set_flag(self, index: int, value: Word) -> None:
        """The same (an i1 or 32 bits)."""
        self._file[index] = value.zext()

    def saturated(self, happened: Word) -> None:
        """Q becomes 1 if this i1 is."""
        self._file[Q] = self._file[Q] | happened.zext()

    @property
    def negative(self) -> Word:
        """N as i1."""
        return self._file[NZ].slt(0)

    @property
    def zero(self) -> Word:
        """Z as i1."""
        return self._file[NZ].trunc(32).eq(0)

    def read_apsr(self) -> Word:
        """N Z C V Q, and GE in bits 16 to 19."""
        word = self.negative.zext(32) << 31 | self.zero.zext(32) << 30
        word = word | self.flag(C) << 29 | self.flag(V) << 28 | self.flag(Q) << 27
        return word | self.flag(GE) << 16

    def write_nzcv(self, value: Word) -> None:
        """N Z C V from bits 31 to 28."""
        sign = (value >> 31).zext() << 63
        self._file[NZ] = sign | (value >> 30 & 1 ^ 1).zext()
        self.set_flag(C, value >> 29 & 1)
        self.set_flag(V, value >> 28 & 1)

    def write_apsr(self, value: Word) -> None:
        """N Z C V and Q from bits 31 to 27."""
        self.write_nzcv(value)
        self.set_flag(Q, value >> 27 & 1)


NEEDS: dict[str, str] = {}
"""By definition: the feature of a processor (cpu.py) without which it is undefined."""


def since(feature: str, *names: str) -> None:
    """These definitions, in all their encodings, belong to a feature."""
    for name in names:
        assert name in isa.instructions, name
        NEEDS[name] = feature


def define(name: str, pattern: str, operands: str, body: object, asm: str = "") -> None:
    """An A32 instruction (or one that only T32 has) with a body made by a function."""
    isa.define(pattern, asm or name, "arm", name, tuple(operands.split()), body)  # type: ignore[arg-type]


def thumb(base: str, pattern: str, tag: str = "t", **same: str | int) -> None:
    """A T32 encoding of a definition."""
    isa.alias(base, pattern, base, "t32", f"{base}.{tag}", **same)

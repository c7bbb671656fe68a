"""What F and D share: each definition serves both formats and every rounding form.

An f register is 64 raw bits.  A single is NaN-boxed: ones above it; an operand that is
not reads as the canonical NaN (unprivileged specification, chapter "D", NaN boxing).

An instruction with a rounding mode has one definition for the dynamic form (rm = 111:
the float unit's own mode) and one for each static mode, named with the mode
(``fadd.d.rtz``); the reserved modes match nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from jitemu.frontends.riscv.rounding_away import (
    round_away_fused,
    round_away_integer,
    round_away_quotient,
)
from jitemu.frontends.riscv.state import S, isa
from jitemu.ir import ops_float
from jitemu.ir.builder import V
from jitemu.ir.emitter import Register
from jitemu.ir.native import NativeFunction

MODES = (
    ("dyn", "111"),
    ("rne", "000"),
    ("rtz", "001"),
    ("rdn", "010"),
    ("rup", "011"),
    ("rmm", "100"),
)
"""Rounding forms and their rm field."""

BOX = 0xFFFFFFFF_00000000


@dataclass(frozen=True)
class Precision:
    """A format as the instruction encoding has it."""

    letter: str
    """Suffix of the instructions' names, and of the extension."""
    code: str
    """The fmt field."""
    width: int
    fraction: int
    load_width: str
    """funct3 of loads and stores."""
    exponent_max: int

    @property
    def when(self) -> str:
        """The extension."""
        return "f" if self.width == 32 else "d"

    @property
    def sign(self) -> int:
        """The sign bit's value."""
        return 1 << (self.width - 1)

    @property
    def infinity(self) -> int:
        """Bits of +infinity."""
        return self.exponent_max << self.fraction

    @property
    def canonical(self) -> int:
        """Bits of the canonical NaN."""
        return self.infinity | 1 << (self.fraction - 1)

    @property
    def one(self) -> int:
        """Bits of 1.0."""
        return (self.exponent_max >> 1) << self.fraction

    def read(self, s: S, register: Register) -> V:
        """An operand."""
        raw = s.f[register]
        if self.width == 64:
            return raw
        return (raw >> 32).eq(0xFFFFFFFF).select(raw.trunc(32), self.canonical)

    def write(self, s: S, register: Register, value: V) -> None:
        """A result."""
        s.f[register] = value if self.width == 64 else value.zext() | BOX

    def op(self, s: S, name: str, *args: V) -> V:
        """A row of ops_float for this format."""
        return s.emit(f"{name}{self.width}", "", args)


SINGLE = Precision("s", "00", 32, 23, "010", 0xFF)
DOUBLE = Precision("d", "01", 64, 52, "011", 0x7FF)

OP_FP = "1010011"
Correction = Callable[[V], V]


def rounded(s: S, mode: str, operation: Callable[[], V], away: Correction | None = None) -> V:
    """An operation in a static mode (or the dynamic one); ``away`` corrects ties for RMM."""
    if mode == "dyn":
        return operation()
    number = ops_float.MODES[mode]
    assert number is not None
    old = s.raw("swaprounding", "", s.const(number))  # RMM: nearest even
    result = operation()
    s.raw("swaprounding", "", old)
    return away(result) if away is not None and mode == "rmm" else result


def corrected(s: S, function: NativeFunction, value: V, *args: V | int) -> V:
    """Call one of the round_away functions on values of any format."""
    words = [a if isinstance(a, int) else a.zext() for a in args]
    return s.call(function.name, value.zext(), *words).trunc(value.width)


def forms(name: str, pattern: str, asm: str, when: str, make: Callable[[str], Callable[..., None]]):
    """Define every rounding form: ``pattern`` has ``rm`` for the field."""
    for mode, bits in MODES:
        static = mode != "dyn"
        isa.insn(
            pattern.replace(" rm ", f" {bits} "),
            f"{name} {asm}" + (f", {mode}" if static else ""),
            when,
            f"{name}.{mode}" if static else name,
        )(make(mode))


# -- arithmetic -----------------------------------------------------------------------

Away = Callable[[S, V, V, V], V]
"""(emitter, rounded, a, b): the result with ties away from zero."""


def binary(p: Precision, name: str, funct5: str, away: Away) -> None:
    """f[rd] = f[rs1] op f[rs2]."""

    def make(mode: str) -> Callable[..., None]:
        def body(s: S, rd: Register, rs1: Register, rs2: Register) -> None:
            a, b = p.read(s, rs1), p.read(s, rs2)
            p.write(
                s, rd, rounded(s, mode, lambda: p.op(s, name, a, b), lambda r: away(s, r, a, b))
            )

        return body

    pattern = f"{funct5} {p.code} rs2:5 rs1:5 rm rd:5 {OP_FP}"
    forms(f"{name}.{p.letter}", pattern, "{rd}, {rs1}, {rs2}", p.when, make)


def arithmetic(p: Precision) -> None:
    """fadd, fsub, fmul, fdiv, fsqrt."""

    def product(s: S, r: V, a: V, b: V) -> V:
        return corrected(s, round_away_fused, r, a, b, 0, p.fraction)

    def total(s: S, r: V, a: V, b: V) -> V:
        return corrected(s, round_away_fused, r, a, p.one, b, p.fraction)

    def quotient(s: S, r: V, a: V, b: V) -> V:
        return corrected(s, round_away_quotient, r, a, b, p.fraction)

    binary(p, "fadd", "00000", total)
    binary(p, "fsub", "00001", lambda s, r, a, b: total(s, r, a, b ^ p.sign))
    binary(p, "fmul", "00010", product)
    binary(p, "fdiv", "00011", quotient)

    def square_root(mode: str) -> Callable[..., None]:
        def body(s: S, rd: Register, rs1: Register) -> None:
            a = p.read(s, rs1)
            # No root lies half-way between two floats, so RMM needs no correction.
            p.write(s, rd, rounded(s, mode, lambda: p.op(s, "fsqrt", a)))

        return body

    pattern = f"01011 {p.code} 00000 rs1:5 rm rd:5 {OP_FP}"
    forms(f"fsqrt.{p.letter}", pattern, "{rd}, {rs1}", p.when, square_root)


def fused(p: Precision, name: str, opcode: str, negate_product: bool, negate_addend: bool) -> None:
    """f[rd] = +-(f[rs1] * f[rs2]) +- f[rs3], rounded once."""

    def make(mode: str) -> Callable[..., None]:
        def body(s: S, rd: Register, rs1: Register, rs2: Register, rs3: Register) -> None:
            a, b, c = p.read(s, rs1), p.read(s, rs2), p.read(s, rs3)
            a = a ^ p.sign if negate_product else a
            c = c ^ p.sign if negate_addend else c

            def away(r: V) -> V:
                return corrected(s, round_away_fused, r, a, b, c, p.fraction)

            p.write(s, rd, rounded(s, mode, lambda: p.op(s, "ffma", a, b, c), away))

        return body

    pattern = f"rs3:5 {p.code} rs2:5 rs1:5 rm rd:5 {opcode}"
    forms(f"{name}.{p.letter}", pattern, "{rd}, {rs1}, {rs2}, {rs3}", p.when, make)


def unrounded(p: Precision) -> None:
    """fsgnj*, fmin, fmax, comparisons, fclass."""
    magnitude = p.sign - 1

    def to_float(name: str, top: str, funct3: str, f: Callable[[S, V, V], V]) -> None:
        def body(s: S, rd: Register, rs1: Register, rs2: Register) -> None:
            p.write(s, rd, f(s, p.read(s, rs1), p.read(s, rs2)))

        pattern = f"{top} {p.code} rs2:5 rs1:5 {funct3} rd:5 {OP_FP}"
        label = f"{name}.{p.letter}"
        isa.insn(pattern, f"{label} {{rd}}, {{rs1}}, {{rs2}}", p.when, label)(body)

    def compare(name: str, funct3: str) -> None:
        def body(s: S, rd: Register, rs1: Register, rs2: Register) -> None:
            s.x[rd] = p.op(s, name, p.read(s, rs1), p.read(s, rs2)).zext()

        pattern = f"10100 {p.code} rs2:5 rs1:5 {funct3} rd:5 {OP_FP}"
        label = f"{name}.{p.letter}"
        isa.insn(pattern, f"{label} {{rd}}, {{rs1}}, {{rs2}}", p.when, label)(body)

    to_float("fsgnj", "00100", "000", lambda s, a, b: (a & magnitude) | (b & p.sign))
    to_float("fsgnjn", "00100", "001", lambda s, a, b: (a & magnitude) | (~b & p.sign))
    to_float("fsgnjx", "00100", "010", lambda s, a, b: a ^ (b & p.sign))
    to_float("fmin", "00101", "000", lambda s, a, b: p.op(s, "fmin", a, b))
    to_float("fmax", "00101", "001", lambda s, a, b: p.op(s, "fmax", a, b))
    compare("feq", "010")
    compare("flt", "001")
    compare("fle", "000")

    def classify(s: S, rd: Register, rs1: Register) -> None:
        s.x[rd] = class_mask(p, p.read(s, rs1))

    label = f"fclass.{p.letter}"
    pattern = f"11100 {p.code} 00000 rs1:5 001 rd:5 {OP_FP}"
    isa.insn(pattern, f"{label} {{rd}}, {{rs1}}", p.when, label)(classify)


def class_mask(p: Precision, value: V) -> V:
    """One bit: -inf, -normal, -subnormal, -0, +0, ..., +inf, signalling, quiet NaN."""
    magnitude = value & (p.sign - 1)
    negative = value.uge(p.sign)
    place = magnitude.ult(1 << p.fraction).select(2, 1)
    place = magnitude.eq(0).select(3, place)
    place = magnitude.eq(p.infinity).select(0, place)
    place = negative.select(place, 7 - place)
    quiet = magnitude.uge(p.canonical).select(9, 8)
    place = magnitude.ule(p.infinity).select(place, quiet)
    return value.builder.const(1) << place


# -- conversions and moves ------------------------------------------------------------

INTEGERS = (("w", 32, True), ("wu", 32, False), ("l", 64, True), ("lu", 64, False))
"""Suffix, bits and signedness, in the order of the rs2 field."""


def to_integer(p: Precision, place: int, suffix: str, bits: int, signed: bool) -> None:
    """x[rd] = integer of f[rs1], sign-extended from its width."""

    def make(mode: str) -> Callable[..., None]:
        row = ops_float.to_integer_name(p.width, bits, signed, mode)

        def body(s: S, rd: Register, rs1: Register) -> None:
            s.x[rd] = s.raw(row, "", p.read(s, rs1)).sext()

        return body

    pattern = f"11000 {p.code} {place:05b} rs1:5 rm rd:5 {OP_FP}"
    forms(f"fcvt.{suffix}.{p.letter}", pattern, "{rd}, {rs1}", p.when, make)


def from_integer(p: Precision, place: int, suffix: str, bits: int, signed: bool) -> None:
    """f[rd] = float of x[rs1]."""
    row = "fsigned" if signed else "funsigned"
    exact = bits < p.fraction

    def make(mode: str) -> Callable[..., None]:
        def body(s: S, rd: Register, rs1: Register) -> None:
            value = s.x[rs1]
            if bits == 32:
                # Either way the value is exact as a signed 64-bit integer.
                value = value.sx(32) if signed else value.zx(32)

            def away(r: V) -> V:
                magnitude = value.slt(0).select(-value, value) if signed else value
                return corrected(s, round_away_integer, r, magnitude, p.fraction)

            name = row if bits == 64 else "fsigned"
            form = "dyn" if exact else mode
            p.write(s, rd, rounded(s, form, lambda: p.op(s, name, value), away))

        return body

    pattern = f"11010 {p.code} {place:05b} rs1:5 rm rd:5 {OP_FP}"
    forms(f"fcvt.{p.letter}.{suffix}", pattern, "{rd}, {rs1}", p.when, make)


def moves(p: Precision) -> None:
    """Between memory, x registers and f registers, as raw bits."""
    size = "w" if p.width == 32 else "d"

    def load(s: S, rd: Register, rs1: Register, imm: V) -> None:
        p.write(s, rd, s.load(s.x[rs1] + imm, p.width))

    pattern = f"imm:12 rs1:5 {p.load_width} rd:5 0000111"
    isa.insn(pattern, f"fl{size} {{rd}}, {{imm}}({{rs1}})", p.when, f"fl{size}")(load)

    def store(s: S, rs1: Register, rs2: Register, imm: V) -> None:
        s.store(s.x[rs1] + imm, s.f[rs2].trunc(p.width))

    pattern = f"imm[11:5] rs2:5 rs1:5 {p.load_width} imm[4:0] 0100111"
    isa.insn(pattern, f"fs{size} {{rs2}}, {{imm}}({{rs1}})", p.when, f"fs{size}")(store)

    def to_x(s: S, rd: Register, rs1: Register) -> None:
        s.x[rd] = s.f[rs1].trunc(p.width).sext()

    label = f"fmv.x.{size}"
    pattern = f"11100 {p.code} 00000 rs1:5 000 rd:5 {OP_FP}"
    isa.insn(pattern, f"{label} {{rd}}, {{rs1}}", p.when, label)(to_x)

    def from_x(s: S, rd: Register, rs1: Register) -> None:
        p.write(s, rd, s.x[rs1].trunc(p.width))

    label = f"fmv.{size}.x"
    pattern = f"11110 {p.code} 00000 rs1:5 000 rd:5 {OP_FP}"
    isa.insn(pattern, f"{label} {{rd}}, {{rs1}}", p.when, label)(from_x)


def define(p: Precision) -> None:
    """All of a format's instructions, conversions between the formats excepted."""
    moves(p)
    arithmetic(p)
    fused(p, "fmadd", "1000011", False, False)
    fused(p, "fmsub", "1000111", False, True)
    fused(p, "fnmsub", "1001011", True, False)
    fused(p, "fnmadd", "1001111", True, True)
    unrounded(p)
    for place, (suffix, bits, signed) in enumerate(INTEGERS):
        to_integer(p, place, suffix, bits, signed)
        from_integer(p, place, suffix, bits, signed)

"""Soft float against Unicorn, and against QEMU where Unicorn's RISC-V is too old.

Unicorn has no f16, the fmin/fmax of an earlier F version, and no invalid flag for
infinity times zero plus a quiet NaN.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from jitemu.ir import softfloat as sf
from jitemu.ir.softfloat import F16, F32, F64, Format

from .riscv_fp_oracle import (
    FA1,
    Case,
    Probe,
    fma_op,
    fp_op,
    qemu_available,
    under_qemu,
    under_unicorn,
)

CODES = {F32: 0, F64: 1, F16: 2}
NAMES = {F32: "s", F64: "d", F16: "h"}
DYNAMIC = 7
ALL_MODES = range(5)

Meaning = Callable[[int, int, int, int], sf.Result]


@dataclass(frozen=True)
class Check:
    """One instruction beside the soft-float expression that it should equal."""

    name: str
    word: int
    source: Format
    operands: int
    meaning: Meaning
    result_mask: int
    modes: tuple[int, ...] = tuple(ALL_MODES)
    to_x: bool = False
    integer_bits: int = 0  # operand is an integer register
    unicorn: bool = True


def boundary(fmt: Format) -> list[int]:
    """Zeros, subnormals, ends of the normal range, powers near 1, infinities, NaNs."""
    one = fmt.bias << fmt.frac_bits
    half = one - (1 << fmt.frac_bits)
    least_normal = 1 << fmt.frac_bits
    positive = [
        0, 1, 2, 3, fmt.frac_mask - 1, fmt.frac_mask, least_normal, least_normal + 1,
        half - 1, half, half + 1, one - 1, one, one + 1,
        one | 1 << (fmt.frac_bits - 1),  # 1.5
        one + (1 << fmt.frac_bits) | 1 << (fmt.frac_bits - 2),  # 2.5
        one | fmt.frac_mask, half | fmt.frac_mask,
        fmt.inf - 1, fmt.inf - 2, fmt.inf - (1 << fmt.frac_bits), fmt.inf,
        fmt.inf | 1, fmt.canonical_nan - 1, fmt.canonical_nan, fmt.mask >> 1,
    ]  # fmt: skip
    return [bits | sign for bits in positive for sign in (0, fmt.sign_bit)]


def integer_edges(fmt: Format) -> list[int]:
    """Values at and beside the ends of the integer types, and ties."""
    edges: list[int] = []
    for bits in (15, 16, 31, 32, 52, 53, 63, 64):
        for offset in (-2, -1, 0, 1, 2):
            for quarter in range(4):
                # The nearest values of the format; what it cannot hold rounds.
                value = ((1 << bits) + offset) * 4 + quarter
                rounded, _ = sf.from_int(value, 80, False, F64, sf.RTZ)
                scaled, _ = sf.mul(F64, rounded, 0x3FD0000000000000, sf.RTZ)
                edges.append(sf.convert(F64, fmt, scaled, sf.RTZ)[0])
    return [bits | sign for bits in edges for sign in (0, fmt.sign_bit)]


def randoms(fmt: Format, count: int, source: random.Random) -> list[int]:
    """Half uniform bits, half with exponents near one another, so that sums interact."""
    out: list[int] = []
    for index in range(count):
        bits = source.getrandbits(fmt.width)
        if index & 1:
            span = min(fmt.frac_bits, fmt.bias // 2)
            exponent = fmt.bias + source.randrange(-span, span)
            bits = bits & (fmt.sign_bit | fmt.frac_mask) | exponent << fmt.frac_bits
        if source.random() < 0.25:  # few significand bits: exact results and ties
            bits &= ~(fmt.frac_mask >> source.randrange(1, 12))
        out.append(bits)
    return out


def integers(bits: int, source: random.Random) -> list[int]:
    edges = [(1 << k) + d for k in range(0, bits + 1) for d in (-1, 0, 1)]
    edges += [(0x1000001 << k) for k in range(0, 40)]
    return [e & (2**64 - 1) for e in edges] + [source.getrandbits(64) for _ in range(200)]


def cases_of(check: Check) -> list[Case]:
    source = random.Random(check.name)
    if check.integer_bits:
        values = integers(check.integer_bits, source)
        tuples = [(value, 0, 0) for value in values]
    elif check.operands == 1:
        values = boundary(check.source) + integer_edges(check.source)
        tuples = [(value, 0, 0) for value in values + randoms(check.source, 600, source)]
    elif check.operands == 2:
        tuples = [(a, b, 0) for a, b in itertools.product(boundary(check.source), repeat=2)]
        one, two = (randoms(check.source, 1500, source) for _ in range(2))
        tuples += [(a, b, 0) for a, b in zip(one, two, strict=True)]
    else:
        some = boundary(check.source)
        tuples = [
            (source.choice(some), source.choice(some), source.choice(some)) for _ in range(2500)
        ]
        one, two, three = (randoms(check.source, 1500, source) for _ in range(3))
        tuples += list(zip(one, two, three, strict=True))
        tuples += [
            (a, b, near_product(check.source, a, b, source)) for a, b in zip(one, two, strict=True)
        ]
    return [(*values, rm) for values in tuples for rm in check.modes]


def near_product(fmt: Format, a: int, b: int, source: random.Random) -> int:
    """Minus the rounded product, or a neighbour: the sum cancels."""
    product, _ = sf.mul(fmt, a, b, sf.RNE)
    return (sf.negate(fmt, product) + source.choice((-1, 0, 0, 1))) & fmt.mask


def arithmetic_checks(fmt: Format) -> list[Check]:
    code, name = CODES[fmt], NAMES[fmt]
    at = fmt is not F16

    def binary(operation: Callable[[Format, int, int, int], sf.Result]) -> Meaning:
        return lambda a, b, _c, rm: operation(fmt, a, b, rm)

    checks = [
        Check(f"f{op}.{name}", fp_op(funct5 << 2 | code, FA1, DYNAMIC), fmt, 2, binary(meaning),
              fmt.mask, unicorn=at)
        for op, funct5, meaning in
        (("add", 0, sf.add), ("sub", 1, sf.sub), ("mul", 2, sf.mul), ("div", 3, sf.div))
    ]  # fmt: skip

    def root(a: int, _b: int, _c: int, rm: int) -> sf.Result:
        return sf.sqrt(fmt, a, rm)

    checks.append(
        Check(
            f"fsqrt.{name}", fp_op(11 << 2 | code, 0, DYNAMIC), fmt, 1, root, fmt.mask, unicorn=at
        )
    )
    for op, opcode, flip_product, flip_addend in (
        ("fmadd", 0x43, False, False), ("fmsub", 0x47, False, True),
        ("fnmsub", 0x4B, True, False), ("fnmadd", 0x4F, True, True),
    ):  # fmt: skip
        meaning = fused(fmt, flip_product, flip_addend)
        checks.append(
            Check(f"{op}.{name}", fma_op(opcode, code), fmt, 3, meaning, fmt.mask, unicorn=False)
        )
    return checks


def fused(fmt: Format, flip_product: bool, flip_addend: bool) -> Meaning:
    def meaning(a: int, b: int, c: int, rm: int) -> sf.Result:
        a = sf.negate(fmt, a) if flip_product else a
        c = sf.negate(fmt, c) if flip_addend else c
        return sf.fma(fmt, a, b, c, rm)

    return meaning


def comparison_checks(fmt: Format) -> list[Check]:
    code, name = CODES[fmt], NAMES[fmt]

    def binary(operation: Callable[[Format, int, int], sf.Result]) -> Meaning:
        return lambda a, b, _c, _rm: operation(fmt, a, b)

    checks = [
        Check(f"{op}.{name}", fp_op(20 << 2 | code, FA1, funct3), fmt, 2, binary(meaning),
              2**64 - 1, (0,), to_x=True, unicorn=fmt is not F16)
        for op, funct3, meaning in (("fle", 0, sf.le), ("flt", 1, sf.lt), ("feq", 2, sf.eq))
    ]  # fmt: skip
    checks += [
        Check(f"{op}.{name}", fp_op(5 << 2 | code, FA1, funct3), fmt, 2, binary(meaning),
              fmt.mask, (0,), unicorn=False)
        for op, funct3, meaning in (("fmin", 0, sf.minimum), ("fmax", 1, sf.maximum))
    ]  # fmt: skip
    checks.append(
        Check(f"fclass.{name}", fp_op(28 << 2 | code, 0, 1), fmt, 1,
              lambda a, _b, _c, _rm: sf.classify(fmt, a), 2**64 - 1, (0,), to_x=True,
              unicorn=fmt is not F16)
    )  # fmt: skip
    return checks


def integer_checks(fmt: Format) -> list[Check]:
    code, name = CODES[fmt], NAMES[fmt]
    at = fmt is not F16
    checks: list[Check] = []
    for which, (width, signed) in enumerate(((32, True), (32, False), (64, True), (64, False))):
        suffix = ("w", "wu", "l", "lu")[which]

        def out(
            a: int, _b: int, _c: int, rm: int, width: int = width, signed: bool = signed
        ) -> sf.Result:
            return sf.to_int(fmt, a, rm, width, signed)

        def back(
            a: int, _b: int, _c: int, rm: int, width: int = width, signed: bool = signed
        ) -> sf.Result:
            return sf.from_int(a, width, signed, fmt, rm)

        mask = (1 << width) - 1
        checks.append(
            Check(f"fcvt.{suffix}.{name}", fp_op(24 << 2 | code, which, DYNAMIC), fmt, 1, out,
                  mask, to_x=True, unicorn=at)
        )  # fmt: skip
        checks.append(
            Check(f"fcvt.{name}.{suffix}", fp_op(26 << 2 | code, which, DYNAMIC), fmt, 1, back,
                  fmt.mask, integer_bits=width, unicorn=at)
        )  # fmt: skip
    return checks


def format_checks() -> list[Check]:
    def change(source: Format, target: Format) -> Check:
        word = fp_op(8 << 2 | CODES[target], CODES[source], DYNAMIC)
        name = f"fcvt.{NAMES[target]}.{NAMES[source]}"
        unicorn = F16 not in (source, target)
        return Check(
            name, word, source, 1,
            lambda a, _b, _c, rm: sf.convert(source, target, a, rm), target.mask, unicorn=unicorn,
        )  # fmt: skip

    return [change(a, b) for a, b in itertools.permutations((F16, F32, F64), 2)]


CHECKS = [
    *itertools.chain.from_iterable(
        kind(fmt)
        for fmt in (F16, F32, F64)
        for kind in (arithmetic_checks, comparison_checks, integer_checks)
    ),
    *format_checks(),
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_against_an_emulator(check: Check, tmp_path: Path) -> None:
    if not check.unicorn and not qemu_available():
        pytest.skip("qemu-riscv64 is not installed")
    cases = cases_of(check)
    sizes = check.source.width // 8, check.result_mask.bit_length() // 8
    probe = Probe(check.word, *sizes, check.to_x)
    if check.unicorn:
        answers = under_unicorn(probe, cases)
    else:
        answers = under_qemu(probe, cases, tmp_path)
    assert len(answers) == len(cases)
    for (a, b, c, rm), (result, flags) in zip(cases, answers, strict=True):
        expected = check.meaning(a, b, c, rm)
        got = result & check.result_mask, flags
        assert expected == got, f"{check.name} {a:#x} {b:#x} {c:#x} rm={rm}"

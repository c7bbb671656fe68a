"""VFP's conversions: between formats, to and from integers and fixed point, half precision."""

from __future__ import annotations

from typing import Any

from jitemu.frontends.arm.fp import (
    DOUBLE,
    FORMATS,
    SINGLE,
    Precision,
    define,
    fill,
    flushed,
    flushing,
)
from jitemu.frontends.arm.state import S, Word
from jitemu.frontends.arm.vfp import DIRECTIONS, two
from jitemu.ir.ops_float import to_integer_name

# Between single and double: sz is the source's.


def widen(s: S, rd: Any, rm: Any) -> None:
    """A single as a double."""
    value = s.view("s", rm)
    raw = s.unless("vfp_widen", flushing(s), "fext", "i64", value)
    nan = s.emit("fnan", "i64", (raw,))
    s.set_view("d", rd, s.rare("vfp_widen", nan, raw, value))


def narrow(s: S, rd: Any, rm: Any) -> None:
    """A double as a single."""
    value = s.view("d", rm)
    raw = s.unless("vfp_narrow", flushing(s), "fround", "i32", value)
    odd = s.emit("fodd", "i32", (raw,))
    s.set_view("s", rd, s.rare("vfp_narrow", odd, raw, value))


define("vcvt_f64_f32", two("0111 1", SINGLE, "ds"), "rd rm", widen)
define("vcvt_f32_f64", two("0111 1", DOUBLE, "sd"), "rd rm", narrow)

# Integers are in single registers.


def _from_integer(p: Precision, signed: int) -> None:
    row = "fofsigned" if signed else "fofunsigned"

    def body(s: S, rd: Any, rm: Any) -> None:
        p.set(s, rd, s.emit(row, p.type, (s.view("s", rm),)))

    name = f"vcvt_f{p.width}_{'su'[1 - signed]}32"
    define(name, two(f"1000 {signed}", p, f"{p.kind}s"), "rd rm", body)


def _to_integer(s: S, p: Precision, rm: Any, signed: int, mode: str) -> Word:
    """As the row of that rounding, but of a NaN 0."""
    value = flushed(s, p.get(s, rm))
    result = s.raw(to_integer_name(p.width, 32, bool(signed), mode), "", value)
    return (value & p.sign - 1).ule(p.infinity).select(result, s.const(0, "i32"))


def _integers(p: Precision, signed: int) -> None:
    for letter, bit, mode in (("r", 0, "dyn"), ("", 1, "rtz")):

        def body(s: S, rd: Any, rm: Any, mode: str = mode) -> None:
            s.set_view("s", rd, _to_integer(s, p, rm, signed, mode))

        name = f"vcvt{letter}_{'su'[1 - signed]}32_f{p.width}"
        define(name, two(f"110{signed} {bit}", p, f"s{p.kind}"), "rd rm", body)


def _directed(p: Precision, signed: int, number: int) -> None:
    suffix, mode = DIRECTIONS[number]
    row = ("rne", "", "rdn", "rup", "rmm")[mode]

    def body(s: S, rd: Any, rm: Any) -> None:
        s.set_view("s", rd, _to_integer(s, p, rm, signed, row))

    pattern = f"11111110 1 D 11 11 {number:02b} Vd 101 {p.bit} {signed} 1 M 0 Vm"
    name = f"vcvt{suffix}_{'su'[1 - signed]}32_f{p.width}"
    define(name, fill(pattern, f"s {p.kind}"), "rd rm", body)


for _p in FORMATS:
    for _signed in (0, 1):
        _from_integer(_p, _signed)
        _integers(_p, _signed)
        for _number in range(4):
            _directed(_p, _signed, _number)

# Fixed point: in place; ``size`` bits, of which imm4:i are those before the point.


def _fixed(p: Precision, size: int, signed: int) -> None:
    def to_fixed(s: S, rd: Any, val: Word) -> None:
        words = s.const(size) - val, s.const(size), s.const(signed), s.const(1)
        p.set(s, rd, s.native_value(f"vfp_to_integer{p.width}", p.type, p.get(s, rd), *words))

    def from_fixed(s: S, rd: Any, val: Word) -> None:
        value = p.get(s, rd).trunc(size)
        word = value.sext() if signed else value.zext()
        fraction = s.const(size) - val
        p.set(s, rd, s.native_value(f"arm_from_fixed{p.width}", p.type, word, fraction))

    kind = f"{'su'[1 - signed]}{size}"
    for to, body, name in (
        (1, to_fixed, f"vcvt_{kind}_f{p.width}_fixed"),
        (0, from_fixed, f"vcvt_f{p.width}_{kind}_fixed"),
    ):
        pattern = (
            f"cond:4 1110 1 D 11 1{to}1{1 - signed} Vd 101 {p.bit} {int(size == 32)} 1 val[0] 0 "
            "val[4:1]"
        )
        define(name, fill(pattern, p.kind), "rd val", body)


for _p in FORMATS:
    for _size in (16, 32):
        for _signed in (0, 1):
            _fixed(_p, _size, _signed)

# Half precision: in the lower or the upper half of a single register.


def _half(p: Precision, top: int) -> None:
    letter = "bt"[top]

    def from_half(s: S, rd: Any, rm: Any) -> None:
        word = s.view("s", rm)
        half = (word >> 16 if top else word & 0xFFFF).zext()
        single = s.native_value("vfp_from_half", "i32", half)
        if p.width == 64:
            p.set(s, rd, s.native_value("arm_widen", "i64", single, s.const(0)))
        else:
            p.set(s, rd, single)

    def to_half(s: S, rd: Any, rm: Any) -> None:
        half = s.native_value(f"vfp_to_half{p.width}", "i16", p.get(s, rm))
        old = s.view("s", rd)
        wide = half.zext(32)
        s.set_view("s", rd, (old & 0xFFFF) | wide << 16 if top else (old & -65536) | wide)

    name = f"vcvt{letter}_f{p.width}_f16"
    define(name, two(f"0010 {top}", p, f"{p.kind}s"), "rd rm", from_half)
    name = f"vcvt{letter}_f16_f{p.width}"
    define(name, two(f"0011 {top}", p, f"s{p.kind}"), "rd rm", to_half)


for _p in FORMATS:
    _half(_p, 0)
    _half(_p, 1)

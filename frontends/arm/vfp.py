"""VFPv4 and its ARMv8 additions: arithmetic, comparison, selection, rounding to integers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jitemu.frontends.arm.fp import (
    FORMATS,
    Precision,
    add,
    define,
    divide,
    fill,
    flushed,
    fused,
    multiply,
    negate,
    operate,
    subtract,
)
from jitemu.frontends.arm.registers import V
from jitemu.frontends.arm.state import S, Word
from jitemu.ir.native import native
from jitemu.ir.state import RuntimeState

Ternary = Callable[[S, Word, Word, Word], Word]
"""Of d, n and m."""


def _name(name: str, p: Precision) -> str:
    return f"{name}_f{p.width}"


# Three registers.

BINARY: dict[str, tuple[str, Callable[[S, Word, Word], Word]]] = {
    "vmul": ("0 D 10 0", multiply),
    "vnmul": ("0 D 10 1", lambda s, n, m: negate(multiply(s, n, m))),
    "vadd": ("0 D 11 0", add),
    "vsub": ("0 D 11 1", subtract),
    "vdiv": ("1 D 00 0", divide),
}
ACCUMULATE: dict[str, tuple[str, Ternary]] = {
    "vmla": ("0 D 00 0", lambda s, d, n, m: add(s, d, multiply(s, n, m))),
    "vmls": ("0 D 00 1", lambda s, d, n, m: add(s, d, negate(multiply(s, n, m)))),
    "vnmls": ("0 D 01 0", lambda s, d, n, m: add(s, negate(d), multiply(s, n, m))),
    "vnmla": ("0 D 01 1", lambda s, d, n, m: add(s, negate(d), negate(multiply(s, n, m)))),
    "vfnms": ("1 D 01 0", lambda s, d, n, m: fused(s, n, m, negate(d))),
    "vfnma": ("1 D 01 1", lambda s, d, n, m: fused(s, negate(n), m, negate(d))),
    "vfma": ("1 D 10 0", lambda s, d, n, m: fused(s, n, m, d)),
    "vfms": ("1 D 10 1", lambda s, d, n, m: fused(s, negate(n), m, d)),
}


def _three(code: str, p: Precision) -> str:
    high, _, low = code.rpartition(" ")
    pattern = f"cond:4 1110 {high} Vn Vd 101 {p.bit} N {low} M 0 Vm"
    return fill(pattern, p.kind * 3)


def _binary(name: str, code: str, f: Callable[[S, Word, Word], Word], p: Precision) -> None:
    def body(s: S, rd: Any, rn: Any, rm: Any) -> None:
        p.set(s, rd, f(s, p.get(s, rn), p.get(s, rm)))

    define(_name(name, p), _three(code, p), "rd rn rm", body)


def _accumulate(name: str, code: str, f: Ternary, p: Precision) -> None:
    def body(s: S, rd: Any, rn: Any, rm: Any) -> None:
        p.set(s, rd, f(s, p.get(s, rd), p.get(s, rn), p.get(s, rm)))

    define(_name(name, p), _three(code, p), "rd rn rm", body)


for _p in FORMATS:
    for _label, (_code, _function) in BINARY.items():
        _binary(_label, _code, _function, _p)
    for _label, (_code, _ternary) in ACCUMULATE.items():
        _accumulate(_label, _code, _ternary, _p)

# Two registers.


def two(code: str, p: Precision, kinds: str = "") -> str:
    """The pattern of an operation on one operand: five bits, then bit 7."""
    op, bit = code.split()
    kinds = kinds or p.kind * 2
    pattern = f"cond:4 1110 1 D 11 {op} Vd 101 {p.bit} {bit} 1 M 0 Vm"
    return fill(pattern, f"{kinds[0]} {kinds[1]}")


def _unary(name: str, code: str, f: Callable[[S, Word], Word], p: Precision) -> None:
    def body(s: S, rd: Any, rm: Any) -> None:
        p.set(s, rd, f(s, p.get(s, rm)))

    define(_name(name, p), two(code, p), "rd rm", body)


def _rounded(mode: int, exact: int) -> Callable[[S, Word], Word]:
    def f(s: S, m: Word) -> Word:
        words = s.const(mode), s.const(exact)
        return s.native_value(f"vfp_round{m.width}", m.type, m, *words)

    return f


for _p in FORMATS:
    _unary("vmov", "0000 0", lambda s, m: m, _p)
    _unary("vabs", "0000 1", lambda s, m: m & (1 << m.width - 1) - 1, _p)
    _unary("vneg", "0001 0", lambda s, m: negate(m), _p)
    _unary("vsqrt", "0001 1", lambda s, m: operate(s, "fsqrt", m), _p)
    _unary("vrintr", "0110 0", _rounded(5, 0), _p)
    _unary("vrintz", "0110 1", _rounded(1, 0), _p)
    _unary("vrintx", "0111 0", _rounded(5, 1), _p)


@native
def float_constant32(s: RuntimeState, bits: int) -> int:
    """An immediate of 8 bits as a single: sign, three bits of exponent, four of fraction."""
    top = 0x3E000000 if bits & 0x40 else 0x40000000
    return (bits & 0x80) << 24 | top | (bits & 0x3F) << 19


@native
def float_constant64(s: RuntimeState, bits: int) -> int:
    """The upper half of the same as a double."""
    top = 0x3FC00000 if bits & 0x40 else 0x40000000
    return (bits & 0x80) << 24 | top | (bits & 0x3F) << 16


def _constant(p: Precision) -> None:
    def body(s: S, rd: Any, val: Word) -> None:
        p.set(s, rd, val.trunc(32) if p.width == 32 else val << 32)

    value = f"val[7:4]=float_constant{p.width}"
    pattern = f"cond:4 1110 1 D 11 {value} Vd 101 {p.bit} 0000 val[3:0]"
    define(_name("vmov_imm", p), fill(pattern, p.kind), "rd val", body)


# Comparison


def _compare(s: S, a: Word, b: Word, signalling: bool) -> None:
    # One comparison for the unit's flags, then those that the host makes of it.
    s.emit("fclt" if signalling else "fceq", a.type, (a, b))
    equal = s.emit("fequal", a.type, (a, b)).select(s.const(0x60000000, "i32"), 0x20000000)
    less = s.emit("fless", a.type, (a, b)).select(s.const(0x80000000, "i32"), equal)
    unordered = s.emit("funordered", a.type, (a, b))
    s.set_fp_flags(unordered.select(s.const(0x30000000, "i32"), less))


def _comparisons(p: Precision, signalling: int) -> None:
    def compare(s: S, rd: Any, rm: Any) -> None:
        _compare(s, flushed(s, p.get(s, rd)), flushed(s, p.get(s, rm)), bool(signalling))

    def with_zero(s: S, rd: Any) -> None:
        _compare(s, flushed(s, p.get(s, rd)), s.const(0, p.type), bool(signalling))

    name = "vcmpe" if signalling else "vcmp"
    define(_name(name, p), two(f"0100 {signalling}", p), "rd rm", compare)
    pattern = fill(f"cond:4 1110 1 D 11 0101 Vd 101 {p.bit} {signalling} 1 0 0 0000", p.kind)
    define(_name(name + "_zero", p), pattern, "rd", with_zero)


for _p in FORMATS:
    _constant(_p)
    _comparisons(_p, 0)
    _comparisons(_p, 1)

# ARMv8: without a predicate.

_CONDITIONS: dict[str, Callable[[S], Word]] = {
    "eq": lambda s: s.zero,
    "vs": lambda s: s.flag(V).ne(0),
    "ge": lambda s: s.negative.zext(32).eq(s.flag(V)),
    "gt": lambda s: s.negative.zext(32).eq(s.flag(V)) & (s.zero ^ 1),
}


def _select(number: int, condition: str, p: Precision) -> None:
    def body(s: S, rd: Any, rn: Any, rm: Any) -> None:
        p.set(s, rd, _CONDITIONS[condition](s).select(p.get(s, rn), p.get(s, rm)))

    pattern = fill(f"11111110 0 D {number:02b} Vn Vd 101 {p.bit} N 0 M 0 Vm", p.kind * 3)
    define(_name(f"vsel{condition}", p), pattern, "rd rn rm", body)


def _extreme(name: str, less: int, p: Precision) -> None:
    def body(s: S, rd: Any, rn: Any, rm: Any) -> None:
        words = s.const(less), s.const(1)
        n, m = p.get(s, rn), p.get(s, rm)
        p.set(s, rd, s.native_value(f"vfp_extreme{p.width}", p.type, n, m, *words))

    pattern = fill(f"11111110 1 D 00 Vn Vd 101 {p.bit} N {less} M 0 Vm", p.kind * 3)
    define(_name(name, p), pattern, "rd rn rm", body)


def directed(name: str, mode: int, number: int, p: Precision) -> None:
    """vrinta, vrintn, vrintp, vrintm."""

    def body(s: S, rd: Any, rm: Any) -> None:
        p.set(s, rd, _rounded(mode, 0)(s, p.get(s, rm)))

    pattern = fill(
        f"11111110 1 D 11 10 {number:02b} Vd 101 {p.bit} 0 1 M 0 Vm", f"{p.kind} {p.kind}"
    )
    define(_name(name, p), pattern, "rd rm", body)


DIRECTIONS = (("a", 4), ("n", 0), ("p", 3), ("m", 2))
"""Suffixes in the order of RM, and how they round."""

for _p in FORMATS:
    for _number, _condition in enumerate(("eq", "vs", "ge", "gt")):
        _select(_number, _condition, _p)
    _extreme("vmaxnm", 0, _p)
    _extreme("vminnm", 1, _p)
    for _number, (_suffix, _mode) in enumerate(DIRECTIONS):
        directed("vrint" + _suffix, _mode, _number, _p)

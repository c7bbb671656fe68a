"""Advanced SIMD: operands of different lengths, and scalars as operands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jitemu.frontends.arm.fp import fill
from jitemu.frontends.arm.neon import (
    KINDS,
    SIZES,
    Accumulating,
    Lanes,
    define,
    difference,
    doubling,
    note,
    polynomial,
    rounding_accumulate,
    vector,
)
from jitemu.frontends.arm.state import S, Word


def widened(value: Word, unsigned: int) -> Word:
    """Lanes of twice the width."""
    wide = 2 * value.lane_width
    return value.zext(wide) if unsigned else value.sext(wide)


def doubled_product(s: S, n: Word, m: Word) -> Word:
    """Twice the product, saturated: only the least number's square is too large."""
    product = widened(n, 0) * widened(m, 0)
    result = product.op("sadds", product)
    note(s, result ^ (product + product))
    return result


def doubled_accumulate(name: str) -> Accumulating:
    """Twice the product added to or subtracted from d, both steps saturated."""

    def f(s: S, d: Word, n: Word, m: Word) -> Word:
        product = widened(n, 0) * widened(m, 0)
        twice = product.op("sadds", product)
        result = d.op(name + "s", twice)
        plain = d + twice if name == "sadd" else d - twice
        note(s, (result ^ plain) | (twice ^ (product + product)))
        return result

    return f


# Long: Q of two D; the operation is on the operands as they are.

LONG: dict[str, tuple[str, Callable[[int], Accumulating]]] = {
    "vaddl": ("0000", lambda u: lambda s, d, n, m: widened(n, u) + widened(m, u)),
    "vsubl": ("0010", lambda u: lambda s, d, n, m: widened(n, u) - widened(m, u)),
    "vabal": ("0101", lambda u: lambda s, d, n, m: d + difference(u, n, m).zext(d.lane_width)),
    "vabdl": ("0111", lambda u: lambda s, d, n, m: difference(u, n, m).zext(d.lane_width)),
    "vmlal": ("1000", lambda u: lambda s, d, n, m: d + widened(n, u) * widened(m, u)),
    "vmlsl": ("1010", lambda u: lambda s, d, n, m: d - widened(n, u) * widened(m, u)),
    "vmull": ("1100", lambda u: lambda s, d, n, m: widened(n, u) * widened(m, u)),
}
DOUBLING: dict[str, tuple[str, Accumulating]] = {
    "vqdmlal": ("1001", doubled_accumulate("sadd")),
    "vqdmlsl": ("1011", doubled_accumulate("ssub")),
    "vqdmull": ("1101", lambda s, d, n, m: doubled_product(s, n, m)),
}
_OLD = ("vabal", "vmlal", "vmlsl", "vqdmlal", "vqdmlsl")
"""Those that read the destination."""


def _long(name: str, u: int, code: str, f: Accumulating, width: int) -> None:
    narrow, wide = vector(width, 0), vector(2 * width, 1)
    old = name.startswith(_OLD)

    def body(s: S, rd: Any, rn: Any, rm: Any) -> None:
        d = s.view("q", rd, wide) if old else s.const(0, wide)
        s.set_view("q", rd, f(s, d, s.view("d", rn, narrow), s.view("d", rm, narrow)))

    pattern = fill(f"1 D {SIZES[width]} Vn Vd {code} N 0 M 0 Vm", "qdd")
    define(name, u, pattern, "rd rn rm", body)


def _wide(name: str, u: int, code: str, subtract: bool, width: int) -> None:
    narrow, wide = vector(width, 0), vector(2 * width, 1)

    def body(s: S, rd: Any, rn: Any, rm: Any) -> None:
        n, m = s.view("q", rn, wide), widened(s.view("d", rm, narrow), u)
        s.set_view("q", rd, n - m if subtract else n + m)

    pattern = fill(f"1 D {SIZES[width]} Vn Vd {code} N 0 M 0 Vm", "qqd")
    define(name, u, pattern, "rd rn rm", body)


def _narrow(name: str, u: int, code: str, subtract: bool, width: int) -> None:
    """The upper half of the sum or difference; with U rounded."""
    wide = vector(2 * width, 1)

    def body(s: S, rd: Any, rn: Any, rm: Any) -> None:
        n, m = s.view("q", rn, wide), s.view("q", rm, wide)
        total = n - m if subtract else n + m
        total = total + (1 << width - 1) if u else total
        s.set_view("d", rd, (total >> width).trunc(width))

    pattern = fill(f"1 D {SIZES[width]} Vn Vd {code} N 0 M 0 Vm", "dqq")
    define(name, u, pattern, "rd rn rm", body)


for _width in (8, 16, 32):
    for _u in (0, 1):
        _tag = f"{'su'[_u]}{_width}"
        for _name, (_code, _make) in LONG.items():
            _long(f"{_name}_{_tag}", _u, _code, _make(_u), _width)
        _wide(f"vaddw_{_tag}", _u, "0001", False, _width)
        _wide(f"vsubw_{_tag}", _u, "0011", True, _width)
        _r = "r" if _u else ""
        _narrow(f"v{_r}addhn_{_width}", _u, "0100", False, _width)
        _narrow(f"v{_r}subhn_{_width}", _u, "0110", True, _width)
    if _width > 8:
        for _name, (_code, _f) in DOUBLING.items():
            _long(f"{_name}_{_width}", 0, _code, _f, _width)


def _polynomial_long(s: S, d: Word, n: Word, m: Word) -> Word:
    return polynomial(n.zext(16), m.zext(16))


_long("vmull_p8", 0, "1110", _polynomial_long, 8)


def polynomial64(s: S, rd: Any, rn: Any, rm: Any) -> None:
    """The product of two doublewords as polynomials (ARMv8)."""
    n, m = s.view("d", rn), s.view("d", rm)
    low = n.op("clmul", m).splat("i64x2")
    high = s.emit("setlane", "i64x2", (low, n.op("clmulh", m)), (1,))
    s.set_view("q", rd, high)


define("vmull_p64", 0, fill("1 D 10 Vn Vd 1110 N 0 M 0 Vm", "qdd"), "rd rn rm", polynomial64)

# A scalar as the second operand: a register of the view h or s.

SCALARS = {16: ("h", "rm[1]", "rm[0] rm[4:2]"), 32: ("s", "rm[0]", "rm[4:1]")}


def scalar(name: str, bit: int, code: str, f: Accumulating, width: int, kinds: str) -> None:
    """rd = f(rd, rn, scalar); ``kinds`` of rd and rn."""
    view, m, vm = SCALARS[width]
    quads = [KINDS.index(k) for k in kinds]
    types = [vector(width << (kinds == "qd") if n == 0 else width, q) for n, q in enumerate(quads)]

    def body(s: S, rd: Any, rn: Any, rm: Any) -> None:
        n = s.view(kinds[1], rn, types[1])
        s.set_view(
            kinds[0],
            rd,
            f(s, s.view(kinds[0], rd, types[0]), n, s.view(view, rm).splat(types[1])),
        )

    pattern = fill(f"1 D {SIZES[width]} Vn Vd {code} N 1 @ 0 ", kinds).replace("@", m) + vm
    define(name, bit, pattern, "rd rn rm", body)


def _of(f: Lanes) -> Accumulating:
    return lambda s, d, n, m: f(s, n, m)


SAME: dict[str, tuple[str, Accumulating]] = {
    "vmla": ("0000", lambda s, d, n, m: d + n * m),
    "vmls": ("0100", lambda s, d, n, m: d - n * m),
    "vmul": ("1000", lambda s, d, n, m: n * m),
    "vqdmulh": ("1100", _of(lambda s, n, m: doubling(s, n, m, False))),
    "vqrdmulh": ("1101", _of(lambda s, n, m: doubling(s, n, m, True))),
    "vqrdmlah": ("1110", rounding_accumulate(False)),
    "vqrdmlsh": ("1111", rounding_accumulate(True)),
}
LONG_CODES = {"vmlal": "0010", "vmlsl": "0110", "vmull": "1010"}
DOUBLING_CODES = {"vqdmlal": "0011", "vqdmlsl": "0111", "vqdmull": "1011"}

for _width in (16, 32):
    for _name, (_code, _f) in SAME.items():
        for _quad in (0, 1):
            _kind = KINDS[_quad]
            scalar(f"{_name}_{_kind}{_width}_scalar", _quad, _code, _f, _width, _kind * 2)
    for _name, _code in LONG_CODES.items():
        for _u in (0, 1):
            _full = f"{_name}_{'su'[_u]}{_width}_scalar"
            scalar(_full, _u, _code, LONG[_name][1](_u), _width, "qd")
    for _name, _code in DOUBLING_CODES.items():
        scalar(f"{_name}_{_width}_scalar", 0, _code, DOUBLING[_name][1], _width, "qd")

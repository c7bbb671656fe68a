"""Advanced SIMD: what its definitions share; three registers of the same length, integers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jitemu.frontends.arm.fp import fill
from jitemu.frontends.arm.state import S, Word, isa
from jitemu.ir.code import vector_of

KINDS = ("d", "q")
"""Views of vector registers, by Q."""
SIZES = {8: "00", 16: "01", 32: "10", 64: "11"}


def vector(width: int, quad: int) -> str:
    """The type of a register's lanes."""
    return vector_of(f"i{width}", (64 << quad) // width)


def define(
    name: str, u: int, pattern: str, operands: str, body: Callable[..., None], **same: Any
) -> None:
    """A data-processing instruction: ``pattern`` is what follows the byte that U is in."""
    asm = name.partition("_")[0]
    words = tuple(operands.split())
    isa.define(f"1111001{u} {pattern}", asm, "arm", name, words, body, **same)
    isa.alias(name, f"111{u}1111 {pattern}", asm, "t32", name + ".t", **same)


def note(s: S, lanes: Word) -> None:
    """QC is set if any lane is not 0 (or an i1 of 1)."""
    happened = lanes if lanes.lane_width == 1 else lanes.ne(0)
    s.note_saturation(happened.any().zext())


# Lane-wise operations of two operands, by signedness where that matters.

Lanes = Callable[[S, Word, Word], Word]
Accumulating = Callable[[S, Word, Word, Word], Word]
"""Of the destination, too."""


def right(value: Word, amount: Word | int, unsigned: int) -> Word:
    """A shift to the right."""
    return value >> amount if unsigned else value.sar(amount)


def lesser(u: int, a: Word, b: Word) -> Word:
    """The lesser of each lane."""
    return a.op("umin" if u else "smin", b)


def greater(u: int, a: Word, b: Word) -> Word:
    """The greater of each lane."""
    return a.op("umax" if u else "smax", b)


def difference(u: int, a: Word, b: Word) -> Word:
    """The absolute difference."""
    return greater(u, a, b) - lesser(u, a, b)


def mask(condition: Word, width: int) -> Word:
    """Ones in each lane where it holds."""
    return condition.sext(width)


def _halving(u: int) -> Lanes:
    return lambda s, a, b: (a & b) + right(a ^ b, 1, u)


def _rounding_halving(u: int) -> Lanes:
    return lambda s, a, b: (a | b) - right(a ^ b, 1, u)


def _halving_difference(u: int) -> Lanes:
    return lambda s, a, b: right(a, 1, u) - right(b, 1, u) - (~a & b & 1)


def _saturating(name: str, u: int) -> Lanes:
    def f(s: S, a: Word, b: Word) -> Word:
        result = a.op(("u" if u else "s") + name + "s", b)
        note(s, result ^ (a + b if name == "add" else a - b))
        return result

    return f


def _greater_than(u: int) -> Lanes:
    return lambda s, a, b: mask(b.ult(a) if u else b.slt(a), a.lane_width)


def _greater_or_equal(u: int) -> Lanes:
    return lambda s, a, b: mask(b.ule(a) if u else a.sge(b), a.lane_width)


def amounts(a: Word) -> Word:
    """Shift amounts: the low byte of each lane, signed."""
    up = a.lane_width - 8
    return (a << up).sar(up) if up else a


def _shift(u: int, rounding: bool, saturating: bool) -> Lanes:
    def f(s: S, n: Word, m: Word) -> Word:
        amount = amounts(n)
        back = -amount
        width, negative = m.lane_width, amount.slt(0)
        down = right(m, back, u)
        if rounding:
            down = down + (right(m, back - 1, u) & 1)
        up = m << amount
        if saturating:
            limit = s.const(-1, m.type) if u else m.sar(width - 1) ^ ((1 << width - 1) - 1)
            lost = (right(up, amount, u).ne(m)) & ~negative
            up = lost.select(limit, up)
            note(s, lost)
        return negative.select(down, up)

    return f


def _test(s: S, a: Word, b: Word) -> Word:
    return mask((a & b).ne(0), a.lane_width)


def doubling(s: S, a: Word, b: Word, rounding: bool) -> Word:
    """The upper half of twice the product, saturated."""
    width = a.lane_width
    product = a.sext(2 * width) * b.sext(2 * width)
    if rounding:
        product = product + (1 << width - 2)
    return saturate_signed(s, product.sar(width - 1), width)


def saturate_signed(s: S, wide: Word, width: int) -> Word:
    """Signed numbers in fewer bits, with QC."""
    top = (1 << width - 1) - 1
    limited = wide.op("smin", s.const(top, wide.type)).op("smax", s.const(~top, wide.type))
    note(s, limited ^ wide)
    return limited.trunc(width)


def saturate_unsigned(s: S, wide: Word, width: int, signed: bool) -> Word:
    """Numbers as unsigned ones of fewer bits, with QC."""
    top = s.const((1 << width) - 1, wide.type)
    if signed:
        limited = wide.op("smax", s.const(0, wide.type)).op("smin", top)
    else:
        limited = wide.op("umin", top)
    note(s, limited ^ wide)
    return limited.trunc(width)


def rounding_accumulate(subtract: bool) -> Accumulating:
    """VQRDMLAH and VQRDMLSH."""

    def f(s: S, d: Word, a: Word, b: Word) -> Word:
        width = a.lane_width
        product = a.sext(2 * width) * b.sext(2 * width)
        total = (d.sext(2 * width) << width - 1) + (1 << width - 2)
        total = total - product if subtract else total + product
        return saturate_signed(s, total.sar(width - 1), width)

    return f


def polynomial(a: Word, b: Word) -> Word:
    """Products of the low 8 bits as polynomials, in lanes of 8 or 16 bits."""
    total = a & mask((b & 1).ne(0), a.lane_width)
    for bit in range(1, 8):
        total = total ^ (a << bit) & mask((b >> bit & 1).ne(0), a.lane_width)
    return total


# Definitions


def three(
    name: str, u: int, size: str, code: str, f: Lanes, width: int, quads: tuple[int, ...] = (0, 1)
) -> None:
    """rd = f(rn, rm), for D and Q registers; ``code`` is four bits and bit 4."""
    high, low = code.split()
    for quad in quads:
        kind, type = KINDS[quad], vector(width, quad)

        def body(s: S, rd: Any, rn: Any, rm: Any, kind: str = kind, type: str = type) -> None:
            s.set_view(kind, rd, f(s, s.view(kind, rn, type), s.view(kind, rm, type)))

        pattern = fill(f"0 D {size} Vn Vd {high} N {quad} M {low} Vm", kind * 3)
        define(f"{name}_{kind}", u, pattern, "rd rn rm", body)


def accumulate(name: str, u: int, size: str, code: str, f: Accumulating, width: int) -> None:
    """rd = f(rd, rn, rm)."""
    high, low = code.split()
    for quad in (0, 1):
        kind, type = KINDS[quad], vector(width, quad)

        def body(s: S, rd: Any, rn: Any, rm: Any, kind: str = kind, type: str = type) -> None:
            d, n, m = (s.view(kind, r, type) for r in (rd, rn, rm))
            s.set_view(kind, rd, f(s, d, n, m))

        pattern = fill(f"0 D {size} Vn Vd {high} N {quad} M {low} Vm", kind * 3)
        define(f"{name}_{kind}", u, pattern, "rd rn rm", body)


SIGNED: dict[str, tuple[str, int, Callable[[int], Lanes]]] = {
    "vhadd": ("0000 0", 32, _halving),
    "vqadd": ("0000 1", 64, lambda u: _saturating("add", u)),
    "vrhadd": ("0001 0", 32, _rounding_halving),
    "vhsub": ("0010 0", 32, _halving_difference),
    "vqsub": ("0010 1", 64, lambda u: _saturating("sub", u)),
    "vcgt": ("0011 0", 32, _greater_than),
    "vcge": ("0011 1", 32, _greater_or_equal),
    "vshl": ("0100 0", 64, lambda u: _shift(u, False, False)),
    "vqshl": ("0100 1", 64, lambda u: _shift(u, False, True)),
    "vrshl": ("0101 0", 64, lambda u: _shift(u, True, False)),
    "vqrshl": ("0101 1", 64, lambda u: _shift(u, True, True)),
    "vmax": ("0110 0", 32, lambda u: lambda s, a, b: greater(u, a, b)),
    "vmin": ("0110 1", 32, lambda u: lambda s, a, b: lesser(u, a, b)),
    "vabd": ("0111 0", 32, lambda u: lambda s, a, b: difference(u, a, b)),
}
"""Of signed (U = 0) and unsigned lanes: code, widest lanes, operation."""

PLAIN: dict[str, tuple[int, str, tuple[int, ...], Lanes]] = {
    "vadd": (0, "1000 0", (8, 16, 32, 64), lambda s, a, b: a + b),
    "vsub": (1, "1000 0", (8, 16, 32, 64), lambda s, a, b: a - b),
    "vtst": (0, "1000 1", (8, 16, 32), _test),
    "vceq": (1, "1000 1", (8, 16, 32), lambda s, a, b: mask(a.eq(b), a.lane_width)),
    "vmul": (0, "1001 1", (8, 16, 32), lambda s, a, b: a * b),
    "vmul_p": (1, "1001 1", (8,), lambda s, a, b: polynomial(a, b)),
    "vqdmulh": (0, "1011 0", (16, 32), lambda s, a, b: doubling(s, a, b, False)),
    "vqrdmulh": (1, "1011 0", (16, 32), lambda s, a, b: doubling(s, a, b, True)),
}
"""U, code, widths, operation."""

ACCUMULATE: dict[str, tuple[int, str, tuple[int, ...], Accumulating]] = {
    "vmla": (0, "1001 0", (8, 16, 32), lambda s, d, a, b: d + a * b),
    "vmls": (1, "1001 0", (8, 16, 32), lambda s, d, a, b: d - a * b),
    "vqrdmlah": (1, "1011 1", (16, 32), rounding_accumulate(False)),
    "vqrdmlsh": (1, "1100 1", (16, 32), rounding_accumulate(True)),
    "vaba_s": (0, "0111 1", (8, 16, 32), lambda s, d, a, b: d + difference(0, a, b)),
    "vaba_u": (1, "0111 1", (8, 16, 32), lambda s, d, a, b: d + difference(1, a, b)),
}

BITWISE: dict[str, tuple[int, str, Accumulating]] = {
    "vand": (0, "00", lambda s, d, a, b: a & b),
    "vbic": (0, "01", lambda s, d, a, b: a & ~b),
    "vorr": (0, "10", lambda s, d, a, b: a | b),
    "vorn": (0, "11", lambda s, d, a, b: a | ~b),
    "veor": (1, "00", lambda s, d, a, b: a ^ b),
    "vbsl": (1, "01", lambda s, d, a, b: (a & d) | (b & ~d)),
    "vbit": (1, "10", lambda s, d, a, b: (a & b) | (d & ~b)),
    "vbif": (1, "11", lambda s, d, a, b: (a & ~b) | (d & b)),
}

for _name, (_code, _widest, _make) in SIGNED.items():
    for _u in (0, 1):
        for _width in (w for w in SIZES if w <= _widest):
            _full = f"{_name}_{'su'[_u]}{_width}"
            three(_full, _u, SIZES[_width], _code, _make(_u), _width)
for _name, (_u, _code, _widths, _f) in PLAIN.items():
    for _width in _widths:
        three(f"{_name}_{_width}", _u, SIZES[_width], _code, _f, _width)
for _name, (_u, _code, _widths, _g) in ACCUMULATE.items():
    for _width in _widths:
        accumulate(f"{_name}_{_width}", _u, SIZES[_width], _code, _g, _width)
for _name, (_u, _size, _g) in BITWISE.items():
    if _name in ("vbsl", "vbit", "vbif"):
        accumulate(_name, _u, _size, "0001 1", _g, 64)
    else:
        three(_name, _u, _size, "0001 1", lambda s, a, b, g=_g: g(s, a, a, b), 64)


# Pairwise, of D registers: neighbours of both operands.


def evens(a: Word, b: Word) -> Word:
    """Lanes 0, 2, ... of two vectors, one after the other."""
    return a.shuffle(range(0, 2 * a.lanes, 2), b)


def odds(a: Word, b: Word) -> Word:
    """Lanes 1, 3, ..."""
    return a.shuffle(range(1, 2 * a.lanes, 2), b)


def _pairwise(f: Lanes) -> Lanes:
    return lambda s, a, b: f(s, evens(a, b), odds(a, b))


for _width in (8, 16, 32):
    three(
        f"vpadd_{_width}",
        0,
        SIZES[_width],
        "1011 1",
        _pairwise(lambda s, a, b: a + b),
        _width,
        (0,),
    )
    for _u in (0, 1):
        _kind = f"{'su'[_u]}{_width}"
        _most = _pairwise(lambda s, a, b, u=_u: greater(u, a, b))
        _least = _pairwise(lambda s, a, b, u=_u: lesser(u, a, b))
        three(f"vpmax_{_kind}", _u, SIZES[_width], "1010 0", _most, _width, (0,))
        three(f"vpmin_{_kind}", _u, SIZES[_width], "1010 1", _least, _width, (0,))

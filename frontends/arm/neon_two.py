"""Advanced SIMD: one operand, permutations, tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jitemu.frontends.arm.fp import fill
from jitemu.frontends.arm.neon import (
    KINDS,
    SIZES,
    define,
    evens,
    mask,
    note,
    odds,
    saturate_signed,
    saturate_unsigned,
    vector,
)
from jitemu.frontends.arm.state import S, Word
from jitemu.ir.code import vector_of

Unary = Callable[[S, Word], Word]


def pattern_of(size: str, code: str, kinds: str) -> str:
    """Of an operation on one operand: ``code`` is two bits, then five of which the last is Q."""
    a, b = code.split()
    return fill(f"1 D 11 {size} {a} Vd 0 {b} M 0 Vm", f"{kinds[0]} {kinds[1]}")


def two(name: str, size: str, code: str, f: Unary, width: int) -> None:
    """rd = f(rm), for D and Q; ``code`` is two bits, then four."""
    for quad in (0, 1):
        kind, type = KINDS[quad], vector(width, quad)

        def body(s: S, rd: Any, rm: Any, kind: str = kind, type: str = type) -> None:
            s.set_view(kind, rd, f(s, s.view(kind, rm, type)))

        define(f"{name}_{kind}", 1, pattern_of(size, f"{code}{quad}", kind * 2), "rd rm", body)


# Reversals: lanes in groups.


def _reversed(group: int, width: int) -> Unary:
    count = group // width

    def f(s: S, m: Word) -> Word:
        order = [n // count * count + count - 1 - n % count for n in range(m.lanes)]
        return m.shuffle(order)

    return f


for _bits, _code, _widths in ((64, "0000", (8, 16, 32)), (32, "0001", (8, 16)), (16, "0010", (8,))):
    for _width in _widths:
        two(f"vrev{_bits}_{_width}", SIZES[_width], "00 " + _code, _reversed(_bits, _width), _width)

# Counts, signs, absolute values


def _count_sign(s: S, m: Word) -> Word:
    """How many bits below the top one are like it."""
    return ((m ^ m.sar(1)) << 1 | 1).op("clz") if m.lane_width > 1 else m


def _absolute(s: S, m: Word) -> Word:
    return m.op("smax", -m)


def _saturated(negate: bool) -> Unary:
    def f(s: S, m: Word) -> Word:
        least = 1 << m.lane_width - 1
        is_least = m.eq(least)
        note(s, is_least)
        value = -m if negate else m.op("smax", -m)
        return is_least.select(s.const(least - 1, m.type), value)

    return f


def _compare_zero(condition: Callable[[Word], Word]) -> Unary:
    return lambda s, m: mask(condition(m), m.lane_width)


EACH: dict[str, tuple[str, tuple[int, ...], Unary]] = {
    "vcls": ("00 1000", (8, 16, 32), _count_sign),
    "vclz": ("00 1001", (8, 16, 32), lambda s, m: m.op("clz")),
    "vcnt": ("00 1010", (8,), lambda s, m: m.op("popcount")),
    "vmvn": ("00 1011", (8,), lambda s, m: ~m),
    "vqabs": ("00 1110", (8, 16, 32), _saturated(False)),
    "vqneg": ("00 1111", (8, 16, 32), _saturated(True)),
    "vcgt0": ("01 0000", (8, 16, 32), _compare_zero(lambda m: ~m.op("sle", 0))),
    "vcge0": ("01 0001", (8, 16, 32), _compare_zero(lambda m: m.sge(0))),
    "vceq0": ("01 0010", (8, 16, 32), _compare_zero(lambda m: m.eq(0))),
    "vcle0": ("01 0011", (8, 16, 32), _compare_zero(lambda m: m.op("sle", 0))),
    "vclt0": ("01 0100", (8, 16, 32), _compare_zero(lambda m: m.slt(0))),
    "vabs": ("01 0110", (8, 16, 32), _absolute),
    "vneg": ("01 0111", (8, 16, 32), lambda s, m: -m),
}
for _name, (_code, _widths, _f) in EACH.items():
    for _width in _widths:
        two(f"{_name}_{_width}", SIZES[_width], _code, _f, _width)

# Pairs added to lanes of twice the width.


def _pairs(m: Word, unsigned: int) -> Word:
    width = m.lane_width
    wide = vector_of(f"i{2 * width}", m.lanes // 2)
    whole = m.cast(wide)
    low = (whole << width).sar(width) if not unsigned else whole & ((1 << width) - 1)
    high = whole >> width if unsigned else whole.sar(width)
    return low + high


def _pairwise_long(u: int, width: int) -> None:
    for quad in (0, 1):
        kind, type, wide = KINDS[quad], vector(width, quad), vector(2 * width, quad)

        def add(s: S, rd: Any, rm: Any, kind: str = kind, type: str = type) -> None:
            s.set_view(kind, rd, _pairs(s.view(kind, rm, type), u))

        def accumulate(
            s: S, rd: Any, rm: Any, kind: str = kind, type: str = type, wide: str = wide
        ) -> None:
            total = s.view(kind, rd, wide) + _pairs(s.view(kind, rm, type), u)
            s.set_view(kind, rd, total)

        tag = f"{'su'[u]}{width}_{kind}"
        for name, code, body in (("vpaddl", "010", add), ("vpadal", "110", accumulate)):
            pattern = pattern_of(SIZES[width], f"00 {code}{u}{quad}", kind * 2)
            define(f"{name}_{tag}", 1, pattern, "rd rm", body)


for _width in (8, 16, 32):
    _pairwise_long(0, _width)
    _pairwise_long(1, _width)

# Exchanges between two registers.


def _exchange(name: str, size: str, code: str, quad: int, width: int, f: Any) -> None:
    kind, type = KINDS[quad], vector(width, quad)

    def body(s: S, rd: Any, rm: Any) -> None:
        first, second = f(s.view(kind, rd, type), s.view(kind, rm, type))
        s.set_view(kind, rd, first)
        s.set_view(kind, rm, second)

    define(
        f"{name}_{kind}{width}", 1, pattern_of(size, f"10 {code}{quad}", kind * 2), "rd rm", body
    )


def _transposed(d: Word, m: Word) -> tuple[Word, Word]:
    n = d.lanes
    low = [k // 2 * 2 + (n if k % 2 else 0) for k in range(n)]
    return d.shuffle(low, m), d.shuffle([k + 1 for k in low], m)


def _zipped(d: Word, m: Word) -> tuple[Word, Word]:
    n = d.lanes
    order = [k // 2 + (n if k % 2 else 0) for k in range(2 * n)]
    return d.shuffle(order[:n], m), d.shuffle(order[n:], m)


for _quad in (0, 1):
    _exchange("vswp", "00", "0000", _quad, 64, lambda d, m: (m, d))
    for _width in (8, 16, 32):
        _exchange("vtrn", SIZES[_width], "0001", _quad, _width, _transposed)
        if _width < 32 or _quad:
            _exchange(
                *("vuzp", SIZES[_width], "0010", _quad, _width),
                lambda d, m: (evens(d, m), odds(d, m)),
            )
            _exchange("vzip", SIZES[_width], "0011", _quad, _width, _zipped)

# Narrowing and widening


def _narrow(name: str, code: str, width: int, f: Callable[[S, Word, int], Word]) -> None:
    def body(s: S, rd: Any, rm: Any) -> None:
        s.set_view("d", rd, f(s, s.view("q", rm, vector(2 * width, 1)), width))

    define(f"{name}_{width}", 1, pattern_of(SIZES[width], f"10 {code}", "dq"), "rd rm", body)


def _long(width: int) -> None:
    """VSHLL by the width of a lane."""

    def body(s: S, rd: Any, rm: Any) -> None:
        s.set_view("q", rd, s.view("d", rm, vector(width, 0)).zext(2 * width) << width)

    define(f"vshll_{width}", 1, pattern_of(SIZES[width], "10 01100", "qd"), "rd rm", body)


for _width in (8, 16, 32):
    _narrow("vmovn", "01000", _width, lambda s, m, w: m.trunc(w))
    _narrow("vqmovun", "01001", _width, lambda s, m, w: saturate_unsigned(s, m, w, True))
    _narrow("vqmovn_s", "01010", _width, saturate_signed)
    _narrow("vqmovn_u", "01011", _width, lambda s, m, w: saturate_unsigned(s, m, w, False))
    _long(_width)

# A scalar in all lanes; a part of two registers; tables.

_LANES = {8: ("b", "1", 3), 16: ("h", "10", 2), 32: ("s", "100", 1)}


def _duplicate(width: int, quad: int) -> None:
    view, low, bits = _LANES[width]
    kind, type = KINDS[quad], vector(width, quad)

    def body(s: S, rd: Any, rm: Any) -> None:
        s.set_view(kind, rd, s.view(view, rm).splat(type))

    place = f"rm[{bits - 1}:0] {low}"
    scalar = f"rm[{bits + 4}] 0 rm[{bits + 3}:{bits}]"
    pattern = fill(f"1 D 11 {place} Vd 1100 0 {quad} {scalar}", kind)
    define(f"vdup_{kind}{width}_lane", 1, pattern, "rd rm", body)


for _width in (8, 16, 32):
    _duplicate(_width, 0)
    _duplicate(_width, 1)

BYTES = "i8x16"


def _iota(s: S) -> Word:
    """Bytes 0 to 15."""
    return s.own(_constant(BYTES, sum(n << 8 * n for n in range(16))))


def _constant(type: str, value: int) -> Any:
    from jitemu.ir.code import Value

    return Value(type, value)


def lookup(table: Word, places: Word) -> Word:
    """Bytes of a table of 16; 0 beyond."""
    return table.builder.emit("lookup", BYTES, (table, places))


def _doubled(low: Word, high: Word) -> Word:
    """Two registers of 8 bytes as one of 16."""
    return low.shuffle(range(16), high)


def extract(quad: int) -> None:
    """VEXT: the bytes from a number on of rn and rm behind it."""

    def body(s: S, rd: Any, rn: Any, rm: Any, val: Word) -> None:
        places = _iota(s) + val.trunc(8).splat(BYTES)
        if quad:
            n, m = s.view("q", rn, BYTES), s.view("q", rm, BYTES)
            s.set_view("q", rd, lookup(n, places) | lookup(m, places - 16))
        else:
            table = _doubled(s.view("d", rn, "i8x8"), s.view("d", rm, "i8x8"))
            s.set_view("d", rd, lookup(table, places).shuffle(range(8)))

    kind = KINDS[quad]
    imm = "val:4" if quad else "0 val:3"
    pattern = fill(f"1 D 11 Vn Vd {imm} N {quad} M 0 Vm", kind * 3)
    define(f"vext_{kind}", 0, pattern, "rd rn rm val", body)


extract(0)
extract(1)


def table(length: int, keep: int) -> None:
    """VTBL; with ``keep`` VTBX, which leaves bytes whose numbers are beyond the table."""

    def body(s: S, rd: Any, rm: Any, *tables: Any) -> None:
        places = _doubled(*[s.view("d", rm, "i8x8")] * 2)
        parts = [s.view("d", t, "i8x8") for t in tables]
        zero = s.const(0, "i8x8")
        found = lookup(_doubled(parts[0], parts[1] if length > 1 else zero), places)
        if length > 2:
            more = _doubled(parts[2], parts[3] if length > 3 else zero)
            found = found | lookup(more, places - 16)
        if keep:
            old = s.view("d", rd, "i8x8")
            inside = places.ult(8 * length)
            found = inside.select(found, _doubled(old, old))
        s.set_view("d", rd, found.shuffle(range(8)))

    names = ["rn", "rx", "ry", "rz"][:length]
    same = {n: f"rn+{k}" for k, n in enumerate(names) if k}
    pattern = fill(f"1 D 11 Vn Vd 10 {length - 1:02b} N {keep} M 0 Vm", "ddd")
    name = f"vtb{'lx'[keep]}_{length}"
    define(name, 1, pattern, " ".join(["rd", "rm", *names]), body, **same)


for _length in (1, 2, 3, 4):
    table(_length, 0)
    table(_length, 1)

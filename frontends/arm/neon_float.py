"""Advanced SIMD: floating point, in the standard mode whatever FPSCR says.

Operations are on four lanes: a D register's two lanes twice, so that both raise the same
flags.  Ordinary operands (zeros, and numbers so large that no result can be tiny) take
the host's operation; others the manual's rules in ``neon_floats``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jitemu.frontends.arm import neon_floats as neon_floats  # for its native functions
from jitemu.frontends.arm.floats import AHP, RMODE
from jitemu.frontends.arm.fp import fill
from jitemu.frontends.arm.neon import KINDS, define, evens, odds
from jitemu.frontends.arm.neon_two import pattern_of
from jitemu.frontends.arm.neon_wide import scalar
from jitemu.frontends.arm.state import S, Word
from jitemu.frontends.arm.vfp import DIRECTIONS

FOUR = "i32x4"
MAGNITUDE, INFINITY, NORMAL = 0x7FFFFFFF, 0x7F800000, 0x00800000
EXACT_SUM, EXACT_PRODUCT, EXACT_FACTOR = 25 << 23, 64 << 23, 87 << 23
"""Least magnitudes (2 to the -102, -63, -40) of which no sum, no product and no product and
sum is tiny, but 0: what they are multiples of is not."""


def get(s: S, kind: str, register: Any) -> Word:
    """Four lanes: a D register's twice."""
    if kind == "q":
        return s.view("q", register, FOUR)
    return s.view("d", register, "i32x2").shuffle((0, 1, 0, 1))


def put(s: S, kind: str, register: Any, value: Word) -> None:
    """Write a result."""
    s.set_view(kind, register, value if kind == "q" else value.shuffle((0, 1)))


def within(value: Word, least: int, greatest: int = INFINITY) -> Word:
    """Lanes whose magnitude is 0, or from least up to below greatest."""
    magnitude = value & MAGNITUDE
    return (magnitude - least).ult(greatest - least) | magnitude.eq(0)


def turned(s: S) -> Word:
    """i1: the unit does not round to nearest."""
    return s.unusual("fpmode", RMODE)


def _operate(s: S, name: str, least: tuple[int, ...], *args: Word) -> Word:
    fine = within(args[0], least[0])
    for value, limit in zip(args[1:], least[1:], strict=True):
        fine = fine & within(value, limit)
    return s.unless(f"neon_{name}", (~fine).any() | turned(s), name, FOUR, *args)


def add(s: S, a: Word, b: Word) -> Word:
    """a + b."""
    return _operate(s, "fadd", (EXACT_SUM, EXACT_SUM), a, b)


def subtract(s: S, a: Word, b: Word) -> Word:
    """a - b."""
    return _operate(s, "fsub", (EXACT_SUM, EXACT_SUM), a, b)


def multiply(s: S, a: Word, b: Word) -> Word:
    """a * b."""
    return _operate(s, "fmul", (EXACT_PRODUCT, EXACT_PRODUCT), a, b)


def fused(s: S, a: Word, b: Word, c: Word) -> Word:
    """a * b + c, rounded once."""
    return _operate(s, "ffma", (EXACT_FACTOR, EXACT_FACTOR, EXACT_SUM), a, b, c)


def negate(value: Word) -> Word:
    """The sign flipped."""
    return value ^ 0x80000000


def _ordinary(*args: Word) -> Word:
    """i1: no lane is a NaN or a denormal number."""
    fine = within(args[0], NORMAL, INFINITY + 1)
    for value in args[1:]:
        fine = fine & within(value, NORMAL, INFINITY + 1)
    return fine


def _compared(row: str, kind: int, absolute: int, swap: bool) -> Callable[[S, Word, Word], Word]:
    """A comparison by a row; ``kind`` as neon_compare's: 0 equal, 1 greater or equal, 2 greater."""

    def f(s: S, a: Word, b: Word) -> Word:
        odd = (~_ordinary(a, b)).any()
        x, y = (a & MAGNITUDE, b & MAGNITUDE) if absolute else (a, b)
        usual = s.emit(row, FOUR, (y, x) if swap else (x, y)).sext(32)
        return s.rare("neon_compare4", odd, usual, a, b, s.const(kind), s.const(absolute))

    return f


def _key(value: Word) -> Word:
    """Signed integers in the floats' order, and back."""
    return value ^ ((value.sar(31)) & MAGNITUDE)


def _extreme(less: int, number: int) -> Callable[[S, Word, Word], Word]:
    def f(s: S, a: Word, b: Word) -> Word:
        odd = (~_ordinary(a, b)).any()
        usual = _key(_key(a).op("smin" if less else "smax", _key(b)))
        return s.rare("neon_extreme", odd, usual, a, b, s.const(less), s.const(number))

    return f


def _step(kind: int) -> Callable[[S, Word, Word], Word]:
    """VRECPS: 2 - a * b; VRSQRTS: (3 - a * b) / 2."""

    def f(s: S, a: Word, b: Word) -> Word:
        fine = within(a, EXACT_PRODUCT) & within(b, EXACT_PRODUCT)
        odd = (~fine).any() | turned(s)
        product = s.unless("neon_steps", odd, "fmul", FOUR, a, b, s.const(kind))
        # Where that is the result already, what follows must raise nothing.
        harmless = odd.splat("i1x4").select(s.const(0, FOUR), product)
        constant = s.const(0x40400000 if kind else 0x40000000, FOUR)
        result = s.emit("fsub", FOUR, (constant, harmless))
        if kind:
            result = s.emit("fmul", FOUR, (result, s.const(0x3F000000, FOUR)))
        return odd.splat("i1x4").select(product, result)

    return f


Lanes = Callable[[S, Word, Word], Word]
Accumulating = Callable[[S, Word, Word, Word], Word]

THREE: dict[str, tuple[int, str, str, Lanes]] = {
    "vadd": (0, "00", "1101 0", add),
    "vsub": (0, "10", "1101 0", subtract),
    "vabd": (1, "10", "1101 0", lambda s, a, b: subtract(s, a, b) & MAGNITUDE),
    "vmul": (1, "00", "1101 1", multiply),
    "vceq": (0, "00", "1110 0", _compared("fceq", 0, 0, False)),
    "vcge": (1, "00", "1110 0", _compared("fcle", 1, 0, True)),
    "vcgt": (1, "10", "1110 0", _compared("fclt", 2, 0, True)),
    "vacge": (1, "00", "1110 1", _compared("fcle", 1, 1, True)),
    "vacgt": (1, "10", "1110 1", _compared("fclt", 2, 1, True)),
    "vmax": (0, "00", "1111 0", _extreme(0, 0)),
    "vmin": (0, "10", "1111 0", _extreme(1, 0)),
    "vmaxnm": (1, "00", "1111 1", _extreme(0, 1)),
    "vminnm": (1, "10", "1111 1", _extreme(1, 1)),
    "vrecps": (0, "00", "1111 1", _step(0)),
    "vrsqrts": (0, "10", "1111 1", _step(1)),
}
PAIRWISE: dict[str, tuple[int, str, str, Lanes]] = {
    "vpadd": (1, "00", "1101 0", add),
    "vpmax": (1, "00", "1111 0", _extreme(0, 0)),
    "vpmin": (1, "10", "1111 0", _extreme(1, 0)),
}
MULTIPLY: dict[str, tuple[int, str, str, Accumulating]] = {
    "vfma": (0, "00", "1100 1", lambda s, d, n, m: fused(s, n, m, d)),
    "vfms": (0, "10", "1100 1", lambda s, d, n, m: fused(s, negate(n), m, d)),
    "vmla": (0, "00", "1101 1", lambda s, d, n, m: add(s, d, multiply(s, n, m))),
    "vmls": (0, "10", "1101 1", lambda s, d, n, m: add(s, d, negate(multiply(s, n, m)))),
}


def _three(
    name: str, u: int, size: str, code: str, f: Accumulating, quads: tuple[int, ...] = (0, 1)
) -> None:
    high, low = code.split()
    old = name in MULTIPLY
    for kind in (KINDS[q] for q in quads):

        def body(s: S, rd: Any, rn: Any, rm: Any, kind: str = kind) -> None:
            n, m = get(s, kind, rn), get(s, kind, rm)
            put(s, kind, rd, f(s, get(s, kind, rd) if old else n, n, m))

        pattern = f"0 D {size} Vn Vd {high} N {KINDS.index(kind)} M {low} Vm"
        define(f"{name}_f32_{kind}", u, fill(pattern, kind * 3), "rd rn rm", body)


def _neighbours(f: Lanes) -> Accumulating:
    """On lanes 0 and 1 of each D operand, which are also lanes 2 and 3."""

    def pairs(s: S, d: Word, n: Word, m: Word) -> Word:
        n, m = n.shuffle((0, 1)), m.shuffle((0, 1))
        first, second = evens(n, m), odds(n, m)
        return f(s, first.shuffle((0, 1, 0, 1)), second.shuffle((0, 1, 0, 1)))

    return pairs


for _name, (_u, _size, _code, _f) in THREE.items():
    _three(_name, _u, _size, _code, lambda s, d, n, m, f=_f: f(s, n, m))
for _name, (_u, _size, _code, _f) in PAIRWISE.items():
    _three(_name, _u, _size, _code, _neighbours(_f), (0,))
for _name, (_u, _size, _code, _g) in MULTIPLY.items():
    _three(_name, _u, _size, _code, _g)


# By a scalar: vectors of two lanes are taken twice here, too.


def _twice(f: Accumulating) -> Accumulating:
    def g(s: S, d: Word, n: Word, m: Word) -> Word:
        if n.lanes == 4:
            return f(s, d, n, m)
        d, n, m = (x.shuffle((0, 1, 0, 1)) for x in (d, n, m))
        return f(s, d, n, m).shuffle((0, 1))

    return g


for _quad in (0, 1):
    _kind = KINDS[_quad]
    for _name, _code, _g in (
        ("vmla", "0001", MULTIPLY["vmla"][3]),
        ("vmls", "0101", MULTIPLY["vmls"][3]),
        ("vmul", "1001", lambda s, d, n, m: multiply(s, n, m)),
    ):
        scalar(f"{_name}_f32_{_kind}_scalar", _quad, _code, _twice(_g), 32, _kind * 2)

# One operand

Unary = Callable[[S, Word], Word]


def _two(name: str, code: str, f: Unary) -> None:
    """``code``: two bits, then four."""
    for kind in KINDS:

        def body(s: S, rd: Any, rm: Any, kind: str = kind) -> None:
            put(s, kind, rd, f(s, get(s, kind, rm)))

        pattern = pattern_of("10", f"{code}{KINDS.index(kind)}", kind * 2)
        define(f"{name}_{kind}", 1, pattern, "rd rm", body)


def _with_zero(f: Lanes, swap: bool = False) -> Unary:
    def g(s: S, m: Word) -> Word:
        zero = s.const(0, FOUR)
        return f(s, zero, m) if swap else f(s, m, zero)

    return g


def _native(name: str, *words: int) -> Unary:
    return lambda s, m: s.native_value(name, FOUR, m, *(s.const(w) for w in words))


def _to_integer(signed: int) -> Unary:
    """Cut off; out of range, NaNs and denormal numbers are rare."""
    limit = 0x4F000000

    def f(s: S, m: Word) -> Word:
        fine = within(m, NORMAL, limit) if signed else (m - NORMAL).ult(limit - NORMAL) | m.eq(0)
        words = s.const(0), s.const(signed), s.const(1)
        return s.unless("neon_to_integer", (~fine).any(), "ftosigned", FOUR, m, *words)

    return f


def _from_integer(signed: int) -> Unary:
    row = "fofsigned" if signed else "fofunsigned"
    return lambda s, m: s.unless(
        "neon_from_integer", turned(s), row, FOUR, m, s.const(0), s.const(signed)
    )


ONE: dict[str, tuple[str, Unary]] = {
    "vcgt0_f32": ("01 1000", _with_zero(THREE["vcgt"][3])),
    "vcge0_f32": ("01 1001", _with_zero(THREE["vcge"][3])),
    "vceq0_f32": ("01 1010", _with_zero(THREE["vceq"][3])),
    "vcle0_f32": ("01 1011", _with_zero(THREE["vcge"][3], True)),
    "vclt0_f32": ("01 1100", _with_zero(THREE["vcgt"][3], True)),
    "vabs_f32": ("01 1110", lambda s, m: m & MAGNITUDE),
    "vneg_f32": ("01 1111", lambda s, m: negate(m)),
    "vrintn_f32": ("10 1000", _native("neon_round", 0, 0)),
    "vrintx_f32": ("10 1001", _native("neon_round", 0, 1)),
    "vrinta_f32": ("10 1010", _native("neon_round", 4, 0)),
    "vrintz_f32": ("10 1011", _native("neon_round", 1, 0)),
    "vrintm_f32": ("10 1101", _native("neon_round", 2, 0)),
    "vrintp_f32": ("10 1111", _native("neon_round", 3, 0)),
    "vrecpe_u32": ("11 1000", _native("neon_recpe_u32_4")),
    "vrsqrte_u32": ("11 1001", _native("neon_rsqrte_u32_4")),
    "vrecpe_f32": ("11 1010", _native("neon_recpe_f32_4")),
    "vrsqrte_f32": ("11 1011", _native("neon_rsqrte_f32_4")),
    "vcvt_f32_s32": ("11 1100", _from_integer(1)),
    "vcvt_f32_u32": ("11 1101", _from_integer(0)),
    "vcvt_s32_f32": ("11 1110", _to_integer(1)),
    "vcvt_u32_f32": ("11 1111", _to_integer(0)),
}
for _name, (_code, _unary) in ONE.items():
    _two(_name, _code, _unary)
for _number, (_suffix, _mode) in enumerate(DIRECTIONS):
    for _u in (0, 1):
        _function = _native("neon_to_integer", 0, 1 - _u, _mode)
        _two(f"vcvt{_suffix}_{'su'[_u]}32_f32", f"11 0{_number:02b}{_u}", _function)

# Fixed point


def _fixed(u: int, to: int) -> None:
    name = "neon_to_integer" if to else "neon_from_integer"
    for kind in KINDS:

        def body(s: S, rd: Any, rm: Any, val: Word, kind: str = kind) -> None:
            words = [s.const(32) - val, s.const(1 - u), *([s.const(1)] if to else [])]
            put(s, kind, rd, s.native_value(name, FOUR, get(s, kind, rm), *words))

        quad = KINDS.index(kind)
        pattern = fill(f"1 D 1 val:5 Vd 111{to} 0 {quad} M 1 Vm", f"{kind} {kind}")
        integer = f"{'su'[u]}32"
        label = f"vcvt_{integer}_f32" if to else f"vcvt_f32_{integer}"
        define(f"{label}_fixed_{kind}", u, pattern, "rd rm val", body)


for _u in (0, 1):
    _fixed(_u, 0)
    _fixed(_u, 1)

# Half precision


def to_half(s: S, rd: Any, rm: Any) -> None:
    """Four singles as halves."""
    ahp = s.field("fpmode") & AHP
    s.set_view("d", rd, s.native_value("neon_to_half", "i64", s.view("q", rm, FOUR), ahp))


def from_half(s: S, rd: Any, rm: Any) -> None:
    """Four halves as singles."""
    ahp = s.field("fpmode") & AHP
    s.set_view("q", rd, s.native_value("neon_from_half", FOUR, s.view("d", rm), ahp))


define("vcvt_f16_f32", 1, pattern_of("01", "10 11000", "dq"), "rd rm", to_half)
define("vcvt_f32_f16", 1, pattern_of("01", "10 11100", "qd"), "rd rm", from_half)

"""Advanced SIMD: shifts by a constant, and constants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jitemu.frontends.arm.fp import fill
from jitemu.frontends.arm.neon import (
    KINDS,
    define,
    note,
    right,
    saturate_signed,
    saturate_unsigned,
    vector,
)
from jitemu.frontends.arm.state import S, Word, isa
from jitemu.ir.native import native
from jitemu.ir.state import RuntimeState

PLACES = {8: "001 val:3", 16: "01 val:4", 32: "1 val:5", 64: "val:6"}
"""imm6 for lanes of a width; L is 1 for 64."""

Shift = Callable[[S, Word, Word, Word], Word]
"""Of d, m and the amount in every lane."""


def _down(u: int, rounding: bool) -> Callable[[S, Word, Word], Word]:
    def f(s: S, m: Word, n: Word) -> Word:
        result = right(m, n, u)
        return result + (right(m, n - 1, u) & 1) if rounding else result

    return f


def _saturating_left(s: S, m: Word, n: Word, u: int) -> Word:
    width = m.lane_width
    result = m << n
    lost = right(result, n, u).ne(m)
    limit = s.const(-1, m.type) if u else m.sar(width - 1) ^ ((1 << width - 1) - 1)
    note(s, lost)
    return lost.select(limit, result)


def _signed_to_unsigned_left(s: S, m: Word, n: Word) -> Word:
    """Signed lanes shifted left, saturated as unsigned."""
    result = m << n
    negative = m.slt(0)
    lost = (result >> n).ne(m) & ~negative
    note(s, lost | negative)
    return negative.select(s.const(0, m.type), lost.select(s.const(-1, m.type), result))


def _insert(s: S, d: Word, m: Word, n: Word, left: bool) -> Word:
    ones = s.const(-1, m.type)
    kept = ones << n if left else ones >> n
    return (d & ~kept) | (m << n if left else m >> n)


def shift(name: str, u: int, code: str, f: Shift, left: bool) -> None:
    """rd = f(rd, rm, amount), for all widths."""
    for width, place in PLACES.items():
        for quad in (0, 1):
            kind, type = KINDS[quad], vector(width, quad)

            def body(
                s: S,
                rd: Any,
                rm: Any,
                val: Word,
                kind: str = kind,
                type: str = type,
                width: int = width,
            ) -> None:
                amount = val if left else s.const(width) - val
                lanes = amount.trunc(width).splat(type)
                d, m = s.view(kind, rd, type), s.view(kind, rm, type)
                s.set_view(kind, rd, f(s, d, m, lanes))

            tail = f"Vd {code} {int(width == 64)} {quad} M 1 Vm"
            pattern = fill(f"1 D {place} {tail}", f"{kind} {kind}")
            define(f"{name}_{kind}{width}", u, pattern, "rd rm val", body)


for _u in (0, 1):
    _sign = "su"[_u]
    for _letter, _code, _rounding in (("", "00{}0", False), ("r", "00{}0", True)):
        _f = _down(_u, _rounding)
        _bits = "001" if _rounding else "000"
        shift(f"v{_letter}shr_{_sign}", _u, _bits + "0", lambda s, d, m, n, f=_f: f(s, m, n), False)
        shift(
            f"v{_letter}sra_{_sign}",
            _u,
            _bits + "1",
            lambda s, d, m, n, f=_f: d + f(s, m, n),
            False,
        )
    shift(
        f"vqshl_{_sign}_imm",
        _u,
        "0111",
        lambda s, d, m, n, u=_u: _saturating_left(s, m, n, u),
        True,
    )
shift("vsri", 1, "0100", lambda s, d, m, n: _insert(s, d, m, n, False), False)
shift("vshl_imm", 0, "0101", lambda s, d, m, n: m << n, True)
shift("vsli", 1, "0101", lambda s, d, m, n: _insert(s, d, m, n, True), True)
shift("vqshlu", 1, "0110", lambda s, d, m, n: _signed_to_unsigned_left(s, m, n), True)

# Narrowing: Q to D of half the width.


def narrow(name: str, u: int, code: str, bit: int, f: Callable[[S, Word, Word], Word]) -> None:
    """rd = narrow lanes of f(rm, amount)."""
    for width in (8, 16, 32):
        wide = vector(2 * width, 1)

        def body(s: S, rd: Any, rm: Any, val: Word, width: int = width, wide: str = wide) -> None:
            amount = (s.const(width) - val).trunc(2 * width).splat(wide)
            s.set_view("d", rd, f(s, s.view("q", rm, wide), amount))

        pattern = fill(f"1 D {PLACES[width]} Vd {code} 0 {bit} M 1 Vm", "d q")
        define(f"{name}_{width}", u, pattern, "rd rm val", body)


def _narrowing(unsigned: int, rounding: bool, to: str) -> Callable[[S, Word, Word], Word]:
    down = _down(unsigned, rounding)

    def f(s: S, m: Word, n: Word) -> Word:
        value, width = down(s, m, n), m.lane_width // 2
        if to == "s":
            return saturate_signed(s, value, width)
        if to == "u":
            return saturate_unsigned(s, value, width, not unsigned)
        return value.trunc(width)

    return f


for _bit, _letter in ((0, ""), (1, "r")):
    _rounding = bool(_bit)
    narrow(f"v{_letter}shrn", 0, "1000", _bit, _narrowing(1, _rounding, ""))
    narrow(f"vq{_letter}shrun", 1, "1000", _bit, _narrowing(0, _rounding, "u"))
    narrow(f"vq{_letter}shrn_s", 0, "1001", _bit, _narrowing(0, _rounding, "s"))
    narrow(f"vq{_letter}shrn_u", 1, "1001", _bit, _narrowing(1, _rounding, "u"))


def _long_shift(u: int, width: int) -> None:
    """VSHLL, and VMOVL with an amount of 0."""
    type, wide = vector(width, 0), vector(2 * width, 1)

    def body(s: S, rd: Any, rm: Any, val: Word) -> None:
        m = s.view("d", rm, type)
        m = m.zext(2 * width) if u else m.sext(2 * width)
        s.set_view("q", rd, m << val.trunc(2 * width).splat(wide))

    pattern = fill(f"1 D {PLACES[width]} Vd 1010 0 0 M 1 Vm", "q d")
    define(f"vshll_{'su'[u]}{width}", u, pattern, "rd rm val", body)


for _width in (8, 16, 32):
    _long_shift(0, _width)
    _long_shift(1, _width)

# Constants (AdvSIMDExpandImm): 8 bits, in lanes as cmode says.  Values of 32 bits, repeated.


@native
def shifted32(s: RuntimeState, bits: int) -> int:
    """A byte in one of a word's four places."""
    return (bits & 255) << (bits >> 8) * 8


@native
def shifted16(s: RuntimeState, bits: int) -> int:
    """A byte in one of a halfword's two places, twice."""
    return ((bits & 255) << (bits >> 8) * 8) * 0x10001


@native
def ones_below(s: RuntimeState, bits: int) -> int:
    """A byte with 8 or 16 ones below it."""
    return (bits & 255) << 16 | 0xFFFF if bits >> 8 else bits << 8 | 0xFF


@native
def four_bytes(s: RuntimeState, bits: int) -> int:
    """A byte in each place."""
    return bits * 0x01010101


@native
def byte_mask(s: RuntimeState, bits: int) -> int:
    """A byte of ones for each of four bits."""
    return (bits & 1 | (bits & 2) << 7 | (bits & 4) << 14 | (bits & 8) << 21) * 255


def constant(
    name: str, op: int, cmode: str, function: str, f: Callable[[Word, Word], Word]
) -> None:
    """rd = f(rd, the constant); ``cmode``: four bits, two of which may be of the field."""
    for quad in (0, 1):
        kind, type = KINDS[quad], vector(32, quad)

        def body(s: S, rd: Any, val: Word, kind: str = kind, type: str = type) -> None:
            old = s.view(kind, rd, type)
            s.set_view(kind, rd, f(old, val.trunc(32).splat(type)))

        top = f"val[7]={function}"
        rest = fill(f"1 D 000 val[6:4] Vd {cmode} 0 {quad} {op} 1 val[3:0]", kind)
        _define_constant(f"{name}_{kind}", top, rest, "rd val", body)


def _define_constant(
    name: str, top: str, rest: str, operands: str, body: Callable[..., None]
) -> None:
    """The constant's top bit is where U is elsewhere."""
    asm, words = name.partition("_")[0], tuple(operands.split())
    isa.define(f"1111001 {top} {rest}", asm, "arm", name, words, body)
    isa.alias(name, f"111 {top} 1111 {rest}", asm, "t32", name + ".t")


for _cmode, _function, _tag in (
    ("0 val[9:8]", "shifted32", "32"),
    ("10 val[8]", "shifted16", "16"),
):
    constant(f"vmov_i{_tag}", 0, _cmode + " 0", _function, lambda d, c: c)
    constant(f"vmvn_i{_tag}", 1, _cmode + " 0", _function, lambda d, c: ~c)
    constant(f"vorr_i{_tag}", 0, _cmode + " 1", _function, lambda d, c: d | c)
    constant(f"vbic_i{_tag}", 1, _cmode + " 1", _function, lambda d, c: d & ~c)
constant("vmov_ones", 0, "110 val[8]", "ones_below", lambda d, c: c)
constant("vmvn_ones", 1, "110 val[8]", "ones_below", lambda d, c: ~c)
constant("vmov_i8", 0, "1110", "four_bytes", lambda d, c: c)
constant("vmov_f32", 0, "1111", "float_constant32", lambda d, c: c)


def _mask_constant(quad: int) -> None:
    kind, type = KINDS[quad], vector(64, quad)

    def body(s: S, rd: Any, val: Word, top: Word) -> None:
        lane = top << 32 | val & 0xFFFFFFFF
        s.set_view(kind, rd, lane.splat(type))

    rest = fill(f"1 D 000 top[2:0] Vd 1110 0 {quad} 1 1 val[3:0]=byte_mask", kind)
    _define_constant(f"vmov_i64_{kind}", "top[3]=byte_mask", rest, "rd val top", body)


_mask_constant(0)
_mask_constant(1)

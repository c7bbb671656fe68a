"""Bits and bytes: counting, reversing, extending, fields."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jitemu.frontends.arm.state import S, Word, define, since, thumb


def unary(name: str, pattern: str, wide: str, operation: Callable[[Word], Word]) -> None:
    """rd = f(rm)."""

    def body(s: S, rd: Any, rm: Any) -> None:
        s.set_reg(rd, operation(s.reg(rm)))

    define(name, f"cond:4 {pattern} rm:4", "rd rm", body)
    thumb(name, f"1111101010{wide[:2]} same:4 1111 rd:4 1{wide[2:]} rm:4")


def _swap_bytes(v: Word) -> Word:
    return (v & 0x00FF00FF) << 8 | (v >> 8 & 0x00FF00FF)


def _reverse_bits(v: Word) -> Word:
    """Byte by byte, by multiplications that spread the bits and gather them in reverse.

    (LLVM makes vector code with constants in memory of the usual exchange of halves.)
    """
    whole = v.builder.const(0, "i32")
    for byte in range(4):
        spread = (v.zext() >> 8 * byte & 255) * 0x80200802 & 0x0884422110
        whole = whole << 8 | (spread * 0x0101010101 >> 32 & 255).trunc(32)
    return whole


unary("clz", "00010110 1111 rd:4 1111 0001", "11000", lambda v: v.op("clz"))
unary("rev", "01101011 1111 rd:4 1111 0011", "01000", lambda v: v.op("bswap"))
unary("rev16", "01101011 1111 rd:4 1111 1011", "01001", _swap_bytes)
unary("rbit", "01101111 1111 rd:4 1111 0011", "01010", _reverse_bits)
unary("revsh", "01101111 1111 rd:4 1111 1011", "01011", lambda v: _swap_bytes(v).trunc(16).sext(32))
for _code, _name in (("00", "rev"), ("01", "rev16"), ("11", "revsh")):
    thumb(_name, f"10111010 {_code} rm:3 rd:3", "t1")


def _pair16(v: Word, signed: bool) -> Word:
    low, high = v.trunc(8), (v >> 16).trunc(8)
    if signed:
        return high.sext(32) << 16 | low.sext(16).zext(32)
    return high.zext(32) << 16 | low.zext(32)


def _add16(a: Word, b: Word) -> Word:
    return (a & -65536) + (b & -65536) | ((a + b) & 0xFFFF)


def extend(name: str, code: str, wide: str, short: str, signed: bool) -> None:
    """rd = (rn +) part of rm, rotated by bytes."""
    kind = name[3:]

    def part(s: S, rm: Any, turn: Word) -> Word:
        v = s.reg(rm).rotl(s.const(32, "i32") - (turn.trunc(32) << 3))
        if kind == "b16":
            return _pair16(v, signed)
        narrow = v.trunc(8 if kind == "b" else 16)
        return narrow.sext(32) if signed else narrow.zext(32)

    def plain(s: S, rd: Any, rm: Any, turn: Word) -> None:
        s.set_reg(rd, part(s, rm, turn))

    def added(s: S, rd: Any, rn: Any, rm: Any, turn: Word) -> None:
        a, b = s.reg(rn), part(s, rm, turn)
        s.set_reg(rd, _add16(a, b) if kind == "b16" else a + b)

    end = "rd:4 turn:2 00 0111 rm:4"
    define(name, f"cond:4 01101{code} 1111 {end}", "rd rm turn", plain)
    define(name.replace("xt", "xta"), f"cond:4 01101{code} rn:4 {end}", "rd rn rm turn", added)
    thumb(name, f"11111010 {wide} 1111 1111 rd:4 10 turn:2 rm:4")
    thumb(name.replace("xt", "xta"), f"11111010 {wide} rn:4 1111 rd:4 10 turn:2 rm:4")
    if short:
        thumb(name, f"10110010 {short} rm:3 rd:3", "t1", turn=0)


extend("sxtb", "010", "0100", "01", True)
extend("sxth", "011", "0000", "00", True)
extend("sxtb16", "000", "0010", "", True)
extend("uxtb", "110", "0101", "11", False)
extend("uxth", "111", "0001", "10", False)
extend("uxtb16", "100", "0011", "", False)


def _extract(signed: bool) -> Callable[..., None]:
    def body(s: S, rd: Any, rn: Any, low: Word, shamt: Word) -> None:
        """shamt: width less 1."""
        up = s.const(31) - shamt
        top = s.reg(rn).zext() << ((up - low) & 63)
        value = top.trunc(32)
        wide = value.sext().sar(up & 63) if signed else value.zext() >> (up & 63)
        s.set_reg(rd, wide.trunc(32))

    return body


for _name, _code, _wide in (("sbfx", "01", "10100"), ("ubfx", "11", "11100")):
    define(
        _name,
        f"cond:4 01111{_code} shamt:5 rd:4 low:5 101 rn:4",
        "rd rn low shamt",
        _extract(_name == "sbfx"),
    )
    thumb(_name, f"11110 0 1 {_wide} rn:4 0 low[4:2] rd:4 low[1:0] 0 shamt:5")


def _field(low: Word, top: Word) -> Word:
    """The mask of bits low to top."""
    ones = low.builder.const(-1)
    return ((ones << (low & 63)) & (low.builder.const(2) << (top & 63)) - 1).trunc(32)


def bfc(s: S, rd: Any, low: Word, top: Word) -> None:
    """Bits low to top of rd = 0."""
    s.set_reg(rd, s.reg(rd) & ~_field(low, top))


def bfi(s: S, rd: Any, rn: Any, low: Word, top: Word) -> None:
    """Bits low to top of rd = the low bits of rn."""
    mask = _field(low, top)
    value = (s.reg(rn).zext() << (low & 63)).trunc(32)
    s.set_reg(rd, (s.reg(rd) & ~mask) | (value & mask))


define("bfc", "cond:4 0111110 top:5 rd:4 low:5 001 1111", "rd low top", bfc)
define("bfi", "cond:4 0111110 top:5 rd:4 low:5 001 rn:4", "rd rn low top", bfi)
thumb("bfc", "11110 0 1 10110 1111 0 low[4:2] rd:4 low[1:0] 0 top:5")
thumb("bfi", "11110 0 1 10110 rn:4 0 low[4:2] rd:4 low[1:0] 0 top:5")
since("v5", "clz")
since("v6", "rev", "rev16", "revsh")
since("v6", *(f"{u}xt{a}{k}" for u in "su" for a in ("", "a") for k in ("b", "h", "b16")))
since("v6t2", "rbit", "sbfx", "ubfx", "bfc", "bfi")

"""Saturating arithmetic, packing of halfwords, and multiplications of pairs of halfwords."""

from __future__ import annotations

from typing import Any

from jitemu.frontends.arm.multiply import half, pair_of, put_pair
from jitemu.frontends.arm.state import S, Word, define, since, thumb


def _clamp(s: S, value: Word, low: Word, high: Word) -> Word:
    """A signed 64-bit value between limits; Q becomes 1 where it was outside."""
    under, over = value.slt(low), high.slt(value)
    s.saturated(under | over)
    return under.select(low, over.select(high, value))


def _limits(s: S) -> tuple[Word, Word]:
    return s.const(-(1 << 31)), s.const((1 << 31) - 1)


def add_saturating(name: str, code: int, subtract: bool, double: bool) -> None:
    """rd = rm +- rn, or twice rn, within 32 bits."""

    def body(s: S, rd: Any, rm: Any, rn: Any) -> None:
        other = s.reg(rn).sext()
        if double:
            other = _clamp(s, other + other, *_limits(s))
        value = s.reg(rm).sext()
        value = value - other if subtract else value + other
        s.set_reg(rd, _clamp(s, value, *_limits(s)).trunc(32))

    define(name, f"cond:4 00010 {code:02b} 0 rn:4 rd:4 0000 0101 rm:4", "rd rm rn", body)
    thumb(name, f"11111010 1000 rn:4 1111 rd:4 10{code & 1}{code >> 1} rm:4")
    since("v5", name)


for _code, _name in enumerate(("qadd", "qsub", "qdadd", "qdsub")):
    add_saturating(_name, _code, bool(_code & 1), _code > 1)


def saturate(name: str, unsigned: bool) -> None:
    """rd = rn, shifted, within so many bits; the same of both halfwords."""
    bit = int(unsigned)

    def bounds(s: S, sat: Word) -> tuple[Word, Word]:
        """``sat``: bits, and for signed ones less the sign."""
        high = (s.const(1) << (sat & 31)) - 1
        return (s.const(0) if unsigned else ~high), high

    def left(s: S, rd: Any, rn: Any, sat: Word, shamt: Word) -> None:
        value = (s.reg(rn).zext() << (shamt & 31)).trunc(32).sext()
        s.set_reg(rd, _clamp(s, value, *bounds(s, sat)).trunc(32))

    def right(s: S, rd: Any, rn: Any, sat: Word, shamt: Word) -> None:
        value = s.reg(rn).sext().sar(shamt & 63)
        s.set_reg(rd, _clamp(s, value, *bounds(s, sat)).trunc(32))

    def halves(s: S, rd: Any, rn: Any, sat: Word) -> None:
        low, high = bounds(s, sat)
        parts = [_clamp(s, half(s.reg(rn), top), low, high).trunc(32) for top in (0, 1)]
        s.set_reg(rd, (parts[0] & 0xFFFF) | parts[1] << 16)

    head, wide = f"cond:4 01101{bit}1 sat:5 rd:4", f"11110 0 11 {bit}0"
    define(f"{name}_lsl", f"{head} shamt:5 001 rn:4", "rd rn sat shamt", left)
    define(f"{name}_asr", f"{head} shamt:5=full 101 rn:4", "rd rn sat shamt", right)
    define(f"{name}16", f"cond:4 01101{bit}10 sat:4 rd:4 1111 0011 rn:4", "rd rn sat", halves)
    thumb(f"{name}_lsl", f"{wide} 0 0 rn:4 0 shamt[4:2] rd:4 shamt[1:0] 0 sat:5")
    right_end = "rn:4 0 shamt[4:2]=full rd:4 shamt[1:0] 0 sat:5"
    thumb(f"{name}_asr", f"{wide} 1 0 {right_end}")
    thumb(f"{name}16", f"{wide} 1 0 rn:4 0000 rd:4 0000 sat:4")
    since("v6", f"{name}_lsl", f"{name}_asr", f"{name}16")


saturate("ssat", False)
saturate("usat", True)


def pkhbt(s: S, rd: Any, rn: Any, rm: Any, shamt: Word) -> None:
    """The low half of rn, the high half of rm << shamt."""
    high = (s.reg(rm).zext() << (shamt & 31)).trunc(32)
    s.set_reg(rd, (s.reg(rn) & 0xFFFF) | (high & 0xFFFF0000))


def pkhtb(s: S, rd: Any, rn: Any, rm: Any, shamt: Word) -> None:
    """The high half of rn, the low half of rm >> shamt."""
    low = s.reg(rm).sext().sar(shamt & 63).trunc(32)
    s.set_reg(rd, (s.reg(rn) & 0xFFFF0000) | (low & 0xFFFF))


define("pkhbt", "cond:4 01101000 rn:4 rd:4 shamt:5 001 rm:4", "rd rn rm shamt", pkhbt)
define("pkhtb", "cond:4 01101000 rn:4 rd:4 shamt:5=full 101 rm:4", "rd rn rm shamt", pkhtb)
thumb("pkhbt", "1110101 01100 rn:4 0 shamt[4:2] rd:4 shamt[1:0] 00 rm:4")
thumb("pkhtb", "1110101 01100 rn:4 0 shamt[4:2]=full rd:4 shamt[1:0] 10 rm:4")
since("v6", "pkhbt", "pkhtb")


def _products(s: S, rn: Any, rm: Any, cross: int) -> tuple[Word, Word]:
    a, b = s.reg(rn), s.reg(rm)
    return half(a, 0) * half(b, cross), half(a, 1) * half(b, cross ^ 1)


def dual(name: str, subtract: bool, cross: int) -> None:
    """rd = sum or difference of two products of halfwords (+ ra), and the long forms."""
    x = "x" if cross else ""
    bit = int(subtract)

    def total(s: S, rn: Any, rm: Any) -> Word:
        low, high = _products(s, rn, rm, cross)
        return low - high if subtract else low + high

    def put(s: S, rd: Any, value: Word) -> None:
        result = value.trunc(32)
        s.saturated(result.sext().ne(value))
        s.set_reg(rd, result)

    def plain(s: S, rd: Any, rn: Any, rm: Any) -> None:
        put(s, rd, total(s, rn, rm))

    def added(s: S, rd: Any, rn: Any, rm: Any, ra: Any) -> None:
        put(s, rd, total(s, rn, rm) + s.reg(ra).sext())

    def long(s: S, rd: Any, rb: Any, rn: Any, rm: Any) -> None:
        put_pair(s, rd, rb, pair_of(s, rd, rb) + total(s, rn, rm))

    short, add, wide = f"smu{name}d{x}", f"sml{name}d{x}", f"sml{name}ld{x}"
    end = f"rm:4 0{bit}{cross}1 rn:4"
    define(short, f"cond:4 01110000 rd:4 1111 {end}", "rd rn rm", plain)
    define(add, f"cond:4 01110000 rd:4 ra:4 {end}", "rd rn rm ra", added)
    define(wide, f"cond:4 01110100 rb:4 rd:4 {end}", "rd rb rn rm", long)
    code = "100" if subtract else "010"
    thumb(short, f"11111011 0{code} rn:4 1111 rd:4 000{cross} rm:4")
    thumb(add, f"11111011 0{code} rn:4 ra:4 rd:4 000{cross} rm:4")
    thumb(wide, f"11111011 110{bit} rn:4 rd:4 rb:4 110{cross} rm:4")
    since("v6", short, add, wide)


for _cross in (0, 1):
    dual("a", False, _cross)
    dual("s", True, _cross)


def most_significant(rounded: int) -> None:
    """rd = the upper word of a product, ra added or subtracted from."""
    r = "r" if rounded else ""

    def upper(value: Word) -> Word:
        if rounded:
            value = value + (1 << 31)
        return (value >> 32).trunc(32)

    def product(s: S, rn: Any, rm: Any) -> Word:
        return s.reg(rn).sext() * s.reg(rm).sext()

    def plain(s: S, rd: Any, rn: Any, rm: Any) -> None:
        s.set_reg(rd, upper(product(s, rn, rm)))

    def added(s: S, rd: Any, rn: Any, rm: Any, ra: Any) -> None:
        s.set_reg(rd, upper((s.reg(ra).zext() << 32) + product(s, rn, rm)))

    def subtracted(s: S, rd: Any, rn: Any, rm: Any, ra: Any) -> None:
        s.set_reg(rd, upper((s.reg(ra).zext() << 32) - product(s, rn, rm)))

    head = "cond:4 01110101 rd:4"
    define(f"smmul{r}", f"{head} 1111 rm:4 00{rounded}1 rn:4", "rd rn rm", plain)
    define(f"smmla{r}", f"{head} ra:4 rm:4 00{rounded}1 rn:4", "rd rn rm ra", added)
    define(f"smmls{r}", f"{head} ra:4 rm:4 11{rounded}1 rn:4", "rd rn rm ra", subtracted)
    thumb(f"smmul{r}", f"11111011 0101 rn:4 1111 rd:4 000{rounded} rm:4")
    thumb(f"smmla{r}", f"11111011 0101 rn:4 ra:4 rd:4 000{rounded} rm:4")
    thumb(f"smmls{r}", f"11111011 0110 rn:4 ra:4 rd:4 000{rounded} rm:4")
    since("v6", f"smmul{r}", f"smmla{r}", f"smmls{r}")


most_significant(0)
most_significant(1)

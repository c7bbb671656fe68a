"""Multiplication, division and their accumulating forms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jitemu.frontends.arm.state import S, Word, define, isa, since, thumb


def _short(name: str, code: str, flags: int, add: int, wide: str) -> None:
    """rd = ra +- rn * rm."""

    def body(s: S, *operands: Any) -> None:
        rd, rn, rm = operands[:3]
        result = s.reg(rn) * s.reg(rm)
        if add:
            other = s.reg(operands[3])
            result = other + result if add > 0 else other - result
        s.set_reg(rd, result)
        if flags:
            s.set_nz(result)

    ra = "ra:4" if add else "0000"
    pattern = f"cond:4 0000 {code} {flags} rd:4 {ra} rm:4 1001 rn:4"
    define(name, pattern, "rd rn rm" + (" ra" if add else ""), body)
    if wide:
        thumb(name, wide)


_short("mul", "000", 0, 0, "11111011 0000 rn:4 1111 rd:4 0000 rm:4")
_short("muls", "000", 1, 0, "")
_short("mla", "001", 0, 1, "11111011 0000 rn:4 ra:4 rd:4 0000 rm:4")
_short("mlas", "001", 1, 1, "")
_short("mls", "011", 0, -1, "11111011 0000 rn:4 ra:4 rd:4 0001 rm:4")
isa.alias("muls", "010000 1101 rn:3 rd:3", "mul", "t16", "muls.t16", rm="rd")
isa.alias("mul", "010000 1101 rn:3 rd:3", "mul", "it16", "mul.it16", rm="rd")


def put_pair(s: S, low: Any, high: Any, wide: Word) -> None:
    """A 64-bit value to two registers."""
    s.set_reg(low, wide.trunc(32))
    s.set_reg(high, (wide >> 32).trunc(32))


def pair_of(s: S, low: Any, high: Any) -> Word:
    """The 64-bit value in two registers."""
    return s.reg(high).zext() << 32 | s.reg(low).zext()


def _long(name: str, code: str, flags: int, signed: bool, add: bool, wide: str) -> None:
    """rb:rd = (rb:rd +) rn * rm."""

    def body(s: S, rd: Any, rb: Any, rn: Any, rm: Any) -> None:
        a, b = s.reg(rn), s.reg(rm)
        result = a.sext() * b.sext() if signed else a.zext() * b.zext()
        if add:
            result = result + pair_of(s, rd, rb)
        put_pair(s, rd, rb, result)
        if flags:
            low = (result.trunc(32).ne(0)).zext()
            s.set_nz_words((result >> 32).trunc(32).sext(), low)

    pattern = f"cond:4 0000 {code} {flags} rb:4 rd:4 rm:4 1001 rn:4"
    define(name, pattern, "rd rb rn rm", body)
    if wide:
        thumb(name, f"11111011 1{wide} rn:4 rd:4 rb:4 0000 rm:4")


for _flags in (0, 1):
    _s = "s" if _flags else ""
    _long("umull" + _s, "100", _flags, False, False, "" if _flags else "010")
    _long("umlal" + _s, "101", _flags, False, True, "" if _flags else "110")
    _long("smull" + _s, "110", _flags, True, False, "" if _flags else "000")
    _long("smlal" + _s, "111", _flags, True, True, "" if _flags else "100")


def umaal(s: S, rd: Any, rb: Any, rn: Any, rm: Any) -> None:
    """rb:rd = rn * rm + rb + rd."""
    result = s.reg(rn).zext() * s.reg(rm).zext() + s.reg(rd).zext() + s.reg(rb).zext()
    put_pair(s, rd, rb, result)


define("umaal", "cond:4 0000 0100 rb:4 rd:4 rm:4 1001 rn:4", "rd rb rn rm", umaal)
thumb("umaal", "11111011 1110 rn:4 rd:4 rb:4 0110 rm:4")


def divide(name: str, code: str, operation: Callable[[Word, Word], Word]) -> None:
    """rd = rn / rm; by zero gives 0."""

    def body(s: S, rd: Any, rn: Any, rm: Any) -> None:
        a, b = s.reg(rn), s.reg(rm)
        s.set_reg(rd, b.eq(0).select(s.const(0, "i32"), operation(a, b)))

    define(name, f"cond:4 0111 0{code}1 rd:4 1111 rm:4 0001 rn:4", "rd rn rm", body)
    thumb(name, f"11111011 1{code}1 rn:4 1111 rd:4 1111 rm:4")


divide("sdiv", "00", lambda a, b: a.sdiv(b))
divide("udiv", "01", lambda a, b: a.udiv(b))


def half(value: Word, top: int) -> Word:
    """A signed half of a register, 64 bits wide."""
    return ((value >> 16) if top else value).trunc(16).sext(64)


def _accumulate(s: S, product: Word, ra: Any) -> Word:
    """32 bits of product + ra; Q if that overflows."""
    total = product + s.reg(ra).sext()
    result = total.trunc(32)
    s.saturated(result.sext().ne(total))
    return result


def _halves() -> None:
    for n in (0, 1):
        for m in (0, 1):

            def smul(s: S, rd: Any, rn: Any, rm: Any, n: int = n, m: int = m) -> None:
                s.set_reg(rd, (half(s.reg(rn), n) * half(s.reg(rm), m)).trunc(32))

            def smla(s: S, rd: Any, rn: Any, rm: Any, ra: Any, n: int = n, m: int = m) -> None:
                s.set_reg(rd, _accumulate(s, half(s.reg(rn), n) * half(s.reg(rm), m), ra))

            def smlal(s: S, rd: Any, rb: Any, rn: Any, rm: Any, n: int = n, m: int = m) -> None:
                product = half(s.reg(rn), n) * half(s.reg(rm), m)
                put_pair(s, rd, rb, pair_of(s, rd, rb) + product)

            tag = "bt"[n] + "bt"[m]
            end = f"rm:4 1{m}{n}0 rn:4"
            define("smul" + tag, f"cond:4 00010110 rd:4 0000 {end}", "rd rn rm", smul)
            define("smla" + tag, f"cond:4 00010000 rd:4 ra:4 {end}", "rd rn rm ra", smla)
            define("smlal" + tag, f"cond:4 00010100 rb:4 rd:4 {end}", "rd rb rn rm", smlal)
            thumb("smul" + tag, f"11111011 0001 rn:4 1111 rd:4 00{n}{m} rm:4")
            thumb("smla" + tag, f"11111011 0001 rn:4 ra:4 rd:4 00{n}{m} rm:4")
            thumb("smlal" + tag, f"11111011 1100 rn:4 rd:4 rb:4 10{n}{m} rm:4")
    for m in (0, 1):

        def smulw(s: S, rd: Any, rn: Any, rm: Any, m: int = m) -> None:
            s.set_reg(rd, (s.reg(rn).sext() * half(s.reg(rm), m) >> 16).trunc(32))

        def smlaw(s: S, rd: Any, rn: Any, rm: Any, ra: Any, m: int = m) -> None:
            product = (s.reg(rn).sext() * half(s.reg(rm), m)).sar(16)
            s.set_reg(rd, _accumulate(s, product, ra))

        tag = "bt"[m]
        define("smulw" + tag, f"cond:4 00010010 rd:4 0000 rm:4 1{m}10 rn:4", "rd rn rm", smulw)
        define("smlaw" + tag, f"cond:4 00010010 rd:4 ra:4 rm:4 1{m}00 rn:4", "rd rn rm ra", smlaw)
        thumb("smulw" + tag, f"11111011 0011 rn:4 1111 rd:4 000{m} rm:4")
        thumb("smlaw" + tag, f"11111011 0011 rn:4 ra:4 rd:4 000{m} rm:4")


_halves()

since("v6", "umaal")
since("v6t2", "mls")
since("div", "sdiv", "udiv")
for _names in (("smul", "smla", "smlal"), ("smulw", "smlaw")):
    for _name in _names:
        _tags = ("b", "t") if _name.endswith("w") else ("bb", "bt", "tb", "tt")
        since("v5", *(_name + tag for tag in _tags))

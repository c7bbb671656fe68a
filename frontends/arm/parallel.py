"""Additions and subtractions of bytes and halfwords side by side, and selection by GE.

Lanes are computed together in one word: H has the highest bit of each lane.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jitemu.frontends.arm.registers import GE
from jitemu.frontends.arm.state import S, Word, define, since, thumb

TOPS = {8: 0x80808080, 16: 0x80008000}
_GATHER = 0x10204080
"""Brings the bits 0, 8, 16 and 24 of a word to its bits 28 to 31."""
_SCATTER = 0x00204081
"""Brings the bits 0 to 3 of a word to its bits 0, 8, 16 and 24, among others."""


class Lanes:
    """What adding or subtracting lanes gives: their bits, and what is beyond them, at H."""

    def __init__(self, a: Word, b: Word, width: int, subtract: bool) -> None:
        self.width = width
        self.top = TOPS[width]
        rest = ~self.top & 0xFFFFFFFF
        if subtract:
            self.bits = ((a | self.top) - (b & rest)) ^ ((a ^ ~b) & self.top)
            self.beyond = ((~a & b) | ((~a | b) & self.bits)) & self.top
            overflow = (a ^ b) & (a ^ self.bits)
        else:
            self.bits = ((a & rest) + (b & rest)) ^ ((a ^ b) & self.top)
            self.beyond = ((a & b) | ((a | b) & ~self.bits)) & self.top
            overflow = (a ^ self.bits) & (b ^ self.bits)
        self.overflow = overflow & self.top
        self.negative = (self.bits ^ self.overflow) & self.top
        """The sign of the exact result of signed lanes."""
        self.subtracts = subtract
        self.first_sign = a & self.top

    def mask(self, at_top: Word) -> Word:
        """All bits of the lanes that have their bit at H."""
        ones = at_top >> (self.width - 1)
        return (ones << self.width) - ones

    def halved(self, sign: Word) -> Word:
        """Half of the exact result, whose highest bit is given."""
        return (self.bits >> 1 & (~self.top & 0xFFFFFFFF)) | sign

    def saturated(self) -> Word:
        """Signed lanes, at their limits where they overflow."""
        over = self.mask(self.overflow)
        ones = self.top >> (self.width - 1)
        limit = (self.first_sign >> (self.width - 1)) + ones * ((1 << (self.width - 1)) - 1)
        return (self.bits & ~over) | (limit & over)

    def saturated_unsigned(self) -> Word:
        """Unsigned ones."""
        over = self.mask(self.beyond)
        return self.bits & ~over if self.subtracts else self.bits | over


def _unsigned_ge(x: Lanes) -> Word:
    return x.beyond ^ x.top if x.subtracts else x.beyond


Kind = tuple[Callable[[Lanes], Word], Callable[[Lanes], Word] | None]
KINDS: dict[str, tuple[str, str, Kind]] = {
    "s": ("001", "000", (lambda x: x.bits, lambda x: x.negative ^ x.top)),
    "q": ("010", "001", (lambda x: x.saturated(), None)),
    "sh": ("011", "010", (lambda x: x.halved(x.negative), None)),
    "u": ("101", "100", (lambda x: x.bits, _unsigned_ge)),
    "uq": ("110", "101", (lambda x: x.saturated_unsigned(), None)),
    "uh": ("111", "110", (lambda x: x.halved(x.beyond), None)),
}
"""Prefix: A32 and T32 code, result, and what GE tells (at H), if it is set."""
OPERATIONS = {
    "add16": ("000", "001", 16, (False, False)),
    "asx": ("001", "010", 16, (True, False)),
    "sax": ("010", "110", 16, (False, True)),
    "sub16": ("011", "101", 16, (True, True)),
    "add8": ("100", "000", 8, (False, False)),
    "sub8": ("111", "100", 8, (True, True)),
}
"""A32 and T32 code, width, and whether the low and the high half subtract."""


def _put_ge(s: S, at_top: Word, width: int) -> None:
    ones = at_top >> (width - 1)
    if width == 16:
        ones = ones | ones << 8
    s.set_flag(GE, ones * _GATHER >> 28)


def parallel(prefix: str, name: str) -> None:
    """rd = rn and rm, lane by lane."""
    code, wide, (result, ge) = KINDS[prefix]
    op, wide_op, width, (low, high) = OPERATIONS[name]

    def merged(parts: dict[bool, Word]) -> Word:
        if low == high:
            return parts[low]
        return (parts[low] & 0xFFFF) | (parts[high] & 0xFFFF0000)

    def body(s: S, rd: Any, rn: Any, rm: Any) -> None:
        a, b = s.reg(rn), s.reg(rm)
        if low != high:
            b = b.rotl(16)
        lanes = {subtract: Lanes(a, b, width, subtract) for subtract in {low, high}}
        if ge is not None:
            _put_ge(s, merged({k: ge(x) for k, x in lanes.items()}), width)
        s.set_reg(rd, merged({k: result(x) for k, x in lanes.items()}))

    define(prefix + name, f"cond:4 01100 {code} rn:4 rd:4 1111 {op}1 rm:4", "rd rn rm", body)
    thumb(prefix + name, f"11111010 1{wide_op} rn:4 1111 rd:4 0{wide} rm:4")
    since("v6", prefix + name)


for _prefix in KINDS:
    for _name in OPERATIONS:
        parallel(_prefix, _name)


def sel(s: S, rd: Any, rn: Any, rm: Any) -> None:
    """Bytes of rn where GE is set, else of rm."""
    ones = s.flag(GE) * _SCATTER & 0x01010101
    mask = (ones << 8) - ones
    s.set_reg(rd, (s.reg(rn) & mask) | (s.reg(rm) & ~mask))


define("sel", "cond:4 01101000 rn:4 rd:4 1111 1011 rm:4", "rd rn rm", sel)
thumb("sel", "11111010 1010 rn:4 1111 rd:4 1000 rm:4")


def _distance(s: S, rn: Any, rm: Any) -> Word:
    """The sum of the bytes' distances."""
    a, b = s.reg(rn), s.reg(rm)
    apart = Lanes(a, b, 8, True).saturated_unsigned() | Lanes(b, a, 8, True).saturated_unsigned()
    pairs = (apart & 0x00FF00FF) + (apart >> 8 & 0x00FF00FF)
    return (pairs + (pairs >> 16)) & 0xFFFF


def usad8(s: S, rd: Any, rn: Any, rm: Any) -> None:
    """rd = the sum of the bytes' distances."""
    s.set_reg(rd, _distance(s, rn, rm))


def usada8(s: S, rd: Any, rn: Any, rm: Any, ra: Any) -> None:
    """The same, added to ra."""
    s.set_reg(rd, _distance(s, rn, rm) + s.reg(ra))


define("usad8", "cond:4 01111000 rd:4 1111 rm:4 0001 rn:4", "rd rn rm", usad8)
define("usada8", "cond:4 01111000 rd:4 ra:4 rm:4 0001 rn:4", "rd rn rm ra", usada8)
thumb("usad8", "11111011 0111 rn:4 1111 rd:4 0000 rm:4")
thumb("usada8", "11111011 0111 rn:4 ra:4 rd:4 0000 rm:4")
since("v6", "sel", "usad8", "usada8")

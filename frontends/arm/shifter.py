"""Second operands: immediates, shifted registers, and the carry that shifting leaves."""

from __future__ import annotations

from collections.abc import Callable

from jitemu.frontends.arm.registers import C
from jitemu.frontends.arm.state import S, Word
from jitemu.ir.native import native
from jitemu.ir.state import RuntimeState

Shifted = tuple[Word, Word | None]
"""(value, carry as 32 bits or i1; None: unchanged)"""


@native
def rotated(s: RuntimeState, bits: int) -> int:
    """A32's modified immediate: 8 bits rotated right by twice the upper 4."""
    turn = bits >> 8 << 1
    value = bits & 255
    return (value >> turn | value << 32 - turn) & 0xFFFF_FFFF


@native
def replicated(s: RuntimeState, bits: int) -> int:
    """T32's modified immediate: 8 bits once, twice or four times, or a rotated 1bcdefgh."""
    value = bits & 255
    kind = bits >> 8
    if kind == 0:
        return value
    if kind == 1:
        return value << 16 | value
    if kind == 2:
        return value << 24 | value << 8
    if kind == 3:
        return value << 24 | value << 16 | value << 8 | value
    turn = bits >> 7
    value = value | 128
    return (value >> turn | value << 32 - turn) & 0xFFFF_FFFF


@native
def full(s: RuntimeState, amount: int) -> int:
    """A shift to the right by 0 is one by 32."""
    return amount if amount else 32


@native
def signedoff(s: RuntimeState, bits: int) -> int:
    """An offset of 12 bits, whose bit 12 says that it is added."""
    return bits & 0xFFF if bits >> 12 else 0 - bits


@native
def minus(s: RuntimeState, bits: int) -> int:
    """An offset that is subtracted."""
    return 0 - bits


@native
def signedquad(s: RuntimeState, bits: int) -> int:
    """An offset of 8 bits in words; bit 8 says that it is added."""
    return (bits & 0xFF) << 2 if bits >> 8 else 0 - (bits << 2)


@native
def farbranch(s: RuntimeState, bits: int) -> int:
    """T32's branch distance: S J1 J2 and 21 bits (imm10 imm11), in halfwords."""
    sign = bits >> 23
    top = ((bits >> 22 ^ sign ^ 1) & 1) << 23 | ((bits >> 21 ^ sign ^ 1) & 1) << 22
    value = top | (bits & 0x1F_FFFF) << 1
    return value - (sign << 24)


def lsl(s: S, v: Word, n: Word) -> Shifted:
    """By 1 to 31 (or any number: 64 bits are wide enough)."""
    wide = v.zext() << n
    return wide.trunc(32), (wide >> 32).trunc(32) & 1


def lsr(s: S, v: Word, n: Word) -> Shifted:
    """By 1 to 32, or more."""
    wide = v.zext() << 32 >> n
    return (wide >> 32).trunc(32), (wide >> 31).trunc(32) & 1


def asr(s: S, v: Word, n: Word) -> Shifted:
    """By 1 to 32, or more."""
    wide = (v.zext() << 32).sar(n)
    return (wide >> 32).trunc(32), (wide >> 31).trunc(32) & 1


def ror(s: S, v: Word, n: Word) -> Shifted:
    """By any number but 0."""
    result = v.rotl(s.const(32, "i32") - n.trunc(32))
    return result, result >> 31


SHIFTS: tuple[Callable[[S, Word, Word], Shifted], ...] = (lsl, lsr, asr, ror)
NAMES = ("lsl", "lsr", "asr", "ror")


def by_constant(kind: int) -> Callable[..., Shifted]:
    """rm shifted by shamt."""
    return lambda s, rm, shamt: SHIFTS[kind](s, s.reg(rm), shamt & 63)


def by_register(kind: int, carries: bool) -> Callable[..., Shifted]:
    """rm shifted by the low byte of rs; by 0 the carry stays.

    Only the carry needs 64 bits, where it is wanted (``carries``).
    """

    def operand(s: S, rm: str, rs: str) -> Shifted:
        value, amount = s.reg(rm), s.reg(rs) & 255
        result = (value << amount, value >> amount, value.sar(amount), value.rotl(-amount))[kind]
        if not carries:
            return result, None
        _, carry = SHIFTS[kind](s, value, amount.zext())
        assert carry is not None
        return result, amount.eq(0).select(s.flag(C), carry)

    return operand


def rrx(s: S, rm: str) -> Shifted:
    """One to the right, with the carry coming in."""
    value = s.reg(rm)
    return value >> 1 | s.flag(C) << 31, value & 1

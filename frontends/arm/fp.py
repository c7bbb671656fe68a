"""What definitions of floating point share: encodings of registers, and checked operations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jitemu.frontends.arm.floats import FZ
from jitemu.frontends.arm.state import S, Word, isa


@dataclass(frozen=True)
class Precision:
    """A format of VFP: single or double."""

    kind: str
    """Its registers' view: s or d."""
    width: int

    @property
    def type(self) -> str:
        """Of its values."""
        return f"i{self.width}"

    @property
    def sign(self) -> int:
        """The sign bit's value."""
        return 1 << self.width - 1

    @property
    def infinity(self) -> int:
        """Bits of +infinity."""
        return 0x7F800000 if self.width == 32 else 0x7FF << 52

    @property
    def bit(self) -> int:
        """sz of encodings."""
        return int(self.width == 64)

    def get(self, s: S, register: Any) -> Word:
        """A register."""
        return s.view(self.kind, register)

    def set(self, s: S, register: Any, value: Word) -> None:
        """Write one."""
        s.set_view(self.kind, register, value)


SINGLE, DOUBLE = Precision("s", 32), Precision("d", 64)
FORMATS = (SINGLE, DOUBLE)


def reg(name: str, kind: str) -> tuple[str, str]:
    """(extra bit, four bits) of a pattern that name a register of a kind."""
    if kind == "s":
        return f"{name}[0]", f"{name}[4:1]"
    if kind == "d":
        return f"{name}[4]", f"{name}[3:0]"
    return f"{name}[3]", f"{name}[2:0] 0"


def fill(pattern: str, kinds: str) -> str:
    """A pattern with D Vd, N Vn and M Vm in place of registers, of these kinds ("" : none)."""
    for letter, kind in zip("dnm", kinds.ljust(3, " "), strict=True):
        if kind != " ":
            extra, four = reg(f"r{letter}", kind)
            pattern = pattern.replace(f" {letter.upper()} ", f" {extra} ")
            pattern = pattern.replace(f"V{letter}", four)
    return pattern


def define(name: str, pattern: str, operands: str, body: Callable[..., None], **same: Any) -> None:
    """A VFP instruction: in T32 the same words with the predicate 1110."""
    conditional = pattern.startswith("cond:4")
    asm = name.partition("_")[0]
    isa.define(pattern, asm, "arm", name, tuple(operands.split()), body, **same)
    wide = "1110" + pattern.removeprefix("cond:4") if conditional else pattern
    isa.alias(name, wide, asm, "t32", name + ".t", **same)


# Operations.  FZ is tested before, as x86 would raise other flags; what is rare in the result
# (a NaN; with ``tiny`` also what may be tiny before rounding) leads to the manual's rules.


def flushing(s: S) -> Word:
    """i1: FPSCR.FZ."""
    return s.unusual("fpmode", FZ)


def operate(s: S, name: str, *args: Word, tiny: bool = False) -> Word:
    """A rounded operation as FPSCR says."""
    kind = args[0].type
    slow = f"vfp_{name}{args[0].width}"
    raw = s.unless(slow, flushing(s), name, kind, *args)
    odd = s.emit("fodd" if tiny else "fnan", kind, (raw,))
    return s.rare(slow, odd, raw, *args)


def add(s: S, a: Word, b: Word) -> Word:
    """a + b."""
    return operate(s, "fadd", a, b)


def subtract(s: S, a: Word, b: Word) -> Word:
    """a - b."""
    return operate(s, "fsub", a, b)


def multiply(s: S, a: Word, b: Word) -> Word:
    """a * b."""
    return operate(s, "fmul", a, b, tiny=True)


def divide(s: S, a: Word, b: Word) -> Word:
    """a / b."""
    return operate(s, "fdiv", a, b, tiny=True)


def fused(s: S, a: Word, b: Word, c: Word) -> Word:
    """a * b + c, rounded once."""
    return operate(s, "ffma", a, b, c, tiny=True)


def negate(value: Word) -> Word:
    """The sign flipped, of NaNs too."""
    return value ^ (1 << value.lane_width - 1)


def flushed(s: S, value: Word) -> Word:
    """An operand: with FZ a denormal number is a zero."""
    return s.rare(f"vfp_flush{value.width}", flushing(s), value, value)

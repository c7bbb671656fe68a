"""ARM: registers and the layout of the state; every start imports it.

Registers hold 32 bits, zero-extended.  The flags are registers of the same class, behind
r15: each instruction writes those that it defines, so that what overwrites them makes the
earlier writes disappear in regions.

A pc word holds more than the address: bit 0 is the Thumb bit, bits 32 to 39 are ITSTATE.
"""

from __future__ import annotations

from jitemu.ir.state import RegisterClass, RuntimeState, Words

SP, LR, PC = 13, 14, 15
NZ = 16
"""The last result, sign-extended: N is bit 63, Z says that the low 32 bits are 0."""
C, V, Q = 17, 18, 19
"""0 or 1."""
GE = 20
"""Four bits."""

R = RegisterClass("r", 21, words=16)
FP = RegisterClass("fp", 2)
FP_FLAGS, QC = 0, 1
"""FPSCR's N Z C V at their places, and saturation: 0 or not."""
VIEWS = {
    name: RegisterClass(name, 2304 // bits, bank="d", bits=bits)
    for name, bits in (("b", 8), ("h", 16), ("s", 32), ("d", 64), ("q", 128))
}
"""The bank of 32 doublewords as registers of any width; b and h are scalars of vectors."""
CLASSES = {"r": R, "fp": FP, **VIEWS}
R_NAMES = [*(f"r{n}" for n in range(13)), "sp", "lr", "pc", "nz", "c", "v", "q", "ge"]

PINNED = (0, 1, 2, 3, 4, 5, SP, NZ)
"""Registers held in host registers."""

ADDRESS_BITS = 0xFFFF_FFFF


class ArmState(RuntimeState):
    """A processor's words."""

    r: Words[22]
    """Element 15 is up to date where an instruction reads or has written it."""
    reservation: int
    """Address of the last load exclusive, or all ones."""
    reserved_value: int
    tls: int
    """TPIDRURO, the thread pointer."""
    tpidrurw: int
    d: Words[36]
    """The registers of floating point and SIMD (and room behind, for lists that end there)."""
    fp: Words[2]
    fpmode: int
    """AHP, DN, FZ and RMode at their places in FPSCR (the rounding mode is the unit's, too)."""
    idc: int
    """FPSCR.IDC: a denormal operand was taken as zero."""


def following(pc: int, length: int) -> int:
    """The pc word behind an instruction that does not jump: an IT block goes on."""
    after = pc + length & ADDRESS_BITS
    state = pc >> 32
    return after | (state & 0xE0 | state << 1 & 0x1F) << 32 if state & 7 else after

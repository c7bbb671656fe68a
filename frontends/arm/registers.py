"""ARM: registers and the layout of the state; every start imports it.

Registers hold 32 bits, zero-extended.  The flags are registers of the same class, behind
r15: each instruction writes those that it defines, so that what overwrites them makes the
earlier writes disappear in regions.

A pc word holds more than the address: bit 0 is the Thumb bit, bits 32 to 39 are ITSTATE.
"""

from __future__ import annotations

from jitemu.ir.state import RegisterClass, RuntimeState, Words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
HOME = frozenset((("r", SP), ("r", 14)))
"""What a return takes its address from: the stack and the link register."""

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


def status(r: Sequence[int], pc: int) -> int:
    """CPSR: flags, GE, the Thumb bit and ITSTATE; ``r``: the class's words."""
    nz, it = r[NZ], pc >> 32
    word = 0x10 | (pc & 1) << 5 | (it & 3) << 25 | (it >> 2) << 10
    word |= nz >> 63 << 31 | (nz & ADDRESS_BITS == 0) << 30 | r[GE] << 16
    return word | r[C] << 29 | r[V] << 28 | r[Q] << 27


def shown(words: Sequence[int], at: Mapping[str, int], pc: int) -> list[str]:
    """The lines of -d cpu, in QEMU's shape."""
    r = words[at["r"] : at["r"] + R.count]
    values = [*r[:PC], pc & ADDRESS_BITS & ~1]
    cells = [f"R{n:02}={value:08x}" for n, value in enumerate(values)]
    word = status(r, pc)
    flags = "".join(c if word >> (31 - n) & 1 else "-" for n, c in enumerate("NZCV"))
    lines = [" ".join(cells[n : n + 4]) for n in range(0, 16, 4)]
    return [*lines, f"PSR={word:08x} {flags} {'T' if pc & 1 else 'A'} usr32"]


def following(pc: int, length: int) -> int:
    """The pc word behind an instruction that does not jump: an IT block goes on."""
    after = pc + length & ADDRESS_BITS
    state = pc >> 32
    return after | (state & 0xE0 | state << 1 & 0x1F) << 32 if state & 7 else after

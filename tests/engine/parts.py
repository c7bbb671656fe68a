"""What a random block's parts need besides instructions: its own memory, functions, counts."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from tests.engine.image import RA, encode
from tests.riscv.operands import MASK64

BRANCHES = ("beq", "bne", "blt", "bge", "bltu", "bgeu")
SAFE = 320
"""Bytes at the window's start that loads and stores through ``BASES`` do not reach."""


@dataclass
class Count:
    """How a loop counts."""

    kind: str
    step: int
    start: int
    bound: int
    branch: str
    swapped: bool
    rounds: int = 0

    EDGES = (0, 1 << 31, 1 << 32, 1 << 63, (1 << 64) - (1 << 31))
    STEPS = (1, -1, 2, -2, 3, -3, 4, -4, 8, 24, -24, 260, 2047, -2048)
    KINDS = ("addi", "addi", "addiw", "add", "addw", "sub", "subw")

    @classmethod
    def random(cls, rng: random.Random, most: int) -> Count:
        """One of at most so many rounds, near the edges of the number ranges."""
        while True:
            step = rng.choice(cls.STEPS)
            start = rng.choice(cls.EDGES) + rng.choice(
                (rng.randint(-9, 9), rng.randint(-3000, 3000))
            )
            bound = start + step * rng.randint(0, most)
            if rng.random() < 0.3:
                bound += rng.randint(-3, 3)
            if rng.random() < 0.3:  # as 32-bit sums get there
                bound = _signed(bound, 32)
            kind, branch = rng.choice(cls.KINDS), rng.choice(BRANCHES)
            own = (start & MASK64, bound & MASK64, branch, rng.random() < 0.4)
            found = cls(kind, step, *own)
            if found.ends(most) and (found.rounds > 1 or rng.random() < 0.1):
                return found

    def ends(self, most: int) -> bool:
        """It does within so many rounds."""
        value, step = self.start, -self.step if self.kind.startswith("sub") else self.step
        for self.rounds in range(1, most + 1):
            value = value + step & MASK64
            if self.kind.endswith("w"):
                value = _signed(value, 32) & MASK64
            a, b = (self.bound, value) if self.swapped else (value, self.bound)
            if self.branch[-1] != "u":
                a, b = _signed(a, 64), _signed(b, 64)
            how = self.branch.removesuffix("u")
            if not (a == b, a != b, a < b, a >= b)[("beq", "bne", "blt", "bge").index(how)]:
                return True
        return False


def _signed(value: int, bits: int) -> int:
    """The low bits, as a number in two's complement."""
    return (value + (1 << bits - 1) & (1 << bits) - 1) - (1 << bits - 1)


@dataclass
class Draft:
    """A block in the making."""

    x: list[int]
    memory: bytearray
    at: int
    """Address of its window."""
    room: int = 0
    """Bytes at the window's start that are given away: no store reaches ``SAFE``."""
    after: bytearray = field(default_factory=bytearray)
    rounds: int = 0
    jumps: dict[int, list[int]] = field(default_factory=dict[int, list[int]])
    sites: list[int] = field(default_factory=list[int])
    """Offsets that calls in the block itself come back to."""
    inner_sites: list[int] = field(default_factory=list[int])
    """The same of calls in functions, from where ``after`` begins."""
    returns: list[int] = field(default_factory=list[int])
    """Offsets there of returns."""

    def put_return(self) -> None:
        """The end of a function."""
        self.returns.append(len(self.after))
        self.after += encode("jalr", rd=0, rs1=RA, imm=0)

    def put_call(self, function: int) -> None:
        """In a function: call another."""
        self.after += encode("jal", rd=RA, imm=function - len(self.after))
        self.inner_sites.append(len(self.after))

    def returns_seen(self, rng: random.Random, behind: int) -> None:
        """Say of some returns where they went; functions begin at ``behind``."""
        sites = self.sites + [behind + site for site in self.inner_sites]
        for at in self.returns:
            if rng.random() < 0.4:
                self.jumps[behind + at] = rng.sample(sites, rng.randint(1, min(len(sites), 5)))

    def take(self, size: int) -> int | None:
        """The offset of some bytes of the window that the block alone decides about."""
        at = self.room
        if at + size > SAFE:
            return None
        self.room = at + (size + 7 & -8)
        return at

    def reach(self, base: int, offset: int) -> int:
        """The displacement from a base register to an offset of the window."""
        return self.at + offset - self.x[base]

    def constant(self, value: int) -> int | None:
        """The offset of a doubleword that holds this."""
        at = self.take(8)
        if at is not None:
            self.memory[at : at + 8] = (value & MASK64).to_bytes(8, "little")
        return at

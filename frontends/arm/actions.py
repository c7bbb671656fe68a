"""What translation puts in the place of an instruction, before it or behind it."""

from __future__ import annotations

from jitemu.frontends.arm.registers import PC, C, V
from jitemu.frontends.arm.state import S, Word, isa
from jitemu.ir.emitter import RegisterFile

EXIT_BREAKPOINT, EXIT_ILLEGAL, EXIT_FENCE = 2, 3, 4


@isa.action
def illegal(s: S) -> None:
    """An undefined word."""
    s.exit(EXIT_ILLEGAL)


@isa.action
def read_pc(s: S) -> None:
    """Bring r15 up to date for what reads it."""
    s._file[PC] = s.pc_read.zext()  # pyright: ignore[reportPrivateUsage]


@isa.action
def write_pc(s: S) -> None:
    """Jump to what was written to r15."""
    s.interwork(RegisterFile(s, s._file.kind)[PC].trunc(32))  # pyright: ignore[reportPrivateUsage]


def _less(s: S) -> Word:
    return s.negative.zext(32).ne(s.flag(V))


_HOLDS = (
    lambda s: s.zero,
    lambda s: s.flag(C).ne(0),
    lambda s: s.negative,
    lambda s: s.flag(V).ne(0),
    lambda s: s.flag(C).ne(0) & (s.zero ^ 1),
    lambda s: _less(s) ^ 1,
    lambda s: (_less(s) | s.zero) ^ 1,
)
"""The even predicates; the odd ones are their opposites."""


def _skip(number: int) -> None:
    def skip(s: S) -> None:
        """Skip the instruction where the predicate does not hold."""
        holds = _HOLDS[number >> 1](s)
        s.skip(holds if number & 1 else holds ^ 1)

    skip.__name__ = f"skip_{number}"
    isa.action(skip)


for _number in range(14):
    _skip(_number)

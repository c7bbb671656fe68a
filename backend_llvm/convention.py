"""The one calling convention of everything native, and the names it uses in LLVM text.

ghccc passes ten integer arguments in registers and saves none.  The first is the state,
the others are the pinned guest registers; control passes by tail call, so a jump from
any piece of translated code to any other costs one jump instruction.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

CC = "ghccc"
KEEPING = "preserve_mostcc"
"""Of the functions that translated code calls: general registers are preserved."""
SLOW = ".slow"
"""Of the names of native functions' entries with operands and result in the state."""
MAX_PINNED = 8
"""The ninth is the number of the entry, where a region is entered."""

HOST_REGISTERS = ("r13", "rbp", "r12", "rbx", "r14", "rsi", "rdi", "r8", "r9", "r15")
"""Where ghccc passes the state and the pinned registers, in order; r15 is a region's alone."""

RECORD_BITS = 16
"""A thread's signal stack is this large (bits) and aligned; its lowest words are the
record: state, arena base, arena size, addresses of libc's signal() and mprotect()."""


def parameters(count: int) -> str:
    """Parameter list of a translated function with so many pinned registers."""
    return "ptr %s, " + ", ".join(f"i64 %p{i}" for i in range(count))


def arguments(pins: Sequence[str]) -> str:
    """Argument list: the state and the current values of the pinned registers."""
    return "ptr %s, " + ", ".join(f"i64 {p}" for p in pins)

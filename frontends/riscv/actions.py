"""What translation puts in the place of an instruction that cannot run as it is."""

from __future__ import annotations

from jitemu.frontends.riscv.i import EXIT_ILLEGAL
from jitemu.frontends.riscv.state import S, isa


@isa.action
def illegal(s: S) -> None:
    """An undefined word, or an instruction that the context forbids."""
    if s.mode == "user":
        s.exit(EXIT_ILLEGAL)
    else:
        s.set_field("pc", s.pc)
        s.call("raise_exception", 2, 0)
        s.leave()


@isa.action
def float_dirty(s: S) -> None:
    """The FP unit is on but clean: mark it dirty, then come back in the new context.

    (Linux user mode has no such contexts.)
    """
    if s.mode == "user":
        s.exit(EXIT_ILLEGAL)
        return
    s.set_field("pc", s.pc)
    s.call("float_again")
    s.leave()

"""frm's modes that the host's float unit does not have, as translation contexts.

Where frm is one of the host's modes, MXCSR holds it and a dynamic form just operates.  The
others are rare, so code is translated again for them: dynamic forms become those of RMM,
or, in the reserved modes, illegal instructions.
"""

from __future__ import annotations

from jitemu.frontends.riscv.registers import RiscvState
from jitemu.ir.native import addressof, native, store64
from jitemu.ir.state import JUMP_CACHE_ENTRIES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container

RMM = 4
"""To nearest, ties to the greater magnitude; greater numbers are reserved."""
NO_TAG = (1 << 64) - 1


@native
def rounding_context(s: RiscvState, frm: int) -> int:
    """0: a mode of the host's, 1: RMM, 2: reserved."""
    if frm == RMM:
        return 1
    return 2 if frm > RMM else 0


def rounded_instead(name: str, which: int, names: Container[str]) -> str | None:
    """What takes an instruction's place in such a context, of the definitions with these names."""
    if which == 0 or f"{name}.rmm" not in names:
        return None
    return f"{name}.rmm" if which == 1 else "illegal"


@native
def user_rounding(s: RiscvState, frm: int) -> int:
    """Linux user mode: 1 if code goes on in another context with this frm.

    The jump cache has the code of one context only.
    """
    ctx = rounding_context(s, frm)
    if ctx == s.ctx:
        return 0
    s.ctx = ctx
    s.ctx_tag = ctx << 58
    at = addressof(s.jump_cache)
    end = at + JUMP_CACHE_ENTRIES * 16
    while at < end:
        store64(at, NO_TAG)
        at += 16
    return 1

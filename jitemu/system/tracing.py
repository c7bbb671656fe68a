"""What -d int and -d mmu show: records of traps and TLB fills, out of native code."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from jitemu.frontends.riscv.causes import cause_name
from jitemu.frontends.riscv.privileged import MODE_M, PRIV_M
from jitemu.frontends.riscv.traps import INTERRUPT

if TYPE_CHECKING:
    from collections.abc import Callable

    from jitemu.runtime.stateview import StateView
    from jitemu.trace import Log

_TrapHook = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64)
_FillHook = ctypes.CFUNCTYPE(ctypes.c_uint64, *[ctypes.c_uint64] * 4)


class HartLog:
    """Writes a hart's traps and TLB fills to the log, if it wants them.

    It has to live as long as the hart runs.
    """

    def __init__(self, log: Log, hart_id: int, state: StateView) -> None:
        self._log = log
        self._hart = hart_id
        self._state = state
        self._hooks: list[Callable[..., int]] = []
        if log.int:
            self._hook("trap_hook", _TrapHook(self._trap))
        if log.mmu:
            self._hook("fill_hook", _FillHook(self._fill))

    def _hook(self, word: str, hook: Callable[..., int]) -> None:
        self._hooks.append(hook)
        self._state[word] = ctypes.cast(hook, ctypes.c_void_p).value or 0  # pyright: ignore[reportArgumentType]

    def _trap(self, cause: int, tval: int) -> int:
        interrupt, code = bool(cause & INTERRUPT), cause & ~INTERRUPT
        epc = self._state["pc"]
        self._log.write_int(self._hart, interrupt, code, epc, tval, cause_name(interrupt, code))
        return 0

    def _fill(self, address: int, access: int, mode: int, cause: int) -> int:
        state = self._state
        privilege = PRIV_M if mode == MODE_M else mode
        physical, rights = (None, 0) if cause else (state["physical"], state["walk_rights"])
        self._log.write_mmu(address, access, privilege, physical, rights)
        return 0

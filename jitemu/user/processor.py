"""The engine's processor as Linux user mode sees it: riscv64 registers and exits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jitemu.runtime.lookup import (
    EXIT_BREAKPOINT,
    EXIT_FENCE_I,
    EXIT_ILLEGAL,
    EXIT_REQUESTED,
    EXIT_SYSCALL,
)
from jitemu.runtime.user_processor import UserProcessor, UserSpace
from jitemu.user.cpu import ExitKind

if TYPE_CHECKING:
    from jitemu.user.memory import GuestSpace
    from jitemu.user.run import UserConfig

_KINDS = {
    EXIT_SYSCALL: ExitKind.SYSCALL,
    EXIT_BREAKPOINT: ExitKind.BREAKPOINT,
    EXIT_ILLEGAL: ExitKind.ILLEGAL,
    EXIT_REQUESTED: ExitKind.INTERRUPTED,
}
_MASK = (1 << 64) - 1
_MXCSR_FLAGS = ((0x20, 1), (0x10, 2), (0x08, 4), (0x04, 8), (0x01, 16))
"""MXCSR's sticky flags and fflags' NX, UF, OF, DZ, NV."""
_MXCSR_STICKY = 0x3F
_MXCSR_ROUNDING = (0, 3 << 13, 1 << 13, 2 << 13)
"""MXCSR's rounding control for RNE, RTZ, RDN, RUP."""


class EngineCpu(UserProcessor):
    """A guest thread's processor (jitemu.user.cpu.GuestCpu)."""

    def __init__(self, space: UserSpace) -> None:
        super().__init__(space)
        self._x = self.state.at["x"]
        self._f = self.state.at["f"]

    def gpr(self, i: int, /) -> int:
        """x[i]."""
        return self.state.words[self._x + i]

    def set_gpr(self, i: int, v: int, /) -> None:
        """x[i] = v."""
        if i:
            self.state.words[self._x + i] = v & _MASK

    def fpr(self, i: int, /) -> int:
        """f[i], raw."""
        return self.state.words[self._f + i]

    def set_fpr(self, i: int, v: int, /) -> None:
        """f[i] = v, raw."""
        self.state.words[self._f + i] = v & _MASK

    @property
    def fcsr(self) -> int:
        """frm and fflags; part of the flags are in the saved MXCSR."""
        flags, mxcsr = self.state["fflags"], self.state["guest_mxcsr"]
        for host, guest in _MXCSR_FLAGS:
            if mxcsr & host:
                flags |= guest
        return flags & 31 | (self.state["frm"] & 7) << 5

    @fcsr.setter
    def fcsr(self, value: int) -> None:
        frm = value >> 5 & 7
        self.state["frm"] = frm
        self.state["fflags"] = value & 31
        rounding = _MXCSR_ROUNDING[frm] if frm < 4 else 0
        kept = self.state["guest_mxcsr"] & ~(_MXCSR_STICKY | 3 << 13)
        self.state["guest_mxcsr"] = kept | rounding

    def run(self) -> ExitKind:  # type: ignore[override]
        """Run until the operating system is needed."""
        while True:
            reason = super().run()
            if reason == EXIT_FENCE_I:
                self.user_space.recheck()
                continue
            return _KINDS.get(reason, ExitKind.FAULT)

    def clone(self) -> EngineCpu:
        """Another thread's processor with a copy of the registers."""
        other = EngineCpu(self.user_space)
        words, at = other.state.words, self.state.at
        for name, count in (("x", 32), ("f", 32), ("frm", 1), ("fflags", 1), ("guest_mxcsr", 1)):
            start = at[name]
            words[start : start + count] = self.state.words[start : start + count]
        other.pc = self.pc
        return other

    def invalidate(self, start: int, size: int, /) -> None:
        """Code there changes."""
        self.user_space.invalidate(start, size)

    def after_fork(self) -> None:
        """Only this thread's processor is left."""
        self.user_space.processors[:] = [self]

    def release(self) -> None:
        """The thread has ended."""
        with self.user_space.lock:
            if self in self.user_space.processors:
                self.user_space.processors.remove(self)


def make_cpu(config: UserConfig, space: GuestSpace) -> EngineCpu:
    """The first thread's processor."""
    from jitemu.frontends.riscv.cpu import parse_cpu
    from jitemu.runtime.guests import riscv64_user
    from jitemu.runtime.setup import stencils_for

    guest = riscv64_user(config.cpu or parse_cpu("rv64"))
    return EngineCpu(UserSpace(guest, stencils_for(guest, config.cache), space))

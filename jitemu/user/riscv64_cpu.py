"""The engine's processor with riscv64's registers."""

from __future__ import annotations

from jitemu.runtime.tiers import Tiers
from jitemu.runtime.user_processor import UserSpace
from jitemu.user.processor import EngineCpu, make_engine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jitemu.user.memory import GuestSpace
    from jitemu.user.run import UserConfig

_MASK = (1 << 64) - 1
_MXCSR_FLAGS = ((0x20, 1), (0x10, 2), (0x08, 4), (0x04, 8), (0x01, 16))
"""MXCSR's sticky flags and fflags' NX, UF, OF, DZ, NV."""
_MXCSR_STICKY = 0x3F
_MXCSR_ROUNDING = (0, 3 << 13, 1 << 13, 2 << 13)
"""MXCSR's rounding control for RNE, RTZ, RDN, RUP."""


class RiscvEngineCpu(EngineCpu):
    """A guest thread's processor (jitemu.user.riscv64.RiscvCpu)."""

    kept = (
        *(("x", 32), ("f", 32), ("frm", 1), ("fflags", 1), ("guest_mxcsr", 1)),
        *(("ctx", 1), ("ctx_tag", 1)),
    )

    first_argument = 10

    def __init__(self, space: UserSpace, tiers: Tiers | None) -> None:
        super().__init__(space, tiers)
        self._f = self.state.at["f"]

    def set_gpr(self, i: int, v: int, /) -> None:
        """x[i] = v."""
        if i:
            self.state.words[self._x + i] = v & _MASK

    def pass_call(self) -> None:
        """The pc goes behind the ecall."""
        self.state.words[self._pc] += 4

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
        if frm != self.state["frm"]:
            self.native("user_rounding", frm)
        self.state["frm"] = frm
        self.state["fflags"] = value & 31
        rounding = _MXCSR_ROUNDING[frm] if frm < 4 else 0
        kept = self.state["guest_mxcsr"] & ~(_MXCSR_STICKY | 3 << 13)
        self.state["guest_mxcsr"] = kept | rounding


def make_cpu(config: UserConfig, space: GuestSpace) -> RiscvEngineCpu:
    """The first thread's processor."""
    from jitemu.frontends.riscv.cpu import DEFAULT, parse_cpu
    from jitemu.runtime.guests import riscv64_user

    model = parse_cpu(config.cpu or DEFAULT)
    return RiscvEngineCpu(*make_engine(riscv64_user(model), model, config, space))

"""RISC-V: the instruction set object, and the emitter that bodies write to."""

from __future__ import annotations

from jitemu.frontends.riscv.registers import PINNED as PINNED
from jitemu.frontends.riscv.registers import F, X
from jitemu.frontends.riscv.registers import RiscvState as RiscvState
from jitemu.ir.emitter import Emitter, RegisterFile
from jitemu.isa import Isa

isa = Isa("riscv")


class S(Emitter):
    """The emitter with RISC-V's registers."""

    @property
    def x(self) -> RegisterFile:
        """Integer registers."""
        return RegisterFile(self, X)

    @property
    def f(self) -> RegisterFile:
        """Floating-point registers, as raw 64-bit words."""
        return RegisterFile(self, F)

"""The engine's processor with ARM's registers."""

from __future__ import annotations

from jitemu.frontends.arm.registers import (
    ADDRESS_BITS,
    FP_FLAGS,
    GE,
    NZ,
    QC,
    C,
    Q,
    V,
    following,
    status,
)
from jitemu.user.hostcalls import read_guest
from jitemu.user.processor import EngineCpu, make_engine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jitemu.user.memory import GuestSpace
    from jitemu.user.run import UserConfig

_SIGBUS, _SI_KERNEL, _BUS_ADRALN = 7, 128, 1
_THUMB = 1 << 5
_IT_LOW, _IT_HIGH = 25, 10
"""Where CPSR has bits 1:0 and 7:2 of ITSTATE."""
_FP_MODE = 0x07C00000
_MXCSR_FLAGS = ((0x20, 16), (0x10, 8), (0x08, 4), (0x04, 2), (0x01, 1))
"""MXCSR's sticky flags and FPSCR's IXC, UFC, OFC, DZC, IOC."""
_MXCSR_STICKY = 0x3F
_MXCSR_ROUNDING = (0, 2 << 13, 1 << 13, 3 << 13)
"""MXCSR's rounding control for RN, RP, RM, RZ."""


class ArmEngineCpu(EngineCpu):
    """A guest thread's processor (jitemu.user.arm.ArmCpu)."""

    kept = (
        *(("r", 21), ("d", 32), ("fp", 2), ("fpmode", 1), ("idc", 1)),
        *(("tls", 1), ("tpidrurw", 1), ("guest_mxcsr", 1)),
    )
    word_mask = ADDRESS_BITS

    def pass_call(self) -> None:
        """The pc goes behind the svc, and an IT block on to the next instruction."""
        pc = self.pc
        self.pc = following(pc, 2 if pc & 1 else 4)

    def _fault(self, address: int, number: int, code: int) -> None:
        """An address that no host has is ARM's alignment fault (``S.aligned``)."""
        if code == _SI_KERNEL:
            number, code, address = _SIGBUS, _BUS_ADRALN, self._misaligned()
        super()._fault(address, number, code)

    def _misaligned(self) -> int:
        """The address that the instruction at pc accesses."""
        decoder, pc = self.space.guest.decoder, self.pc
        decoded = decoder.decode_at(pc, read_guest(decoder.address_of(pc), 4))
        assert decoded is not None
        name, fields = decoded.insn.stencil, decoded.fields
        offset = 0
        if name.startswith(("ldrex", "vldr", "vstr")):
            offset = fields.get("off", 0)
        elif decoded.insn.name.startswith(("vldmdb", "vstmdb")):
            offset = -4 * fields["words"]
        return self.gpr(fields["rn"]) + offset & ADDRESS_BITS

    @property
    def tls(self) -> int:
        """TPIDRURO."""
        return self.state["tls"]

    @tls.setter
    def tls(self, value: int) -> None:
        self.state["tls"] = value & ADDRESS_BITS

    @property
    def cpsr(self) -> int:
        """Flags, the Thumb bit and ITSTATE as the status register has them."""
        return status(self.state.words[self._x : self._x + GE + 1], self.pc)

    def set_cpsr(self, word: int, address: int) -> None:
        """The status register, and the pc that goes with it."""
        words, r = self.state.words, self._x
        words[r + NZ] = (word >> 31) << 63 | (word >> 30 & 1 ^ 1)
        words[r + C], words[r + V], words[r + Q] = word >> 29 & 1, word >> 28 & 1, word >> 27 & 1
        words[r + GE] = word >> 16 & 15
        thumb = word // _THUMB & 1
        it = (word >> _IT_LOW & 3) | (word >> _IT_HIGH & 0x3F) << 2
        address &= ~1 if thumb else ~3
        self.pc = address & ADDRESS_BITS | thumb | (it << 32 if thumb else 0)

    @property
    def fpscr(self) -> int:
        """FPSCR; the flags are in the saved MXCSR."""
        state, fp = self.state, self.state.at["fp"]
        mxcsr = state["guest_mxcsr"]
        flags = sum(guest for host, guest in _MXCSR_FLAGS if mxcsr & host)
        saturated = state.words[fp + QC] != 0
        flags |= state["idc"] << 7 | state["fpmode"] | saturated << 27
        return flags | state.words[fp + FP_FLAGS]

    @fpscr.setter
    def fpscr(self, value: int) -> None:
        state, fp = self.state, self.state.at["fp"]
        state.words[fp + FP_FLAGS], state.words[fp + QC] = value & 0xF0000000, value >> 27 & 1
        state["idc"], state["fpmode"] = value >> 7 & 1, value & _FP_MODE
        flags = sum(host for host, guest in _MXCSR_FLAGS if value & guest)
        rounding = _MXCSR_ROUNDING[value >> 22 & 3]
        kept = state["guest_mxcsr"] & ~(_MXCSR_STICKY | 3 << 13)
        state["guest_mxcsr"] = kept | rounding | flags

    def vfp(self) -> list[int]:
        """d0 to d31 and FPSCR."""
        d = self.state.at["d"]
        return [*self.state.words[d : d + 32], self.fpscr]

    def set_vfp(self, values: list[int]) -> None:
        """The same back."""
        d, words = self.state.at["d"], self.state.words
        *doubles, self.fpscr = values
        for i, value in enumerate(doubles):
            words[d + i] = value


def make_cpu(config: UserConfig, space: GuestSpace) -> ArmEngineCpu:
    """The first thread's processor."""
    from jitemu.frontends.arm.cpu import parse_cpu
    from jitemu.runtime.guest_arm import arm_user

    model = parse_cpu(config.cpu)
    return ArmEngineCpu(*make_engine(arm_user(model), model, config, space))

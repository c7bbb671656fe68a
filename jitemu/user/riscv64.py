"""The riscv64 guest of Linux user mode."""

from __future__ import annotations

import struct

from jitemu.runtime.layouts import native_call
from jitemu.user.abi import Abi, AltStack
from jitemu.user.cpu import GuestCpu
from jitemu.user.hostcalls import read_guest, write_guest
from jitemu.user.memory import GuestSpace
from jitemu.user.signals import SIGINFO_SIZE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from jitemu.user.process import Process
    from jitemu.user.run import UserConfig
    from jitemu.user.signals import Action, Item
    from jitemu.user.syscalls.table import Row
    from jitemu.user.thread import GuestThread
else:
    Protocol = object

AT_HWCAP = 16
RISCV_HWCAP = sum(1 << (ord(letter) - ord("a")) for letter in "imafdc")
_A0, _RA, _TP = 10, 1, 4
_UCONTEXT = struct.Struct("<QQQi4xQQ120x8x")
"""uc_flags, uc_link, uc_stack (sp, flags, size), uc_sigmask, padding to 16 bytes."""
_REGISTERS = struct.Struct("<32Q")
_FLOATS = struct.Struct("<32QI")
_FLOAT_AREA = 528
FRAME_SIZE = SIGINFO_SIZE + _UCONTEXT.size + _REGISTERS.size + _FLOAT_AREA

TRAMPOLINE = struct.pack("<II", 0x08B00893, 0x00000073)
"""li a7, 139 (rt_sigreturn); ecall.  Linux has it in the vDSO."""


class RiscvCpu(GuestCpu, Protocol):
    """A riscv64 processor."""

    fcsr: int
    """Rounding mode and sticky flags."""

    def fpr(self, i: int, /) -> int:
        """f[i], its 64 raw bits."""
        ...

    def set_fpr(self, i: int, v: int, /) -> None:
        """f[i] = 64 raw bits."""
        ...


class Riscv64(Abi):
    """Registers, frames and numbers of riscv64 Linux."""

    name = "riscv64"
    machine = "riscv64"
    elf_class = 2
    elf_machine = 243
    word = 8
    number = 17
    arguments = tuple(range(10, 17))
    sp = 2
    sigaction = struct.Struct("<QQQ")
    stack = struct.Struct("<Qi4xQ")
    program_base = 0x4000000000

    def make_space(self, config: UserConfig) -> GuestSpace:
        if config.guest_base:
            from jitemu.messages import fail

            fail("-B: only a guest base of 0 is supported; leave the option out")
        return GuestSpace()

    def make_cpu(self, config: UserConfig, space: GuestSpace) -> GuestCpu:
        from jitemu.user.riscv64_cpu import make_cpu

        return make_cpu(config, space)

    def capabilities(self) -> list[tuple[int, int | bytes]]:
        return [(AT_HWCAP, RISCV_HWCAP)]

    def map_helpers(self, process: Process) -> None:
        process.trampoline = process.space.map_code(TRAMPOLINE, "[sigreturn]")

    def fetch(self, cpu: GuestCpu, kinds: tuple[str, ...]) -> Callable[[], tuple[int, ...]]:
        gpr, registers = cpu.gpr, self.arguments[: len(kinds)]
        return lambda: tuple([gpr(i) for i in registers])

    def native_call(self, row: Row) -> int:
        return native_call(row.host) if row.host is not None and "rpath" not in row.kinds else 0

    def set_tls(self, cpu: GuestCpu, value: int) -> None:
        cpu.set_gpr(_TP, value)

    def enter_handler(
        self, thread: GuestThread, item: Item, action: Action, sp: int, mask: int, stack: AltStack
    ) -> None:
        """struct rt_sigframe: siginfo, ucontext."""
        cpu: RiscvCpu = thread.cpu  # type: ignore[assignment]
        frame = (sp - FRAME_SIZE) & -16
        registers = _REGISTERS.pack(cpu.pc, *[cpu.gpr(i) for i in range(1, 32)])
        floats = _FLOATS.pack(*[cpu.fpr(i) for i in range(32)], cpu.fcsr & 0xFF)
        data = item.info.ljust(SIGINFO_SIZE, b"\0")[:SIGINFO_SIZE]
        data += _UCONTEXT.pack(0, 0, *stack, mask)
        write_guest(frame, data + registers + floats.ljust(_FLOAT_AREA, b"\0"))
        cpu.set_gpr(_RA, thread.process.trampoline)
        cpu.set_gpr(self.sp, frame)
        cpu.set_gpr(_A0, item.number)
        cpu.set_gpr(_A0 + 1, frame)
        cpu.set_gpr(_A0 + 2, frame + SIGINFO_SIZE)
        cpu.pc = action.handler

    def leave_handler(self, cpu: GuestCpu, queued: bool) -> tuple[int, AltStack | None]:
        riscv: RiscvCpu = cpu  # type: ignore[assignment]
        frame = read_guest(cpu.gpr(self.sp), FRAME_SIZE)
        _, _, pointer, flags, size, mask = _UCONTEXT.unpack_from(frame, SIGINFO_SIZE)
        registers_at = SIGINFO_SIZE + _UCONTEXT.size
        pc, *registers = _REGISTERS.unpack_from(frame, registers_at)
        *floats, fcsr = _FLOATS.unpack_from(frame, registers_at + _REGISTERS.size)
        for i, value in enumerate(registers, 1):
            cpu.set_gpr(i, value)
        for i, value in enumerate(floats):
            riscv.set_fpr(i, value)
        riscv.fcsr = fcsr & 0xFF
        cpu.pc = pc & ~1
        return mask, (pointer, flags, size)


def make_abi(config: UserConfig) -> Riscv64:
    """The guest that a configuration asks for."""
    return Riscv64()

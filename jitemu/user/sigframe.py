"""Signal frames as riscv64 Linux lays them out (struct rt_sigframe), on the guest's stack."""

from __future__ import annotations

import struct

from jitemu.user.cpu import GuestCpu
from jitemu.user.hostcalls import read_guest, write_guest

SIGINFO_SIZE = 128
_UCONTEXT = struct.Struct("<QQQi4xQQ120x8x")
"""uc_flags, uc_link, uc_stack (sp, flags, size), uc_sigmask, padding to 16 bytes."""
_REGISTERS = struct.Struct("<32Q")
_FLOATS = struct.Struct("<32QI")
_FLOAT_AREA = 528
FRAME_SIZE = SIGINFO_SIZE + _UCONTEXT.size + _REGISTERS.size + _FLOAT_AREA

TRAMPOLINE = struct.pack("<II", 0x08B00893, 0x00000073)
"""li a7, 139 (rt_sigreturn); ecall.  Linux has it in the vDSO."""


def save(cpu: GuestCpu, at: int, info: bytes, mask: int, stack: tuple[int, int, int]) -> None:
    """Store the frame for a handler; ``stack`` is the alternate stack (sp, flags, size)."""
    registers = _REGISTERS.pack(cpu.pc, *[cpu.gpr(i) for i in range(1, 32)])
    floats = _FLOATS.pack(*[cpu.fpr(i) for i in range(32)], cpu.fcsr & 0xFF)
    frame = info.ljust(SIGINFO_SIZE, b"\0")[:SIGINFO_SIZE]
    frame += _UCONTEXT.pack(0, 0, *stack, mask)
    write_guest(at, frame + registers + floats.ljust(_FLOAT_AREA, b"\0"))


def restore(cpu: GuestCpu, at: int) -> tuple[int, tuple[int, int, int]]:
    """Load registers from a frame; the signal mask and alternate stack it holds."""
    frame = read_guest(at, FRAME_SIZE)
    _, _, pointer, flags, size, mask = _UCONTEXT.unpack_from(frame, SIGINFO_SIZE)
    registers_at = SIGINFO_SIZE + _UCONTEXT.size
    pc, *registers = _REGISTERS.unpack_from(frame, registers_at)
    *floats, fcsr = _FLOATS.unpack_from(frame, registers_at + _REGISTERS.size)
    for i, value in enumerate(registers, 1):
        cpu.set_gpr(i, value)
    for i, value in enumerate(floats):
        cpu.set_fpr(i, value)
    cpu.fcsr = fcsr & 0xFF
    cpu.pc = pc & ~1
    return mask, (pointer, flags, size)

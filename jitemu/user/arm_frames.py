"""Signal frames of ARM Linux (struct sigframe, struct rt_sigframe), on the guest's stack."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from jitemu.user.hostcalls import read_guest, write_guest
from jitemu.user.signals import SA_SIGINFO

if TYPE_CHECKING:
    from jitemu.user.abi import AltStack
    from jitemu.user.arm import ArmCpu
    from jitemu.user.signals import Action, Item
    from jitemu.user.thread import GuestThread

SA_RESTORER = 0x04000000
_SIGINFO = 128
_HEAD = struct.Struct("<II IiI")
"""uc_flags, uc_link, uc_stack."""
_MACHINE = struct.Struct("<III 16I II")
"""trap_no, error_code, oldmask, r0 to pc, cpsr, fault_address."""
_MASK = struct.Struct("<Q120x")
_REGSPACE = 512
_VFP = struct.Struct("<II 32Q I4x III4x")
"""magic, size, d0 to d31, fpscr, fpexc, fpinst, fpinst2."""
_VFP_MAGIC, _FPEXC_ENABLED = 0x56465001, 1 << 30
_UCONTEXT = _HEAD.size + _MACHINE.size + _MASK.size + _REGSPACE
_RETCODE = 16
_NOT_QUEUED = 0x5AC3C35A
"""uc_flags of the frame of a handler that gets no siginfo."""
_THUMB, _ITSTATE = 1 << 5, 0x0600FC00
_LR, _PC = 14, 15


def enter(
    thread: GuestThread,
    cpu: ArmCpu,
    item: Item,
    action: Action,
    sp: int,
    mask: int,
    stack: AltStack,
) -> None:
    """Store the frame and go on at the handler."""
    queued = bool(action.flags & SA_SIGINFO)
    size = _UCONTEXT + _RETCODE + queued * _SIGINFO
    frame = (sp - size) & -8
    cpsr = cpu.cpsr
    registers = [*(cpu.gpr(i) for i in range(_PC)), cpu.address]
    fault = int.from_bytes(item.info[16:20], "little") if item.number in (7, 11) else 0
    data = thread.abi.siginfo(item.info) if queued else b""
    data += _HEAD.pack(0 if queued else _NOT_QUEUED, 0, *stack)
    data += _MACHINE.pack(0, 0, mask & 0xFFFFFFFF, *registers, cpsr, fault)
    data += _MASK.pack(mask) + vfp_area(cpu).ljust(_REGSPACE, b"\0")
    thumb = action.handler & 1
    number = queued + 2 * thumb
    code_at = thread.process.trampoline
    returns = code_at + (0, 8, 16, 20)[number] | thumb
    data += read_guest(code_at + (0, 8, 16, 20)[number], 8 if not thumb else 4).ljust(16, b"\0")
    write_guest(frame, data)
    cpu.set_gpr(thread.abi.sp, frame)
    cpu.set_gpr(0, item.number)
    if queued:
        cpu.set_gpr(1, frame)
        cpu.set_gpr(2, frame + _SIGINFO)
    cpu.set_gpr(_LR, action.restorer if action.flags & SA_RESTORER else returns)
    cpu.set_cpsr(cpsr & ~(_THUMB | _ITSTATE) | thumb * _THUMB, action.handler)


def leave(cpu: ArmCpu, queued: bool) -> tuple[int, AltStack | None]:
    """Load all from the frame at sp."""
    at = cpu.gpr(13) + queued * _SIGINFO
    data = read_guest(at, _UCONTEXT)
    _, _, *stack = _HEAD.unpack_from(data)
    _, _, low, *registers, cpsr, _ = _MACHINE.unpack_from(data, _HEAD.size)
    (mask,) = _MASK.unpack_from(data, _HEAD.size + _MACHINE.size)
    for i, value in enumerate(registers[:_PC]):
        cpu.set_gpr(i, value)
    restore_vfp(cpu, data[-_REGSPACE:])
    cpu.set_cpsr(cpsr, registers[_PC])
    if not queued:
        mask = mask & ~0xFFFFFFFF | low
    return mask, (stack[0], stack[1], stack[2]) if queued else None


def vfp_area(cpu: ArmCpu) -> bytes:
    """struct vfp_sigframe."""
    *doubles, fpscr = cpu.vfp()
    return _VFP.pack(_VFP_MAGIC, _VFP.size, *doubles, fpscr, _FPEXC_ENABLED, 0, 0)


def restore_vfp(cpu: ArmCpu, area: bytes) -> None:
    """The registers from a frame that has them."""
    magic, size, *values = _VFP.unpack_from(area)
    if magic == _VFP_MAGIC and size == _VFP.size:
        cpu.set_vfp(values[:33])

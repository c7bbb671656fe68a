"""The 32-bit ARM guest of Linux user mode (EABI)."""

from __future__ import annotations

import struct

from jitemu.frontends.arm.cpu import CpuModel, parse_cpu
from jitemu.user.abi import Abi, AltStack
from jitemu.user.cpu import GuestCpu
from jitemu.user.reserved import ReservedSpace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol, cast

    from jitemu.user.memory import GuestSpace
    from jitemu.user.process import Process
    from jitemu.user.run import UserConfig
    from jitemu.user.signals import Action, Item
    from jitemu.user.syscalls.table import Row
    from jitemu.user.thread import GuestThread
else:
    Protocol = object

    def cast(kind, value):
        return value


AT_PLATFORM, AT_HWCAP, AT_HWCAP2 = 15, 16, 26
HWCAP = {
    "swp": 1 << 0,
    "half": 1 << 1,
    "thumb": 1 << 2,
    "fastmult": 1 << 4,
    "vfp": 1 << 6,
    "edsp": 1 << 7,
    "neon": 1 << 12,
    "vfpv3": 1 << 13,
    "vfpv3d16": 1 << 14,
    "tls": 1 << 15,
    "vfpv4": 1 << 16,
    "idiva": 1 << 17,
    "idivt": 1 << 18,
    "vfpd32": 1 << 19,
    "lpae": 1 << 20,
}
HWCAP2 = {"aes": 1, "pmull": 2, "sha1": 4, "sha2": 8, "crc32": 16}
_FEATURES = {
    "swp": "swp",
    "v5": "half thumb fastmult edsp",
    "v6k": "tls",
    "div": "idiva idivt",
    "v8": "lpae",
    "crc": "crc32",
    "vfp2": "vfp",
    "vfp3": "vfpv3",
    "vfp4": "vfpv4",
    "d32": "vfpd32",
    "neon": "neon",
    "aes": "aes pmull",
    "sha1": "sha1",
    "sha2": "sha2",
}
"""What each feature of a model adds to the capabilities."""

KUSER = 0xFFFF_0000
"""The page of the kernel's helpers (Documentation/arm/kernel_user_helpers)."""
VERSION = 5
_BX_LR = 0xE12FFF1E
_DMB = 0xEE070FBA  # mcr p15, 0, r0, c7, c10, 5
_HELPERS = {
    0xF60: (  # r0: *old, r1: *new, r2: place
        0xE92D40F0,  # push {r4-r7, lr}
        0xE8900030,  # ldm r0, {r4, r5}
        0xE89100C0,  # ldm r1, {r6, r7}
        _DMB,
        0xE1B20F9F,  # ldrexd r0, r1, [r2]
        0xE0303004,  # eors r3, r0, r4
        0x00313005,  # eorseq r3, r1, r5
        0x01A23F96,  # strexdeq r3, r6, r7, [r2]
        0x03330001,  # teqeq r3, #1
        0x0AFFFFF9,  # beq ldrexd
        _DMB,
        0xE2730000,  # rsbs r0, r3, #0
        0xE8BD80F0,  # pop {r4-r7, pc}
    ),
    0xFA0: (_DMB, _BX_LR),
    0xFC0: (  # r0: old, r1: new, r2: place
        _DMB,
        0xE1923F9F,  # ldrex r3, [r2]
        0xE0533000,  # subs r3, r3, r0
        0x01823F91,  # strexeq r3, r1, [r2]
        0x03330001,  # teqeq r3, #1
        0x0AFFFFFA,  # beq ldrex
        0xE2730000,  # rsbs r0, r3, #0
        0xEAFFFFEF,  # b 0xffff0fa0: there is room for 8 only
    ),
    0xFE0: (0xEE1D0F70, _BX_LR),  # mrc p15, 0, r0, c13, c0, 3
    0xFFC: (VERSION,),
}
RETURNS = 0x500
"""Where in that page handlers return to: sigreturn and rt_sigreturn, in A32 and T32."""
_RETURN_CODE = (0xE3A07077, 0xEF900077, 0xE3A070AD, 0xEF9000AD, 0xDF002777, 0xDF0027AD)


def helpers() -> bytes:
    """The page's content."""
    page = bytearray(4096)
    for offset, words in ((RETURNS, _RETURN_CODE), *_HELPERS.items()):
        struct.pack_into(f"<{len(words)}I", page, offset, *words)
    return bytes(page)


class ArmCpu(GuestCpu, Protocol):
    """An ARM processor."""

    tls: int
    """TPIDRURO."""

    @property
    def cpsr(self) -> int:
        """Flags, the Thumb bit and ITSTATE as the status register has them."""
        ...

    def set_cpsr(self, word: int, address: int) -> None:
        """The status register, and the pc that goes with it."""
        ...

    def vfp(self) -> list[int]:
        """d0 to d31 and FPSCR."""
        ...

    def set_vfp(self, values: list[int]) -> None:
        """The same back."""
        ...


class Arm(Abi):
    """Registers, frames and numbers of ARM Linux."""

    name = "arm"
    elf_class = 1
    elf_machine = 40
    word = 4
    number = 7
    arguments = tuple(range(7))
    sp = 13
    calls = ("calls32", "legacy", "sockets32", "arm")
    sigaction = struct.Struct("<IIIQ")
    stack = struct.Struct("<IiI")
    program_base = 0x400000

    def __init__(self, model: CpuModel) -> None:
        self.model = model
        self.machine = model.architecture

    def make_space(self, config: UserConfig) -> GuestSpace:
        return ReservedSpace(KUSER, config.guest_base)

    def make_cpu(self, config: UserConfig, space: GuestSpace) -> GuestCpu:
        from jitemu.user.arm_cpu import make_cpu

        return make_cpu(config, space)

    def start(self, cpu: GuestCpu, pc: int, sp: int) -> None:
        cast("ArmCpu", cpu).set_cpsr((pc & 1) << 5, pc & ~1)
        cpu.set_gpr(self.sp, sp)

    def capabilities(self) -> list[tuple[int, int | bytes]]:
        words = {word for f in self.model.extensions for word in features_of(f)}
        first = sum(bit for name, bit in HWCAP.items() if name in words)
        second = sum(bit for name, bit in HWCAP2.items() if name in words)
        platform = self.machine.removeprefix("arm").encode()
        return [(AT_HWCAP, first), (AT_HWCAP2, second), (AT_PLATFORM, platform)]

    def map_helpers(self, process: Process) -> None:
        space = process.space
        limit, space.limit = space.limit, 1 << 32
        space.map_code(helpers(), "[vectors]", KUSER)
        space.limit = limit
        process.trampoline = KUSER + RETURNS

    def fetch(self, cpu: GuestCpu, kinds: tuple[str, ...]) -> Callable[[], tuple[int, ...]]:
        from jitemu.user.registers32 import fetch

        return fetch(cpu.gpr, self.arguments, kinds)

    def passing(self, thread: GuestThread, row: Row) -> Callable[..., int] | None:
        from jitemu.user.layouts32 import converting

        return converting(row)

    def native_call(self, row: Row) -> int:
        from jitemu.user.registers32 import call_word

        return call_word(row)

    def open_flags(self, flags: int) -> int:
        from jitemu.user.registers32 import open_flags

        return open_flags(flags)

    def siginfo(self, info: bytes) -> bytes:
        from jitemu.user.siginfo32 import to_guest

        return to_guest(info)

    def host_siginfo(self, info: bytes) -> bytes:
        from jitemu.user.siginfo32 import to_host

        return to_host(info)

    def set_tls(self, cpu: GuestCpu, value: int) -> None:
        cast("ArmCpu", cpu).tls = value

    def enter_handler(
        self, thread: GuestThread, item: Item, action: Action, sp: int, mask: int, stack: AltStack
    ) -> None:
        from jitemu.user.arm_frames import enter

        enter(thread, cast("ArmCpu", thread.cpu), item, action, sp, mask, stack)

    def leave_handler(self, cpu: GuestCpu, queued: bool) -> tuple[int, AltStack | None]:
        from jitemu.user.arm_frames import leave

        return leave(cast("ArmCpu", cpu), queued)


def features_of(feature: str) -> list[str]:
    """The names in /proc/cpuinfo that a feature of a model stands for."""
    return _FEATURES.get(feature, "").split()


def make_abi(config: UserConfig) -> Arm:
    """The guest that a configuration asks for."""
    return Arm(parse_cpu(config.cpu))

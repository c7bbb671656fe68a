"""A GuestCpu over Unicorn: an independent processor to test Linux user mode with."""

from __future__ import annotations

import os
import signal
from typing import Any

import unicorn
import unicorn.riscv_const as rv
import unicorn.unicorn_py3.unicorn as engine

from jitemu.user.cpu import ExitKind, StateWords
from jitemu.user.hostcalls import read_guest
from jitemu.user.memory import PROT_EXEC, PROT_READ, PROT_WRITE, GuestSpace
from jitemu.user.run import UserConfig

_X = [rv.UC_RISCV_REG_X0 + i for i in range(32)]
_F = [rv.UC_RISCV_REG_F0 + i for i in range(32)]
_ECALL, _BREAK, _ILLEGAL = 8, 3, 2
_EBREAKS = (b"\x02\x90", b"\x73\x00")
_MASK = (1 << 64) - 1


class UnicornCpu:
    """One guest thread; the guest's pages are mapped as they are in this process."""

    def __init__(self, space: GuestSpace) -> None:
        self.space = space
        self.fault_address = self.fault_signal = self.fault_code = 0
        self.state: StateWords = {}
        self._kicked = False
        self._running = False
        self._open()

    def _open(self) -> None:
        self.uc: Any = engine.Uc(unicorn.UC_ARCH_RISCV, unicorn.UC_MODE_RISCV64)
        self.uc.hook_add(unicorn.UC_HOOK_INTR, self._on_trap)
        self.uc.hook_add(unicorn.UC_HOOK_MEM_INVALID, self._on_fault)
        self._generation = -1
        self._mapped: list[tuple[int, int]] = []
        self._trap = -1
        # mstatus.FS = dirty: floating point on.
        self.uc.reg_write(rv.UC_RISCV_REG_MSTATUS, 3 << 13)

    def _on_trap(self, uc: Any, number: int, _data: object) -> None:
        self._trap = number
        uc.emu_stop()

    def _on_fault(self, *details: Any) -> bool:
        self.fault_address = details[2]
        return False

    def _sync(self) -> None:
        if self._generation == self.space.generation:
            return
        self._generation = self.space.generation
        for start, size in self._mapped:
            self.uc.mem_unmap(start, size)
        self._mapped = []
        for region in self.space.regions():
            prot = 0
            prot |= unicorn.UC_PROT_READ if region.prot & (PROT_READ | PROT_EXEC) else 0
            prot |= unicorn.UC_PROT_WRITE if region.prot & PROT_WRITE else 0
            prot |= unicorn.UC_PROT_EXEC if region.prot & PROT_EXEC else 0
            size = region.end - region.start
            self.uc.mem_map_ptr(region.start, size, prot, region.start)
            self._mapped.append((region.start, size))

    @property
    def pc(self) -> int:
        return self.uc.reg_read(rv.UC_RISCV_REG_PC)

    @pc.setter
    def pc(self, value: int) -> None:
        self.uc.reg_write(rv.UC_RISCV_REG_PC, value & _MASK)

    @property
    def fcsr(self) -> int:
        return self.uc.reg_read(rv.UC_RISCV_REG_FCSR)

    @fcsr.setter
    def fcsr(self, value: int) -> None:
        self.uc.reg_write(rv.UC_RISCV_REG_FCSR, value)

    @property
    def address(self) -> int:
        return self.pc

    def pass_call(self) -> None:
        self.pc += 4

    def gpr(self, i: int, /) -> int:
        return self.uc.reg_read(_X[i])

    def set_gpr(self, i: int, v: int, /) -> None:
        self.uc.reg_write(_X[i], v & _MASK)

    def fpr(self, i: int, /) -> int:
        return self.uc.reg_read(_F[i])

    def set_fpr(self, i: int, v: int, /) -> None:
        self.uc.reg_write(_F[i], v)

    call_result = 0

    def note_signal(self) -> None:
        """Python looks by itself."""

    def serve_natively(self, number: int, word: int, /) -> None:
        """It makes no calls by itself."""

    def run(self) -> int:
        self._sync()
        self._trap = -1
        if self._kicked:
            self._kicked = False
            return ExitKind.INTERRUPTED
        try:
            self.uc.emu_start(self.pc, _MASK)
        except engine.UcError as error:
            if error.errno == unicorn.UC_ERR_EXCEPTION and self._trap >= 0:
                return self._kind()
            if error.errno in (unicorn.UC_ERR_INSN_INVALID, unicorn.UC_ERR_EXCEPTION):
                code = read_guest(self.pc, 2)
                return ExitKind.BREAKPOINT if code in _EBREAKS else ExitKind.ILLEGAL
            self.fault_signal, self.fault_code = int(signal.SIGSEGV), 1
            return ExitKind.FAULT
        return self._kind()

    def _kind(self) -> int:
        if self._trap == _ECALL:
            self.pc -= 4  # Unicorn stops after the ecall
            return ExitKind.SYSCALL
        if self._trap == _BREAK:
            return ExitKind.BREAKPOINT
        if self._trap == _ILLEGAL:
            return ExitKind.ILLEGAL
        if self._trap >= 0:
            self.fault_signal, self.fault_code = int(signal.SIGSEGV), 1
            return ExitKind.FAULT
        self._kicked = False
        return ExitKind.INTERRUPTED

    def kick(self) -> None:
        self._kicked = True
        self.uc.emu_stop()

    def clone(self) -> UnicornCpu:
        other = UnicornCpu(self.space)
        other.pc, other.fcsr = self.pc, self.fcsr
        for i in range(1, 32):
            other.set_gpr(i, self.gpr(i))
        for i in range(32):
            other.set_fpr(i, self.fpr(i))
        return other

    def invalidate(self, start: int, size: int, /) -> None:
        self._generation = -1

    def see_faults(self) -> None:
        pass  # one instruction at a time is exact

    def fork(self) -> int:
        return os.fork()

    def release(self) -> None:
        pass


def make_cpu(_config: UserConfig, space: GuestSpace) -> UnicornCpu:
    """For UserConfig.make_cpu."""
    return UnicornCpu(space)

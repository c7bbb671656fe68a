"""A guest processor in Linux user mode: guest addresses are host addresses."""

from __future__ import annotations

import bisect
import ctypes
import os
import signal
import threading
from typing import Protocol

from jitemu.backend_llvm.natives import EXIT_FAULT
from jitemu.runtime import faults
from jitemu.runtime.arena import libc
from jitemu.runtime.blocks import Block
from jitemu.runtime.engine import CodeSpace, Processor
from jitemu.runtime.guest import Guest

EXIT_NO_CODE = 69
"""The pc is not in executable guest memory."""

PAGE = 4096
_SEGV_MAPERR, _SEGV_ACCERR = 1, 2
_PROT_READ, _PROT_WRITE = 1, 2


class NoCode(Exception):
    """The pc is not in executable guest memory."""


class GuestMemory(Protocol):
    """What translation asks of the guest's mappings."""

    def code_size(self, pc: int) -> int:
        """Bytes of executable memory from pc on (0: none, 1 or more: mapped)."""
        ...

    def writable(self, address: int) -> bool:
        """The guest may write there."""
        ...


class UserSpace(CodeSpace):
    """Translated code of one process, with the pages it was made from."""

    def __init__(self, guest: Guest, stencils: object, memory: GuestMemory) -> None:
        super().__init__(guest, stencils)  # type: ignore[arg-type]
        self.memory = memory
        self.pages: dict[int, set[Block]] = {}
        """Page number -> blocks made from bytes of it."""
        self.guarded: set[int] = set()
        """Pages made read-only because they hold translated code the guest could change."""

        self._pipe = (-1, -1)
        os.register_at_fork(
            before=self._before_fork,
            after_in_parent=self._after_fork_parent,
            after_in_child=self._after_fork_child,
        )

    def _before_fork(self) -> None:
        self._pipe = os.pipe()

    def _after_fork_parent(self) -> None:
        """Wait until the child has its own copy of the code."""
        receive, send = self._pipe
        os.close(send)
        os.read(receive, 1)
        os.close(receive)

    def _after_fork_child(self) -> None:
        self.arena.separate()
        self.lock = threading.RLock()
        for fd in self._pipe:
            os.close(fd)

    def insert(self, block: Block) -> None:
        super().insert(block)
        for page in range(block.pc // PAGE, (block.pc + block.size - 1) // PAGE + 1):
            self.pages.setdefault(page, set()).add(block)
            if page not in self.guarded and self.memory.writable(page * PAGE):
                self._protect(page, _PROT_READ)
                self.guarded.add(page)

    @staticmethod
    def _protect(page: int, protection: int) -> None:
        libc.mprotect(ctypes.c_void_p(page * PAGE), ctypes.c_size_t(PAGE), protection)

    def written(self, address: int) -> bool:
        """A write faulted: if the page was guarded, forget its code and let it be written."""
        page = address // PAGE
        with self.lock:
            if page not in self.guarded:
                return self.memory.writable(address) and page in self.pages
            self.invalidate(page * PAGE, PAGE)
            return True

    def invalidate(self, start: int, size: int) -> None:
        """Forget the blocks made from these bytes' pages."""
        with self.lock:
            first, last = start // PAGE, (start + size - 1) // PAGE
            pages: list[int] = (
                [p for p in self.pages if first <= p <= last]
                if last - first > len(self.pages)
                else [p for p in range(first, last + 1) if p in self.pages]
            )
            for page in pages:
                for block in list(self.pages.pop(page, ())):
                    self._drop(block)
                if page in self.guarded:
                    self.guarded.discard(page)
                    if self.memory.writable(page * PAGE):
                        self._protect(page, _PROT_READ | _PROT_WRITE)

    def recheck(self) -> None:
        """fence.i: all code in pages that could be written is looked at anew.

        Writes to guarded pages have been seen; what remains is memory with other writers.
        """

    def _drop(self, block: Block) -> None:
        self.remove(block)
        for page in range(block.pc // PAGE, (block.pc + block.size - 1) // PAGE + 1):
            if page in self.pages:
                self.pages[page].discard(block)

    def flush(self) -> None:
        super().flush()
        for page in self.guarded:
            if self.memory.writable(page * PAGE):
                self._protect(page, _PROT_READ | _PROT_WRITE)
        self.pages.clear()
        self.guarded.clear()

    def guest_pc(self, host_pc: int) -> int | None:
        """The guest instruction that a host address in the arena belongs to."""
        with self.lock:
            blocks = sorted(self.blocks.values(), key=lambda b: b.code)
            index = bisect.bisect_right(blocks, host_pc, key=lambda b: b.code) - 1
            if index < 0:
                return None
            block = blocks[index]
            code = ctypes.string_at(block.pc, block.size)
            starts = self.translator.positions(block.pc, 0, code)
            offset = host_pc - block.code
            pcs = [pc for pc, start in starts.items() if start <= offset]
            return pcs[-1] if pcs else None


class UserProcessor(Processor):
    """Runs a guest thread."""

    def __init__(self, space: UserSpace) -> None:
        super().__init__(space)
        self.user_space = space
        self.fault_address = 0
        self.fault_signal = 0
        self.fault_code = 0
        self._stack: faults.SignalStack | None = None

    def adopt_thread(self) -> None:
        """Prepare the calling host thread to run this processor."""
        first = not any(p is not self and p.prepared for p in self.siblings())
        self._stack = faults.SignalStack(self.space.arena, self.state.address)
        if first:
            faults.install(self.space.symbols["on_fault"])

    @property
    def prepared(self) -> bool:
        """A host thread has been prepared for it."""
        return self._stack is not None

    def siblings(self) -> list[UserProcessor]:
        """All processors of the process."""
        return [p for p in self.space.processors if isinstance(p, UserProcessor)]

    def key_of(self, pc: int) -> tuple[int, int]:
        return pc, pc

    def fetch_code(self, pc: int, physical: int) -> bytes:
        size = min(self.user_space.memory.code_size(pc), PAGE - pc % PAGE + 2)
        if size < 2:
            raise NoCode
        return ctypes.string_at(pc, size)

    def run(self) -> int:
        """Run until the operating system is needed; the exit reason.

        EXIT_FAULT fills fault_address, fault_signal and fault_code.
        """
        if self._stack is None:
            self.adopt_thread()
        while True:
            try:
                reason = super().run()
            except NoCode:
                mapped = self.user_space.memory.code_size(self.pc) > 0
                self._fault(self.pc, signal.SIGSEGV, _SEGV_ACCERR if mapped else _SEGV_MAPERR)
                return EXIT_FAULT
            if reason != EXIT_FAULT:
                return reason
            if self._faulted():
                return reason

    def _fault(self, address: int, number: int, code: int) -> None:
        self.fault_address, self.fault_signal, self.fault_code = address, int(number), code

    def _faulted(self) -> bool:
        """A host fault in translated code: False if it was mended here."""
        state = self.state
        pc = self.user_space.guest_pc(state["fault_host_pc"])
        if pc is not None:
            self.pc = pc
        address = state["fault_address"]
        if state["fault_code"] == _SEGV_ACCERR and self.user_space.written(address):
            return False
        self._fault(address, state["fault_signal"], state["fault_code"])
        return True

"""A guest processor in system mode: code keyed by physical page, devices by callback."""

from __future__ import annotations

import ctypes
import os
import threading
from collections import deque
from collections.abc import Callable

from jitemu.memory.physical import BusError, MemoryFault, PhysicalSpace
from jitemu.runtime.engine import CodeSpace, Processor
from jitemu.runtime.exits import REQUEST_INTERRUPT
from jitemu.runtime.guest import Guest
from jitemu.runtime.layouts import BlockRecord
from jitemu.runtime.records import NativeMemory, Record
from jitemu.runtime.setup import Translation

PAGE = 4096
_ReadCallback = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64)
_WriteCallback = ctypes.CFUNCTYPE(
    ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64
)
_TimerCallback = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_uint64)


class SystemSpace(CodeSpace):
    """Translated code of a machine, by the RAM pages it was made from."""

    def __init__(self, guest: Guest, translation: Translation, physical: PhysicalSpace) -> None:
        super().__init__(guest, translation)
        self.physical = physical
        self.code_pages = NativeMemory(max(physical.ram.size // PAGE * 8, 4096))
        """A word for each RAM page: bit n, bytes [64n, 64n + 64) hold translated code."""
        self.changes: deque[tuple[int, int]] = deque()
        """Writes by devices that the processor has not seen yet."""
        physical.page_flags = self.code_pages.words
        physical.on_ram_write = self.ram_written

    def ram_written(self, address: int, size: int) -> None:
        """A device wrote RAM (any thread): have the code there forgotten."""
        start = address - self.physical.ram.base
        if size and any(self.code_pages.words[start // PAGE : (start + size - 1) // PAGE + 1]):
            self.changes.append((address, size))
            for processor in self.processors:
                processor.kick_inside()

    def flush(self) -> None:
        super().flush()
        ctypes.memset(self.code_pages.address, 0, self.code_pages.size)


class SystemProcessor(Processor):
    """A hart: natives for all that is frequent, Python for devices."""

    paged = True

    def __init__(self, space: SystemSpace) -> None:
        super().__init__(space)
        self.system_space = space
        self.on_timer: Callable[[int], None] = lambda ticks: None
        """Called with guest ticks when the guest changes its next timer interrupt."""
        self.fault: BaseException | None = None
        """What a device raised that it should not have."""
        self._lines = threading.Lock()
        state, ram = self.state, space.physical.ram
        state["ram_base"], state["ram_size"] = ram.base, ram.size
        state["ram_host"] = ram.host_address
        state["code_pages"] = space.code_pages.address
        state["ctx_secret"] = int.from_bytes(os.urandom(8)) & ~1
        self._callbacks = (
            _ReadCallback(self._read),
            _WriteCallback(self._write),
            _TimerCallback(self._timer),
        )
        names = ("mmio_read", "mmio_write", "timer_notify")
        for name, callback in zip(names, self._callbacks, strict=True):
            state[name] = ctypes.cast(callback, ctypes.c_void_p).value or 0

    # Callbacks from native code

    def _read(self, address: int, size: int) -> int:
        try:
            return self.system_space.physical.mmio_read(address, size)
        except (BusError, MemoryFault):
            self.state["mmio_failed"] = 1
        except BaseException as error:
            self._failed(error)
        return 0

    def _write(self, address: int, size: int, value: int) -> int:
        try:
            self.system_space.physical.mmio_write(address, size, value)
        except (BusError, MemoryFault):
            self.state["mmio_failed"] = 1
        except BaseException as error:
            self._failed(error)
        return 0

    def _timer(self, ticks: int) -> int:
        try:
            self.on_timer(ticks)
        except BaseException as error:
            self._failed(error)
        return 0

    def _failed(self, error: BaseException) -> None:
        self.fault = error
        self.kick()

    def set_line(self, number: int, level: bool) -> None:
        """Drive an interrupt wire of the hart, from any thread."""
        index = self.state.at["irq_lines"]
        words = self.state.words
        with self._lines:
            words[index] = words[index] & ~(1 << number) | level << number
        if level:
            self.request(REQUEST_INTERRUPT)

    # What the engine asks

    def apply_changes(self) -> None:
        """Forget the code that devices have overwritten (this processor's thread)."""
        changes = self.system_space.changes
        while changes:
            address, size = changes.popleft()
            while size > 0:
                part = min(size, PAGE - address % PAGE)
                self.native("code_written", address, part)
                address, size = address + part, size - part

    def add_page(self, number: int) -> None:
        physical = self.system_space.physical
        for block in physical.blocks:
            if block.base <= number * PAGE < block.end:
                host = block.host_address + number * PAGE - block.base
                self.native("page_add", number, host)
                return
        raise AssertionError(f"code at {number * PAGE:#x}, outside RAM and ROM")

    def guest_bytes(self, record: Record) -> bytes:
        size = record.size
        first = min(size, PAGE - record.physical % PAGE)
        second = record.word(BlockRecord.SECOND)
        data = self._bytes(record.physical, first)
        return data + self._bytes(second, size - first) if first < size else data

    def _bytes(self, physical: int, size: int) -> bytes:
        return self.system_space.physical.page(physical, size)

    def find(self, pc: int) -> Record | None:
        if not self.native("fetch_translate", pc):
            return None
        return self.record_at(pc ^ self.state["ctx_tag"], self.state["fetch_physical"])

    def physical(self, pc: int) -> int:
        self.native("fetch_translate", pc)
        return self.state["fetch_physical"]

    def note_page(self, number: int, record: int, low: int, high: int) -> None:
        super().note_page(number, record, low, high)
        self.native("mark_code", number * PAGE + low, high)

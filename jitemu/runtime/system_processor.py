"""A guest processor in system mode: code keyed by physical page, devices by callback."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable

from jitemu.backend_llvm.stencilset import StencilSet
from jitemu.memory.physical import BusError, PhysicalSpace
from jitemu.runtime.blocks import Block
from jitemu.runtime.engine import CodeSpace, Processor
from jitemu.runtime.guest import Guest
from jitemu.runtime.lookup import REQUEST_INTERRUPT

PAGE = 4096
MASK64 = (1 << 64) - 1
_ReadCallback = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64)
_WriteCallback = ctypes.CFUNCTYPE(
    ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64
)
_CodeCallback = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64)
_TimerCallback = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_uint64)


def chunk_mask(start: int, end: int) -> int:
    """The bits of a code page's word for the bytes [start, end) of the page."""
    return (1 << (end - 1) // 64 + 1) - (1 << start // 64)


class SystemSpace(CodeSpace):
    """Translated code of a machine, by the RAM pages it was made from."""

    def __init__(self, guest: Guest, stencils: StencilSet, physical: PhysicalSpace) -> None:
        super().__init__(guest, stencils)
        self.physical = physical
        ram = physical.ram
        self.code_pages = (ctypes.c_uint64 * (ram.size // PAGE))()
        self.pages: dict[int, set[Block]] = {}
        """RAM page number (from RAM's base) -> blocks and regions made from its bytes."""
        physical.on_ram_write = self.invalidate

    def spans(self, block: Block) -> list[tuple[int, int]]:
        """(offset in RAM, bytes) of what a block was made from."""
        base = self.physical.ram.base
        page = block.physical & -PAGE
        spans: list[tuple[int, int]] = []
        for pc, size in block.covered:
            if pc ^ block.pc < PAGE:
                start = page | pc % PAGE
                spans.append((start - base, min(size, PAGE - pc % PAGE)))
        if block.second is not None:
            spans.append((block.second - base, 2))
        size = self.physical.ram.size
        return [(start, n) for start, n in spans if 0 <= start < size]

    def add_sites(self, block: Block) -> None:
        super().add_sites(block)
        for start, size in self.spans(block):
            page = start // PAGE
            if page not in self.pages:
                self.pages[page] = set()
                for processor in self.processors:
                    assert isinstance(processor, SystemProcessor)
                    processor.native("protect_code_page", start + self.physical.ram.base)
            self.pages[page].add(block)
            self.code_pages[page] |= chunk_mask(start % PAGE, start % PAGE + size)

    def invalidate(self, address: int, size: int) -> None:
        """Bytes of RAM were or are about to be written: forget the code made from them."""
        start = address - self.physical.ram.base
        for page in range(start // PAGE, (start + size - 1) // PAGE + 1):
            if page in self.pages:
                with self.lock:
                    self._invalidate_in(page, start, start + size)

    def _invalidate_in(self, page: int, low: int, high: int) -> None:
        mask = 0
        for block in list(self.pages[page]):
            spans = self.spans(block)
            if any(start < high and low < start + size for start, size in spans):
                self.remove(block)
                for start, _ in spans:
                    self.pages[start // PAGE].discard(block)
                continue
            for start, size in spans:
                if start // PAGE == page:
                    mask |= chunk_mask(start % PAGE, start % PAGE + size)
        self.code_pages[page] = mask
        if not self.pages[page]:
            del self.pages[page]

    def flush(self) -> None:
        super().flush()
        for page in self.pages:
            self.code_pages[page] = 0
        self.pages.clear()


class SystemProcessor(Processor):
    """A hart: natives for all that is frequent, Python for devices."""

    def __init__(self, space: SystemSpace) -> None:
        super().__init__(space)
        self.system_space = space
        self.on_timer: Callable[[int], None] = lambda ticks: None
        """Called with guest ticks when the guest changes its next timer interrupt."""
        self.fault: BaseException | None = None
        """What a device raised that it should not have."""
        self._lines = threading.Lock()
        state, physical = self.state, space.physical
        ram = physical.ram
        state["ram_base"], state["ram_size"] = ram.base, ram.size
        state["ram_host"] = ram.host_address
        state["code_pages"] = ctypes.addressof(space.code_pages)
        self._callbacks = (
            _ReadCallback(self._read),
            _WriteCallback(self._write),
            _CodeCallback(self._code_write),
            _TimerCallback(self._timer),
        )
        names = ("mmio_read", "mmio_write", "code_write", "timer_notify")
        for name, callback in zip(names, self._callbacks, strict=True):
            state[name] = ctypes.cast(callback, ctypes.c_void_p).value or 0
        self._natives: dict[str, Callable[..., int]] = {}

    def native(self, name: str, *words: int) -> int:
        """Call a native function (from the thread that runs this processor)."""
        call = self._natives.get(name)
        if call is None:
            kinds = [ctypes.c_void_p] + [ctypes.c_uint64] * len(words)
            call = ctypes.CFUNCTYPE(ctypes.c_uint64, *kinds)(self.space.symbols[name])
            self._natives[name] = call
        return call(self.state.address, *words)

    # Callbacks from native code

    def _read(self, address: int, size: int) -> int:
        try:
            return self.system_space.physical.mmio_read(address, size)
        except BusError:
            self.state["mmio_failed"] = 1
        except BaseException as error:
            self._failed(error)
        return 0

    def _write(self, address: int, size: int, value: int) -> int:
        try:
            self.system_space.physical.mmio_write(address, size, value)
        except BusError:
            self.state["mmio_failed"] = 1
        except BaseException as error:
            self._failed(error)
        return 0

    def _code_write(self, address: int, size: int) -> int:
        try:
            self.system_space.invalidate(address, size)
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

    # Interrupts

    def set_line(self, number: int, level: bool) -> None:
        """Drive an interrupt wire of the hart, from any thread."""
        index = self.state.at["irq_lines"]
        words = self.state.words
        with self._lines:
            words[index] = words[index] & ~(1 << number) | level << number
        if level:
            self.request(REQUEST_INTERRUPT)

    # Translation

    def key_of(self, pc: int) -> tuple[int, int]:
        return pc ^ self.state["ctx_tag"], self._physical(pc)

    def _physical(self, pc: int) -> int:
        """Physical address of a pc that native code has just translated."""
        site = self.state["link_site"]
        owner = self.space.sites.get(site)
        if owner is not None and owner.pc ^ pc < PAGE:
            return owner.physical & -PAGE | pc % PAGE
        return self.state["fetch_physical"]

    def fetch_code(self, pc: int, physical: int) -> bytes:
        memory = self.system_space.physical
        ram = memory.ram
        size = PAGE - pc % PAGE
        if ram.base <= physical < ram.base + ram.size:
            start = physical - ram.base
            return bytes(ram.view[start : start + size])
        data = bytearray()
        try:
            while len(data) < size:
                data += memory.mmio_read(physical + len(data), 2).to_bytes(2, "little")
        except BusError:
            pass
        return bytes(data)

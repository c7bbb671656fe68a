"""The guest-physical address space: RAM, ROM and the windows of memory-mapped devices.

Addresses and sizes are in bytes.  All of it is little-endian, as every guest so far is.
"""

from __future__ import annotations

import mmap
import threading
from bisect import bisect_right

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Protocol

    class MmioDevice(Protocol):
        """What a window leads to.  ``offset`` counts from the window's base."""

        def read(self, offset: int, size: int) -> int: ...

        def write(self, offset: int, size: int, value: int) -> None: ...

    WriteHook = Callable[[int, int], None]

PAGE_SHIFT = 12
PAGE_SIZE = 1 << PAGE_SHIFT


class BusError(Exception):
    """Nothing answers at the address, or not to an access of this size.

    The engine turns it into an access fault in the guest.
    """


class MemoryFault(Exception):
    """A device or the firmware was given an address that is not (wholly) in RAM."""


class Ram:
    """Anonymous host memory shown to the guest at ``base``; pages cost nothing until touched."""

    def __init__(self, base: int, size: int, name: str = "ram", writable: bool = True) -> None:
        import ctypes

        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)
        self.base = base
        self.size = size
        self.end = base + size
        self.name = name
        self.writable = writable
        self._map = mmap.mmap(-1, size, flags=flags)
        self.view = memoryview(self._map)
        self.host_address = ctypes.addressof(ctypes.c_char.from_buffer(self._map))


class Window:
    """A device's place in the address space."""

    __slots__ = ("base", "device", "end", "name")

    def __init__(self, base: int, end: int, name: str, device: MmioDevice) -> None:
        self.base = base
        self.end = end
        self.name = name
        self.device = device


class PhysicalSpace:
    """Routes physical accesses.  ``lock`` is held around every device access, and the event
    loop holds it around its callbacks, so a device sees one caller at a time."""

    def __init__(self, ram: Ram, rom: Ram | None = None) -> None:
        self.ram = ram
        self.rom = rom
        self.blocks: tuple[Ram, ...] = (ram,) if rom is None else (ram, rom)
        self.lock = threading.RLock()
        self.windows: list[Window] = []
        self.on_ram_write: WriteHook | None = None
        """Called as (address, size) after anything but the engine itself changed RAM or ROM."""
        self.page_flags: Sequence[int] = ()
        """For each page of RAM, not 0 if somebody wants to know of writes there."""
        self._bases: list[int] = []
        self._pages: dict[int, Window] = {}

    def map_mmio(self, base: int, size: int, device: MmioDevice, name: str) -> None:
        """Put a device at [base, base + size); ValueError where something already is."""
        end = base + size
        taken = [(w.base, w.end) for w in self.windows] + [(b.base, b.end) for b in self.blocks]
        if size <= 0 or any(base < other_end and other < end for other, other_end in taken):
            raise ValueError(f"{name}: window {base:#x}+{size:#x} is empty or overlaps another")
        window = Window(base, end, name, device)
        index = bisect_right(self._bases, base)
        self._bases.insert(index, base)
        self.windows.insert(index, window)

    def _window(self, address: int, size: int) -> Window:
        """The window that holds the whole access; remembers it as its page's likely one."""
        index = bisect_right(self._bases, address) - 1
        if index >= 0:
            window = self.windows[index]
            if address + size <= window.end:
                self._pages[address >> PAGE_SHIFT] = window
                return window
        raise BusError(f"no device at {address:#x}")

    def mmio_read(self, address: int, size: int) -> int:
        """A device's register (or ROM); BusError where there is none."""
        window = self._pages.get(address >> PAGE_SHIFT)
        if window is None or address < window.base or address + size > window.end:
            rom = self.rom
            if rom is not None and rom.base <= address and address + size <= rom.end:
                offset = address - rom.base
                return int.from_bytes(rom.view[offset : offset + size], "little")
            window = self._window(address, size)
        with self.lock:
            return window.device.read(address - window.base, size)

    def mmio_write(self, address: int, size: int, value: int) -> None:
        """Write a device's register; BusError where there is none.  ROM ignores stores."""
        window = self._pages.get(address >> PAGE_SHIFT)
        if window is None or address < window.base or address + size > window.end:
            rom = self.rom
            if rom is not None and rom.base <= address and address + size <= rom.end:
                return
            window = self._window(address, size)
        with self.lock:
            window.device.write(address - window.base, size, value)

    def read(self, address: int, size: int) -> int:
        """Any physical address: RAM, else device or ROM."""
        ram = self.ram
        if ram.base <= address and address + size <= ram.end:
            offset = address - ram.base
            return int.from_bytes(ram.view[offset : offset + size], "little")
        return self.mmio_read(address, size)

    def write(self, address: int, size: int, value: int) -> None:
        """Any physical address: RAM, else device."""
        ram = self.ram
        if ram.base <= address and address + size <= ram.end:
            self._store(ram, address, (value & ((1 << size * 8) - 1)).to_bytes(size, "little"))
        else:
            self.mmio_write(address, size, value)

    def is_ram(self, address: int, size: int) -> bool:
        """All of [address, address + size) is RAM."""
        return size >= 0 and self.ram.base <= address and address + size <= self.ram.end

    def dma_view(self, address: int, size: int) -> memoryview:
        """RAM itself, to read and write; MemoryFault unless all of it is RAM.  Whoever writes
        through it reports that by ``dma_written``."""
        ram = self.ram
        offset = address - ram.base
        if offset < 0 or size < 0 or offset + size > ram.size:
            raise MemoryFault(f"{address:#x}+{size:#x} is not in RAM")
        return ram.view[offset : offset + size]

    def dma_written(self, address: int, size: int) -> None:
        """RAM was changed through a view: translations made from it are forgotten."""
        if self.on_ram_write is not None:
            self.on_ram_write(address, size)

    def dma_wrote(self, addresses: list[int], views: list[memoryview], size: int) -> None:
        """``dma_written`` for the first ``size`` bytes of views at these addresses."""
        if self.on_ram_write is None:
            return
        flags, base = self.page_flags, self.ram.base
        for address, view in zip(addresses, views, strict=True):
            length = len(view)
            start = address - base
            first, last = start >> PAGE_SHIFT, (start + length - 1) >> PAGE_SHIFT
            if flags[first] if first == last else any(flags[first : last + 1]):
                self.on_ram_write(address, length)
            size -= length
            if size <= 0:
                return

    def dma_read(self, address: int, size: int) -> bytes:
        """``size`` bytes of RAM; MemoryFault unless all of them are RAM."""
        if not self.is_ram(address, size):
            raise MemoryFault(f"{address:#x}+{size:#x} is not in RAM")
        offset = address - self.ram.base
        return bytes(self.ram.view[offset : offset + size])

    def dma_write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Put bytes into RAM; MemoryFault (and nothing written) unless all of it is RAM."""
        if not self.is_ram(address, len(data)):
            raise MemoryFault(f"{address:#x}+{len(data):#x} is not in RAM")
        self._store(self.ram, address, data)

    def page(self, address: int, size: int) -> bytes:
        """What RAM or ROM holds there; nothing elsewhere."""
        for block in self.blocks:
            if block.base <= address and address + size <= block.end:
                offset = address - block.base
                return bytes(block.view[offset : offset + size])
        return b""

    def inspect(self, address: int, size: int) -> bytes | None:
        """Memory's bytes, or what devices answer to aligned accesses, as wide as they take;
        None where nothing answers.  A read may change a device, as the guest's does."""
        data = self.page(address, size)
        while len(data) < size:
            at, left = address + len(data), size - len(data)
            for width in (8, 4, 2, 1):
                if width > left or at % width:
                    continue
                try:
                    data += self.read(at, width).to_bytes(width, "little")
                    break
                except BusError:
                    pass
            else:
                return None
        return data

    def load(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """As dma_write, but ROM can be filled too: for what is in memory at power-on."""
        for block in self.blocks:
            if block.base <= address and address + len(data) <= block.end:
                self._store(block, address, data)
                return
        raise MemoryFault(f"{address:#x}+{len(data):#x} is not in RAM or ROM")

    def _store(self, block: Ram, address: int, data: bytes | bytearray | memoryview) -> None:
        offset = address - block.base
        block.view[offset : offset + len(data)] = data
        if self.on_ram_write is not None:
            self.on_ram_write(address, len(data))

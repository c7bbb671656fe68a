"""What the reference interpreter runs on: a processor's state words, and memories."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from jitemu.ir.code import Function
from jitemu.ir.emitter import Emitter
from jitemu.ir.ops_float import FloatUnit
from jitemu.ir.state import RegisterClass, RuntimeState, layout_of

STATE_ADDRESS = 0x7F00_0000_0000
"""Host address that the interpreter's state pretends to have."""

PAGE = 4096


class MemoryFault(Exception):
    """A guest access failed; ``address`` is that of the first byte that did."""

    def __init__(self, address: int, write: bool) -> None:
        super().__init__(f"{'write' if write else 'read'} at {address:#x}")
        self.address = address
        self.write = write


class Memory(Protocol):
    """Guest or host memory: little-endian accesses of 1, 2, 4 or 8 bytes, any alignment."""

    def read(self, addr: int, size: int) -> int:
        """Raises MemoryFault."""
        ...

    def write(self, addr: int, size: int, value: int) -> None:
        """Raises MemoryFault, and then has written nothing."""
        ...


class PagedMemory:
    """Memory of 4 KiB pages that exist once mapped."""

    def __init__(self) -> None:
        self.pages: dict[int, bytearray] = {}
        self.read_only: set[int] = set()

    def map(self, addr: int, size: int, *, writable: bool = True) -> None:
        """Let the pages of a range exist, as zeros if new."""
        for page in range(addr // PAGE, -(-(addr + size) // PAGE)):
            self.pages.setdefault(page, bytearray(PAGE))
            (self.read_only.discard if writable else self.read_only.add)(page)

    def put(self, addr: int, data: bytes) -> None:
        """Fill in bytes, mapping pages as needed."""
        done = 0
        for page, at, size in _pieces(addr, len(data)):
            self.pages.setdefault(page, bytearray(PAGE))[at : at + size] = data[done : done + size]
            done += size

    def get(self, addr: int, size: int) -> bytes:
        """Bytes of any length; MemoryFault if not mapped."""
        pieces = _pieces(addr, size)
        return b"".join(
            self._page(max(addr, page * PAGE), write=False)[at : at + length]
            for page, at, length in pieces
        )

    def _page(self, addr: int, *, write: bool) -> bytearray:
        page = self.pages.get(addr // PAGE)
        if page is None or (write and addr // PAGE in self.read_only):
            raise MemoryFault(addr, write)
        return page

    def read(self, addr: int, size: int) -> int:
        """A little-endian word."""
        at = addr % PAGE
        if at + size <= PAGE:
            return int.from_bytes(self._page(addr, write=False)[at : at + size], "little")
        return int.from_bytes(self.get(addr, size), "little")

    def write(self, addr: int, size: int, value: int) -> None:
        """A little-endian word: all of it or nothing."""
        data = value.to_bytes(size, "little")
        at = addr % PAGE
        if at + size <= PAGE:
            self._page(addr, write=True)[at : at + size] = data
            return
        pages = [self._page(i, write=True) for i in range(addr, addr + size)]
        for i, page in enumerate(pages):
            page[(addr + i) % PAGE] = data[i]


def _pieces(addr: int, size: int) -> Iterator[tuple[int, int, int]]:
    """(page, offset in it, bytes there) of a range."""
    end = addr + size
    while addr < end:
        at = addr % PAGE
        length = min(PAGE - at, end - addr)
        yield addr // PAGE, at, length
        addr += length


class Machine:
    """A processor's state by names, its memory, and the host as native functions see it.

    ``arrays`` holds the arrays of the state class, register classes among them
    (``registers`` is the same dictionary); ``fields`` its single words, ``pc`` included.
    """

    def __init__(
        self,
        state: type = RuntimeState,
        memory: Memory | None = None,
        mode: str = "user",
        emitter: Callable[[str], Emitter] = Emitter,
        classes: Mapping[str, RegisterClass] | None = None,
    ) -> None:
        self.layout = layout_of(state)
        self.fields: dict[str, int] = {}
        self.arrays: dict[str, list[int]] = {}
        single = _single_words(state)
        for name, count in self.layout.counts.items():
            if name in single:
                self.fields[name] = 0
            else:
                self.arrays[name] = [0] * count
        self.registers = self.arrays
        self.memory: Memory = PagedMemory() if memory is None else memory
        self.mode = mode
        self.emitter = emitter
        """Makes the emitter for a mode: the frontend's class, such as RISC-V's S."""
        self.classes = classes or {}
        """Register classes that are views of banks."""
        self.float_unit = FloatUnit()
        self.host: Memory = PagedMemory()
        """Host memory for hload and hstore, outside the state itself."""
        self.host_functions: dict[int, Callable[..., int]] = {}
        """C functions by address, for hostcall."""
        self.bodies: dict[tuple[int, int], tuple[Function, int] | None] = {}
        """What ``interp.translate`` remembers."""

    @property
    def pc(self) -> int:
        """The state's program counter."""
        return self.fields["pc"]

    @pc.setter
    def pc(self, value: int) -> None:
        self.fields["pc"] = value

    def address_of(self, name: str) -> int:
        """The host address of a state word (an array's first)."""
        return STATE_ADDRESS + self.layout.of(name)

    def host_read(self, addr: int, size: int) -> int:
        """Host memory; the state's words are part of it (an access stays inside one)."""
        if not STATE_ADDRESS <= addr < STATE_ADDRESS + self.layout.size:
            return self.host.read(addr, size)
        return self._word(*self._place(addr)) >> 8 * (addr % 8) & ((1 << 8 * size) - 1)

    def host_write(self, addr: int, size: int, value: int) -> None:
        """Write host memory, or part of a word of the state."""
        if not STATE_ADDRESS <= addr < STATE_ADDRESS + self.layout.size:
            self.host.write(addr, size, value)
            return
        name, index = self._place(addr)
        shift = 8 * (addr % 8)
        mask = ((1 << 8 * size) - 1) << shift
        word = self._word(name, index) & ~mask | value << shift
        if name in self.fields:
            self.fields[name] = word
        else:
            self.arrays[name][index] = word

    def _word(self, name: str, index: int) -> int:
        return self.fields[name] if name in self.fields else self.arrays[name][index]

    def _place(self, addr: int) -> tuple[str, int]:
        for name, start in self.layout.offsets.items():
            index = (addr - STATE_ADDRESS - start) // 8
            if 0 <= index < self.layout.counts[name]:
                return name, index
        raise MemoryFault(addr, False)


def _single_words(state: type) -> set[str]:
    """Names declared as ``int``, not as arrays (which may have one element)."""
    return {
        name
        for cls in state.__mro__
        for name, note in getattr(cls, "__annotations__", {}).items()
        if note == "int"
    }

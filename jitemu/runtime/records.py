"""The native records of translated code, as Python reads them (runtime/codetable.py)."""

from __future__ import annotations

import mmap

from jitemu import foreign
from jitemu.runtime.layouts import DELETED, EMPTY, BlockRecord, Control, ExitRecord
from jitemu.runtime.translator_layouts import PC_AT, Work

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_MAP_NORESERVE = 0x4000
POOL_BYTES = 256 << 20
"""Address space of the record pool; memory is used as it fills."""
BLOCK_BITS = 18
PAGE_BITS = 16
WORK_BYTES = 96 << 10
"""Notes of a block's pieces: of translate.MAX_PIECES and of the most that an instruction has."""


class Memory:
    """Memory at a fixed address, read and written as 64-bit words."""

    def __init__(self, view: memoryview) -> None:
        self.bytes = view
        self.words = view.cast("Q")
        self.address = foreign.addressof(foreign.c_char.from_buffer(view))
        self.size = len(view)


class NativeMemory(Memory):
    """Anonymous memory."""

    def __init__(self, size: int) -> None:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
        self._map = mmap.mmap(-1, size, flags=flags)
        super().__init__(memoryview(self._map))

    def zero(self) -> None:
        """Give all of it back to the system: it reads as 0 again."""
        self._map.madvise(mmap.MADV_DONTNEED)


def place_bytes(data: bytes | memoryview) -> NativeMemory:
    """A table in native memory."""
    memory = NativeMemory((len(data) + 4095) & ~4095)
    memory.bytes[: len(data)] = data
    return memory


class Record:
    """A block's or region's record."""

    __slots__ = ("_at", "address", "pool")

    def __init__(self, pool: NativeMemory, address: int) -> None:
        self.pool = pool
        self.address = address
        self._at = (address - pool.address) // 8

    def word(self, offset: int) -> int:
        """A word of the record."""
        return self.pool.words[self._at + offset // 8]

    def set(self, offset: int, value: int) -> None:
        """Write a word of the record."""
        self.pool.words[self._at + offset // 8] = value

    @property
    def pc(self) -> int:
        """Guest address."""
        return self.word(BlockRecord.PC)

    @property
    def tag(self) -> int:
        """Guest address xor the context's tag."""
        return self.word(BlockRecord.TAG)

    @property
    def physical(self) -> int:
        """Physical address."""
        return self.word(BlockRecord.PHYSICAL)

    @property
    def size(self) -> int:
        """Guest bytes."""
        return self.word(BlockRecord.SIZE)

    @property
    def code(self) -> int:
        """Host address of its code; 0 once it is forgotten."""
        return self.word(BlockRecord.CODE)

    @property
    def entry(self) -> int:
        """Host address where others enter."""
        return self.word(BlockRecord.ENTRY)

    @property
    def host_size(self) -> int:
        """Host bytes."""
        return self.word(BlockRecord.HOST_SIZE)

    @property
    def region(self) -> int:
        """Address of the record of the region that took it over, or 0."""
        return self.word(BlockRecord.REGION)


class CodeTables:
    """The control block, the record pool, the block table and the page table."""

    def __init__(self) -> None:
        self.control = NativeMemory(4096)
        self.pool = NativeMemory(POOL_BYTES)
        self.blocks = NativeMemory(32 << BLOCK_BITS)
        self.pages = NativeMemory(32 << PAGE_BITS)
        self.work = NativeMemory(WORK_BYTES)
        self.contexts = NativeMemory(4096)
        self.set(Control.POOL_END, self.pool.address + self.pool.size)
        self.set(Control.BLOCKS, self.blocks.address)
        self.set(Control.BLOCKS_MASK, (1 << BLOCK_BITS) - 1)
        self.set(Control.PAGES, self.pages.address)
        self.set(Control.PAGES_MASK, (1 << PAGE_BITS) - 1)
        self.set(Control.WORK, self.work.address)
        self.set(Control.CONTEXTS, self.contexts.address)
        self.clear()

    def get(self, offset: int) -> int:
        """A word of the control block."""
        return self.control.words[offset // 8]

    def set(self, offset: int, value: int) -> None:
        """Write a word of the control block."""
        self.control.words[offset // 8] = value

    def clear(self) -> None:
        """Forget all records."""
        self.set(Control.POOL, self.pool.address)
        self.set(Control.BLOCKS_USED, 0)
        self.set(Control.GENERATION, self.get(Control.GENERATION) + 1)
        for table in (self.blocks, self.pages):
            table.zero()

    def take(self, size: int) -> int:
        """So many bytes of the pool."""
        at = self.get(Control.POOL)
        self.set(Control.POOL, at + size)
        return at

    def record(self, address: int) -> Record:
        """The record at an address."""
        return Record(self.pool, address)

    def new_record(self, pc: int, tag: int, physical: int, code: int, exits: int) -> Record:
        """A record with room for exits behind it."""
        start = self.take(BlockRecord.LENGTH + exits * ExitRecord.LENGTH)
        record = self.record(start)
        words = dict.fromkeys(range(0, BlockRecord.LENGTH, 8), 0)
        words[BlockRecord.PC], words[BlockRecord.TAG] = pc, tag
        words[BlockRecord.PHYSICAL] = physical
        words[BlockRecord.CODE] = words[BlockRecord.ENTRY] = code
        words[BlockRecord.EXITS] = start + BlockRecord.LENGTH
        words[BlockRecord.EXIT_COUNT] = exits
        for offset, value in words.items():
            record.set(offset, value)
        return record

    def pieces(self, record: Record) -> list[tuple[int, int]]:
        """(offset in its code, pc) of each instruction of the block made last."""
        found: list[tuple[int, int]] = []
        note = self.get(Control.WORK)
        while len(found) < record.word(BlockRecord.INSNS):
            words = (foreign.c_uint64 * (Work.LENGTH // 8)).from_address(note)
            if words[Work.FIRST // 8]:
                found.append((words[Work.START // 8] - record.code, words[PC_AT // 8]))
            note += Work.LENGTH
        return found

    def live(self) -> Iterator[Record]:
        """All blocks in the table."""
        words = self.blocks.words
        for at in range(0, len(words), 4):
            if words[at] ^ EMPTY < DELETED:
                yield self.record(words[at + 2])

    def pages_known(self) -> list[int]:
        """Numbers of the pages in the page table."""
        words = self.pages.words
        return [words[at] ^ EMPTY for at in range(0, len(words), 4) if words[at]]

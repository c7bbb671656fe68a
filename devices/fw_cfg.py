"""The firmware configuration device, as QEMU's specification of fw_cfg has it (mmio, DMA).

Numbered items of bytes: the guest writes an item's key and reads its bytes one after another,
or has them copied to RAM.  Registers are big-endian.
"""

from __future__ import annotations

import struct

from jitemu.devices.registers import RegisterDevice, port
from jitemu.memory.physical import MemoryFault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jitemu.devices.ports import GuestMemory

SIGNATURE, ID, UUID, NOGRAPHIC, NB_CPUS, BOOT_MENU, FILE_DIR = 0, 1, 2, 4, 5, 0xE, 0x19
FIRST_FILE = 0x20
TRADITIONAL, DMA = 1, 2  # bits of item ID
NAME_BYTES = 56  # with the NUL
FILE = struct.Struct(f">IHH{NAME_BYTES}s")
ACCESS = struct.Struct(">IIQ")
ERROR, READ, SKIP, SELECT, WRITE = 1, 2, 4, 8, 16
DMA_AT, DATA_END = 0x10, 8
DMA_SIGNATURE = int.from_bytes(b"QEMU CFG", "big")


class FwCfg(RegisterDevice):
    """``files`` by name; ``add_file`` adds one before the machine runs."""

    access_sizes = (1, 2, 4, 8)
    data = port(0x0, "the next bytes of the item, in their order", width=8)
    selector = port(0x8, "key of the item", width=2)
    dma_high = port(0x10, "upper half of the address of a DMA access")
    dma_low = port(0x14, "lower half; writing it starts the access")

    def __init__(self, memory: GuestMemory, cpus: int, graphic: bool = False) -> None:
        self._memory = memory
        self._items = {
            SIGNATURE: b"QEMU",
            ID: struct.pack("<I", TRADITIONAL | DMA),
            UUID: bytes(16),
            NOGRAPHIC: struct.pack("<H", not graphic),
            NB_CPUS: struct.pack("<H", cpus),
            BOOT_MENU: struct.pack("<H", 0),
        }
        self.files: dict[str, bytes] = {}
        self._list_files()
        self.reset()
        super().__init__()

    def reset(self) -> None:
        self._item = self._items[SIGNATURE]
        self._position = 0
        self._dma = 0

    def add_file(self, name: str, content: bytes) -> None:
        """A named item; ValueError for a name that cannot be."""
        if not 0 < len(name.encode()) < NAME_BYTES:
            raise ValueError(f"name too long (max. {NAME_BYTES - 1} char)" if name else "no name")
        if name in self.files:
            raise ValueError(f"duplicate fw_cfg file name: {name}")
        self.files[name] = content
        self._list_files()

    def _list_files(self) -> None:
        """Number the files in the order of their names, and list them."""
        listing = struct.pack(">I", len(self.files))
        for key, (name, content) in enumerate(sorted(self.files.items()), FIRST_FILE):
            self._items[key] = content
            listing += FILE.pack(len(content), key, 0, name.encode())
        self._items[FILE_DIR] = listing

    @selector.on_write
    def write_selector(self, value: int) -> None:
        self._select(int.from_bytes(value.to_bytes(2, "little"), "big"))

    def _select(self, key: int) -> None:
        self._item = self._items.get(key, b"")
        self._position = 0

    def _take(self, count: int) -> bytes:
        """The next bytes; zeros beyond the item's end."""
        start = self._position
        self._position = min(start + count, len(self._item))
        return self._item[start : start + count].ljust(count, b"\0")

    # The data register gives as many bytes as are read, and DMA's is also written at once.

    def read(self, offset: int, size: int) -> int:
        if offset + size <= DATA_END:
            return int.from_bytes(self._take(size), "little")
        if offset >= DMA_AT and offset + size <= DMA_AT + 8:
            signature = DMA_SIGNATURE.to_bytes(8, "big")
            return int.from_bytes(signature[offset - DMA_AT :][:size], "little")
        return super().read(offset, size)

    def write(self, offset: int, size: int, value: int) -> None:
        if (offset, size) == (DMA_AT, 8):
            self._access(int.from_bytes(value.to_bytes(8, "little"), "big"))
        else:
            super().write(offset, size, value)

    @dma_high.on_write
    def write_dma_high(self, value: int) -> None:
        self._dma = int.from_bytes(value.to_bytes(4, "little"), "big") << 32

    @dma_low.on_write
    def write_dma_low(self, value: int) -> None:
        self._access(self._dma | int.from_bytes(value.to_bytes(4, "little"), "big"))

    def _access(self, at: int) -> None:
        """Do what the structure at an address says; its first word becomes the outcome."""
        self._dma = 0
        try:
            structure = self._memory.dma_view(at, ACCESS.size)
        except MemoryFault as error:
            self.guest_error(f"DMA access: {error}")
            return
        control, length, address = ACCESS.unpack(structure)
        if control & SELECT:
            self._select(control >> 16)
        outcome = 0
        if control & READ:
            outcome = self._copy(address, length)
        elif control & WRITE:
            outcome = ERROR  # nothing here is the guest's to write
        elif control & SKIP:
            self._position = min(self._position + length, len(self._item))
        structure[:4] = struct.pack(">I", outcome)
        self._memory.dma_written(at, 4)

    def _copy(self, address: int, length: int) -> int:
        try:
            target = self._memory.dma_view(address, length)
        except MemoryFault as error:
            self.guest_error(f"DMA access: {error}")
            return ERROR
        target[:] = self._take(length)
        self._memory.dma_written(address, length)
        return 0

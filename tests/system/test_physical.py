"""The physical address space: RAM, ROM, windows, DMA bounds."""

from __future__ import annotations

import ctypes

import pytest

from jitemu.memory.physical import BusError, MemoryFault, PhysicalSpace, Ram

BASE = 0x8000_0000


class Echo:
    """Reads give offset and size; writes are remembered."""

    def __init__(self) -> None:
        self.writes: list[tuple[int, int, int]] = []

    def read(self, offset: int, size: int) -> int:
        return offset << 8 | size

    def write(self, offset: int, size: int, value: int) -> None:
        self.writes.append((offset, size, value))


@pytest.fixture
def space() -> PhysicalSpace:
    return PhysicalSpace(Ram(BASE, 0x10000), Ram(0x1000, 0xF000, "rom", writable=False))


def test_ram_is_seen_at_its_host_address(space: PhysicalSpace) -> None:
    space.write(BASE + 8, 8, 0x1122_3344_5566_7788)
    assert ctypes.string_at(space.ram.host_address + 8, 8).hex() == "8877665544332211"
    assert space.read(BASE + 10, 4) == 0x3344_5566


def test_windows_by_size_and_neighbourhood(space: PhysicalSpace) -> None:
    first, second = Echo(), Echo()
    space.map_mmio(0x1000_0000, 8, first, "first")
    space.map_mmio(0x1000_0008, 8, second, "second")
    for _ in range(2):  # the page's remembered window must not answer for its neighbour
        assert space.mmio_read(0x1000_0004, 4) == 0x404
        assert space.mmio_read(0x1000_000C, 4) == 0x404
    space.mmio_write(0x1000_0009, 1, 5)
    assert (first.writes, second.writes) == ([], [(1, 1, 5)])


@pytest.mark.parametrize(
    "address", [0, 0xFFC, 0x1000_0006, 0x1000_0008, BASE - 2, BASE + 0xFFFE, (1 << 64) - 4]
)
def test_where_nothing_is_a_bus_error(space: PhysicalSpace, address: int) -> None:
    space.map_mmio(0x1000_0000, 8, Echo(), "echo")
    space.mmio_read(0x1000_0000, 4)
    with pytest.raises(BusError):
        space.read(address, 4)
    with pytest.raises(BusError):
        space.write(address, 4, 0)


def test_rom_reads_and_ignores_stores(space: PhysicalSpace) -> None:
    space.load(0x1000, b"\x97\x02\0\0")
    space.write(0x1000, 4, 0)
    assert space.read(0x1000, 4) == 0x297


def test_overlapping_windows_are_refused(space: PhysicalSpace) -> None:
    space.map_mmio(0x2000_0000, 0x1000, Echo(), "echo")
    for base in (0x2000_0FFF, 0x1FFF_FFFF, BASE, 0x1000):
        with pytest.raises(ValueError, match="overlaps"):
            space.map_mmio(base, 2, Echo(), "other")


def test_dma_is_bounded_and_told(space: PhysicalSpace) -> None:
    told: list[tuple[int, int]] = []
    space.on_ram_write = lambda address, size: told.append((address, size))
    space.dma_write(BASE + 0xFFFC, b"abcd")
    assert space.dma_read(BASE + 0xFFFC, 4) == b"abcd"
    space.write(BASE, 2, 1)
    assert told == [(BASE + 0xFFFC, 4), (BASE, 2)]
    for address, size in ((BASE + 0xFFFD, 4), (BASE - 1, 2), (0x1000, 4), (1 << 63, 1)):
        with pytest.raises(MemoryFault):
            space.dma_write(address, bytes(size))
        with pytest.raises(MemoryFault):
            space.dma_read(address, size)
    with pytest.raises(MemoryFault):
        space.dma_read(BASE, 1 << 63)
    with pytest.raises(MemoryFault):
        space.dma_read(BASE, -1)

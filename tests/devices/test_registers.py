"""Register maps: kinds, partial and wide accesses, banks."""

from __future__ import annotations

import pytest

from jitemu.devices.registers import RegisterDevice, bank, port, ro, rw, w1c
from jitemu.memory.physical import BusError


class Sample(RegisterDevice):
    access_sizes = (1, 4, 8)
    ident = ro(0x00, "constant", reset=0x1234_5678)
    control = rw(0x04, "low byte writable", mask=0xFF, reset=0xAB00)
    status = w1c(0x08, "flags", mask=0x0F)
    wide = rw(0x10, "64 bits", width=8)
    strobe = port(0x18, "hooks only")
    channel = bank(rw(0x20, "a channel each", mask=0xFFFF), "channels", 8)

    def __init__(self, channels: int) -> None:
        self.channels = channels
        self.calls: list[tuple[int, ...]] = []
        super().__init__()

    @strobe.on_read
    def read_strobe(self) -> int:
        return 7

    @strobe.on_write
    def write_strobe(self, value: int) -> None:
        self.calls.append((value,))

    @channel.on_write
    def write_channel(self, index: int, value: int) -> None:
        self.calls.append((index, value, self.channel[index]))


@pytest.fixture
def device() -> Sample:
    return Sample(3)


def test_read_only(device: Sample) -> None:
    errors: list[str] = []
    device.on_guest_error = errors.append
    device.write(0, 4, 1)
    assert device.read(0, 4) == 0x1234_5678
    assert errors == ["Sample: 4-byte write of 0x1 at offset 0x0, where it cannot be"]


def test_mask_keeps_the_other_bits(device: Sample) -> None:
    device.write(4, 4, 0xFFFF_FFCD)
    assert device.control == device.read(4, 4) == 0xABCD
    device.reset_registers()
    assert device.control == 0xAB00


def test_write_one_to_clear(device: Sample) -> None:
    device.status = 0xFF
    device.write(8, 4, 0x33)
    assert device.read(8, 4) == 0xFC
    device.write(8, 1, 0x04)
    assert device.read(8, 4) == 0xF8


def test_parts_of_a_register(device: Sample) -> None:
    assert [device.read(i, 1) for i in range(4)] == [0x78, 0x56, 0x34, 0x12]
    device.write(0x10, 8, 0x1122_3344_5566_7788)
    device.write(0x14, 4, 0xAABB_CCDD)
    device.write(0x10, 1, 0xEE)
    assert device.wide == 0xAABB_CCDD_5566_77EE
    assert device.read(0x14, 4) == 0xAABB_CCDD


def test_a_wider_access_sees_the_register_zero_extended(device: Sample) -> None:
    assert device.read(0, 8) == 0x1234_5678
    device.write(0x18, 8, 0x1_0000_0002)
    assert device.calls == [(2,)]


def test_bank_passes_the_index_and_stores_first(device: Sample) -> None:
    device.write(0x28, 4, 0x12345)
    assert device.channel == [0, 0x2345, 0]
    assert device.calls == [(1, 0x12345, 0x2345)]
    assert device.read(0x28, 4) == 0x2345
    assert device.read(0x20 + 3 * 8, 4) == 0  # beyond the last


def test_unsupported_size_is_a_bus_error(device: Sample) -> None:
    with pytest.raises(BusError):
        device.read(0, 2)
    with pytest.raises(BusError):
        device.write(0x18, 2, 0)


def test_misaligned_and_unknown_offsets_read_zero(device: Sample) -> None:
    assert device.read(1, 4) == 0
    assert device.read(0xFFF, 4) == 0

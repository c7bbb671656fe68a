"""fw_cfg: items by the data register and by DMA."""

from __future__ import annotations

import struct

import pytest

from jitemu.devices.fw_cfg import FwCfg
from jitemu.memory.physical import PhysicalSpace, Ram

RAM, AT = 0x8000_0000, 0x1010_0000
READ, SKIP, SELECT, WRITE = 2, 4, 8, 16


class Rig:
    def __init__(self) -> None:
        self.space = PhysicalSpace(Ram(RAM, 0x10000))
        self.device = FwCfg(self.space, 1)
        self.errors: list[str] = []
        self.device.on_guest_error = self.errors.append
        self.space.map_mmio(AT, 0x18, self.device, "fw_cfg")

    def select(self, key: int) -> None:
        self.space.write(AT + 8, 2, int.from_bytes(key.to_bytes(2, "big"), "little"))

    def read(self, count: int, size: int = 1) -> bytes:
        return b"".join(self.space.read(AT, size).to_bytes(size, "little") for _ in range(count))

    def dma(self, control: int, length: int, address: int, halves: bool = False) -> int:
        at = RAM + 0x100
        self.space.dma_write(at, struct.pack(">IIQ", control, length, address))
        if halves:
            self.space.write(AT + 0x10, 4, 0)
            self.space.write(AT + 0x14, 4, int.from_bytes(struct.pack(">I", at), "little"))
        else:
            self.space.write(AT + 0x10, 8, int.from_bytes(struct.pack(">Q", at), "little"))
        return int.from_bytes(self.space.dma_read(at, 4), "big")


def test_signature_and_id() -> None:
    rig = Rig()
    rig.select(0)
    assert rig.read(6) == b"QEMU\0\0"
    rig.select(1)
    assert rig.read(1, 4) == b"\3\0\0\0"
    assert rig.space.read(AT + 0x10, 8).to_bytes(8, "little") == b"QEMU CFG"
    assert rig.space.read(AT + 0x14, 4).to_bytes(4, "little") == b" CFG"
    rig.select(5)
    assert rig.read(1, 2) == b"\1\0"
    rig.select(0x1234)
    assert rig.read(1, 8) == bytes(8)


def test_files_are_listed_by_name() -> None:
    rig = Rig()
    rig.device.add_file("opt/b", b"second")
    rig.device.add_file("opt/a", b"first item")
    rig.select(0x19)
    assert struct.unpack(">I", rig.read(4))[0] == 2
    entries = [struct.unpack(">IHH56s", rig.read(64)) for _ in range(2)]
    assert [(e[0], e[1], e[3].rstrip(b"\0")) for e in entries] == [
        (10, 0x20, b"opt/a"),
        (6, 0x21, b"opt/b"),
    ]
    rig.select(0x20)
    assert rig.read(1, 8) + rig.read(1, 2) + rig.read(2) == b"first item\0\0"


@pytest.mark.parametrize("halves", [False, True])
def test_dma(halves: bool) -> None:
    rig = Rig()
    rig.device.add_file("opt/a", b"0123456789")
    target = RAM + 0x1000
    assert rig.dma(SELECT | READ | 0x20 << 16, 4, target, halves) == 0
    assert rig.space.dma_read(target, 5) == b"0123\0"
    assert rig.dma(SKIP, 2, 0, halves) == 0
    rig.space.dma_write(target, b"x" * 8)
    assert rig.dma(READ, 6, target, halves) == 0
    assert rig.space.dma_read(target, 8) == b"6789\0\0xx"
    assert rig.dma(SELECT | WRITE | 0x20 << 16, 4, target, halves) == 1


def test_dma_outside_ram() -> None:
    rig = Rig()
    for address, length in ((0, 4), (RAM + 0xFFFF, 2), ((1 << 64) - 2, 4), (RAM, 0xFFFF_FFFF)):
        assert rig.dma(SELECT | READ, length, address) == 1
    rig.space.write(AT + 0x10, 8, 0)
    assert len(rig.errors) == 5


def test_names_that_cannot_be() -> None:
    rig = Rig()
    rig.device.add_file("x" * 55, b"")
    for name, message in (("x" * 56, "too long"), ("", "no name"), ("x" * 55, "duplicate")):
        with pytest.raises(ValueError, match=message):
            rig.device.add_file(name, b"")

"""The virtio-mmio transport (virtio 1.2, section 4.2): today, slots with nothing in them.

A slot without a device has device id 0, which drivers must ignore silently (4.2.3.1.1).
"""

from __future__ import annotations

from jitemu.devices.registers import RegisterDevice, ro

MAGIC = int.from_bytes(b"virt", "little")
VERSION = 2
VENDOR = int.from_bytes(b"QEMU", "little")


class EmptySlot(RegisterDevice):
    """What a driver finds where no device is plugged; a device's transport takes its place
    on the board, with the slot's window and interrupt."""

    access_sizes = (1, 2, 4)
    magic_value = ro(0x000, "'virt'", reset=MAGIC)
    version = ro(0x004, "2: the register layout of virtio 1.0 and later", reset=VERSION)
    device_id = ro(0x008, "0: no device", reset=0)
    vendor_id = ro(0x00C, "subsystem vendor", reset=VENDOR)

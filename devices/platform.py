"""Devices on the platform bus: a window of registers and an interrupt, placed by the board.

This is what a device of one's own is made of (``-device-file``):

    class Adder(PlatformDevice):
        model = "adder"
        compatible = "example,adder"
        a = rw(0x0, "first summand")
        ...
"""

from __future__ import annotations

from jitemu.devices.device import Device
from jitemu.devices.registers import RegisterDevice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jitemu.devices.ports import IrqLine


class PlatformDevice(Device, RegisterDevice):
    """Registers (``devices/registers.py``) with what a board gives: ``self.irq`` is the wire
    to the interrupt controller, ``self.memory`` RAM, ``self.host`` all else."""

    bus = "platform-bus"
    compatible = ""
    """The device tree's property; several names with NULs between."""
    window = 0x1000
    """Bytes of addresses."""
    irq: IrqLine

    def reset(self) -> None:
        self.reset_registers()
        self.irq.set(False)

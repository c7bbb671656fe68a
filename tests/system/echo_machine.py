"""A machine whose guest echoes what it receives; run by the tests of serial back ends.

    python -m tests.system.echo_machine KERNEL SERIAL

The guest says "ready", sends back each byte, "<break>" for a break, and powers off at "q".
"""

from __future__ import annotations

import sys

from jitemu.memory.physical import PhysicalSpace
from jitemu.system.hart import MEIP, HartExit
from jitemu.system.machine import Machine, MachineConfig
from tests.system.fake_hart import FakeHart

UART, PLIC, FINISHER = 0x1000_0000, 0xC00_0000, 0x10_0000


def send(space: PhysicalSpace, text: bytes) -> None:
    for byte in text:
        space.mmio_write(UART, 1, byte)


def guest(hart: FakeHart) -> HartExit:
    space = hart.space
    if not hart.enabled:
        hart.enabled = 1 << MEIP
        space.mmio_write(PLIC + 10 * 4, 4, 1)
        space.mmio_write(PLIC + 0x2000, 4, 1 << 10)
        space.mmio_write(UART + 1, 1, 5)
        send(space, b"ready\r\n")
    if not hart.pending >> MEIP & 1:
        return HartExit.WFI
    source = space.mmio_read(PLIC + 0x20_0004, 4)
    while (status := space.mmio_read(UART + 5, 1)) & 1:
        byte = space.mmio_read(UART, 1)
        if status & 0x10:
            send(space, b"<break>")
        elif byte == ord("q"):
            send(space, b"bye\r\n")
            space.mmio_write(FINISHER, 4, 0x5555)
        else:
            send(space, bytes((byte,)))
    space.mmio_write(PLIC + 0x20_0004, 4, source)
    return HartExit.INTERRUPTED


def main() -> int:
    config = MachineConfig(memory=16 << 20, kernel=sys.argv[1], serial=(sys.argv[2],))
    return Machine(config, lambda space, hart_id: FakeHart(space, hart_id, guest)).run()


if __name__ == "__main__":
    sys.exit(main())

"""Ports of the console device: streams between the guest and the host's char devices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jitemu.devices.buffers import part
from jitemu.devices.device import STR, UINT32, Device, prop, reference
from jitemu.devices.virtio.queue import Chain, Queue

if TYPE_CHECKING:
    from jitemu.devices.ports import StreamChardev
    from jitemu.devices.virtio.device import VirtioDevice

BUS = "virtio-serial-bus"
CONSOLE_PORT, PORT_OPEN, PORT_NAME = 4, 6, 7  # events of control messages
ANY = (1 << 32) - 1
PIECE = 4096  # bytes taken from a buffer at once
PIECES_AT_ONCE = 64  # then others have their turn


class VirtSerialPort(Device):
    """A port that programs in the guest open by its name."""

    model = "virtserialport"
    about = "serial port of a virtio-serial-device"
    category = "Input"
    bus = BUS
    console = False
    lowest = 1  # port 0 is for a console
    chardev = prop(reference("chardev"), None, "id of a -chardev")
    name = prop(STR, "", "what the guest sees as the port's name")
    nr = prop(UINT32, ANY, "the port's number")

    def connect(self, parent: VirtioDevice, number: int, input: Queue, output: Queue) -> None:
        """Called by the device that it is plugged into."""
        self._parent, self.number, self.input, self.output = parent, number, input, output

    def greeting(self) -> list[tuple[int, bytes]]:
        """Events that tell the driver of the port, and what goes with them."""
        console = [(CONSOLE_PORT, b"")] if self.console else []
        name = [(PORT_NAME, self.name.encode() + b"\0")] if self.name else []
        return [*console, *name, (PORT_OPEN, b"")]

    def realize(self) -> None:
        self.open = False  # by the guest
        self._chain: Chain | None = None  # being transmitted, from byte _sent on
        self._sent = 0
        chardev: StreamChardev | None = self.chardev
        self._chardev = chardev
        if chardev is not None:
            chardev.on_input = self.receive
            chardev.on_writable = self.transmit

    def reset(self) -> None:
        self.open, self._chain = False, None

    def receive(self) -> None:
        """Host to guest, as far as the guest has given buffers."""
        self._parent.guarded(self._receive)

    def _receive(self) -> None:
        queue, chardev = self.input, self._chardev
        if chardev is None:
            return
        while self.open and (chain := queue.take()) is not None:
            data = chardev.read(min(chain.write_size(), PIECE))
            if not data:
                queue.unpop()
                break
            queue.push(chain, chain.write(data))
        self._parent.signal(queue)

    def transmit(self) -> None:
        """Guest to host, as far as the host takes it."""
        self._parent.guarded(self._transmit)

    def _transmit(self) -> None:
        queue, chardev = self.output, self._chardev
        while queue.ready and (chain := self._chain or queue.take()) is not None:
            self._chain = chain
            if chardev is not None and not self._pass(chain, chardev):
                break
            self._chain, self._sent = None, 0
            queue.push(chain)
        self._parent.signal(queue)

    def _pass(self, chain: Chain, chardev: StreamChardev) -> bool:
        """Hand over what is left of a buffer; False: the host has no room now."""
        for _ in range(PIECES_AT_ONCE):
            room = min(chardev.room(), PIECE)
            if room <= 0:
                return False
            data = b"".join(part(chain.readable, self._sent, room))
            if not data:
                return True
            self._sent += len(data)
            chardev.write(data)
        self.host.scheduler.call_at(self.host.clock.monotonic_ns(), self.transmit)
        return False


class VirtConsole(VirtSerialPort):
    """A port with a terminal: hvc0 and so on in Linux."""

    model = "virtconsole"
    about = "console on a virtio-serial-device"
    console = True
    lowest = 0

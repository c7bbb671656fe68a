"""The console device (virtio 1.2, section 5.3)."""

from __future__ import annotations

import struct

from jitemu.devices.device import UINT32, Device, prop
from jitemu.devices.virtio.device import VirtioDevice
from jitemu.devices.virtio.queue import Queue, QueueError
from jitemu.devices.virtio.serial_port import ANY, BUS, PORT_OPEN, VirtSerialPort

MULTIPORT = 1 << 1
CONTROL = struct.Struct("<IHH")
DEVICE_READY, DEVICE_ADD, PORT_READY = 0, 1, 3
CONTROL_IN, CONTROL_OUT = 2, 3  # queue numbers
MOST_WAITING = 256  # control messages that the driver leaves unread


class VirtioSerial(VirtioDevice):
    """Ports plug into it; port 0 is there without the multiport feature, too."""

    model = "virtio-serial-device"
    aliases = ("virtio-serial",)
    about = "consoles and serial ports"
    category = "Input"
    provides = BUS
    type_id = 3
    max_ports = prop(UINT32, 31, "at most 31", name="max_ports")

    def realize(self) -> None:
        if not 1 <= self.max_ports <= 31:
            raise ValueError("max_ports must be from 1 to 31")
        super().realize()
        self.ports: dict[int, VirtSerialPort] = {}
        self._control: list[bytes] = []
        self._work = {CONTROL_IN: self._send_control, CONTROL_OUT: self._take_control}

    def queue_sizes(self) -> list[int]:
        return [128] * (2 * self.max_ports + 2)

    def device_features(self) -> int:
        return MULTIPORT

    def config(self) -> bytes:
        return struct.pack("<HHII", 0, 0, self.max_ports, 0)

    def attach(self, child: Device) -> None:
        assert isinstance(child, VirtSerialPort)
        free = [n for n in range(child.lowest, self.max_ports) if n not in self.ports]
        number = free[0] if child.nr == ANY and free else child.nr
        if number not in free:
            raise ValueError(f"port {number} is in use, a console's, or not below max_ports")
        self.ports[number] = child
        first = 0 if number == 0 else 2 * number + 2
        child.connect(self, number, self.queues[first], self.queues[first + 1])
        self._work |= {first: child.receive, first + 1: child.transmit}

    def reset(self) -> None:
        super().reset()
        self._control.clear()
        for port in self.ports.values():
            port.reset()

    def driver_ready(self) -> None:
        for port in self.ports.values():
            port.open = not self.features & MULTIPORT  # which would say when it is opened

    def notified(self, queue: Queue) -> None:
        self.guarded(self._work.get(queue.index, lambda: None))

    def _take_control(self) -> None:
        queue = self.queues[CONTROL_OUT]
        while (chain := queue.take()) is not None:
            if chain.read_size() < CONTROL.size:
                raise QueueError("control message too short")
            number, event, value = CONTROL.unpack(chain.read(CONTROL.size))
            queue.push(chain)
            port = self.ports.get(number)
            if event == DEVICE_READY and value:
                for each in self.ports:
                    self._tell(each, DEVICE_ADD, 1)
            elif event == PORT_READY and value and port is not None:
                for each, data in port.greeting():
                    self._tell(number, each, 1, data)
            elif event == PORT_OPEN and port is not None:
                port.open = bool(value)
                port.receive()
        self.signal(queue)
        self._send_control()

    def _tell(self, number: int, event: int, value: int, more: bytes = b"") -> None:
        if len(self._control) < MOST_WAITING:
            self._control.append(CONTROL.pack(number, event, value) + more)

    def _send_control(self) -> None:
        queue = self.queues[CONTROL_IN]
        while self._control and (chain := queue.take()) is not None:
            queue.push(chain, chain.write(self._control.pop(0)))
        self.signal(queue)

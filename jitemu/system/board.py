"""The `virt` machine's board: memory, devices, and the wires between them."""

from __future__ import annotations

from jitemu.devices.aclint import Mswi, Mtimer, Sswi
from jitemu.devices.fw_cfg import FwCfg
from jitemu.devices.goldfish_rtc import GoldfishRtc
from jitemu.devices.plic import Plic
from jitemu.devices.test_finisher import TestFinisher
from jitemu.devices.uart16550 import Uart16550
from jitemu.devices.virtio.mmio import EmptySlot, ModernTransport
from jitemu.devices.virtio.mmio_legacy import LegacyTransport
from jitemu.memory.physical import PhysicalSpace, Ram
from jitemu.messages import fail
from jitemu.system import memory_map as at
from jitemu.system.hart import MEIP, MSIP, MTIP, SEIP, SSIP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jitemu.devices.device import Device
    from jitemu.devices.ports import Chardev, Host, IrqLine
    from jitemu.devices.registers import RegisterDevice
    from jitemu.system.plugging import Place

    SetInterrupt = Callable[[int, int, bool], None]

LSR_AT, LSR_DATA_READY = 5, 1


class HartWire:
    """A wire into a hart: the mip bit ``number``."""

    def __init__(self, set_interrupt: SetInterrupt, hart: int, number: int) -> None:
        self._set_interrupt = set_interrupt
        self._hart = hart
        self._number = number

    def set(self, level: bool) -> None:
        self._set_interrupt(self._hart, self._number, level)


class UartConsole:
    """The UART as firmware uses it: by polling, from the hart's thread."""

    def __init__(self, space: PhysicalSpace, uart: Uart16550, chardev: Chardev) -> None:
        self._lock = space.lock
        self._uart = uart
        self._chardev = chardev

    def put(self, byte: int) -> bool:
        with self._lock:
            return self._chardev.put(byte)

    def get(self) -> int | None:
        with self._lock:
            if not self._uart.read(LSR_AT, 1) & LSR_DATA_READY:
                return None
            return self._uart.read(0, 1)


def make_space(memory: int) -> PhysicalSpace:
    """``memory`` bytes of RAM, and the reset ROM."""
    rom = Ram(at.RESET_ROM, at.RESET_ROM_SIZE, "reset rom", writable=False)
    return PhysicalSpace(Ram(at.RAM, memory), rom)


class VirtBoard:
    """Builds the devices into ``space``.  ``set_interrupt(hart, mip bit, level)`` is where
    the wires to the harts end; ``places`` are of the devices that ``-device`` makes."""

    def __init__(
        self,
        space: PhysicalSpace,
        harts: int,
        aclint: bool,
        legacy_virtio: bool,
        chardev: Chardev,
        host: Host,
        places: Sequence[Place],
        set_interrupt: SetInterrupt,
        on_guest_error: Callable[[str], None] | None = None,
    ) -> None:
        self.space = space
        self._on_guest_error = on_guest_error
        self._transport = LegacyTransport if legacy_virtio else ModernTransport
        clock, scheduler, control = host.clock, host.scheduler, host.control

        def wires(*numbers: int) -> list[IrqLine]:
            return [HartWire(set_interrupt, hart, n) for hart in range(harts) for n in numbers]

        self.plic = Plic(at.PLIC_SOURCES, wires(MEIP, SEIP))
        self.mswi = Mswi(wires(MSIP))
        self.mtimer = Mtimer(clock, scheduler, wires(MTIP))
        self.uart = Uart16550(
            chardev, self.plic.source(at.UART_IRQ), clock, scheduler, at.UART_CLOCK_HZ
        )
        self.console = UartConsole(space, self.uart, chardev)
        self.rtc = GoldfishRtc(clock, scheduler, self.plic.source(at.RTC_IRQ))
        self._map(at.TEST_FINISHER, at.TEST_FINISHER_SIZE, TestFinisher(control), "test")
        self._map(at.RTC, at.RTC_SIZE, self.rtc, "rtc")
        self._map(at.CLINT, at.MSWI_SIZE, self.mswi, "mswi")
        self._map(at.MTIMER, at.MTIMER_SIZE, self.mtimer, "mtimer")
        if aclint:
            self._map(at.SSWI, at.SSWI_SIZE, Sswi(wires(SSIP)), "sswi")
        self._map(at.PLIC, at.PLIC_SIZE, self.plic, "plic")
        self._map(at.UART, at.UART_REGISTERS_SIZE, self.uart, "serial")
        self.fw_cfg = FwCfg(host.memory, harts)
        self._map(at.FW_CFG, at.FW_CFG_SIZE, self.fw_cfg, "fw_cfg")
        self.plugged: list[Device] = []
        """What ``-device`` made, in its order."""
        self._resets: list[Callable[[], None]] = []
        for spot in places:
            self._plug(spot, host)
        taken = {spot.base for spot in places}
        for slot in range(at.VIRTIO_SLOTS):
            base = at.VIRTIO + slot * at.VIRTIO_SIZE
            if base not in taken:
                self._map(
                    base, at.VIRTIO_SIZE, EmptySlot(self._transport.layout), f"virtio-mmio.{slot}"
                )

    def reset(self) -> None:
        """Every device back to its power-on state; RAM keeps what it holds."""
        self.uart.reset()
        self.rtc.reset()
        self.mswi.reset()
        self.mtimer.reset()
        self.fw_cfg.reset()
        for reset in self._resets:
            reset()
        self.plic.reset()

    def _plug(self, spot: Place, host: Host) -> None:
        """Make a device and put it on its bus; UserError if it cannot be made."""
        from jitemu.devices.platform import PlatformDevice
        from jitemu.devices.virtio.device import VirtioDevice

        spec = spot.spec
        texts = {key: text for key, text in spec.texts.items() if key != "bus"}
        try:
            device = spec.model(host, texts)
            if isinstance(device, VirtioDevice):
                device.realize()
                transport = self._transport(device, self.plic.source(spot.irq))
                self._map(spot.base, spot.size, transport, spot.name)
                self._resets.append(transport.reset)
            else:
                if isinstance(device, PlatformDevice):
                    device.irq = self.plic.source(spot.irq)
                    self._map(spot.base, spot.size, device, spot.name)
                else:
                    parents = [d for d in self.plugged if d.provides == device.bus]
                    parents[-1].attach(device)
                device.realize()
                self._resets.append(device.reset)
        except ValueError as error:
            fail(f"{spec.option}: {error}")
        self.plugged.append(device)

    def _map(self, base: int, size: int, device: RegisterDevice, name: str) -> None:
        device.on_guest_error = self._on_guest_error
        self.space.map_mmio(base, size, device, name)

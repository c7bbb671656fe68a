"""What ``info`` shows of the machine and what is plugged into it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jitemu.devices.device import BOOL
from jitemu.messages import version
from jitemu.system.monitor.commands import DEVICE, info, optional

if TYPE_CHECKING:
    from typing import Any

    from jitemu.devices.device import Device, Property
    from jitemu.system.monitor.session import Monitor


NAME = optional(DEVICE)


@info("version", "", "show the version of jitemu")
def show_version(monitor: Monitor) -> None:
    monitor.print(version() or "unknown")


@info("status", "", "show the current VM status (running|paused)")
def show_status(monitor: Monitor) -> None:
    monitor.print(f"VM status: {monitor.machine.status}")


@info("name", "", "show the current VM name")
def show_name(monitor: Monitor) -> None:
    if monitor.machine.config.name:
        monitor.print(monitor.machine.config.name)


@info("mtree", "", "show memory tree")
def show_memory_tree(monitor: Monitor) -> None:
    space = monitor.machine.space
    regions = [(w.base, w.end, "i/o", w.name) for w in space.windows]
    regions += [
        (b.base, b.end, "ram" if b.writable else "rom", b.name.replace(" ", "."))
        for b in space.blocks
    ]
    monitor.print("address-space: memory")
    monitor.print(f"  {0:016x}-{(1 << 64) - 1:016x} (prio 0, i/o): system")
    for base, end, kind, name in sorted(regions):
        monitor.print(f"    {base:016x}-{end - 1:016x} (prio 0, {kind}): {name}")
    monitor.print()


@info("roms", "", "show roms")
def show_images(monitor: Monitor) -> None:
    for address, size, name in monitor.machine.loaded:
        where = "ram" if monitor.machine.space.is_ram(address, 1) else "rom"
        monitor.print(f'addr={address:016x} size={size:#08x} mem={where} name="{name}"')


@info("irq", "", "show the interrupts' sources: what is raised, and who may see it")
def show_interrupts(monitor: Monitor) -> None:
    for line in monitor.machine.board.plic.describe():
        monitor.print(line)


@info("qtree", "", "show device tree")
def show_device_tree(monitor: Monitor) -> None:
    board = monitor.machine.board
    monitor.print("bus: main-system-bus\n  type System")
    for device in board.plugged:
        if device.bus == "virtio-bus":
            window = next(
                w for w in board.space.windows if getattr(w.device, "device", None) is device
            )
            monitor.print('  dev: virtio-mmio, id ""')
            monitor.print(f"    mmio {window.base:016x}/{window.end - window.base:016x}")
            number = window.name.rpartition(".")[2]
            monitor.print(f"    bus: virtio-mmio-bus.{number}\n      type virtio-mmio-bus")
            _show_device(monitor, device, " " * 6)
        else:
            _show_device(monitor, device, "  ")


def _show_device(monitor: Monitor, device: Device, indent: str) -> None:
    monitor.print(f'{indent}dev: {device.model}, id "{device.id}"')
    for row in device.properties():
        monitor.print(f"{indent}  {row.name} = {_value(row, getattr(device, row.attribute))}")


def _value(row: Property[Any], value: Any) -> str:
    if row.kind is BOOL:
        return "true" if value else "false"
    if isinstance(value, int):
        return f"{value} ({value:#x})"
    if isinstance(value, bytes):
        value = value.hex(":")
    elif row.kind.backend and value is not None:
        value = getattr(value, "id", "") or getattr(value, "name", "")
    return f'"{value or ""}"'


@info("chardev", "", "show the character devices")
def show_chardevs(monitor: Monitor) -> None:
    for line in monitor.machine.chardevs.describe():
        monitor.print(line)


@info("network", "", "show the network state")
def show_network(monitor: Monitor) -> None:
    for netdev in monitor.machine.backends.of_kind("netdev"):
        own = f"{netdev.id}: index=0,type={netdev.kind},{netdev.describe()}"
        monitor.print(f"{netdev.peer}\n \\ {own}" if netdev.peer else own)
        if netdev.captures:
            monitor.print("filters:")
        for capture in netdev.captures:
            monitor.print(f"  - {capture.describe()}")


@info("usernet", "", "show user network stack connection states")
def show_connections(monitor: Monitor) -> None:
    from jitemu.devices.net.user import UserNet

    for netdev in monitor.machine.backends.of_kind("netdev"):
        if isinstance(netdev, UserNet):
            monitor.print_part(f"Hub -1 ({netdev.id}):\n{netdev.connections()}")


@info("block", "[device]", "show info of one block device or all block devices", NAME)
def show_block(monitor: Monitor, only: str | None) -> None:
    users = {id(getattr(d, "drive", None)): d for d in monitor.machine.board.plugged}
    drives = monitor.machine.backends.of_kind("drive")
    for index, drive in enumerate(d for d in drives if only in (None, d.name)):
        image = drive.image
        kind = image.format + (", read-only" if image.read_only else "")
        monitor.print_part("\n" if index else "")
        content = f"{image.name} ({kind})" if drive.inserted else "[not inserted]"
        monitor.print(f"{drive.name}: {content}")
        user = users.get(id(drive))
        if user is not None:
            monitor.print(f"    Attached to:      {user.id or user.model}")
        elif not drive.node:
            monitor.print("    Removable device: not locked, tray closed")
        if not drive.inserted:
            continue
        mode = "writeback" if drive.writeback else "writethrough"
        monitor.print(f"    Cache mode:       {mode}")


@info("blockstats", "", "show block device statistics")
def show_block_statistics(monitor: Monitor) -> None:
    for drive in monitor.machine.backends.of_kind("drive"):
        monitor.print(f"{drive.name}: {drive.counts.describe()}")

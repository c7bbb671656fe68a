"""Commands about what is plugged in: disks, networks, character devices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jitemu.devices.net.user import UserNet
from jitemu.messages import UserError
from jitemu.system.monitor.commands import (
    DEVICE,
    FILE,
    SIZE,
    STRING,
    CommandError,
    command,
    flag,
    optional,
)

if TYPE_CHECKING:
    from jitemu.devices.block.drive import Drive
    from jitemu.system.monitor.session import Monitor


def _user_net(monitor: Monitor, name: str | None) -> UserNet:
    """The back end of this id, or the only kind there can be a default of: the first."""
    found = [n for n in monitor.machine.backends.of_kind("netdev") if isinstance(n, UserNet)]
    if name is None and found:
        return found[0]
    for netdev in found:
        if netdev.id == name:
            return netdev
    if name is None:
        raise CommandError("user mode network stack not in use")
    raise CommandError(f"unrecognized netdev id '{name}'")


@command(
    "hostfwd_add",
    "[netdev_id] [tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport",
    "redirect TCP or UDP connections from host to guest (requires -net user)",
    STRING,
    optional(STRING),
)
def add_forward(monitor: Monitor, first: str, second: str | None) -> None:
    netdev = _user_net(monitor, first if second else None)
    try:
        netdev.add_hostfwd(second or first)
    except UserError as error:
        raise CommandError(str(error)) from None


@command(
    "hostfwd_remove",
    "[netdev_id] [tcp|udp]:[hostaddr]:hostport",
    "remove host-to-guest TCP or UDP redirection",
    STRING,
    optional(STRING),
)
def remove_forward(monitor: Monitor, first: str, second: str | None) -> None:
    netdev = _user_net(monitor, first if second else None)
    try:
        removed = netdev.remove_hostfwd(second or first)
    except UserError as error:
        raise CommandError(str(error)) from None
    rule = second or first
    monitor.print(f"host forwarding rule for {rule} {'removed' if removed else 'not found'}")


def _drive(monitor: Monitor, name: str) -> Drive | None:
    drives = monitor.machine.backends.of_kind("drive")
    return next((drive for drive in drives if drive.name == name and not drive.node), None)


@command("eject", "[-f] device", "eject a removable medium (use -f to force it)", flag("f"), DEVICE)
def eject(monitor: Monitor, _force: bool, name: str) -> None:
    drive = _drive(monitor, name)
    if drive is None:
        raise CommandError(f"Error: Device '{name}' not found")
    if monitor.machine.backends.is_taken("drive", name):  # by a disk, whose medium stays in it
        raise CommandError(f"Error: Device '{name}' is not removable")
    drive.eject()


@command("block_resize", "device size", "resize a block image", DEVICE, SIZE)
def resize(monitor: Monitor, name: str, size: int) -> None:
    drive = _drive(monitor, name)
    if drive is None:
        raise CommandError(f"Error: Cannot find device='{name}' nor node-name=''")
    if not drive.inserted:
        raise CommandError(f"Error: Device '{name}' has no medium")
    try:
        drive.resize(size)
    except OSError as error:
        raise CommandError(f"Error: {error.strerror}") from None
    except UserError as error:
        raise CommandError(f"Error: {error}") from None


@command("dumpdtb", "filename", "dump the FDT in dtb format to 'filename'", FILE)
def dump_device_tree(monitor: Monitor, path: str) -> None:
    with open(path, "wb") as file:
        file.write(monitor.machine.device_tree)
    monitor.print(f"dtb dumped to {path}")


@command("chardev-send-break", "id", "send a break on chardev", STRING)
def send_break(monitor: Monitor, name: str) -> None:
    monitor.machine.chardevs.send_break(name)


@command(
    "commit",
    "device|all",
    "commit changes to the disk images (if -snapshot is used) or backing files",
    DEVICE,
)
def commit(monitor: Monitor, name: str) -> None:
    if name == "all":
        lines = monitor.machine.save_disks()
    else:
        drive = _drive(monitor, name)
        if drive is None:
            raise CommandError(f"Device '{name}' not found")
        if not drive.inserted:
            raise CommandError(f"Device '{name}' has no medium")
        lines = save(drive)
    for line in lines:
        monitor.print(line)


def save(drive: Drive) -> list[str]:
    """Commit one; what went wrong."""
    try:
        drive.commit()
    except OSError as error:
        return [f"'commit' error for '{drive.name}': {error.strerror}"]
    except UserError as error:
        return [f"'commit' error for '{drive.name}': {error}"]
    return []

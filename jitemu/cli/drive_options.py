"""``-drive``, ``-blockdev`` and their short forms: images, and the disks they are in."""

from __future__ import annotations

from jitemu.cli.options import Option, flag, integer, one_of
from jitemu.keyval import Taker, on_off, parse, parse_any
from jitemu.messages import UserError, fail
from jitemu.system.plugged import KEY, NOTHING, BackendSpec, DeviceSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from jitemu.devices.block.drive import Drive
    from jitemu.devices.block.image import BlockImage
    from jitemu.system.machine import Machine
    from jitemu.system.plugged import Plugged

DISK = "virtio-blk-device"
INTERFACES = ("virtio", "none")
CACHES = {
    # mode: write-back, options of the image
    "writeback": (True, {}),
    "none": (True, {"cache.direct": "on"}),
    "unsafe": (True, {"cache.no-flush": "on"}),
    "writethrough": (False, {}),
    "directsync": (False, {"cache.direct": "on"}),
}
IGNORED = ("aio",)
MOST = (1 << 31) - 1
ONLY = {"werror": "report", "rerror": "report", "copy-on-read": "off"}
"""What can be asked for of these is how it is."""
NODE_KEYS = ("file", "backing", "data-file")


def _drive(before: Plugged, text: str) -> Plugged:
    values = Taker(parse(text, "file"))
    interface = values.take_as("if", one_of(*INTERFACES), "")
    prefix = f"-drive {text}"
    unit = _unit(before, values, interface or INTERFACES[0])
    name = values.take("id") or f"{unit[0]}{unit[2]}"
    media = values.take_as("media", one_of("disk", "cdrom"), "disk")
    writeback, image_options = CACHES[values.take_as("cache", one_of(*CACHES), "writeback")]
    read_only = values.take_as("readonly", on_off, False)
    read_only = values.take_as("read-only", on_off, read_only) or media == "cdrom"
    snapshot = values.take_as("snapshot", on_off, False)
    file, kind = values.take("file"), values.take("format") or values.take("driver")
    serial = values.take("serial")
    for key in IGNORED:
        values.take(key)
    for key, content in ONLY.items():
        values.take_as(key, one_of(content), "")
    discard = values.take_as("discard", one_of("ignore", "off", "unmap", "on"), "ignore")
    options = {**image_options, "discard": discard, **values.rest()}  # the format checks the rest
    if not file and not any(key.startswith("file.") for key in options):
        raise ValueError('A block device must be specified for "file"')

    def open_it(machine: Machine) -> BlockImage:
        from jitemu.devices.block.opening import open_image, open_node

        if not file:
            node = options | ({"driver": kind} if kind else {})
            return open_node(node, read_only=read_only, secrets=machine.config.secrets)
        return open_image(
            file,
            kind or None,
            read_only=read_only,
            snapshot=snapshot or machine.config.snapshot,
            options=options,
            secrets=machine.config.secrets,
        )

    plugged = _backend(before, name, open_it, prefix, writeback, unit=unit)
    if interface == "none":
        return plugged
    return _disk(plugged, name, serial, prefix, implied=not interface)


def _unit(before: Plugged, values: Taker, interface: str) -> tuple[str, int, int]:
    """Interface, bus and unit, the first free one where none is asked for.  They name the
    drive and say which are the same; the order of disks is that of the command line."""
    index, bus, unit = (
        values.take_as(key, integer(-1, MOST), default)
        for key, default in (("index", -1), ("bus", 0), ("unit", -1))
    )
    if index >= 0:
        if bus or unit >= 0:
            raise ValueError("index cannot be used with bus and unit")
        unit = index
    taken = {spec.unit for spec in before if isinstance(spec, BackendSpec)}
    if unit < 0:
        unit = next(n for n in range(len(taken) + 1) if (interface, bus, n) not in taken)
    if (interface, bus, unit) in taken:
        raise ValueError(f"drive with bus={bus}, unit={unit} (index={unit}) exists")
    return interface, bus, unit


def _backend(
    before: Plugged,
    name: str,
    open_it: Callable[[Machine], BlockImage],
    prefix: str,
    writeback: bool = True,
    options: Mapping[str, Any] | None = None,
    unit: tuple[str, int, int] | None = None,
) -> Plugged:
    def make(machine: Machine) -> Drive:
        from jitemu.devices.block.drive import Drive

        try:
            return Drive(name, open_it(machine), writeback, node=unit is None)
        except UserError as error:
            fail(f"{prefix}: {error}")

    if any(isinstance(s, BackendSpec) and (s.kind, s.id) == ("drive", name) for s in before):
        raise ValueError(f"Duplicate ID '{name}' for drive")
    return (*before, BackendSpec("drive", name, make, options or {}, unit))


def _disk(before: Plugged, drive: str, serial: str, prefix: str, implied: bool) -> Plugged:
    from jitemu.devices.catalog import find

    texts = {"drive": drive} | ({"serial": serial} if serial else {})
    return (*before, DeviceSpec(find(DISK), texts, prefix, implied))


def _blockdev(before: Plugged, text: str) -> Plugged:
    """A node; nodes it names by ``file=NODE`` become part of it."""
    options: dict[str, Any] = dict(parse_any(text, "driver"))
    name = options.pop("node-name", "")
    if not name:
        raise ValueError("'node-name' must be specified for the root node")
    read_only = on_off(options.pop("read-only", "off"))
    for key in NODE_KEYS:
        for spec in before:
            if isinstance(spec, BackendSpec) and spec.options and spec.id == options.get(key):
                options |= {f"{key}.{k}": value for k, value in spec.options.items()}
                del options[key]
                before = tuple(s for s in before if s is not spec)

    def open_it(machine: Machine) -> BlockImage:
        from jitemu.devices.block.opening import open_node

        return open_node(options, read_only=read_only, secrets=machine.config.secrets)

    return _backend(before, name, open_it, f"-blockdev {text}", options=options)


def named_drive(words: str) -> Callable[[Plugged, str], Plugged]:
    """What takes an image's name alone; ``words`` are the rest of a -drive."""

    def add(before: Plugged, file: str) -> Plugged:
        return _drive(before, f"file={file.replace(',', ',,')},{words}")

    return add


hard_disk = named_drive("index=0")


DRIVE = Option(
    "drive",
    "[file=]file[,if=virtio|none][,index=i|,bus=b,unit=u][,id=name][,format=f][,...]",
    "use 'file' as a drive image; without if= a disk, unless a -device takes it"
    "\n[,media=disk|cdrom][,cache=writeback|writethrough|none|directsync|unsafe]"
    "\n[,snapshot=on|off][,readonly=on|off][,discard=ignore|unmap]"
    "\n[,detect-zeroes=on|off|unmap][,serial=s]",
    NOTHING,
    _drive,
    key=KEY,
)
BLOCKDEV = Option(
    "blockdev",
    "[driver=]driver,node-name=N[,read-only=on|off][,...]",
    "configure a block backend, which -device virtio-blk-device,drive=N takes"
    "\n(the driver's own parameters are image options, as file.filename=F)",
    NOTHING,
    _blockdev,
    key=KEY,
)


def _short(name: str, about: str, words: str) -> Option[Plugged]:
    return Option(name, "file", about, NOTHING, named_drive(words), key=KEY)


DISKS = tuple(
    _short(name, f"use 'file' as hard disk {n} image", f"index={n}")
    for n, name in enumerate(("hda", "hdb", "hdc", "hdd"))
)
CDROM = _short("cdrom", "use 'file' as a read-only disk", "media=cdrom,index=2")
SNAPSHOT = flag("snapshot", "write to temporary files instead of disk image files")
DRIVE_OPTIONS = (*DISKS, CDROM, DRIVE, BLOCKDEV, SNAPSHOT)

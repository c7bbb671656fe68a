"""``-device`` and ``-device-file``: devices by model, or by a class of the user's."""

from __future__ import annotations

from jitemu.cli.options import Option, Shown, on_off
from jitemu.keyval import Taker, parse, parse_any
from jitemu.messages import warn
from jitemu.system.plugged import KEY, NOTHING, DeviceSpec

LONGEST_NAME = 55  # of an item of fw_cfg, bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jitemu.devices.device import Device
    from jitemu.system.plugged import Plugged


def _spec(model: type[Device], texts: dict[str, str], option: str) -> DeviceSpec:
    from jitemu.devices.device import describe

    if "help" in texts:
        raise Shown(describe(model))
    return DeviceSpec(model, texts, option)


def _device(before: Plugged, text: str) -> Plugged:
    from jitemu.devices import catalog

    texts = parse_any(text, "driver", flags=True)
    name = texts.pop("driver", "")
    if name in ("help", "?"):
        raise Shown(catalog.listing())
    if not name:
        raise ValueError("Parameter 'driver' is missing")
    return (*before, _spec(catalog.find(name), texts, f"-device {text}"))


def _device_file(before: Plugged, text: str) -> Plugged:
    from jitemu.devices import catalog

    texts = parse_any(text, "file", flags=True)
    model = catalog.load(texts.pop("file", ""))
    return (*before, _spec(model, texts, f"-device-file {text}"))


def _fw_cfg(before: tuple[tuple[str, bytes], ...], text: str) -> tuple[tuple[str, bytes], ...]:
    values = Taker(parse(text, "name"))
    name, file, content = values.take("name"), values.take("file"), values.take("string")
    values.end()
    if bool(file) == bool(content) or not name:
        raise ValueError("give a name, and either a file or a string")
    if len(name) > LONGEST_NAME:
        raise ValueError(f"name too long (max. {LONGEST_NAME} char)")
    if name in dict(before):
        raise ValueError(f"duplicate fw_cfg file name: {name}")
    if not name.startswith("opt/"):
        warn(f"-fw_cfg {name}: externally provided fw_cfg item names should be prefixed with opt/")
    if not file:
        return (*before, (name, content.encode()))
    try:
        with open(file, "rb") as stream:
            return (*before, (name, stream.read()))
    except OSError as error:
        raise ValueError(f"can't load {file}: {error.strerror}") from None


def _global(_before: bool, text: str) -> bool:
    """The one that QEMU's users give: which layout virtio-mmio has."""
    key, _, value = text.partition("=")
    if key != "virtio-mmio.force-legacy":
        raise ValueError(f"there is no such property here: {key}")
    return on_off(value)


DEVICE = Option(
    "device",
    "driver[,prop[=value][,...]]",
    "add device (based on driver)"
    "\nprop=value sets a driver property"
    "\nuse '-device help' to print all possible drivers"
    "\nuse '-device driver,help' to print all possible properties",
    NOTHING,
    _device,
    key=KEY,
)
DEVICE_FILE = Option(
    "device-file",
    "file.py[,prop[=value][,...]]",
    "add the device whose class is in a Python file of yours",
    NOTHING,
    _device_file,
    key=KEY,
)
FW_CFG = Option(
    "fw_cfg",
    "[name=]name,file=file|string=str",
    "add a named item with the contents of a file, or with a string",
    (),
    _fw_cfg,
)
GLOBAL = Option(
    "global",
    "virtio-mmio.force-legacy=on|off",
    "off: virtio devices show the registers of virtio 1.0 and later"
    "\n(default: those before, which old drivers need and new ones know)",
    True,
    _global,
)
DEVICE_OPTIONS = (DEVICE, DEVICE_FILE, FW_CFG, GLOBAL)

"""``-device`` and ``-device-file``: devices by model, or by a class of the user's."""

from __future__ import annotations

from jitemu.cli.options import Option, Shown
from jitemu.keyval import parse_any
from jitemu.system.plugged import KEY, NOTHING, DeviceSpec

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
DEVICE_OPTIONS = (DEVICE, DEVICE_FILE)

"""``-device`` and what goes with it, a row each: from QEMU's texts to ``DeviceSpec``."""

from __future__ import annotations

from jitemu.cli.options import Option, Shown
from jitemu.keyval import parse_any

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jitemu.devices.device import Device
    from jitemu.system.plug import BackendSpec, DeviceSpec

    Plugged = tuple[DeviceSpec | BackendSpec, ...]

_NONE: Plugged = ()
KEY = "plugged"  # all these options share one value, which keeps their order


def _spec(model: type[Device], texts: dict[str, str], option: str) -> DeviceSpec:
    from jitemu.devices.device import describe
    from jitemu.system.plug import DeviceSpec

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
    _NONE,
    _device,
    key=KEY,
)
DEVICE_FILE = Option(
    "device-file",
    "file.py[,prop[=value][,...]]",
    "add the device whose class is in a Python file of yours",
    _NONE,
    _device_file,
    key=KEY,
)
DEVICE_OPTIONS = (DEVICE, DEVICE_FILE)

"""What the command line says of devices and their backends, in its order."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from jitemu.devices.device import Device
    from jitemu.devices.net.pcap import PcapDump
    from jitemu.system.machine import Machine
    from jitemu.system.plugging import Backends

    Plugged = tuple["DeviceSpec | BackendSpec", ...]

NOTHING: Plugged = ()
KEY = "plugged"
"""Options whose value is a ``Plugged`` share it, so that their order is kept."""


class DeviceSpec:
    """One ``-device``: the model, its properties' texts, and the words for messages."""

    def __init__(
        self, model: type[Device], texts: dict[str, str], option: str, implied: bool = False
    ) -> None:
        self.model = model
        self.texts = texts
        self.option = option
        self.implied = implied
        """Made for a drive that says nothing of a device; only where no other has the drive."""


def devices(plugged: Plugged) -> tuple[DeviceSpec, ...]:
    """All that there are to be, in their order."""
    specs = [spec for spec in plugged if isinstance(spec, DeviceSpec)]
    had = {spec.texts.get("drive") for spec in specs if not spec.implied}
    return tuple(spec for spec in specs if not spec.implied or spec.texts["drive"] not in had)


class CaptureSpec:
    """One ``-object filter-dump``: what passes a back end, in a file."""

    def __init__(self, name: str, netdev: str, path: str, length: int, option: str) -> None:
        self.name = name
        self.netdev = netdev
        self.path = path
        self.length = length
        self.option = option

    def open(self, backends: Backends) -> PcapDump:
        """Start it; UserError if that cannot be."""
        from jitemu.devices.net.pcap import PcapDump
        from jitemu.messages import fail

        for netdev in backends.of_kind("netdev"):
            if netdev.id == self.netdev:
                return PcapDump(netdev, self.path, self.length, self.name)
        fail(f"{self.option}: can't find netdev '{self.netdev}'")


class Secret:
    """One ``-object secret``."""

    def __init__(self, name: str, data: bytes) -> None:
        self.name = name
        self.data = data


class BackendSpec:
    """Something that devices refer to by kind and id ("drive", "disk0").

    ``open`` makes it; UserError if it cannot be.  What it makes has a ``close``, which is
    called at the machine's end, if there is something to close.
    """

    def __init__(
        self,
        kind: str,
        id: str,
        open: Callable[[Machine], Any],
        options: Mapping[str, Any] | None = None,
        unit: tuple[str, int, int] | None = None,
    ) -> None:
        self.kind = kind
        self.id = id
        self.open = open
        self.options = options or {}
        """A -blockdev node's, for nodes that contain it."""
        self.unit = unit
        """A -drive's interface, bus and unit, which no two have."""

"""Devices that ``-device`` makes: a class declares its name, what it is and its properties,
and command line, help texts and checks come from that.

    class Entropy(VirtioDevice):
        model = "virtio-rng-device"
        about = "random numbers of the host"
        max_bytes = prop(UINT64, 1 << 63, "most bytes in a period")

On an instance ``self.max_bytes`` is the value.  The command line has dashes for underscores.
"""

from __future__ import annotations

from jitemu.properties import BOOL as BOOL
from jitemu.properties import MAC as MAC
from jitemu.properties import SIZE as SIZE
from jitemu.properties import STR as STR
from jitemu.properties import UINT16 as UINT16
from jitemu.properties import UINT32 as UINT32
from jitemu.properties import UINT64 as UINT64
from jitemu.properties import Declared, Property
from jitemu.properties import describe as describe_properties
from jitemu.properties import one_of as one_of
from jitemu.properties import prop as prop
from jitemu.properties import reference as reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from jitemu.devices.ports import Host


class Device(Declared):
    """Base of all that ``-device`` makes.  ``Device(host, {"serial": "x"})``, with the texts
    of properties; then ``realize``.  Both raise ValueError for what cannot be."""

    model = ""
    """The name for ``-device``; classes without one are not offered."""
    aliases: tuple[str, ...] = ()
    about = ""
    """A line for ``-device help``."""
    category = "Misc"
    bus = ""
    """What it is plugged into; the name of a bus."""
    provides = ""
    """The bus that others are plugged into by this one's ``attach``."""

    def __init__(self, host: Host, texts: Mapping[str, str]) -> None:
        self.host = host
        self.memory = host.memory
        self.id = texts.get("id", "")
        given = {key: text for key, text in texts.items() if key != "id"}
        for declared in self.properties():
            text = given.pop(declared.name, None)
            setattr(self, declared.attribute, self._value(declared, text))
        for name in given:
            raise ValueError(f"Property '{self.model}.{name}' not found")
        super().__init__()

    def _value(self, declared: Property[Any], text: str | None) -> Any:
        where = f"Property '{self.model}.{declared.name}'"
        if text is None:
            if declared.required:
                raise ValueError(f"{declared.name} property not set")
            return declared.default
        if declared.kind.backend:
            try:
                return self.host.backend(declared.kind.backend, text)
            except ValueError as error:
                raise ValueError(f"{where} {error}") from None
        try:
            return declared.kind.parse(text)
        except ValueError as error:
            raise ValueError(f"{where} {error}, not '{text}'") from None

    def realize(self) -> None:
        """Take up what the properties name; called once, before the machine runs."""

    def reset(self) -> None:
        """Back to the power-on state; called before the machine runs, too."""

    def attach(self, child: Device) -> None:
        """Plug in a device whose ``bus`` this one ``provides``; ValueError if it cannot be."""
        raise ValueError(f"'{self.model}' has no bus")


def describe(model: type[Device]) -> str:
    """What ``-device MODEL,help`` prints."""
    return "\n".join([f"{model.model} options:", *describe_properties(model)])

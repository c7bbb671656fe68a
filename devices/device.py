"""Devices that ``-device`` makes: a class declares its name, what it is and its properties,
and command line, help texts and checks come from that.

    class Entropy(VirtioDevice):
        model = "virtio-rng-device"
        about = "random numbers of the host"
        max_bytes = prop(UINT64, 1 << 63, "most bytes in a period")

On an instance ``self.max_bytes`` is the value.  The command line has dashes for underscores.
"""

from __future__ import annotations

from jitemu import keyval

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Generic, TypeVar, overload

    from jitemu.devices.ports import Host

    T = TypeVar("T")
else:
    T = None

    class Generic:
        """Stands for typing's: only type checkers read the parameter."""

        def __class_getitem__(cls, _parameter: object) -> type:
            return cls


class Kind(Generic[T]):
    """A type of property: its name in help texts, and what its text means."""

    def __init__(self, name: str, parse: Callable[[str], T], backend: str = "") -> None:
        self.name = name
        self.parse = parse
        self.backend = backend
        """For references: the option whose ids these are ("drive")."""


def _unsigned(bits: int) -> Kind[int]:
    return Kind(f"uint{bits}", keyval.integer(0, (1 << bits) - 1))


def _mac(text: str) -> bytes:
    try:
        address = bytes(int(part, 16) for part in text.replace("-", ":").split(":"))
    except ValueError:
        address = b""
    if len(address) != 6:
        raise ValueError("expects a MAC address such as 52:54:00:12:34:56")
    return address


def one_of(name: str, *words: str) -> Kind[str]:
    """A kind of property that takes these words."""
    return Kind(name, keyval.one_of(*words))


BOOL = Kind("bool", keyval.on_off)
UINT16, UINT32, UINT64 = _unsigned(16), _unsigned(32), _unsigned(64)
SIZE = Kind("size", keyval.size)
STR = Kind("str", str)
MAC = Kind("macaddr", _mac)


def reference(backend: str) -> Kind[Any]:
    """A backend's id (``drive=disk0``); the value is what ``Host.backend`` has for it."""
    return Kind("str", str, backend)


class Property(Generic[T]):
    """A declared property; made by ``prop``."""

    def __init__(
        self, kind: Kind[T], default: T, text: str = "", *, name: str = "", required: bool = False
    ) -> None:
        self.kind = kind
        self.default = default
        self.text = text
        self.name = name
        self.required = required
        self.attribute = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.attribute = name
        self.name = self.name or name.replace("_", "-")

    # As registers do, an instance keeps the value as a plain attribute that hides this.
    if TYPE_CHECKING:

        @overload
        def __get__(self, device: None, owner: type) -> Property[T]: ...
        @overload
        def __get__(self, device: Device, owner: type) -> T: ...
        def __get__(self, device: Device | None, owner: type) -> Property[T] | T: ...
        def __set__(self, device: Device, value: T) -> None: ...


prop = Property


class Device:
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

    @classmethod
    def properties(cls) -> list[Property[Any]]:
        """The declared ones, by name."""
        found: dict[str, Property[Any]] = {}
        for owner in reversed(cls.__mro__):
            found |= {n: p for n, p in vars(owner).items() if isinstance(p, Property)}
        return sorted(found.values(), key=lambda p: p.name)

    def realize(self) -> None:
        """Take up what the properties name; called once, before the machine runs."""

    def reset(self) -> None:
        """Back to the power-on state; called before the machine runs, too."""

    def attach(self, child: Device) -> None:
        """Plug in a device whose ``bus`` this one ``provides``; ValueError if it cannot be."""
        raise ValueError(f"'{self.model}' has no bus")


def describe(model: type[Device]) -> str:
    """What ``-device MODEL,help`` prints."""
    lines = [f"{model.model} options:"]
    for item in model.properties():
        head = f"  {item.name}=<{item.kind.name}>"
        text = item.text or ("on/off" if item.kind is BOOL else "")
        default = item.default
        if not item.kind.backend and default not in ("", None):
            shown = str(default).lower() if isinstance(default, bool) else default
            text = f"{text} (default: {shown})"
        lines.append(f"{head:<24} - {text}" if text else head)
    return "\n".join(lines)

"""Properties: what devices, back ends and other objects can be told, declared once.

    class TapOptions(Options):
        ifname = prop(STR, "", "name of the host's interface")

On an instance ``self.ifname`` is the value; users write dashes for underscores.  Parsing, errors
and help texts come from the declarations.  ``Options`` are for option lists in QEMU's syntax
(``user,id=n0,restrict=on``); devices (``devices/device.py``) declare theirs in the same way.
"""

from __future__ import annotations

from jitemu import keyval
from jitemu.messages import UserError, fail

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, Generic, TypeVar, overload

    T = TypeVar("T")
    Pairs = list[tuple[str, str]]
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


def between(low: int, high: int) -> Kind[int]:
    """A kind of property that takes numbers from low to high."""
    return Kind("int", keyval.integer(low, high))


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
        self,
        kind: Kind[T],
        default: T,
        text: str = "",
        *,
        name: str = "",
        required: bool = False,
        repeated: bool = False,
    ) -> None:
        self.kind = kind
        self.default = default
        self.text = text
        self.name = name
        self.required = required
        self.repeated = repeated
        """The value is a tuple: every occurrence counts."""
        self.attribute = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.attribute = name
        self.name = self.name or name.replace("_", "-")

    # As registers do, an instance keeps the value as a plain attribute that hides this.
    if TYPE_CHECKING:

        @overload
        def __get__(self, declared: None, owner: type) -> Property[T]: ...
        @overload
        def __get__(self, declared: Declared, owner: type) -> T: ...
        def __get__(self, declared: Declared | None, owner: type) -> Property[T] | T: ...
        def __set__(self, declared: Declared, value: T) -> None: ...


prop = Property


def prop_list(kind: Kind[T], text: str, name: str = "") -> Property[tuple[T, ...]]:
    """One that collects every occurrence."""
    several: Any = kind
    return Property(several, (), text, name=name, repeated=True)


class Declared:
    """Base of what has properties."""

    @classmethod
    def properties(cls) -> list[Property[Any]]:
        """The declared ones, by name."""
        found: dict[str, Property[Any]] = {}
        for owner in reversed(cls.__mro__):
            found |= {n: p for n, p in vars(owner).items() if isinstance(p, Property)}
        return sorted(found.values(), key=lambda p: p.name)


class Options(Declared):
    """What an option list says; ``take`` makes one of a subclass that declares the names."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        for declared in self.properties():
            setattr(self, declared.attribute, values.get(declared.name, declared.default))


def split(text: str, first: str = "") -> Pairs:
    """The pairs of an option list.  Two commas stand for one in a value; the first word may be
    the value of ``first`` alone; a bare ``name`` is ``name=on``, and ``noname`` is its off."""
    pairs: Pairs = []
    for index, word in enumerate(keyval.split(text)):
        name, equals, content = word.partition("=")
        if equals:
            pairs.append((name, content))
        elif index == 0 and first:
            pairs.append((first, word))
        elif word:
            pairs.append((word, "on"))
    return pairs


def pop(pairs: Pairs, name: str) -> str:
    """Take the last value of ``name`` out of the pairs; empty when it is not there."""
    found = [content for key, content in pairs if key == name]
    pairs[:] = [pair for pair in pairs if pair[0] != name]
    return found[-1] if found else ""


def take(options: type[T], pairs: Iterable[tuple[str, str]], what: str) -> T:
    """Options made of the pairs; UserError, which says ``what`` was being read, for an unknown
    name or a value that does not parse."""
    assert issubclass(options, Options)
    declared = names(options)
    values: dict[str, Any] = {}
    for name, content in pairs:
        row = declared.get(name)
        if row is None and content == "on" and name.startswith("no") and name[2:] in declared:
            row, name, content = declared[name[2:]], name[2:], "off"
        if row is None:
            fail(f"{what}: Invalid parameter '{name}'")
        try:
            value = row.kind.parse(content)
        except ValueError as error:
            fail(f"{what}: {name}={content}: {error}")
        except UserError as error:
            fail(f"{what}: {error}")
        values[name] = (*values.get(name, ()), value) if row.repeated else value
    return options(values)


def names(options: type[Declared]) -> dict[str, Property[Any]]:
    """The properties by name."""
    return {declared.name: declared for declared in options.properties()}


def describe(options: type[Declared]) -> list[str]:
    """A line for each property, as ``help`` prints it."""
    lines: list[str] = []
    for item in options.properties():
        head = f"  {item.name}=<{item.kind.name}>"
        text = item.text or ("on/off" if item.kind is BOOL else "")
        default = item.default
        if not item.kind.backend and default not in ("", None, ()):
            shown = str(default).lower() if isinstance(default, bool) else default
            text = f"{text} (default: {shown})"
        lines.append(f"{head:<24} - {text}" if text else head)
    return lines

"""Option lists in QEMU's syntax (``user,id=n0,restrict=on``) and what may stand in them.

What a device or back end can be told is declared once, as the fields of a dataclass:

    @dataclass
    class TapOptions:
        ifname: str = prop(str, "", "name of the host's interface")

``take`` fills one from an option list, ``describe`` prints what there is.
"""

from __future__ import annotations

from jitemu import keyval
from jitemu.messages import UserError, fail

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, TypeVar

    T = TypeVar("T")
    Pairs = list[tuple[str, str]]


def prop(parse: Callable[[str], T], default: T, text: str, name: str = "") -> T:
    """A field that ``name=value`` sets, the last one counting; ``parse`` raises ValueError.
    ``name`` is the option's where it is no identifier."""
    from dataclasses import field

    return field(default=default, metadata={"parse": parse, "text": text, "name": name})


def prop_list(parse: Callable[[str], T], text: str, name: str = "") -> tuple[T, ...]:
    """A field that collects every occurrence."""
    from dataclasses import field

    metadata = {"parse": parse, "text": text, "name": name, "repeated": True}
    return field(default=(), metadata=metadata)


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


def names(options: type[Any]) -> dict[str, Any]:
    """The fields of a class of options by the names that users write."""
    from dataclasses import fields

    declared = [f for f in fields(options) if f.metadata]
    return {f.metadata["name"] or f.name.replace("_", "-"): f for f in declared}


def take(options: type[T], pairs: Iterable[tuple[str, str]], what: str) -> T:
    """An instance of ``options`` made of the pairs; UserError, which says ``what`` was being
    read, for an unknown name or a value that does not parse."""
    declared = names(options)
    values: dict[str, Any] = {}
    for name, content in pairs:
        row = declared.get(name)
        if row is None and content == "on" and name.startswith("no") and name[2:] in declared:
            row, name, content = declared[name[2:]], name[2:], "off"
        if row is None:
            fail(f"{what}: Invalid parameter '{name}'")
        try:
            value = row.metadata["parse"](content)
        except ValueError as error:
            fail(f"{what}: {name}={content}: {error}")
        except UserError as error:
            fail(f"{what}: {error}")
        if row.metadata.get("repeated"):
            values[row.name] = (*values.get(row.name, ()), value)
        else:
            values[row.name] = value
    return options(**values)


def describe(options: type[Any]) -> list[str]:
    """A line for each option."""
    return [f"  {name}={f.metadata['text']}" for name, f in names(options).items()]

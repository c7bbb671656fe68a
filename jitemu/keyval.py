"""QEMU's option texts: ``first,key=value,flag``, where ``,,`` is a comma in a value."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def split(text: str) -> list[str]:
    """The items between single commas, with double ones undone; none of empty text."""
    items = [item.replace("\0", ",") for item in text.replace(",,", "\0").split(",")]
    return items[:-1] if items[-1] == "" else items


def parse(text: str, implied: str = "", flags: bool = True) -> dict[str, str]:
    """Keys and values in their order; a later one replaces an earlier one.

    ``implied`` is the key that the first item may leave out.  With ``flags`` a bare word is
    "word=on", and "noword" is "word=off", as in QEMU's older options.  ValueError if not.
    """
    values: dict[str, str] = {}
    for index, item in enumerate(split(text)):
        key, equals, value = item.partition("=")
        if not equals and index == 0 and implied:
            key, value = implied, item
        elif not equals:
            if not flags or not key:
                raise ValueError(f"expected '=' after parameter '{key}'")
            key, value = (key[2:], "off") if key.startswith("no") else (key, "on")
        if not key:
            raise ValueError(f"'{item}' has no name before the '='")
        values[key] = value
    return values


def on_off(text: str) -> bool:
    """``on`` and ``off``, also yes/no, true/false, y/n."""
    if text in ("on", "yes", "true", "y"):
        return True
    if text in ("off", "no", "false", "n"):
        return False
    raise ValueError("expects 'on' or 'off'")


def one_of(*allowed: str) -> Callable[[str], str]:
    """A parser that takes these words only."""

    def parse_word(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"expected {' or '.join(allowed)}")
        return text

    return parse_word


def integer(low: int, high: int) -> Callable[[str], int]:
    """A parser for numbers in C's notation (10, 0x10, 010) from low to high, both included."""

    def parse_integer(text: str) -> int:
        octal = len(text) > 1 and text[0] == "0" and text.isdigit()
        try:
            number = int(text, 8 if octal else 0)
        except ValueError:
            number = low - 1
        if not low <= number <= high:
            raise ValueError(f"expected a number from {low} to {high}")
        return number

    return parse_integer


def parse_json(text: str) -> dict[str, Any]:
    """The object of a JSON text; ValueError if it is something else."""
    import json

    try:
        value = json.loads(text)
    except ValueError as error:
        raise ValueError(f"JSON parse error: {error}") from None
    if not isinstance(value, dict):
        raise ValueError("expected a JSON object")
    return value


def flatten(value: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """A JSON object as dotted keys with texts: {"a": {"b": true}} is a.b=on."""
    flat: dict[str, str] = {}
    for key, item in value.items():
        name = prefix + key
        if isinstance(item, dict):
            flat |= flatten(item, name + ".")
        elif isinstance(item, list):
            flat |= flatten({str(i): part for i, part in enumerate(item)}, name + ".")
        elif isinstance(item, bool):
            flat[name] = "on" if item else "off"
        else:
            flat[name] = str(item)
    return flat


def parse_any(text: str, implied: str = "", flags: bool = True) -> dict[str, str]:
    """Either form: JSON if it begins with a brace."""
    return flatten(parse_json(text)) if text.startswith("{") else parse(text, implied, flags)


class Taker:
    """Takes keys out of parsed values and says which were left over."""

    def __init__(self, values: dict[str, str]) -> None:
        self._values = dict(values)

    def take(self, key: str, default: str = "") -> str:
        return self._values.pop(key, default)

    def take_as(self, key: str, read: Callable[[str], Any], default: Any) -> Any:
        """The value as ``read`` makes it of its text; ValueError names the key."""
        text = self._values.pop(key, None)
        if text is None:
            return default
        try:
            return read(text)
        except ValueError as error:
            raise ValueError(f"{key}={text}: {error}") from None

    def rest(self) -> dict[str, str]:
        return self._values

    def end(self) -> None:
        """ValueError if anything was not taken."""
        for key in self._values:
            raise ValueError(f"invalid parameter '{key}'")


SIZE_SUFFIXES = "bkmgtpe"


def size(text: str, default_suffix: str = "b") -> int:
    """Bytes from a number with a suffix K, M, G, T, P or E (powers of 1024), as in QEMU.

    A decimal number may have a fraction (1.5G); a hexadecimal one has no suffix.
    """
    digits, suffix = text, default_suffix
    hexadecimal = text[:2].lower() == "0x"
    if hexadecimal:
        suffix = "b"
    elif text and text[-1].lower() in SIZE_SUFFIXES:
        digits, suffix = text[:-1], text[-1].lower()
    shift = 10 * SIZE_SUFFIXES.index(suffix)
    whole, _, fraction = digits.partition(".")
    try:
        number = int(whole, 16 if hexadecimal else 10) << shift
        if fraction:
            number += (int(fraction) << shift) // 10 ** len(fraction)
    except ValueError:
        number = -1
    if not 0 <= number < 1 << 64:
        raise ValueError(
            "expected a non-negative number below 2^64 with an optional suffix K, M, G or T"
        )
    return number

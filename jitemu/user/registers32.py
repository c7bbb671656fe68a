"""Arguments of 32-bit guests' system calls: from registers, by the kinds of a row."""

from __future__ import annotations

from jitemu.runtime.layouts import native_call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from jitemu.user.syscalls.table import Row

_DIRECTORY, _NOFOLLOW, _DIRECT, _LARGE = 0o40000, 0o100000, 0o200000, 0o400000
_FOR_HOST = {_DIRECTORY: 0o200000, _NOFOLLOW: 0o400000, _DIRECT: 0o40000, _LARGE: 0o100000}
"""Flags of open(2) that ARM numbers its own way."""
_TURNED = sum(_FOR_HOST)


def open_flags(flags: int) -> int:
    """The host's flags of open(2) for ARM's."""
    return flags & ~_TURNED | sum(host for mine, host in _FOR_HOST.items() if flags & mine)


def guest_open_flags(flags: int) -> int:
    """ARM's for the host's."""
    return flags & ~_TURNED | sum(mine for mine, host in _FOR_HOST.items() if flags & host)


def _signed(value: int) -> int:
    return value | -(value >> 31) << 32 & (1 << 64) - 1


_SCALARS: dict[str, Callable[[int], int]] = {"oflags": open_flags, "off": _signed}


_POINTERS = ("ptr", "path")
_CONVERTED = {"rpath", "iovec", "loff", "oflags"}


def call_word(row: Row) -> int:
    """How native code makes a call; 0 where more is converted than pointers and signs."""
    kinds = row.kinds
    if row.host is None or any(":" in kind or kind in _CONVERTED for kind in kinds):
        return 0
    pointers = sum(1 << i for i, kind in enumerate(kinds) if kind in _POINTERS)
    signed = sum(1 << i for i, kind in enumerate(kinds) if kind == "off")
    return native_call(row.host, pointers, signed)


def fetch(
    gpr: Callable[[int], int], registers: tuple[int, ...], kinds: tuple[str, ...]
) -> Callable[[], tuple[int, ...]]:
    """What gives the arguments: 64-bit ones are in a pair that begins with an even register."""
    places: list[int] = []
    next_place = 0
    for kind in kinds:
        next_place += kind == "loff" and next_place & 1
        places.append(next_place)
        next_place += 2 if kind == "loff" else 1
    if next_place == len(kinds) and not any(kind in _SCALARS for kind in kinds):
        numbers = registers[: len(kinds)]
        return lambda: tuple([gpr(i) for i in numbers])
    parts = [_part(gpr, registers, *item) for item in zip(kinds, places, strict=True)]
    return lambda: tuple([part() for part in parts])


def _part(
    gpr: Callable[[int], int], registers: tuple[int, ...], kind: str, place: int
) -> Callable[[], int]:
    if kind == "loff":
        low, high = registers[place : place + 2]
        return lambda: gpr(low) | gpr(high) << 32
    number, change = registers[place], _SCALARS.get(kind)
    return (lambda: change(gpr(number))) if change else lambda: gpr(number)

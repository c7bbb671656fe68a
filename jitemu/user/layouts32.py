"""Structures of 32-bit guests: how the kernel's calls have them, beside the 64-bit host's.

A kind ``in:NAME``, ``out:NAME`` or ``io:NAME`` of a system call's row is a pointer to one; a
layout is the same fields in two forms of Python's struct module.
"""

from __future__ import annotations

import errno
from struct import Struct

from jitemu.foreign import addressof, create_string_buffer, get_errno
from jitemu.user.hostcalls import RAW, host_pointer, read_guest, read_string, write_guest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from jitemu.user.syscalls.table import Row
    from jitemu.user.thread import GuestThread

_MASK = 0xFFFF_FFFF


class Layout:
    """A structure's fields for the guest and for the host, in the same order."""

    def __init__(self, guest: str, host: str, infinite: bool = False) -> None:
        self.guest = Struct("<" + guest)
        self.host = Struct("<" + host)
        self.infinite = infinite
        """The largest number stands for no limit."""
        self._wide = [code in "IQ" for code in _codes(guest)]

    def to_host(self, data: bytes) -> bytes:
        """The host's form of the guest's bytes."""
        fields = self.guest.unpack(data)
        if self.infinite:
            fields = tuple((1 << 64) - 1 if f == _MASK else f for f in fields)
        return self.host.pack(*fields)

    def to_guest(self, data: bytes) -> bytes:
        """The guest's form of the host's bytes; numbers that do not fit are cut."""
        return self.pack_guest(self.host.unpack(data))

    def pack_guest(self, fields: tuple[Any, ...]) -> bytes:
        """The guest's form of these fields."""
        if self.infinite:
            fields = tuple(min(f, _MASK) for f in fields)
        try:
            return self.guest.pack(*fields)
        except Exception:
            return self.guest.pack(*map(_cut, _codes(self.guest.format[1:]), fields))


_SIZES = {"b": 8, "B": 8, "h": 16, "H": 16, "i": 32, "I": 32, "q": 64, "Q": 64}


def _codes(text: str) -> list[str]:
    """A letter for each field of a format."""
    codes: list[str] = []
    count = ""
    for letter in text:
        if letter.isdigit():
            count += letter
            continue
        if letter == "s":
            codes.append("s")
        elif letter != "x":
            codes += letter * int(count or 1)
        count = ""
    return codes


def _cut(code: str, value: Any) -> Any:
    if code not in _SIZES:
        return value
    size = _SIZES[code]
    value &= (1 << size) - 1
    return value - (1 << size) if code.islower() and value >> size - 1 else value


LAYOUTS = {
    "timespec": Layout("ii", "qq"),
    "timespecs": Layout("iiii", "qqqq"),
    "timeval": Layout("ii", "qq"),
    "timevals": Layout("iiii", "qqqq"),
    "utimbuf": Layout("ii", "qq"),
    "itimerspec": Layout("iiii", "qqqq"),
    "itimerval": Layout("iiii", "qqqq"),
    "rusage": Layout("18i", "18q"),
    "tms": Layout("4i", "4q"),
    "rlimit": Layout("II", "QQ", infinite=True),
    "off": Layout("i", "q"),
    "sysinfo": Layout("i3I6IHxxIII8x", "q3Q6QH6xQQI4x"),
    "timex": Layout("I20i44x", "I4x4qi4x3q2qq2qi4x5qi44x"),
    "mq_attr": Layout("4i16x", "4q32x"),
    "sigevent": Layout("Iiii48x", "Qiii44x"),
    "statfs": Layout("II5I2iII4I", "QQ5Q2iQQ4Q"),
}
"""By the name in kinds."""


class _Use:
    """How an argument's structure is used."""

    def __init__(self, kind: str) -> None:
        way, _, name = kind.partition(":")
        self.layout = LAYOUTS[name]
        self.reads = way != "out"
        self.writes = way != "in"


def converting(row: Row) -> Callable[..., int]:
    """A handler that gives a row's call to the host with pointers and structures converted."""
    call, number = RAW[len(row.kinds)], row.host
    pointers = [kind in ("ptr", "path", "rpath") for kind in row.kinds]
    uses = [(i, _Use(kind)) for i, kind in enumerate(row.kinds) if ":" in kind]
    vectors = [i for i, kind in enumerate(row.kinds) if kind == "iovec"]
    paths = [i for i, kind in enumerate(row.kinds) if kind == "rpath"]

    def plain(thread: GuestThread, *args: int) -> int:
        values = [host_pointer(a) if p else a for a, p in zip(args, pointers, strict=True)]
        result = call(number, *values)
        return -get_errno() if result == -1 else result

    def converted(thread: GuestThread, *args: int) -> int:
        values = [host_pointer(a) if p else a for a, p in zip(args, pointers, strict=True)]
        kept: list[Any] = []
        for i in paths:
            kept.append(create_string_buffer(thread.process.paths.translate(read_string(args[i]))))
            values[i] = addressof(kept[-1])
        for i in vectors:
            kept.append(host_vectors(args[i], args[i + 1]))
            values[i] = addressof(kept[-1])
        after: list[tuple[int, Layout, Any]] = []
        for i, use in uses:
            if not args[i]:
                continue
            # what the host does not write stays as it is
            data = use.layout.to_host(read_guest(args[i], use.layout.guest.size))
            buffer = create_string_buffer(data, use.layout.host.size)
            kept.append(buffer)
            values[i] = addressof(buffer)
            if use.writes:
                after.append((args[i], use.layout, buffer))
        result = call(number, *values)
        if result == -1:
            result = -get_errno()
        if result >= 0 or result == -errno.EINTR:
            for at, layout, buffer in after:
                write_guest(at, layout.to_guest(buffer.raw))
        return result

    return converted if uses or vectors or paths else plain


_VECTOR_LIMIT = 1024
_VECTOR = Struct("<II")
_HOST_VECTOR = Struct("<QQ")


def host_vectors(at: int, count: int) -> Any:
    """An array of the host's struct iovec for the guest's."""
    count &= _MASK
    if count > _VECTOR_LIMIT:
        raise ValueError("too many")
    data = read_guest(at, count * _VECTOR.size)
    pairs = [(host_pointer(p), n) for p, n in _VECTOR.iter_unpack(data)]
    return create_string_buffer(b"".join(_HOST_VECTOR.pack(*pair) for pair in pairs) + b"\0")

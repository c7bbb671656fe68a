"""The table of system calls, and the closures that serve them.

A row is ``name riscv64 arm x86-64 kinds...``: the call's number for the guests and for the
host (``-`` where it has none), then the kind of each argument.  A row alone passes the call
to the host: guest pointers are host pointers (or converted to them) and structures agree, or
are converted where a kind names one (jitemu.user.layouts32).  Where that does not do,
``@handles(row)`` names a Python function, which gets guest addresses.  ``-strace`` prints from
the same row (jitemu.user.strace has the kinds).  The kind ``rpath`` is a path that is looked up
below the sysroot first; ``off`` is a C long, ``loff`` has 64 bits for all guests.
"""

from __future__ import annotations

import errno
import struct

from jitemu.foreign import c_char_p, get_errno, pointer_in
from jitemu.user.hostcalls import RAW, GuestError, GuestFault, read_string

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from jitemu.user.thread import GuestThread

    Handler = Callable[..., "int | None"]
    """handler(thread, *arguments): the result or a negative errno; None leaves a0 and pc as
    the handler has set them."""
    H = TypeVar("H", bound=Handler)

_EINTR = -errno.EINTR
_EFAULT = -errno.EFAULT
_OF_WRITES = (-errno.EPIPE, -errno.EFBIG)


class Row:
    """One system call."""

    def __init__(
        self,
        name: str,
        host: int | None,
        kinds: tuple[str, ...],
        handler: Handler | None,
        native: int = 0,
    ) -> None:
        self.name = name
        self.host = host
        self.kinds = kinds
        self.handler = handler
        self.native = native
        """How native code serves what it can of a call with a handler (NativeCall)."""


GUESTS = ("riscv64", "arm")
_unread: list[str] = []
"""Rows that the host serves: a start reads the dozen that its program calls."""
_served: dict[str, dict[int, tuple[str, Handler, int]]] = {guest: {} for guest in GUESTS}
"""Guest -> its number -> a row with a handler: text, handler, native."""
_rows: dict[str, dict[int, Row]] = {guest: {} for guest in GUESTS}
"""Guest -> its number -> row, of those that were asked for."""


def row_of(guest: str, number: int) -> Row | None:
    """The row of a guest's call."""
    row = _rows[guest].get(number)
    if row is None:
        handled = _served[guest].get(number)
        if handled is not None:
            row = _parse(*handled)
        elif text := _find(GUESTS.index(guest) + 1, str(number)):
            row = _parse(text, None)
        else:
            return None
        _rows[guest][number] = row
    return row


def every_row(guest: str) -> dict[int, Row]:
    """All rows of a guest by number; ValueError where two have one."""
    numbers = list(_served[guest])
    for line in "".join(_unread).split("\n"):
        number = line.split()[GUESTS.index(guest) + 1] if line else "-"
        if number != "-":
            numbers.append(int(number))
    rows = {number: row for number in numbers if (row := row_of(guest, number))}
    if len(rows) != len(numbers):
        raise ValueError(f"{len(numbers) - len(rows)} system calls of {guest} have two rows")
    return rows


def _find(column: int, number: str) -> str:
    """The row that the host serves with this number in a column, or nothing."""
    for text in _unread:
        at = text.find(f" {number} ")
        while at >= 0:
            start = text.rfind("\n", 0, at) + 1
            line = text[start : text.find("\n", at)]
            if line.split()[column] == number:
                return line
            at = text.find(f" {number} ", at + 1)
    return ""


def _parse(text: str, handler: Handler | None, native: int = 0) -> Row:
    name, *words = text.split()
    host = words[len(GUESTS)]
    kinds = tuple(words[len(GUESTS) + 1 :])
    return Row(name, None if host == "-" else int(host), kinds, handler, native)


def passes(text: str) -> None:
    """Rows, one a line, that the host serves as they are."""
    _unread.append(text.strip() + "\n")


def handles(text: str, native: int = 0) -> Callable[[H], H]:
    """The decorated function serves this row, or what native code leaves of it."""

    def register(handler: H) -> H:
        for guest, number in zip(GUESTS, text.split(None, len(GUESTS) + 1)[1:], strict=False):
            if number != "-":
                if int(number) in _served[guest]:
                    raise ValueError(f"system call {number} of {guest} has two rows")
                _served[guest][int(number)] = text, handler, native
        return handler

    return register


def guarded(handler: Handler, thread: GuestThread, args: tuple[int, ...]) -> int | None:
    """Call a handler; what it raises becomes the errno it stands for."""
    try:
        return handler(thread, *args)
    except GuestFault:
        return _EFAULT
    except GuestError as error:
        return -error.number
    except OSError as error:
        return -(error.errno or errno.EIO)
    except MemoryError:
        return -errno.ENOMEM
    except (ValueError, OverflowError, struct.error):
        return -errno.EINVAL


def finish(thread: GuestThread, row: Row, result: int) -> None:
    """End a call with its result, if it has ended."""
    if result == _EINTR:
        thread.interrupted_call = row.name
        return
    if result == _EFAULT and not thread.again and thread.process.unguard_code():
        thread.serve_again()  # before any code is made, which would be guarded
        return
    if result in _OF_WRITES:
        thread.fetch_own_signal()
    thread.cpu.set_gpr(thread.abi.arguments[0], result)
    thread.cpu.pass_call()


def _pass(thread: GuestThread, row: Row) -> Callable[[], None]:
    """The closure of a pass-through row."""
    gpr, host = thread.cpu.gpr, row.host
    count = len(row.kinds)
    call = RAW[count]
    registers = thread.abi.arguments[:count]

    def serve() -> None:
        result = call(host, *[gpr(i) for i in registers])
        finish(thread, row, -get_errno() if result == -1 else result)

    return serve


def _pass_with_path(thread: GuestThread, row: Row) -> Callable[[], None]:
    """Pass-through of a call with a name that is looked up below the sysroot first."""
    index = row.kinds.index("rpath")
    host, call = row.host, RAW[len(row.kinds)]

    def with_path(thread: GuestThread, *args: int) -> int:
        path = read_string(args[index])
        there = thread.process.paths.translate(path)
        if there is not path:
            keep = c_char_p(there)
            address = pointer_in(keep)
            args = (*args[:index], address, *args[index + 1 :])
        result = call(host, *args)
        return -get_errno() if result == -1 else result

    return _handled(thread, row, with_path)


def _handled(thread: GuestThread, row: Row, handler: Handler) -> Callable[[], None]:
    fetch = thread.abi.fetch(thread.cpu, row.kinds)

    def serve() -> None:
        result = guarded(handler, thread, fetch())
        if result is not None:
            finish(thread, row, result)

    return serve


def bind(thread: GuestThread, number: int) -> Callable[[], None]:
    """The closure that serves a guest's call number for one thread."""
    row = row_of(thread.abi.name, number)
    if row is None:
        return lambda: _unknown(thread, number)
    handler = row.handler or thread.abi.passing(thread, row)
    if handler is not None:
        serve = _handled(thread, row, handler)
    elif "rpath" in row.kinds:
        serve = _pass_with_path(thread, row)
    else:
        serve = _pass(thread, row)
    log = thread.process.log
    if log.strace:
        from jitemu.user.strace import traced

        return traced(thread, row, serve)
    word = row.native if row.handler else thread.abi.native_call(row)
    if word:
        thread.cpu.serve_natively(number, word)
    return serve


def _unknown(thread: GuestThread, number: int) -> None:
    log = thread.process.log
    if log.strace:
        log.write(f"{thread.tid} Unknown syscall {number}\n")
    if log.unimp:
        log.write(f"Unsupported syscall: {number}\n")
    thread.cpu.set_gpr(thread.abi.arguments[0], -errno.ENOSYS)
    thread.cpu.pass_call()

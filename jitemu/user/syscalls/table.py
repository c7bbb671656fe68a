"""The table of system calls, and the closures that serve them.

A row is ``name riscv64 x86-64 kinds...``: the call's number for the guest and for the host
(``-`` where the host has none), then the kind of each argument.  A row alone passes the
registers to the host as they are: guest pointers are host pointers and 64-bit structures
mostly agree.  Where they do not, ``@handles(row)`` names a Python function.  ``-strace``
prints from the same row (jitemu.user.strace has the kinds).  The kind ``rpath`` is a path
that is looked up below the sysroot first.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from ctypes import c_char_p, c_void_p, cast, get_errno
from typing import TYPE_CHECKING

from jitemu.user.hostcalls import RAW, GuestError, GuestFault, read_string

if TYPE_CHECKING:
    from jitemu.user.thread import GuestThread

Handler = Callable[..., "int | None"]
"""handler(thread, *arguments): the result or a negative errno; None leaves a0 and pc as
the handler has set them."""

_EINTR = -errno.EINTR
_EFAULT = -errno.EFAULT
_EPIPE, _EFBIG = -errno.EPIPE, -errno.EFBIG


class Row:
    """One system call."""

    def __init__(
        self,
        name: str,
        riscv64: int,
        host: int | None,
        kinds: tuple[str, ...],
        handler: Handler | None,
    ) -> None:
        self.name = name
        self.riscv64 = riscv64
        self.host = host
        self.kinds = kinds
        self.handler = handler


ROWS: dict[int, Row] = {}
"""Guest number -> row."""


def _parse(text: str, handler: Handler | None) -> None:
    name, number, host, *kinds = text.split()
    row = Row(name, int(number), None if host == "-" else int(host), tuple(kinds), handler)
    if row.riscv64 in ROWS:
        raise ValueError(f"system call {row.riscv64} has two rows")
    ROWS[row.riscv64] = row


def passes(text: str) -> None:
    """Rows, one a line, that the host serves as they are."""
    for line in text.strip().splitlines():
        _parse(line, None)


def handles(text: str) -> Callable[[Handler], Handler]:
    """The decorated function serves this row."""

    def register(handler: Handler) -> Handler:
        _parse(text, handler)
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


def _pass(thread: GuestThread, row: Row) -> Callable[[], None]:
    """The closure of a pass-through row, unrolled by arity: this is the hot path."""
    cpu, host = thread.cpu, row.host
    gpr, set_gpr = cpu.gpr, cpu.set_gpr
    count = len(row.kinds)
    call = RAW[count]

    def finish(result: int) -> None:
        if result == -1:
            result = -get_errno()
            if result == _EINTR:
                thread.interrupted_call = row.name
                return
            if result == _EFAULT and thread.process.unguard_code():
                return
            if result in (_EPIPE, _EFBIG):
                thread.fetch_own_signal()
        set_gpr(10, result)
        cpu.pc += 4

    if count == 0:
        return lambda: finish(call(host))
    if count == 1:
        return lambda: finish(call(host, gpr(10)))
    if count == 2:
        return lambda: finish(call(host, gpr(10), gpr(11)))
    if count == 3:
        return lambda: finish(call(host, gpr(10), gpr(11), gpr(12)))
    registers = range(10, 10 + count)
    return lambda: finish(call(host, *[gpr(i) for i in registers]))


def _pass_with_path(thread: GuestThread, row: Row) -> Callable[[], None]:
    """Pass-through of a call with a name that is looked up below the sysroot first."""
    index = row.kinds.index("rpath")
    host, call = row.host, RAW[len(row.kinds)]

    def with_path(thread: GuestThread, *args: int) -> int:
        path = read_string(args[index])
        there = thread.process.paths.translate(path)
        if there is not path:
            keep = c_char_p(there)
            address = cast(keep, c_void_p).value or 0
            args = (*args[:index], address, *args[index + 1 :])
        result = call(host, *args)
        return -get_errno() if result == -1 else result

    return _handled(thread, row, with_path)


def _handled(thread: GuestThread, row: Row, handler: Handler) -> Callable[[], None]:
    cpu = thread.cpu
    gpr, set_gpr = cpu.gpr, cpu.set_gpr
    registers = range(10, 10 + len(row.kinds))

    def serve() -> None:
        result = guarded(handler, thread, tuple([gpr(i) for i in registers]))
        if result is None:
            return
        if result == _EINTR:
            thread.interrupted_call = row.name
            return
        if result == _EFAULT and thread.process.unguard_code():
            return
        set_gpr(10, result)
        cpu.pc += 4

    return serve


def bind(thread: GuestThread, number: int) -> Callable[[], None]:
    """The closure that serves a guest's call number for one thread."""
    row = ROWS.get(number)
    if row is None:
        return lambda: _unknown(thread, number)
    if row.handler is not None:
        serve = _handled(thread, row, row.handler)
    elif "rpath" in row.kinds:
        serve = _pass_with_path(thread, row)
    else:
        serve = _pass(thread, row)
    log = thread.process.log
    if log.strace:
        from jitemu.user.strace import traced

        return traced(thread, row, serve)
    return serve


def _unknown(thread: GuestThread, number: int) -> None:
    log = thread.process.log
    if log.strace:
        log.write(f"{thread.tid} Unknown syscall {number}\n")
    if log.unimp:
        log.write(f"Unsupported syscall: {number}\n")
    thread.cpu.set_gpr(10, -errno.ENOSYS)
    thread.cpu.pc += 4

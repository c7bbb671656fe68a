"""Waiting for descriptors: poll, select, epoll."""

from __future__ import annotations

import errno
import struct

from jitemu.foreign import addressof, create_string_buffer
from jitemu.user.hostcalls import (
    host_call,
    host_pointer,
    read_guest,
    read_word,
    signed32,
    write_guest,
)
from jitemu.user.syscalls.table import handles, passes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jitemu.user.thread import GuestThread

passes("""
epoll_create1 20 357 291 fdflags
""")

_SYS_PPOLL, _SYS_PSELECT6, _SYS_EPOLL_CTL, SYS_EPOLL_PWAIT = 271, 270, 233, 281
_SYS_EPOLL_PWAIT2, _SYS_SIGNALFD4 = 441, 289
_MASK_SIZE = 8
_HOST_EVENT = struct.Struct("<IQ")
_GUEST_EVENT = struct.Struct("<I4xQ")
_MOST_EVENTS = 1 << 16


def read_mask(address: int, size: int) -> int | None:
    if address == 0:
        return None
    if size != _MASK_SIZE:
        raise ValueError
    return read_word(address)


@handles("ppoll 73 - 271 ptr uint ptr ptr size")
def ppoll(thread: GuestThread, fds: int, count: int, timeout: int, mask: int, size: int) -> int:
    """ppoll(2).  The kernel updates the timeout, so a restart waits for the rest."""
    with thread.waiting(read_mask(mask, size)) as host_mask:
        return host_call(_SYS_PPOLL, fds, count, timeout, host_mask, _MASK_SIZE)


@handles("pselect6 72 - 270 int ptr ptr ptr ptr ptr")
def pselect6(
    thread: GuestThread, count: int, reads: int, writes: int, excepts: int, timeout: int, mask: int
) -> int:
    """pselect6(2); its last argument is a pointer to mask pointer and size."""
    wanted = None
    if mask:
        wanted = read_mask(*struct.unpack("<QQ", read_guest(mask, 16)))
    with thread.waiting(wanted) as host_mask:
        pair = create_string_buffer(struct.pack("<QQ", host_mask, _MASK_SIZE), 16)
        both = addressof(pair)
        return host_call(_SYS_PSELECT6, count, reads, writes, excepts, timeout, both)


@handles("epoll_ctl 21 251 233 fd int fd ptr")
def epoll_ctl(thread: GuestThread, epoll: int, operation: int, fd: int, event: int) -> int:
    """epoll_ctl(2): struct epoll_event is packed on x86-64 only."""
    if event == 0 or signed32(operation) == 2:
        return host_call(_SYS_EPOLL_CTL, epoll, operation, fd, 0)
    fields = _GUEST_EVENT.unpack(read_guest(event, _GUEST_EVENT.size))
    packed = create_string_buffer(_HOST_EVENT.pack(*fields), _HOST_EVENT.size)
    return host_call(_SYS_EPOLL_CTL, epoll, operation, fd, addressof(packed))


def epoll_wait_any(
    thread: GuestThread,
    number: int,
    epoll: int,
    at: int,
    count: int,
    timeout: int,
    mask: int | None,
) -> int:
    count = signed32(count)
    if count <= 0:
        return -errno.EINVAL
    count = min(count, _MOST_EVENTS)
    events = create_string_buffer(_HOST_EVENT.size * count)
    where = addressof(events)
    with thread.waiting(mask) as host_mask:
        result = host_call(number, epoll, where, count, timeout, host_mask, _MASK_SIZE)
    if result > 0:
        packed = events.raw[: result * _HOST_EVENT.size]
        write_guest(at, b"".join(_GUEST_EVENT.pack(*e) for e in _HOST_EVENT.iter_unpack(packed)))
    return result


@handles("epoll_pwait 22 346 281 fd ptr int int ptr size")
def epoll_pwait(
    thread: GuestThread, epoll: int, at: int, count: int, timeout: int, mask: int, size: int
) -> int:
    """epoll_pwait(2)."""
    wanted = read_mask(mask, size)
    return epoll_wait_any(thread, SYS_EPOLL_PWAIT, epoll, at, count, timeout, wanted)


@handles("epoll_pwait2 441 441 441 fd ptr int ptr ptr size")
def epoll_pwait2(
    thread: GuestThread, epoll: int, at: int, count: int, timeout: int, mask: int, size: int
) -> int:
    """epoll_pwait2(2)."""
    wanted = read_mask(mask, size)
    until = host_pointer(timeout)
    return epoll_wait_any(thread, _SYS_EPOLL_PWAIT2, epoll, at, count, until, wanted)


@handles("signalfd4 74 355 289 fd ptr size fdflags")
def signalfd4(thread: GuestThread, fd: int, mask: int, size: int, flags: int) -> int:
    """signalfd4(2): its signals are left to the kernel, even if a handler is set too."""
    wanted = read_mask(mask, size)
    if wanted is not None:
        thread.process.signals.leave_to_kernel(wanted)
    return host_call(_SYS_SIGNALFD4, fd, host_pointer(mask), size, flags)

"""Calls whose structures a 32-bit guest has in its own form, and those for 64-bit times."""

from __future__ import annotations

import errno
import struct

from jitemu.foreign import addressof, create_string_buffer
from jitemu.light import partial
from jitemu.runtime.signal_sets import UNBLOCKABLE, bit
from jitemu.user.hostcalls import (
    host_call,
    host_pointer,
    read_guest,
    read_string,
    read_word,
    signed32,
    write_guest,
    write_word,
)
from jitemu.user.layouts32 import LAYOUTS
from jitemu.user.registers32 import guest_open_flags, open_flags
from jitemu.user.signals import SIGINFO_SIZE
from jitemu.user.syscalls.files import host_path
from jitemu.user.syscalls.polling import read_mask
from jitemu.user.syscalls.process import limits
from jitemu.user.syscalls.signals import rt_sigpending, wait_for_signal
from jitemu.user.syscalls.table import handles, passes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from jitemu.user.thread import GuestThread

passes("""
clock_gettime64 - 403 228 clock ptr
clock_settime64 - 404 227 clock ptr
clock_adjtime64 - 405 305 clock ptr
clock_getres_time64 - 406 229 clock ptr
clock_nanosleep_time64 - 407 230 clock hex ptr ptr
timer_gettime64 - 408 224 int ptr
timer_settime64 - 409 223 int hex ptr ptr
timerfd_gettime64 - 410 287 fd ptr
timerfd_settime64 - 411 286 fd hex ptr ptr
utimensat_time64 - 412 280 dirfd rpath ptr atflags
mq_timedsend_time64 - 418 242 fd ptr size uint ptr
mq_timedreceive_time64 - 419 243 fd ptr size ptr ptr
semtimedop_time64 - 420 220 int ptr size ptr
sched_rr_get_interval_time64 - 423 148 int ptr
""")

_SYS_STAT, _SYS_FSTAT, _SYS_LSTAT, _SYS_FSTATAT, _SYS_STATFS, _SYS_FSTATFS = 4, 5, 6, 262, 137, 138
_SYS_FUTEX, _SYS_PPOLL, _SYS_PSELECT6, _SYS_FCNTL, _SYS_IOCTL, _SYS_WAITID = (
    202,
    271,
    270,
    72,
    16,
    247,
)
_SYS_SETAFFINITY, _SYS_GETAFFINITY, _SYS_GETDENTS64 = 203, 204, 217
_AT_FDCWD, _AT_SYMLINK_NOFOLLOW = -100 & 0xFFFFFFFF, 0x100
_HOST_STAT = struct.Struct("<QQQIII4xQqqqQqQqQq")
_STAT64 = struct.Struct("<Q4xIIIIIQ4xqI4xQIIIIIIQ")
_STAT = struct.Struct("<IIHHHHIIIIIIIIII8x")
_STATFS64 = struct.Struct("<II5Q2iII4I")
_STATFS64_SIZES = (84, 88)
_TIME, _TIME64 = LAYOUTS["timespec"], struct.Struct("<qq")


def _timespec(at: int, wide: bool) -> Any:
    """The host's timespec, in a buffer, for the guest's; None for none."""
    if not at:
        return None
    data = read_guest(at, 16) if wide else _TIME.to_host(read_guest(at, _TIME.guest.size))
    return create_string_buffer(data, 16)


def _put_timespec(at: int, wide: bool, buffer: Any) -> None:
    """The time that is left, as the kernel has noted it."""
    if at:
        write_guest(at, buffer.raw if wide else _TIME.to_guest(buffer.raw))


def _place(buffer: Any) -> int:
    return addressof(buffer) if buffer is not None else 0


# Files


def _stat(number: int, *arguments: int) -> tuple[int, tuple[int, ...]]:
    buffer = create_string_buffer(144)
    at = addressof(buffer)
    result = host_call(number, *[at if a == -1 else a for a in arguments])
    return result, _HOST_STAT.unpack_from(buffer.raw) if result >= 0 else ()


def _put_stat64(result: int, fields: tuple[int, ...], at: int) -> int:
    if result < 0:
        return result
    device, inode, links, mode, uid, gid, special, size, block, blocks, *times = fields
    low = [t & 0xFFFFFFFF for t in times]
    data = _STAT64.pack(
        *(device, inode & 0xFFFFFFFF, mode, links & 0xFFFFFFFF, uid, gid, special, size),
        *(block, blocks, *low, inode),
    )
    write_guest(at, data)
    return 0


def _put_stat(result: int, fields: tuple[int, ...], at: int) -> int:
    if result < 0:
        return result
    device, inode, links, mode, uid, gid, special, size, block, blocks, *times = fields
    if size >> 31 or inode >> 32:
        return -errno.EOVERFLOW
    short = [n & 0xFFFF for n in (mode, links, uid, gid)]
    low = [t & 0xFFFFFFFF for t in times]
    numbers = (special & 0xFFFFFFFF, size, block, blocks & 0xFFFFFFFF)
    write_guest(at, _STAT.pack(device & 0xFFFFFFFF, inode, *short, *numbers, *low))
    return 0


def _named(thread: GuestThread, dirfd: int, path: int, flags: int) -> tuple[int, tuple[int, ...]]:
    name = create_string_buffer(host_path(thread, dirfd, read_string(path)))
    return _stat(_SYS_FSTATAT, dirfd, addressof(name), -1, flags)


@handles("stat - 106 4 path ptr")
def stat(thread: GuestThread, path: int, at: int) -> int:
    """stat(2)."""
    return _put_stat(*_named(thread, _AT_FDCWD, path, 0), at)


@handles("lstat - 107 6 path ptr")
def lstat(thread: GuestThread, path: int, at: int) -> int:
    """lstat(2)."""
    return _put_stat(*_named(thread, _AT_FDCWD, path, _AT_SYMLINK_NOFOLLOW), at)


@handles("fstat - 108 5 fd ptr")
def fstat(thread: GuestThread, fd: int, at: int) -> int:
    """fstat(2)."""
    return _put_stat(*_stat(_SYS_FSTAT, fd, -1), at)


@handles("stat64 - 195 4 path ptr")
def stat64(thread: GuestThread, path: int, at: int) -> int:
    """stat(2) with 64-bit sizes."""
    return _put_stat64(*_named(thread, _AT_FDCWD, path, 0), at)


@handles("lstat64 - 196 6 path ptr")
def lstat64(thread: GuestThread, path: int, at: int) -> int:
    """lstat(2)."""
    return _put_stat64(*_named(thread, _AT_FDCWD, path, _AT_SYMLINK_NOFOLLOW), at)


@handles("fstat64 - 197 5 fd ptr")
def fstat64(thread: GuestThread, fd: int, at: int) -> int:
    """fstat(2)."""
    return _put_stat64(*_stat(_SYS_FSTAT, fd, -1), at)


@handles("fstatat64 - 327 262 dirfd path ptr atflags")
def fstatat64(thread: GuestThread, dirfd: int, path: int, at: int, flags: int) -> int:
    """fstatat(2)."""
    return _put_stat64(*_named(thread, dirfd, path, flags), at)


def _statfs64(result: int, buffer: Any, size: int, at: int) -> int:
    if result < 0:
        return result
    kind, block, *rest = LAYOUTS["statfs"].host.unpack(buffer.raw[:120])
    counts, ids, names = rest[:5], rest[5:7], rest[7:]
    values = [n & 0xFFFFFFFF for n in (kind, block)], [n & 0xFFFFFFFF for n in names]
    write_guest(at, _STATFS64.pack(*values[0], *counts, *ids, *values[1])[:size])
    return 0


@handles("statfs64 - 266 137 rpath size ptr")
def statfs64(thread: GuestThread, path: int, size: int, at: int) -> int:
    """statfs(2)."""
    if size not in _STATFS64_SIZES:
        return -errno.EINVAL
    buffer = create_string_buffer(120)
    name = create_string_buffer(host_path(thread, _AT_FDCWD, read_string(path)))
    return _statfs64(host_call(_SYS_STATFS, addressof(name), addressof(buffer)), buffer, size, at)


@handles("fstatfs64 - 267 138 fd size ptr")
def fstatfs64(thread: GuestThread, fd: int, size: int, at: int) -> int:
    """fstatfs(2)."""
    if size not in _STATFS64_SIZES:
        return -errno.EINVAL
    buffer = create_string_buffer(120)
    return _statfs64(host_call(_SYS_FSTATFS, fd, addressof(buffer)), buffer, size, at)


_ENTRY = struct.Struct("<QqHB")


@handles("getdents - 141 78 fd ptr size")
def getdents(thread: GuestThread, fd: int, at: int, size: int) -> int:
    """getdents(2): an entry is no longer than the host's 64-bit one."""
    buffer = create_string_buffer(size)
    result = host_call(_SYS_GETDENTS64, fd, addressof(buffer), size)
    data, made, place = buffer.raw, b"", 0
    while place < result:
        inode, offset, length, kind = _ENTRY.unpack_from(data, place)
        name = data[place + 19 : place + length].split(b"\0", 1)[0]
        record = (10 + len(name) + 2 + 3) & -4
        entry = struct.pack("<IIH", inode & 0xFFFFFFFF, offset & 0xFFFFFFFF, record) + name
        made += entry.ljust(record - 1, b"\0") + bytes((kind,))
        place += length
    if result > 0:
        write_guest(at, made)
        return len(made)
    return result


_FLOCK, _HOST_FLOCK, _FLOCK64 = (
    struct.Struct("<hhiii"),
    struct.Struct("<hh4xqqi4x"),
    struct.Struct("<hh4xqqi4x"),
)
_F_GETFL, _F_SETFL, _F_GETLK, _F_SETLKW, _F_GETLK64, _F_SETLKW64 = 3, 4, 5, 7, 12, 14
_F_OFD_GETLK, _F_OFD_SETLKW = 36, 38
_FCNTL_POINTERS = {15, 16, 17, 1035, 1036, 1037, 1038, 1039, 1040}


def _lock(fd: int, command: int, at: int, layout: struct.Struct) -> int:
    fields = layout.unpack(read_guest(at, layout.size))
    buffer = create_string_buffer(_HOST_FLOCK.pack(*fields), _HOST_FLOCK.size)
    result = host_call(_SYS_FCNTL, fd, command, addressof(buffer))
    if result >= 0 and command in (_F_GETLK, _F_OFD_GETLK):
        write_guest(at, layout.pack(*_HOST_FLOCK.unpack(buffer.raw)))
    return result


def _fcntl(thread: GuestThread, fd: int, command: int, argument: int) -> int:
    """fcntl(2)."""
    if _F_GETLK <= command <= _F_SETLKW:
        return _lock(fd, command, argument, _FLOCK)
    if _F_GETLK64 <= command <= _F_SETLKW64:
        return _lock(fd, command - _F_GETLK64 + _F_GETLK, argument, _FLOCK64)
    if _F_OFD_GETLK <= command <= _F_OFD_SETLKW:
        return _lock(fd, command, argument, _FLOCK64)
    if command == _F_SETFL:
        argument = open_flags(argument)
    elif command in _FCNTL_POINTERS:
        argument = host_pointer(argument)
    result = host_call(_SYS_FCNTL, fd, command, argument)
    return guest_open_flags(result) if command == _F_GETFL and result >= 0 else result


handles("fcntl - 55 72 fd fcntl hex")(_fcntl)
handles("fcntl64 - 221 72 fd fcntl hex")(_fcntl)

_NUMBERS = {0x5409, 0x540A, 0x540B, 0x540E, 0x5425, 0x5423, 0x5424}
"""Requests whose argument is no pointer."""
_IFREQ, _HOST_IFREQ = 32, 40
_SIOCGIFCONF, _SIOCGIFNAME, _SIOCSIFVLAN = 0x8912, 0x8910, 0x8983
_RENUMBERED = {0x80046601: 0x80086601, 0x40046602: 0x40086602}
"""FS_IOC_GETFLAGS and FS_IOC_SETFLAGS have the size of a long in them, and use an int."""


@handles("ioctl - 54 16 fd ioctl ptr")
def ioctl(thread: GuestThread, fd: int, request: int, argument: int) -> int:
    """ioctl(2)."""
    if request in _NUMBERS:
        return host_call(_SYS_IOCTL, fd, request, argument)
    if request == _SIOCGIFCONF:
        return _interfaces(fd, argument)
    if _SIOCGIFNAME <= request <= _SIOCSIFVLAN:
        buffer = create_string_buffer(read_guest(argument, _IFREQ), _HOST_IFREQ)
        result = host_call(_SYS_IOCTL, fd, request, addressof(buffer))
        if result >= 0:
            write_guest(argument, buffer.raw[:_IFREQ])
        return result
    return host_call(_SYS_IOCTL, fd, _RENUMBERED.get(request, request), host_pointer(argument))


def _interfaces(fd: int, at: int) -> int:
    """SIOCGIFCONF: an array of requests, which are longer for the host."""
    size, array = struct.unpack("<iI", read_guest(at, 8))
    count = max(size, 0) // _IFREQ
    buffer = create_string_buffer(max(count, 1) * _HOST_IFREQ)
    place = addressof(buffer) if array else 0
    head = create_string_buffer(struct.pack("<i4xQ", count * _HOST_IFREQ if array else 0, place))
    result = host_call(_SYS_IOCTL, fd, _SIOCGIFCONF, addressof(head))
    if result >= 0:
        found = int.from_bytes(head.raw[:4], "little") // _HOST_IFREQ
        for i in range(found if array else 0):
            start = i * _HOST_IFREQ
            write_guest(array + i * _IFREQ, buffer.raw[start : start + _IFREQ])
        write_word(at, found * _IFREQ, 4)
    return result


# Memory


@handles("mmap2 - 192 9 ptr size prot mmapflags fd hex")
def mmap2(
    thread: GuestThread, address: int, length: int, prot: int, flags: int, fd: int, pages: int
) -> int:
    """mmap(2), whose offset is in pages of 4096 bytes."""
    from jitemu.user.syscalls.memory import mmap

    return mmap(thread, address, length, prot, flags, fd, pages << 12)


# Waiting

_FUTEX_TIMED = {0, 6, 9, 11, 13}
"""WAIT, LOCK_PI, WAIT_BITSET, WAIT_REQUEUE_PI, LOCK_PI2: the fourth argument is a time."""


def _futex(wide: bool, thread: GuestThread, *args: int) -> int:
    at, operation, value, time, other, last = args
    buffer, fourth = None, time
    if operation & 0x7F in _FUTEX_TIMED:
        buffer = _timespec(time, wide)
        fourth = _place(buffer)
    places = host_pointer(at), host_pointer(other)
    return host_call(_SYS_FUTEX, places[0], operation, value, fourth, places[1], last)


handles("futex - 240 202 ptr futexop int ptr ptr int")(partial(_futex, False))
handles("futex_time64 - 422 202 ptr futexop int ptr ptr int")(partial(_futex, True))


def _ppoll(wide: bool, thread: GuestThread, *args: int) -> int:
    fds, count, timeout, mask, size = args
    until = _timespec(timeout, wide)
    with thread.waiting(read_mask(mask, size)) as host_mask:
        result = host_call(_SYS_PPOLL, host_pointer(fds), count, _place(until), host_mask, 8)
    _put_timespec(timeout, wide, until)
    return result


handles("ppoll - 336 271 ptr uint ptr ptr size")(partial(_ppoll, False))
handles("ppoll_time64 - 414 271 ptr uint ptr ptr size")(partial(_ppoll, True))


class _Sets:
    """The three sets of select(2), which the host rounds up to 64 bits."""

    def __init__(self, count: int, places: tuple[int, ...]) -> None:
        count = max(signed32(count), 0)
        self.size = (count + 31) // 32 * 4
        self.places = places
        self.buffers = [
            create_string_buffer(read_guest(at, self.size), self.size + 8) if at else None
            for at in places
        ]

    @property
    def pointers(self) -> list[int]:
        """The host's copies."""
        return [_place(buffer) for buffer in self.buffers]

    def store(self) -> None:
        """What the host has found."""
        for at, buffer in zip(self.places, self.buffers, strict=True):
            if buffer is not None:
                write_guest(at, buffer.raw[: self.size])


def _pselect6(wide: bool, thread: GuestThread, *args: int) -> int:
    count, *places, timeout, masks = args
    wanted = read_mask(*struct.unpack("<II", read_guest(masks, 8))) if masks else None
    sets, until = _Sets(count, tuple(places)), _timespec(timeout, wide)
    with thread.waiting(wanted) as host_mask:
        pair = create_string_buffer(struct.pack("<QQ", host_mask, 8), 16)
        result = host_call(_SYS_PSELECT6, count, *sets.pointers, _place(until), addressof(pair))
    if result >= 0:
        sets.store()
    _put_timespec(timeout, wide, until)
    return result


handles("pselect6 - 335 270 int ptr ptr ptr ptr ptr")(partial(_pselect6, False))
handles("pselect6_time64 - 413 270 int ptr ptr ptr ptr ptr")(partial(_pselect6, True))


@handles("_newselect - 142 23 int ptr ptr ptr ptr")
def select(
    thread: GuestThread, count: int, reads: int, writes: int, excepts: int, timeout: int
) -> int:
    """select(2), whose time is a timeval."""
    sets = _Sets(count, (reads, writes, excepts))
    layout, until = LAYOUTS["timeval"], None
    if timeout:
        until = create_string_buffer(layout.to_host(read_guest(timeout, 8)), 16)
    result = host_call(23, count, *sets.pointers, _place(until))
    if result >= 0:
        sets.store()
    if timeout and until is not None:
        write_guest(timeout, layout.to_guest(until.raw))
    return result


def _timedwait(wide: bool, thread: GuestThread, at: int, info: int, timeout: int, size: int) -> int:
    if size != 8:
        return -errno.EINVAL
    until = _timespec(timeout, wide)
    wanted = read_word(at) & ~UNBLOCKABLE
    return wait_for_signal(thread, wanted, info, None if until is None else until.raw)


handles("rt_sigtimedwait - 177 128 ptr ptr ptr size")(partial(_timedwait, False))
handles("rt_sigtimedwait_time64 - 421 128 ptr ptr ptr size")(partial(_timedwait, True))


@handles("waitid - 280 247 int int ptr hex ptr")
def waitid(thread: GuestThread, kind: int, pid: int, at: int, options: int, usage: int) -> int:
    """waitid(2)."""
    info, used = create_string_buffer(SIGINFO_SIZE), create_string_buffer(144)
    place = addressof(used) if usage else 0
    result = host_call(_SYS_WAITID, kind, pid, addressof(info), options, place)
    if result >= 0 and at:
        write_guest(at, thread.abi.siginfo(info.raw)[:32])
    if result >= 0 and usage:
        write_guest(usage, LAYOUTS["rusage"].to_guest(used.raw))
    return result


# Limits, processors


@handles("ugetrlimit - 191 97 resource ptr")
def ugetrlimit(thread: GuestThread, resource: int, at: int) -> int:
    """getrlimit(2)."""
    return _getrlimit(thread, resource, at, 0xFFFFFFFF)


def _getrlimit(thread: GuestThread, resource: int, at: int, most: int) -> int:
    before = struct.unpack("<QQ", limits(thread, 0, resource & 0xFFFFFFFF, None))
    write_guest(at, struct.pack("<II", *(min(n, most) for n in before)))
    return 0


@handles("getrlimit - 76 97 resource ptr")
def old_getrlimit(thread: GuestThread, resource: int, at: int) -> int:
    """getrlimit(2) of old: no limit is a positive number."""
    return _getrlimit(thread, resource, at, 0x7FFFFFFF)


@handles("setrlimit - 75 160 resource ptr")
def setrlimit(thread: GuestThread, resource: int, at: int) -> int:
    """setrlimit(2)."""
    limits(thread, 0, resource & 0xFFFFFFFF, LAYOUTS["rlimit"].to_host(read_guest(at, 8)))
    return 0


@handles("sched_setaffinity - 241 203 int size ptr")
def sched_setaffinity(thread: GuestThread, pid: int, size: int, at: int) -> int:
    """sched_setaffinity(2): the host's mask is in 64-bit words."""
    data = read_guest(at, min(size, 1024))
    mask = create_string_buffer(data, (len(data) + 7) & -8)
    return host_call(_SYS_SETAFFINITY, pid, len(mask), addressof(mask))


@handles("sched_getaffinity - 242 204 int size ptr")
def sched_getaffinity(thread: GuestThread, pid: int, size: int, at: int) -> int:
    """sched_getaffinity(2)."""
    if size % 4:
        return -errno.EINVAL
    mask = create_string_buffer((min(size, 1024) + 7) & -8)
    result = host_call(_SYS_GETAFFINITY, pid, len(mask), addressof(mask))
    if result > 0:
        result = min(result, size)
        write_guest(at, mask.raw[:result])
    return result


# Signals of old: sets of 32


_OLD_ACTION = struct.Struct("<IIII")
"""handler, mask, flags, restorer."""


@handles("sigaction - 67 13 signal ptr ptr")
def sigaction(thread: GuestThread, number: int, new: int, old: int) -> int:
    """sigaction(2)."""
    from jitemu.user.signals import Action

    number = signed32(number)
    if not 0 < number <= 64 or (new and bit(number) & UNBLOCKABLE):
        return -errno.EINVAL
    signals = thread.process.signals
    before = signals.actions[number]
    words = _OLD_ACTION.unpack(read_guest(new, _OLD_ACTION.size)) if new else None
    if old:
        mask = before.mask & 0xFFFFFFFF
        write_guest(old, _OLD_ACTION.pack(before.handler, mask, before.flags, before.restorer))
    if words is not None:
        handler, mask, flags, restorer = words
        signals.set_action(number, Action(handler, flags, mask & ~UNBLOCKABLE, restorer))
    return 0


@handles("sigprocmask - 126 14 sighow ptr ptr")
def sigprocmask(thread: GuestThread, how: int, new: int, old: int) -> int:
    """sigprocmask(2)."""
    before = thread.mask
    if new:
        change = read_word(new, 4)
        how = signed32(how)
        after = {0: before | change, 1: before & ~change, 2: before & ~0xFFFFFFFF | change}
        if how not in after:
            return -errno.EINVAL
        if after[how] != before:
            thread.set_mask(after[how])
    if old:
        write_word(old, before, 4)
    return 0


@handles("sigpending - 73 127 ptr")
def sigpending(thread: GuestThread, at: int) -> int:
    """sigpending(2)."""
    return rt_sigpending(thread, at, 4)


@handles("sigsuspend - 72 130 int int hex")
def sigsuspend(thread: GuestThread, _restart: int, _old: int, mask: int) -> int:
    """sigsuspend(2)."""
    with thread.waiting(mask) as host_mask:
        return host_call(130, host_mask, 8)

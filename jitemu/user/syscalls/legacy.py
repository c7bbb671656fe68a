"""Calls that newer architectures do without: names without a folder's descriptor, and 16-bit
and 32-bit forms of what has wider ones."""

from __future__ import annotations

import errno
import os

from jitemu.foreign import addressof, c_uint32
from jitemu.light import partial
from jitemu.user.hostcalls import host_call, signed32, write_guest
from jitemu.user.layouts32 import host_vectors
from jitemu.user.process import CLONE_VFORK
from jitemu.user.syscalls.files import dup3, openat, readlinkat
from jitemu.user.syscalls.polling import SYS_EPOLL_PWAIT, epoll_wait_any, signalfd4
from jitemu.user.syscalls.table import handles, passes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jitemu.user.thread import GuestThread

passes("""
link - 9 86 path path
unlink - 10 87 path
mknod - 14 133 path mode hex
chmod - 15 90 rpath mode
lchown - 16 94 rpath int int
pause - 29 34
utime - 30 132 rpath in:utimbuf
access - 33 21 rpath access
rename - 38 82 path path
mkdir - 39 83 path mode
rmdir - 40 84 path
pipe - 42 22 ptr
getpgrp - 65 111
symlink - 83 88 path path
truncate - 92 76 rpath off
ftruncate - 93 77 fd off
chown - 182 92 rpath int int
truncate64 - 193 76 rpath loff
ftruncate64 - 194 77 fd loff
lchown32 - 198 94 rpath int int
getuid32 - 199 102
getgid32 - 200 104
geteuid32 - 201 107
getegid32 - 202 108
setreuid32 - 203 113 int int
setregid32 - 204 114 int int
getgroups32 - 205 115 int ptr
setgroups32 - 206 116 int ptr
fchown32 - 207 93 fd int int
setresuid32 - 208 117 int int int
getresuid32 - 209 118 ptr ptr ptr
setresgid32 - 210 119 int int int
getresgid32 - 211 120 ptr ptr ptr
chown32 - 212 92 rpath int int
setuid32 - 213 105 int
setgid32 - 214 106 int
setfsuid32 - 215 122 int
setfsgid32 - 216 123 int
sendfile64 - 239 40 fd fd ptr size
epoll_create - 250 213 int
utimes - 269 235 rpath in:timevals
inotify_init - 316 253
futimesat - 326 261 dirfd rpath in:timevals
eventfd - 351 284 uint
poll - 168 7 ptr uint int
""")

_AT_FDCWD = -100 & 0xFFFFFFFF
_SYS_DUP2, _SYS_LSEEK, _SYS_FADVISE, _SYS_SYNC_RANGE = 33, 8, 221, 277
_O_CREAT_TRUNC = 0o1101
_OVERFLOW_ID = 65534
_SIGCHLD = 17


@handles("open - 5 2 path oflags mode")
def open_(thread: GuestThread, path: int, flags: int, mode: int) -> int:
    """open(2)."""
    return openat(thread, _AT_FDCWD, path, flags, mode)


@handles("creat - 8 85 path mode")
def creat(thread: GuestThread, path: int, mode: int) -> int:
    """creat(2)."""
    return openat(thread, _AT_FDCWD, path, _O_CREAT_TRUNC, mode)


@handles("readlink - 85 89 path ptr size")
def readlink(thread: GuestThread, path: int, target: int, size: int) -> int:
    """readlink(2)."""
    return readlinkat(thread, _AT_FDCWD, path, target, size)


@handles("dup2 - 63 33 fd fd")
def dup2(thread: GuestThread, old: int, new: int) -> int:
    """dup2(2)."""
    return host_call(_SYS_DUP2, old, new) if old == new else dup3(thread, old, new, 0)


@handles("fork - 2 57")
def fork(thread: GuestThread) -> int | None:
    """fork(2)."""
    return thread.process.fork(thread, _SIGCHLD, 0, 0, 0, 0)


@handles("vfork - 190 58")
def vfork(thread: GuestThread) -> int | None:
    """vfork(2)."""
    return thread.process.fork(thread, CLONE_VFORK | _SIGCHLD, 0, 0, 0, 0)


@handles("nice - 34 - int")
def nice(thread: GuestThread, change: int) -> int:
    """nice(2)."""
    os.nice(signed32(change))
    return 0


@handles("_llseek - 140 8 fd hex hex ptr whence")
def llseek(thread: GuestThread, fd: int, high: int, low: int, at: int, whence: int) -> int:
    """lseek(2) with 64 bits."""
    result = host_call(_SYS_LSEEK, fd, high << 32 | low, whence)
    if result < 0:
        return result
    write_guest(at, result.to_bytes(8, "little"))
    return 0


@handles("epoll_wait - 252 232 fd ptr int int")
def epoll_wait(thread: GuestThread, epoll: int, at: int, count: int, timeout: int) -> int:
    """epoll_wait(2)."""
    return epoll_wait_any(thread, SYS_EPOLL_PWAIT, epoll, at, count, timeout, None)


@handles("signalfd - 349 282 fd ptr size")
def signalfd(thread: GuestThread, fd: int, mask: int, size: int) -> int:
    """signalfd(2)."""
    return signalfd4(thread, fd, mask, size, 0)


@handles("arm_fadvise64_64 - 270 221 fd int loff loff")
def fadvise64(thread: GuestThread, fd: int, advice: int, start: int, size: int) -> int:
    """posix_fadvise(2), whose advice comes first."""
    return host_call(_SYS_FADVISE, fd, start, size, advice)


@handles("arm_sync_file_range - 341 277 fd hex loff loff")
def sync_file_range2(thread: GuestThread, fd: int, flags: int, start: int, size: int) -> int:
    """sync_file_range(2), whose flags come first."""
    return host_call(_SYS_SYNC_RANGE, fd, start, size, flags)


def _vectored(number: int, thread: GuestThread, fd: int, at: int, count: int, *rest: int) -> int:
    vectors = host_vectors(at, count)
    low, high, *flags = rest
    return host_call(number, fd, addressof(vectors), count, low | high << 32, 0, *flags)


handles("preadv - 361 295 fd ptr int hex hex")(partial(_vectored, 295))
handles("pwritev - 362 296 fd ptr int hex hex")(partial(_vectored, 296))
handles("preadv2 - 392 327 fd ptr int hex hex hex")(partial(_vectored, 327))
handles("pwritev2 - 393 328 fd ptr int hex hex hex")(partial(_vectored, 328))


def _ids(number: int, thread: GuestThread, *places: int) -> int:
    """A call that stores three ids, which are 16 bits for the guest."""
    words = [c_uint32() for _ in places]
    result = host_call(number, *map(addressof, words))
    if result >= 0:
        for word, at in zip(words, places, strict=True):
            write_guest(
                at, (word.value if word.value < 1 << 16 else _OVERFLOW_ID).to_bytes(2, "little")
            )
    return result


handles("getresuid - 165 118 ptr ptr ptr")(partial(_ids, 118))
handles("getresgid - 171 120 ptr ptr ptr")(partial(_ids, 120))


def _too_old(thread: GuestThread, *_arguments: int) -> int:
    return -errno.ENOSYS


for _row in ("uselib - 86 - path", "sysfs - 135 - int hex hex", "bdflush - 134 - int hex"):
    handles(_row)(_too_old)

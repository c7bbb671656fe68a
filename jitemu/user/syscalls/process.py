"""Processes, threads, identities, limits, scheduling."""

from __future__ import annotations

import errno
import os
import struct

from jitemu.foreign import addressof, create_string_buffer
from jitemu.user.execve import execute
from jitemu.user.hostcalls import (
    GuestError,
    host_call,
    host_pointer,
    read_guest,
    read_string,
    read_string_array,
    signed32,
    write_guest,
)
from jitemu.user.process import is_thread
from jitemu.user.syscalls.table import handles, passes
from jitemu.user.thread import ProcessExit, ThreadExit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jitemu.user.thread import GuestThread

passes("""
capget 90 184 125 ptr ptr
capset 91 185 126 ptr ptr
waitid 95 - 247 int int ptr hex ptr
unshare 97 337 272 hex
futex 98 - 202 ptr futexop int ptr ptr int
set_robust_list 99 - 273 ptr size
get_robust_list 100 - 274 int ptr ptr
sched_setparam 118 154 142 int ptr
sched_setscheduler 119 156 144 int int ptr
sched_getscheduler 120 157 145 int
sched_getparam 121 155 143 int ptr
sched_setaffinity 122 - 203 int size ptr
sched_getaffinity 123 - 204 int size ptr
sched_yield 124 158 24
sched_get_priority_max 125 159 146 int
sched_get_priority_min 126 160 147 int
sched_rr_get_interval 127 161 148 int out:timespec
setpriority 140 97 141 int int int
getpriority 141 96 140 int int
setregid 143 71 114 int int
setgid 144 46 106 int
setreuid 145 70 113 int int
setuid 146 23 105 int
setresuid 147 164 117 int int int
getresuid 148 - 118 ptr ptr ptr
setresgid 149 170 119 int int int
getresgid 150 - 120 ptr ptr ptr
setfsuid 151 138 122 int
setfsgid 152 139 123 int
setpgid 154 57 109 int int
getpgid 155 132 121 int
getsid 156 147 124 int
setsid 157 66 112
getgroups 158 - 115 int ptr
setgroups 159 - 116 int ptr
getrusage 165 77 98 int out:rusage
getcpu 168 345 309 ptr ptr ptr
getpid 172 20 39
getppid 173 64 110
getuid 174 24 102
geteuid 175 49 107
getgid 176 47 104
getegid 177 50 108
gettid 178 224 186
wait4 260 114 61 int ptr hex out:rusage
setns 268 375 308 fd hex
kcmp 272 378 312 int int int int int
sched_setattr 274 380 314 int ptr hex
sched_getattr 275 381 315 int ptr size hex
pidfd_open 434 434 434 int hex
pidfd_getfd 438 438 438 fd fd hex
process_madvise 440 - 440 fd ptr size int hex
process_mrelease 448 448 448 fd hex
futex_waitv 449 - 449 ptr uint hex ptr clock
""")

_SYS_PRCTL, _SYS_PRLIMIT64 = 157, 302
_AT_EMPTY_PATH, _AT_FDCWD = 0x1000, -100
_NOT_FOR_HOST = {2, 3, 4, 9}
"""RLIMIT_DATA, STACK, CORE, AS: jitemu's own needs are not the guest's."""
_POINTER_PRCTL = {2, 5, 9, 11, 15, 16, 19, 25, 37, 40}
"""Those whose argument is a pointer."""
_REFUSED_PRCTL = {22: errno.EINVAL, 35: errno.EINVAL, 59: errno.EINVAL}
"""PR_SET_SECCOMP, PR_SET_MM, PR_SET_SYSCALL_USER_DISPATCH would act on jitemu's code."""


@handles("exit 93 1 60 int")
def exit_thread(thread: GuestThread, status: int) -> int:
    """exit(2) of one thread."""
    raise ThreadExit(status & 0xFF)


@handles("exit_group 94 248 231 int")
def exit_group(thread: GuestThread, status: int) -> int:
    """exit_group(2)."""
    raise ProcessExit(status & 0xFF)


@handles("set_tid_address 96 256 218 ptr")
def set_tid_address(thread: GuestThread, address: int) -> int:
    """set_tid_address(2)."""
    thread.clear_child_tid = address
    return thread.tid


@handles("clone 220 120 56 clone ptr ptr ptr ptr")
def clone(
    thread: GuestThread, flags: int, stack: int, ptid: int, tls: int, ctid: int
) -> int | None:
    """clone(2), in riscv's order of arguments."""
    if is_thread(flags):
        return thread.process.start_thread(thread, flags, stack, ptid, tls, ctid)
    return thread.process.fork(thread, flags, stack, ptid, tls, ctid)


def _execute(thread: GuestThread, name: bytes, argv: int, envp: int) -> int:
    word = thread.abi.word
    return execute(thread, name, read_string_array(argv, word), read_string_array(envp, word))


@handles("execve 221 11 59 path ptr ptr")
def execve(thread: GuestThread, path: int, argv: int, envp: int) -> int:
    """execve(2)."""
    name = read_string(path)
    return _execute(thread, name, argv, envp)


@handles("execveat 281 387 322 dirfd path ptr ptr atflags")
def execveat(thread: GuestThread, dirfd: int, path: int, argv: int, envp: int, flags: int) -> int:
    """execveat(2), by way of /proc/self/fd."""
    name = read_string(path)
    folder = signed32(dirfd)
    if not name:
        if not flags & _AT_EMPTY_PATH:
            return -errno.ENOENT
        name = os.readlink(b"/proc/self/fd/%d" % folder)
        if name.endswith(b" (deleted)") or not name.startswith(b"/"):
            # A file without a name must stay open across the execve.
            name = b"/proc/self/fd/%d" % os.dup(folder)
            os.set_inheritable(int(name[14:]), True)
    elif not name.startswith(b"/") and folder != _AT_FDCWD:
        name = os.readlink(b"/proc/self/fd/%d" % folder) + b"/" + name
    return _execute(thread, name, argv, envp)


@handles("prctl 167 172 157 int hex hex hex hex")
def prctl(thread: GuestThread, option: int, a: int, b: int, c: int, d: int) -> int:
    """prctl(2), without the options that would act on jitemu itself."""
    refused = _REFUSED_PRCTL.get(option & 0xFFFFFFFF)
    if option in _POINTER_PRCTL:
        a = host_pointer(a)
    return -refused if refused else host_call(_SYS_PRCTL, option, a, b, c, d)


def limits(thread: GuestThread, pid: int, resource: int, new: bytes | None) -> bytes:
    """prlimit(2): the limits before.  Those of memory are remembered, not enforced."""
    own = thread.process.limits
    kept = resource in _NOT_FOR_HOST and pid in (0, os.getpid())
    old, given = create_string_buffer(16), create_string_buffer(new or b"", 16)
    places = addressof(given) if new is not None and not kept else 0, addressof(old)
    result = host_call(_SYS_PRLIMIT64, pid, resource, *places)
    if result < 0:
        raise GuestError(-result)
    if not kept:
        return old.raw
    before = own.get(resource) or struct.unpack("<qq", old.raw)
    if new is not None:
        soft, hard = struct.unpack("<qq", new)
        if soft & (1 << 64) - 1 > hard & (1 << 64) - 1:
            raise GuestError(errno.EINVAL)
        if hard & (1 << 64) - 1 > before[1] & (1 << 64) - 1 and os.geteuid():
            raise GuestError(errno.EPERM)
        own[resource] = (soft, hard)
    return struct.pack("<qq", *before)


@handles("prlimit64 261 369 302 int resource ptr ptr")
def prlimit64(thread: GuestThread, pid: int, resource: int, new: int, old: int) -> int:
    """prlimit(2)."""
    wanted = read_guest(new, 16) if new else None
    before = limits(thread, signed32(pid), resource & 0xFFFFFFFF, wanted)
    if old:
        write_guest(old, before)
    return 0


@handles("getrlimit 163 - 97 resource ptr")
def getrlimit_(thread: GuestThread, resource: int, old: int) -> int:
    """getrlimit(2)."""
    write_guest(old, limits(thread, 0, resource & 0xFFFFFFFF, None))
    return 0


@handles("setrlimit 164 - 160 resource ptr")
def setrlimit(thread: GuestThread, resource: int, new: int) -> int:
    """setrlimit(2)."""
    limits(thread, 0, resource & 0xFFFFFFFF, read_guest(new, 16))
    return 0

"""Signals."""

from __future__ import annotations

import errno
import os
import struct

from jitemu.foreign import addressof, c_uint64, create_string_buffer
from jitemu.runtime.layouts import NativeCall
from jitemu.runtime.signal_sets import UNBLOCKABLE, VIRTUAL, bit
from jitemu.user.hostcalls import (
    host_call,
    read_guest,
    read_word,
    signed32,
    write_guest,
    write_word,
)
from jitemu.user.signals import SI_TKILL, SI_USER, SIG_DFL, SIGINFO_SIZE, Action, Item, make_info
from jitemu.user.syscalls.table import handles, passes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jitemu.user.thread import GuestThread

passes("""
pidfd_send_signal 424 - 424 fd signal ptr hex
""")

_SYS_KILL, _SYS_TKILL, _SYS_TGKILL, _SYS_SIGPENDING, _SYS_SIGTIMEDWAIT = 62, 200, 234, 127, 128
_SYS_RT_SIGQUEUEINFO, _SYS_RT_TGSIGQUEUEINFO, _SYS_RT_SIGSUSPEND = 129, 297, 130
_SIG_BLOCK, _SIG_UNBLOCK, _SIG_SETMASK = 0, 1, 2
_SS_DISABLE, _SS_ONSTACK, _SS_AUTODISARM, _MINSIGSTKSZ = 2, 1, 1 << 31, 2048
_CORE = sum(bit(n) for n in (3, 4, 5, 6, 7, 8, 11, 24, 25, 31))


def _valid(number: int) -> int:
    number = signed32(number)
    if not 0 <= number <= 64:
        raise ValueError
    return number


@handles("rt_sigaction 134 174 13 signal ptr ptr size")
def rt_sigaction(thread: GuestThread, number: int, new: int, old: int, size: int) -> int:
    """rt_sigaction(2)."""
    number = _valid(number)
    if size != 8 or number == 0 or (new and bit(number) & UNBLOCKABLE):
        return -errno.EINVAL
    signals, layout = thread.process.signals, thread.abi.sigaction
    before = signals.actions[number]
    words = layout.unpack(read_guest(new, layout.size)) if new else None
    if old:
        restorer = (before.restorer,) if layout.format.count("I") else ()
        write_guest(old, layout.pack(before.handler, before.flags, *restorer, before.mask))
    if words is not None:
        handler, flags, *restorer, mask = words
        signals.set_action(number, Action(handler, flags, mask & ~UNBLOCKABLE, *restorer))
    return 0


@handles("rt_sigprocmask 135 175 14 sighow ptr ptr size", NativeCall.SET_MASK)
def rt_sigprocmask(thread: GuestThread, how: int, new: int, old: int, size: int) -> int:
    """rt_sigprocmask(2)."""
    if size != 8:
        return -errno.EINVAL
    before = after = thread.mask
    if new:
        change = read_word(new)
        how = signed32(how)
        if how == _SIG_BLOCK:
            after = before | change
        elif how == _SIG_UNBLOCK:
            after = before & ~change
        elif how == _SIG_SETMASK:
            after = change
        else:
            return -errno.EINVAL
    if old:
        write_word(old, before)
    if after != before:
        thread.set_mask(after)
    return 0


@handles("rt_sigpending 136 176 127 ptr size")
def rt_sigpending(thread: GuestThread, at: int, size: int) -> int:
    """rt_sigpending(2): what the kernel has, and what jitemu has queued."""
    if size > 8:
        return -errno.EINVAL
    word = c_uint64()
    host_call(_SYS_SIGPENDING, addressof(word), 8)
    for queue in (thread.queue, thread.process.signals.queue):
        for item in queue:
            word.value |= bit(item.number)
    write_guest(at, word.value.to_bytes(8, "little")[:size])
    return 0


@handles("rt_sigtimedwait 137 - 128 ptr ptr ptr size")
def rt_sigtimedwait(thread: GuestThread, at: int, info: int, timeout: int, size: int) -> int:
    """rt_sigtimedwait(2): jitemu's queues first, then the kernel's."""
    if size != 8:
        return -errno.EINVAL
    until = read_guest(timeout, 16) if timeout else None
    return wait_for_signal(thread, read_word(at) & ~UNBLOCKABLE, info, until)


def wait_for_signal(thread: GuestThread, wanted: int, info: int, until: bytes | None) -> int:
    """Wait for one of a set, until a time (a 64-bit timespec): its number, siginfo at info."""
    place, word = create_string_buffer(SIGINFO_SIZE), c_uint64(wanted)
    timeout = create_string_buffer(until, 16) if until is not None else None
    thread.mask_waited = wanted
    try:
        while True:
            item = thread.take(wanted)
            if item is not None:
                if info:
                    write_guest(info, thread.abi.siginfo(item.info))
                return item.number
            if thread.deliverable():
                thread.pending = True
                return -errno.EINTR
            thread.pending = False
            where = addressof(timeout) if timeout is not None else 0
            result = host_call(_SYS_SIGTIMEDWAIT, addressof(word), addressof(place), where, 8)
            if result > 0 and info:
                write_guest(info, thread.abi.siginfo(place.raw))
            if result != -errno.EINTR or not thread.deliverable(wanted | ~thread.mask):
                return result
    finally:
        thread.mask_waited = 0


@handles("rt_sigsuspend 133 179 130 ptr size")
def rt_sigsuspend(thread: GuestThread, at: int, size: int) -> int:
    """rt_sigsuspend(2)."""
    if size != 8:
        return -errno.EINVAL
    with thread.waiting(read_word(at)) as mask:
        return host_call(_SYS_RT_SIGSUSPEND, mask, 8)


@handles("rt_sigreturn 139 173 15")
def rt_sigreturn(thread: GuestThread) -> None:
    """rt_sigreturn(2)."""
    thread.sigreturn()


@handles("sigaltstack 132 186 131 ptr ptr")
def sigaltstack(thread: GuestThread, new: int, old: int) -> int:
    """sigaltstack(2)."""
    flags = thread.alt_stack_flags()
    layout = thread.abi.stack
    before = layout.pack(thread.alt_stack[0], flags, thread.alt_stack[2])
    if new:
        pointer, mode, size = layout.unpack(read_guest(new, layout.size))
        mode &= ~_SS_AUTODISARM & 0xFFFFFFFF
        if flags & _SS_ONSTACK:
            return -errno.EPERM
        if mode not in (0, _SS_ONSTACK, _SS_DISABLE):
            return -errno.EINVAL
        if mode == _SS_DISABLE:
            thread.alt_stack = (0, _SS_DISABLE, 0)
        elif size < _MINSIGSTKSZ:
            return -errno.ENOMEM
        else:
            thread.alt_stack = (pointer, 0, size)
    if old:
        write_guest(old, before)
    return 0


def _to_self(thread: GuestThread, number: int, info: bytes, tid: int | None) -> int | None:
    """A signal to the own process or one of its threads: queued here if jitemu has it.

    None where the kernel shall do it.
    """
    signals = thread.process.signals
    target = None if tid is None else thread.process.threads.get(tid)
    if number == 0 or (tid is not None and target is None):
        return None
    mine = bit(number)
    if mine & (signals.caught | VIRTUAL):
        signals.post(Item(number, info), target)
        return 0
    default = signals.actions[number].handler == SIG_DFL
    if default and mine & _CORE and not (target or thread).mask & mine:
        signals.die(number)
    return None


@handles("kill 129 37 62 int signal")
def kill(thread: GuestThread, pid: int, number: int) -> int:
    """kill(2)."""
    number = _valid(number)
    if signed32(pid) == os.getpid():
        info = make_info(number, SI_USER, os.getpid(), os.getuid())
        result = _to_self(thread, number, info, None)
        if result is not None:
            return result
    return host_call(_SYS_KILL, pid, number)


def _send(thread: GuestThread, tid: int, number: int) -> int | None:
    info = make_info(number, SI_TKILL, os.getpid(), os.getuid())
    return _to_self(thread, number, info, tid)


@handles("tkill 130 238 200 int signal")
def tkill(thread: GuestThread, tid: int, number: int) -> int:
    """tkill(2)."""
    number = _valid(number)
    result = _send(thread, signed32(tid), number)
    return host_call(_SYS_TKILL, tid, number) if result is None else result


@handles("tgkill 131 268 234 int int signal")
def tgkill(thread: GuestThread, pid: int, tid: int, number: int) -> int:
    """tgkill(2)."""
    number = _valid(number)
    result = None
    if signed32(pid) == os.getpid():
        result = _send(thread, signed32(tid), number)
    return host_call(_SYS_TGKILL, pid, tid, number) if result is None else result


def _own_info(thread: GuestThread, number: int, at: int) -> bytes:
    """The host's siginfo that the guest has made."""
    info = thread.abi.host_siginfo(read_guest(at, SIGINFO_SIZE))
    return struct.pack("<i", number) + info[4:]


@handles("rt_sigqueueinfo 138 178 129 int signal ptr")
def rt_sigqueueinfo(thread: GuestThread, pid: int, number: int, at: int) -> int:
    """rt_sigqueueinfo(2)."""
    number = _valid(number)
    info = _own_info(thread, number, at)
    if signed32(pid) == os.getpid():
        result = _to_self(thread, number, info, None)
        if result is not None:
            return result
    return host_call(_SYS_RT_SIGQUEUEINFO, pid, number, addressof(create_string_buffer(info)))


@handles("rt_tgsigqueueinfo 240 363 297 int int signal ptr")
def rt_tgsigqueueinfo(thread: GuestThread, pid: int, tid: int, number: int, at: int) -> int:
    """rt_tgsigqueueinfo(2)."""
    number = _valid(number)
    info = _own_info(thread, number, at)
    if signed32(pid) == os.getpid():
        result = _to_self(thread, number, info, signed32(tid))
        if result is not None:
            return result
    place = create_string_buffer(info)
    return host_call(_SYS_RT_TGSIGQUEUEINFO, pid, tid, number, addressof(place))

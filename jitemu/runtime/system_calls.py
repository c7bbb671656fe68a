"""System calls that the host serves as they are, made by native code (user mode).

A word of ``s.calls`` says how (NativeCall).  Whatever is not usual is left to the engine, before
the call or, with the result, after it.

A thread that waits in a call holds nobody up: it counts as outside of translated code
(``in_call``), and looks whether it may go back there (``held``).  Both sides write their word
before they read the other's.
"""

from __future__ import annotations

from jitemu.ir.native import (
    addressof,
    copy_bytes,
    exchange,
    hostcall,
    hostsyscall,
    load64,
    native,
    sext32,
    store64,
)
from jitemu.ir.state import CALLS, RuntimeState
from jitemu.runtime.exits import EXIT_CALLED, EXIT_REQUESTED, REQUEST_SAMPLE
from jitemu.runtime.layouts import Control, NativeCall
from jitemu.runtime.lookup import leave
from jitemu.runtime.lookup_user import user_find_block, user_look_around
from jitemu.runtime.signal_sets import NEVER_MASKED, UNBLOCKABLE

_NUMBER_AT = 7 * 8
_SYS_SIGPROCMASK, _SIG_BLOCK, _SIG_UNBLOCK, _SIG_SETMASK = 14, 0, 1, 2
_SYS_CLOCK_GETTIME, _TIMESPEC = 228, 16
_MINUS = 1 << 64
_EINTR, _EFAULT, _EPIPE, _EFBIG = _MINUS - 4, _MINUS - 14, _MINUS - 32, _MINUS - 27


@native
def call_argument(s: RuntimeState, word: int, index: int) -> int:
    """An argument as the host has it."""
    value = load64(s.call_arguments + index * 8)
    if word >> NativeCall.POINTERS + index & 1 and value:
        return value + s.guest_base
    if word >> NativeCall.SIGNED + index & 1:
        return sext32(value)
    return value


@native
def host_result(s: RuntimeState, word: int) -> int:
    """What the host returns for a call with the guest's arguments."""
    return hostsyscall(
        (word & NativeCall.NUMBER) - 1,
        call_argument(s, word, 0),
        call_argument(s, word, 1),
        call_argument(s, word, 2),
        call_argument(s, word, 3),
        call_argument(s, word, 4),
        call_argument(s, word, 5),
    )


@native
def read_clock(s: RuntimeState, word: int) -> int:
    """clock_gettime by the C library, which mostly needs no system call for it."""
    clock = load64(s.call_arguments)
    if hostcall(s.host_clock, clock, addressof(s.clock_buffer)) & 0xFFFF_FFFF:
        return host_result(s, word)
    to = call_argument(s, word, 1)
    return _EFAULT if copy_bytes(to, addressof(s.clock_buffer), _TIMESPEC) else 0


@native
def change_mask(s: RuntimeState) -> int:
    """rt_sigprocmask: 1, or 0 where the engine has to look."""
    how = load64(s.call_arguments) & 0xFFFF_FFFF
    new = load64(s.call_arguments + 8)
    old = load64(s.call_arguments + 16)
    if load64(s.call_arguments + 24) != 8 or s.signals_queued:
        return 0
    before = s.signal_mask
    after = before
    if new:
        if copy_bytes(addressof(s.operands), s.guest_base + new, 8) or how > _SIG_SETMASK:
            return 0
        if how == _SIG_BLOCK:
            after = before | s.operands[0]
        elif how == _SIG_UNBLOCK:
            after = before & ~s.operands[0]
        else:
            after = s.operands[0]
        after = after & ~UNBLOCKABLE
    if old:
        s.operands[0] = before
        if copy_bytes(s.guest_base + old, addressof(s.operands), 8):
            return 0
    if after != before:
        exchange(addressof(s.signal_mask), after)  # before signals_queued is read
        wanted = (after | s.caught) & ~NEVER_MASKED
        if wanted != s.host_mask:
            s.host_mask = wanted
            hostsyscall(_SYS_SIGPROCMASK, _SIG_SETMASK, addressof(s.host_mask), 0, 8, 0, 0)
    return 1


@native
def behind_call(s: RuntimeState) -> int:
    """The pc word behind the call at pc."""
    bits = load64(s.code + Control.ADDRESS_BITS)
    pc = s.pc
    short = bits >> 32 == 0 and pc & 1
    return pc + (2 if short else 4) & bits


@native
def user_system_call(s: RuntimeState) -> int:
    """Host address to go on at from a system call at pc; exit_reason is EXIT_SYSCALL."""
    if s.call_arguments == 0:  # whoever runs this state serves all calls
        return s.exit
    number = load64(s.call_arguments + _NUMBER_AT)
    if number >= CALLS:
        return s.exit
    word = s.calls[number]
    if word == 0 or s.exit_request & ~REQUEST_SAMPLE or load64(s.code + Control.WRITTEN):
        return s.exit
    bits = load64(s.code + Control.ADDRESS_BITS)
    if s.pc & ~bits:  # in an IT block
        return s.exit
    if word == NativeCall.SET_MASK:
        if change_mask(s) == 0:
            return s.exit
        result = 0
        unusual = s.signals_queued
    else:
        exchange(addressof(s.in_call), 1)
        if s.held:
            s.in_call = 0
            return s.exit
        if word & NativeCall.NUMBER == _SYS_CLOCK_GETTIME + 1:
            result = read_clock(s, word)
        else:
            result = host_result(s, word)
        exchange(addressof(s.in_call), 0)
        unusual = result == _EINTR or result == _EFAULT or result == _EPIPE or result == _EFBIG
    if unusual:
        s.call_result = result
        return leave(s, EXIT_CALLED)
    store64(s.call_arguments, result & bits)
    s.pc = behind_call(s)
    if s.held:
        return leave(s, EXIT_REQUESTED)
    if s.exit_request & ~REQUEST_SAMPLE:
        return user_look_around(s)
    return user_find_block(s)


@native
def note_signal(s: RuntimeState) -> None:
    """From another thread: a signal is queued that the mask may keep back."""
    exchange(addressof(s.signals_queued), 1)


@native
def hold(s: RuntimeState) -> None:
    """From another thread: no way back from a system call to translated code."""
    exchange(addressof(s.held), 1)

"""Signals: the guest's actions, and how the host's signals reach the guest.

Signals whose guest action is "default" or "ignore" have the same disposition in the host,
and the guest's mask is the host thread's mask, so the kernel does all of their work
(stopping, killing, signalfd, sigtimedwait).  A signal with a guest handler is *caught*: it
is blocked in every guest thread, and one watcher thread takes it with rt_sigtimedwait,
siginfo and all, queues it and wakes the guest thread that shall run the handler: kick for
translated code, POKE (a host signal that does nothing but end a system call with EINTR)
for a thread inside the kernel.  POKE is repeated until the thread has looked at its queue,
so there is no moment at which a signal is overlooked.
"""

from __future__ import annotations

import errno
import os
import struct

from jitemu import foreign
from jitemu.foreign import addressof, create_string_buffer
from jitemu.runtime.faults import host_action
from jitemu.runtime.signal_sets import HARDWARE, NEVER_MASKED, POKE, bit, set_of
from jitemu.user.hostcalls import host_call, libc

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal

    from jitemu.user.process import Process
    from jitemu.user.thread import GuestThread
else:
    import _signal as signal

SIG_DFL, SIG_IGN = 0, 1
SA_NOCLDSTOP, SA_NOCLDWAIT, SA_SIGINFO, SA_ONSTACK = 1, 2, 4, 0x08000000
SA_RESTART, SA_NODEFER, SA_RESETHAND = 0x10000000, 0x40000000, 0x80000000
SI_USER, SI_KERNEL, SI_TKILL = 0, 0x80, -6

SIGINFO_SIZE = 128
_SYS_SIGPROCMASK, _SYS_SIGTIMEDWAIT, _SYS_TGKILL = 14, 128, 234
_SIG_SETMASK = 2
_LAST = 64


_IGNORED_BY_DEFAULT = set_of("SIGCHLD", "SIGURG", "SIGWINCH", "SIGCONT")
_STOPS = set_of("SIGSTOP", "SIGTSTP", "SIGTTIN", "SIGTTOU")
_POKE_FIRST, _POKE_SLOWEST = 1_000_000, 50_000_000  # nanoseconds

# Not restarted after a handler even with SA_RESTART (signal(7)).
NOT_RESTARTED = frozenset(
    "ppoll pselect6 epoll_pwait epoll_pwait2 rt_sigsuspend rt_sigtimedwait nanosleep "
    "clock_nanosleep semop semtimedop msgrcv msgsnd io_getevents poll _newselect ppoll_time64 "
    "pselect6_time64 epoll_wait sigsuspend rt_sigtimedwait_time64 clock_nanosleep_time64 pause "
    "semtimedop_time64".split()
)


class Action:
    """What sigaction sets."""

    def __init__(
        self, handler: int = SIG_DFL, flags: int = 0, mask: int = 0, restorer: int = 0
    ) -> None:
        self.handler = handler
        self.flags = flags
        self.mask = mask
        self.restorer = restorer


class Item:
    """A signal on its way to the guest."""

    def __init__(self, number: int, info: bytes) -> None:
        self.number = number
        self.info = info


def make_info(number: int, code: int, *words: int) -> bytes:
    """A siginfo of number, code and the 32-bit words of its union."""
    data = struct.pack("<iii4x", number, 0, code)
    return data + b"".join(struct.pack("<I", word & 0xFFFFFFFF) for word in words)


def fault_info(number: int, code: int, address: int) -> bytes:
    """The siginfo of a fault: si_addr."""
    return struct.pack("<iii4xQ", number, 0, code, address & (1 << 64) - 1)


def _does_nothing() -> int:
    """A native function that is harmless as a signal handler: labs of the signal number."""
    return foreign.pointer_in(libc.labs)


def set_host_mask(mask: int) -> None:
    """The calling thread's host signal mask."""
    word = foreign.c_uint64(mask)
    host_call(_SYS_SIGPROCMASK, _SIG_SETMASK, addressof(word), 0, 8)


def get_host_mask() -> int:
    """The calling thread's host signal mask."""
    word = foreign.c_uint64()
    host_call(_SYS_SIGPROCMASK, 0, 0, addressof(word), 8)
    return word.value


class Signals:
    """A process's signal actions and queue."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.actions = [Action()] * (_LAST + 1)
        self.caught = 0
        """The set of signals that the watcher takes."""
        self._handled = 0
        self._kernels = 0
        self.queue: list[Item] = []
        """Signals for whichever thread does not block them."""
        self._watcher = 0
        self._nothing = _does_nothing()

    def start(self, ignored: str) -> None:
        """Take over the host's dispositions from the Python interpreter.

        ``ignored`` is the set (hexadecimal) that an execve by a guest handed on.
        """
        host_action(POKE, self._nothing)
        for number in range(1, _LAST + 1):
            # as Python found it: that saves sixty calls
            if not bit(number) & NEVER_MASKED and signal.getsignal(number) == SIG_IGN:
                self.actions[number] = Action(SIG_IGN)
        host_action(signal.SIGINT, self.actions[signal.SIGINT].handler)
        try:
            inherited = int(ignored or "0", 16)
        except ValueError:
            inherited = 0
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            # Python ignores these two; what they were is known from an execve only.
            action = Action(SIG_IGN if inherited & bit(number) else SIG_DFL)
            host_action(number, action.handler)
            self.actions[number] = action

    # -- actions ------------------------------------------------------------------------

    def set_action(self, number: int, action: Action) -> None:
        """The guest calls sigaction."""
        self.actions[number] = action
        thread = self.process.current()
        if bit(number) & HARDWARE and action.handler > SIG_IGN and thread is not None:
            thread.cpu.see_faults()
        if bit(number) & NEVER_MASKED:
            return
        flags = action.flags & (SA_NOCLDSTOP | SA_NOCLDWAIT)
        before = self.caught
        if action.handler > SIG_IGN:
            self._handled |= bit(number)
            self.caught = self._handled & ~self._kernels
            if not before & bit(number):
                # Blocked first, so that the host's default action cannot come in between.
                self._resync()
            host_action(number, self._nothing, flags)
        else:
            self._handled &= ~bit(number)
            self.caught = self._handled & ~self._kernels
            if action.handler == SIG_IGN:
                self.queue[:] = [item for item in self.queue if item.number != number]
            host_action(number, action.handler, flags)
            self._resync()

    def leave_to_kernel(self, mask: int) -> None:
        """The guest reads these through a signalfd."""
        self._kernels |= mask
        self.caught = self._handled & ~self._kernels
        self._resync()

    def _resync(self) -> None:
        """The caught set changed: every thread's mask and the watcher follow."""
        for thread in list(self.process.threads.values()):
            if thread is self.process.current():
                thread.apply_mask()
            else:
                thread.stale_mask = True
                self.wake(thread)
        if self._watcher:
            host_call(_SYS_TGKILL, os.getpid(), self._watcher, POKE)
        elif self.caught:
            self.start_watcher()

    def host_mask(self, guest_mask: int) -> int:
        """The host mask that goes with a thread's guest mask."""
        return (guest_mask | self.caught) & ~NEVER_MASKED

    # -- the watcher ----------------------------------------------------------------------

    def start_watcher(self) -> None:
        """Start the thread that takes caught signals (again after a fork)."""
        import _thread

        self._watcher = -1
        _thread.start_new_thread(self._watch, ())

    def after_fork(self) -> None:
        """In the child: threads are gone, and so is what was on its way to the parent."""
        self.queue.clear()
        self._watcher = 0
        if self.caught:
            self.start_watcher()

    def _watch(self) -> None:
        set_host_mask(((1 << 64) - 1) & ~NEVER_MASKED)
        self._watcher = host_call(186)
        info = create_string_buffer(128)
        wanted = foreign.c_uint64()
        delay = _POKE_FIRST
        while True:
            sleepers = [t for t in list(self.process.threads.values()) if t.pending]
            timeout = create_string_buffer(struct.pack("<QQ", 0, delay), 16)
            wanted.value = self.caught
            number = host_call(
                _SYS_SIGTIMEDWAIT,
                *(addressof(wanted), addressof(info)),
                *(addressof(timeout) if sleepers else 0, 8),
            )
            if number > 0:
                delay = _POKE_FIRST
                self.post(Item(number, info.raw))
            elif number == -errno.EAGAIN:
                for thread in sleepers:
                    if thread.pending:
                        self.wake(thread)
                delay = min(2 * delay, _POKE_SLOWEST)

    def wake(self, thread: GuestThread) -> None:
        """Make a thread look at its queue, wherever it is."""
        thread.pending = True
        thread.cpu.kick()
        if thread is not self.process.current():
            host_call(_SYS_TGKILL, os.getpid(), thread.tid, POKE)

    def post(self, item: Item, to: GuestThread | None = None) -> None:
        """Queue a signal for a thread, or for the process."""
        queue = to.queue if to else self.queue
        if item.number < 32 and any(other.number == item.number for other in queue):
            return
        queue.append(item)
        for thread in [to] if to else list(self.process.threads.values()):
            thread.cpu.note_signal()  # before its mask is read
        if to is not None:
            if not to.mask & bit(item.number) or to.mask_waited & bit(item.number):
                self._wake_surely(to)
            return
        current = self.process.current()
        threads = list(self.process.threads.values())
        if current is not None:
            threads.insert(0, current)
        for thread in threads:
            if not thread.mask & bit(item.number) or thread.mask_waited & bit(item.number):
                self._wake_surely(thread)
                return

    def _wake_surely(self, thread: GuestThread) -> None:
        self.wake(thread)
        if thread is not self.process.current() and self._watcher > 0:
            host_call(_SYS_TGKILL, os.getpid(), self._watcher, POKE)

    # -- default actions ------------------------------------------------------------------

    def default_action(self, number: int) -> None:
        """What happens without a handler; returns where the process goes on."""
        if bit(number) & _IGNORED_BY_DEFAULT:
            return
        if bit(number) & _STOPS:
            os.kill(os.getpid(), signal.SIGSTOP)
            return
        self.die(number)

    def die(self, number: int) -> None:
        """End the process by a signal, as the guest's kernel would have."""
        import resource

        text = signal.strsignal(number) or f"Unknown signal {number}"
        self.process.error(f"uncaught target signal {number} ({text})")
        self.process.before_exit()
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(4)[1]))
        host_action(number, SIG_DFL)
        set_host_mask(0)
        host_call(_SYS_TGKILL, os.getpid(), host_call(186), number)
        os._exit(128 + number)

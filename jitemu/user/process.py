"""The guest process: threads, forks, the end."""

from __future__ import annotations

import errno
import os
import struct
from _thread import allocate_lock, get_ident, start_new_thread

from jitemu.light import suppress
from jitemu.messages import UserError
from jitemu.runtime import descriptors
from jitemu.user.cpu import GuestCpu
from jitemu.user.hostcalls import (
    GuestFault,
    host_call,
    host_pointer,
    read_guest,
    write_guest,
    write_word,
)
from jitemu.user.memory import PROT_EXEC, PROT_WRITE, GuestSpace
from jitemu.user.paths import Paths
from jitemu.user.signals import Signals
from jitemu.user.thread import GuestThread, ProcessExit, ThreadExit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import NoReturn, Protocol

    from jitemu.user.abi import Abi
else:
    Protocol = object

CLONE_VM, CLONE_SETTLS, CLONE_PARENT_SETTID = 0x100, 0x80000, 0x100000
CLONE_VFORK, CLONE_THREAD = 0x4000, 0x10000
CLONE_CHILD_CLEARTID, CLONE_CHILD_SETTID = 0x200000, 0x1000000
_CLONE_NEW_SPACES = 0x7E020000 | 0x80
_SYS_FUTEX, _FUTEX_WAKE, _SYS_UNSHARE = 202, 1, 272
_SHARED_STACK = 64 * 1024
_SHARED_HEADER = struct.Struct("<QQ")


class Log(Protocol):
    """The log of ``-d``: what is wanted, and where it goes."""

    strace: bool
    unimp: bool
    page: bool

    def write(self, text: str, /) -> None:
        """Append text."""
        ...

    def write_page(self, event: str, mappings: Iterable[tuple[int, int, str]], /) -> None:
        """The address space after an event: (start, end, "rwx" with dashes)."""
        ...

    def write_addresses(self, addresses: Iterable[tuple[str, int]], /) -> None:
        """Where a program's parts are."""
        ...


class Process:
    """What the guest's threads share."""

    def __init__(
        self, abi: Abi, space: GuestSpace, paths: Paths, log: Log, uname: str | None
    ) -> None:
        self.abi = abi
        self.space = space
        self.paths = paths
        self.log = log
        self.uname = uname
        self.trampoline = 0
        """Address of the guest code that handlers return to."""
        self.signals = Signals(self)
        self.threads: dict[int, GuestThread] = {}
        """tid -> thread."""
        paths.count_threads = lambda: len(self.threads)
        self.limits: dict[int, tuple[int, int]] = {}
        """Resource limits kept from the host, because they would hit jitemu itself."""
        self.before_exit: Callable[[], None] = lambda: None
        self.reexec: list[bytes] = []
        """The command that runs another guest program, up to ``-0 ARGV0 PROGRAM``."""
        self._idents: dict[int, GuestThread] = {}
        self._all_gone = allocate_lock()
        self._vfork_fd = -1
        self._vfork_stack = (0, 0)
        self.forked = False

    # -- threads --------------------------------------------------------------------------

    def adopt(self, thread: GuestThread) -> None:
        """The calling host thread is a guest thread."""
        self.threads[thread.tid] = thread
        self._idents[get_ident()] = thread

    def current(self) -> GuestThread | None:
        """The guest thread on the calling host thread."""
        return self._idents.get(get_ident())

    def unguard_code(self) -> bool:
        """The kernel could not write guest memory: perhaps pages hold translated code.

        True where there was code in writable memory, so that trying again may do.
        """
        found = False
        thread = self.current()
        for region in self.space.regions():
            if region.prot & PROT_EXEC and region.prot & PROT_WRITE and thread is not None:
                thread.cpu.invalidate(region.start, region.end - region.start)
                found = True
        return found

    def run_main(self, thread: GuestThread) -> int:
        """Run the first thread; the process's exit status."""
        thread.attach()
        return self._until_exit(thread)

    def _until_exit(self, thread: GuestThread) -> int:
        try:
            thread.loop()
        except ProcessExit as end:
            if len(self.threads) > 1 or self.forked:
                self.leave(end.status)
            return end.status
        except ThreadExit as end:
            self._drop(thread)
            if self.threads:
                # The process lives until its last thread is gone, and has that one's status.
                self._all_gone.acquire()
                self._all_gone.acquire()
            if self.forked:
                self.leave(end.status)
            return end.status
        raise AssertionError("a guest thread ends by an exception")

    def leave(self, status: int) -> NoReturn:
        """End the host process at once, whatever its threads do."""
        self.before_exit()
        self._end_vfork()
        os._exit(status & 0xFF)

    def _drop(self, thread: GuestThread) -> None:
        if thread.clear_child_tid:
            with suppress(GuestFault):
                write_word(thread.clear_child_tid, 0, 4)
            where = host_pointer(thread.clear_child_tid)
            host_call(_SYS_FUTEX, where, _FUTEX_WAKE, 1, 0, 0, 0)
        self.threads.pop(thread.tid, None)
        self._idents.pop(get_ident(), None)
        thread.cpu.release()

    def start_thread(
        self, parent: GuestThread, flags: int, stack: int, ptid: int, tls: int, ctid: int
    ) -> int:
        """clone with CLONE_THREAD: the new thread's id."""
        cpu = parent.cpu.clone()
        self._prepare_child(cpu, flags, stack, tls)
        thread = GuestThread(self, cpu, parent.mask)
        if flags & CLONE_CHILD_CLEARTID:
            thread.clear_child_tid = ctid
        known, go = allocate_lock(), allocate_lock()
        known.acquire()
        go.acquire()

        def body() -> None:
            thread.attach()
            known.release()
            go.acquire()
            self._thread_main(thread)

        try:
            start_new_thread(body, ())
        except RuntimeError:
            return -errno.EAGAIN
        known.acquire()
        with suppress(GuestFault):
            if flags & CLONE_PARENT_SETTID:
                write_word(ptid, thread.tid, 4)
            if flags & CLONE_CHILD_SETTID:
                write_word(ctid, thread.tid, 4)
        go.release()
        return thread.tid

    def _thread_main(self, thread: GuestThread) -> None:
        try:
            thread.loop()
        except ProcessExit as end:
            self.leave(end.status)
        except ThreadExit as end:
            self._drop(thread)
            if not self.threads:
                self.leave(end.status)
        except UserError as failure:
            self.error(str(failure))
            self.leave(failure.status)
        except BaseException:
            import traceback

            traceback.print_exc()
            self.leave(1)

    def _prepare_child(self, cpu: GuestCpu, flags: int, stack: int, tls: int) -> None:
        cpu.pass_call()
        cpu.set_gpr(self.abi.arguments[0], 0)
        if stack:
            cpu.set_gpr(self.abi.sp, stack)
        if flags & CLONE_SETTLS:
            self.abi.set_tls(cpu, tls)

    # -- processes ------------------------------------------------------------------------

    def fork(
        self, thread: GuestThread, flags: int, stack: int, ptid: int, tls: int, ctid: int
    ) -> int | None:
        """clone of a process.  In the child None: its registers are complete.

        CLONE_VM without CLONE_THREAD (vfork, posix_spawn) copies the memory all the same;
        the parent waits, and gets what a child that exits wrote to the stack they share.
        """
        ends = (-1, -1)
        if flags & CLONE_VFORK:
            ends = self._vfork_pipe()
        sp = thread.cpu.gpr(self.abi.sp)
        pid = thread.cpu.fork()
        if pid:
            if flags & CLONE_PARENT_SETTID:
                with suppress(GuestFault):
                    write_word(ptid, pid, 4)
            if flags & CLONE_VFORK:
                descriptors.close(ends[1])
                self._await_vfork(ends[0])
            return pid
        self._become_child(thread)
        if flags & CLONE_VFORK:
            descriptors.close(ends[0])
            self._vfork_fd = ends[1]
            region = self.space.region_at(sp)
            end = min(sp + _SHARED_STACK, region.end) if region else sp
            self._vfork_stack = (sp, end - sp)
        if flags & _CLONE_NEW_SPACES:
            failure = host_call(_SYS_UNSHARE, flags & _CLONE_NEW_SPACES)
            if failure:
                self.leave(127)
        if flags & CLONE_CHILD_SETTID:
            with suppress(GuestFault):
                write_word(ctid, thread.tid, 4)
        thread.clear_child_tid = ctid if flags & CLONE_CHILD_CLEARTID else 0
        self._prepare_child(thread.cpu, flags, stack, tls)
        return None

    def _become_child(self, thread: GuestThread) -> None:
        self.forked = True
        if self._vfork_fd >= 0:
            descriptors.close(self._vfork_fd)
            self._vfork_fd = -1
        self.threads.clear()
        self._idents.clear()
        self._all_gone = allocate_lock()
        thread.queue.clear()
        thread.tid = os.getpid()
        self.adopt(thread)
        self.signals.after_fork()

    @staticmethod
    def _vfork_pipe() -> tuple[int, int]:
        """A pipe out of the way of the guest's descriptors, closed by a successful execve."""
        low = os.pipe()
        return descriptors.move_up(low[0]), descriptors.move_up(low[1])

    @staticmethod
    def _await_vfork(fd: int) -> None:
        """Wait for the child's execve (nothing comes) or exit (its part of our stack comes)."""
        data = b""
        while part := os.read(fd, 1 << 17):
            data += part
        descriptors.close(fd)
        if len(data) > _SHARED_HEADER.size:
            start, size = _SHARED_HEADER.unpack_from(data)
            if len(data) == _SHARED_HEADER.size + size:
                write_guest(start, data[_SHARED_HEADER.size :])

    def _end_vfork(self) -> None:
        if self._vfork_fd < 0:
            return
        start, size = self._vfork_stack
        with suppress(GuestFault, OSError):
            data = _SHARED_HEADER.pack(start, size) + read_guest(start, size)
            while data:
                data = data[os.write(self._vfork_fd, data) :]

    def error(self, text: str) -> None:
        """A line for people on standard error."""
        with suppress(OSError):
            os.write(2, f"jitemu: {text}\n".encode(errors="surrogateescape"))


def is_thread(flags: int) -> bool:
    """The clone flags ask for a thread of the same process."""
    return bool(flags & CLONE_THREAD and flags & CLONE_VM)

"""One guest thread: its loop between translated code and system calls, and its signals."""

from __future__ import annotations

import errno

from jitemu.foreign import addressof, c_uint64, create_string_buffer
from jitemu.runtime.signal_sets import UNBLOCKABLE, bit
from jitemu.user.cpu import ExitKind, GuestCpu
from jitemu.user.hostcalls import GuestFault, host_call
from jitemu.user.signals import (
    NOT_RESTARTED,
    SA_NODEFER,
    SA_ONSTACK,
    SA_RESETHAND,
    SA_RESTART,
    SIG_DFL,
    SIG_IGN,
    SIGINFO_SIZE,
    Action,
    Item,
    fault_info,
    make_info,
    set_host_mask,
)
from jitemu.user.syscalls.table import bind, finish, row_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable

    from jitemu.user.process import Process
else:
    import _signal as signal

_SYS_GETTID, _SYS_SIGTIMEDWAIT = 186, 128
_OF_WRITES = bit(int(signal.SIGPIPE)) | bit(int(signal.SIGXFSZ))
_SS_ONSTACK, _SS_DISABLE = 1, 2
_ILL_ILLOPC, _TRAP_BRKPT = 1, 1
_NO_MASK = (1 << 64) - 1
"""A host's mask that it never has."""
_SYSCALL, _CALLED, _INTERRUPTED = ExitKind.SYSCALL, ExitKind.CALLED, ExitKind.INTERRUPTED


class ThreadExit(Exception):
    """The guest thread called exit."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class ProcessExit(ThreadExit):
    """The guest called exit_group."""


class Waiting:
    """While entered, the thread waits with another mask (None: with its own)."""

    def __init__(self, thread: GuestThread, mask: int | None) -> None:
        self._thread = thread
        self._mask = mask

    def __enter__(self) -> int:
        """The address of the host's mask, or 0."""
        thread = self._thread
        if self._mask is None:
            return 0
        thread.saved_mask = thread.mask
        thread.mask = self._mask & ~UNBLOCKABLE
        if thread.deliverable():
            thread.pending = True
            raise InterruptedError(errno.EINTR, "a signal is waiting")
        self._word = c_uint64(thread.process.signals.host_mask(thread.mask))
        return addressof(self._word)

    def __exit__(self, kind: object, *_: object) -> None:
        thread = self._thread
        if self._mask is None or kind is not None:
            return
        if thread.deliverable():
            thread.pending = True
        if not thread.pending:
            thread.end_wait()


class GuestThread:
    """A guest thread on the host thread that calls ``loop``."""

    def __init__(self, process: Process, cpu: GuestCpu, mask: int) -> None:
        self.process = process
        self.abi = process.abi
        self.cpu = cpu
        self.tid = 0
        self.cpu.state["host_mask"] = _NO_MASK
        self.mask = mask
        self.mask_waited = 0
        """Blocked signals that the thread is waiting for in rt_sigtimedwait."""
        self.stale_mask = False
        self.queue: list[Item] = []
        self.pending = False
        """There may be a signal to deliver: look at the queues."""
        self.interrupted_call = ""
        """The call that ended with EINTR; pc and registers are still those of the call."""
        self.again = False
        """The call at pc is made for the second time, the last."""
        self.saved_mask: int | None = None
        """The mask to go back to after a wait with a mask of its own."""
        self.alt_stack = (0, _SS_DISABLE, 0)
        self.clear_child_tid = 0
        self._serve: dict[int, Callable[[], None]] = {}

    # -- the loop -------------------------------------------------------------------------

    def attach(self) -> None:
        """The calling host thread is this guest thread from now on."""
        self.tid = host_call(_SYS_GETTID)
        self.process.adopt(self)
        self.apply_mask()
        self._queued()

    def loop(self) -> None:
        """Run the guest until the thread ends (ThreadExit, ProcessExit)."""
        cpu, number_of = self.cpu, self.cpu.gpr
        place = self.abi.number
        run = cpu.run
        while True:
            kind = run()
            if kind == _SYSCALL:
                self._call(number_of(place))()
            elif kind == _CALLED:
                row = row_of(self.abi.name, number_of(place))
                assert row is not None  # Python served the first call
                finish(self, row, cpu.call_result)
                if self._queued():
                    self.pending = True
            elif kind != _INTERRUPTED:
                self._trap(kind)
            if self.pending or self.interrupted_call:
                self.deliver()

    def _call(self, number: int) -> Callable[[], None]:
        call = self._serve.get(number)
        if call is None:
            call = self._serve[number] = bind(self, number)
        return call

    def serve_again(self) -> None:
        """Make the call at pc once more."""
        self.again = True
        self._call(self.cpu.gpr(self.abi.number))()
        self.again = False

    def _trap(self, kind: int) -> None:
        cpu = self.cpu
        if kind == ExitKind.FAULT:
            number, code, address = cpu.fault_signal, cpu.fault_code, cpu.fault_address
        elif kind == ExitKind.BREAKPOINT:
            number, code, address = int(signal.SIGTRAP), _TRAP_BRKPT, cpu.address
        else:
            number, code, address = int(signal.SIGILL), _ILL_ILLOPC, cpu.address
        self.force(Item(number, fault_info(number, code, address)))

    # -- masks ----------------------------------------------------------------------------

    @property
    def mask(self) -> int:
        """The guest's; native code may change it too."""
        return self.cpu.state["signal_mask"]

    @mask.setter
    def mask(self, mask: int) -> None:
        self.cpu.state["signal_mask"] = mask

    def apply_mask(self) -> None:
        """Give the calling host thread the mask that the guest's stands for."""
        self.stale_mask = False
        state = self.cpu.state
        state["caught"] = self.process.signals.caught
        wanted = self.process.signals.host_mask(self.mask)
        if wanted != state["host_mask"]:
            state["host_mask"] = wanted
            set_host_mask(wanted)

    def forget_host_mask(self) -> None:
        """The host thread's mask was changed from outside: set it anew."""
        self.cpu.state["host_mask"] = _NO_MASK
        self.apply_mask()

    def set_mask(self, mask: int) -> None:
        """A new guest mask; what it lets through is delivered before the guest goes on."""
        self.mask = mask & ~UNBLOCKABLE
        self.apply_mask()
        if self._queued():
            self.pending = True

    def _queued(self) -> bool:
        """There are signals, blocked or not; native code knows it too."""
        state = self.cpu.state
        state["signals_queued"] = 0  # first: more may come at any time
        found = bool(self.queue or self.process.signals.queue)
        if found:
            state["signals_queued"] = 1
        return found

    def waiting(self, mask: int | None) -> Waiting:
        """A call that waits with another mask (ppoll): gives the address of the host's.

        The other mask stays for the delivery of what ended the wait.
        """
        return Waiting(self, mask)

    def end_wait(self) -> None:
        """Back to the mask from before ``waiting``."""
        if self.saved_mask is not None:
            self.mask, self.saved_mask = self.saved_mask, None
            self.apply_mask()

    # -- delivery -------------------------------------------------------------------------

    def deliverable(self, among: int | None = None) -> bool:
        """A queued signal is not blocked (or is in the set ``among``)."""
        through = ~self.mask if among is None else among
        queues = (self.queue, self.process.signals.queue)
        return any(bit(item.number) & through for queue in queues for item in queue)

    def fetch_own_signal(self) -> None:
        """A write failed: the kernel may have sent this very thread SIGPIPE or SIGXFSZ.

        The watcher gets the process's signals only.
        """
        wanted = c_uint64(self.process.signals.caught & _OF_WRITES)
        if not wanted.value:
            return
        info, at_once = create_string_buffer(SIGINFO_SIZE), create_string_buffer(16)
        places = (addressof(wanted), addressof(info), addressof(at_once))
        number = host_call(_SYS_SIGTIMEDWAIT, *places, 8)
        if number > 0:
            self.queue.append(Item(number, info.raw))
            self.pending = True

    def take(self, among: int) -> Item | None:
        """Remove and give the first queued signal of a set."""
        for queue in (self.queue, self.process.signals.queue):
            for item in sorted(queue, key=lambda item: item.number):
                if bit(item.number) & among:
                    try:
                        queue.remove(item)
                    except ValueError:  # another thread took it
                        continue
                    return item
        return None

    def deliver(self) -> None:
        """Deliver what can be; finish or restart the call that was interrupted."""
        self.pending = False
        if self.stale_mask:
            self.apply_mask()
        call, self.interrupted_call = self.interrupted_call, ""
        while (item := self.take(~self.mask)) is not None:
            action = self.process.signals.actions[item.number]
            if action.handler == SIG_IGN:
                continue
            if action.handler == SIG_DFL:
                self.process.signals.default_action(item.number)
                continue
            if call:
                self._settle(call, action)
                call = ""
            self._enter_handler(item, action)
        self.end_wait()
        self._queued()

    def _settle(self, call: str, action: Action) -> None:
        """A handler runs: the interrupted call fails, unless SA_RESTART repeats it."""
        if not action.flags & SA_RESTART or call in NOT_RESTARTED:
            self.cpu.set_gpr(self.abi.arguments[0], -errno.EINTR)
            self.cpu.pass_call()

    def force(self, item: Item) -> None:
        """A signal that the guest's own instruction caused: blocked or ignored, it kills."""
        signals = self.process.signals
        action = signals.actions[item.number]
        if action.handler in (SIG_DFL, SIG_IGN) or self.mask & bit(item.number):
            signals.die(item.number)
        self._enter_handler(item, action)

    def _on_alt_stack(self, sp: int) -> bool:
        low, _, size = self.alt_stack
        return low < sp <= low + size

    def alt_stack_flags(self) -> int:
        """ss_flags as sigaltstack reports them."""
        if not self.alt_stack[2]:
            return _SS_DISABLE
        return _SS_ONSTACK if self._on_alt_stack(self.cpu.gpr(self.abi.sp)) else 0

    def _enter_handler(self, item: Item, action: Action) -> None:
        process = self.process
        if process.log.strace:
            from jitemu.user.strace import signal_line

            process.log.write(signal_line(item.number, item.info))
        sp = self.cpu.gpr(self.abi.sp)
        if action.flags & SA_ONSTACK and self.alt_stack[2] and not self._on_alt_stack(sp):
            sp = self.alt_stack[0] + self.alt_stack[2]
        old = self.mask if self.saved_mask is None else self.saved_mask
        stack = (self.alt_stack[0], self.alt_stack_flags(), self.alt_stack[2])
        try:
            self.abi.enter_handler(self, item, action, sp, old, stack)
        except GuestFault:
            process.signals.die(int(signal.SIGSEGV))
        self.saved_mask = None
        mask = self.mask | action.mask
        if not action.flags & SA_NODEFER:
            mask |= bit(item.number)
        if action.flags & SA_RESETHAND:
            process.signals.set_action(item.number, Action())
        self.mask = mask & ~UNBLOCKABLE
        self.apply_mask()

    def sigreturn(self, queued: bool = True) -> None:
        """rt_sigreturn (or sigreturn): everything as the frame at sp says."""
        try:
            mask, stack = self.abi.leave_handler(self.cpu, queued)
        except GuestFault:
            number = int(signal.SIGSEGV)
            self.force(Item(number, make_info(number, 0)))
            return
        if stack is not None:
            self.alt_stack = (stack[0], 0, stack[2])
        self.set_mask(mask)

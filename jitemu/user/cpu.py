"""What Linux user mode asks of a processor: the contract with the execution engine."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol
else:
    Protocol = object


class ExitKind:
    """Why ``GuestCpu.run`` came back."""

    SYSCALL = 0
    BREAKPOINT = 1
    ILLEGAL = 2
    FAULT = 3
    INTERRUPTED = 4
    CALLED = 5
    """The host has served a call, with a ``call_result`` that says more than it tells."""


class StateWords(Protocol):
    """Words by name."""

    def __getitem__(self, name: str, /) -> int: ...
    def __setitem__(self, name: str, value: int, /) -> None: ...


class GuestCpu(Protocol):
    """One guest thread's processor.

    Threads that an implementation makes for itself block all signals, because the host's
    signal masks are the guest's.
    """

    fault_address: int
    """At FAULT: the data address (or the pc, when fetching failed)."""
    fault_signal: int
    """At FAULT: SIGSEGV or SIGBUS."""
    fault_code: int
    """At FAULT: the si_code (SEGV_MAPERR, SEGV_ACCERR, BUS_ADRALN, ...)."""

    @property
    def state(self) -> StateWords:
        """Words that native code shares: signal_mask, host_mask, caught, signals_queued."""
        ...

    @property
    def pc(self) -> int:
        """At SYSCALL that of the calling instruction itself, at other kinds of the instruction.

        It is the guest's word for it: an address, and for some what else belongs to it.
        """
        ...

    @pc.setter
    def pc(self, value: int) -> None: ...

    @property
    def address(self) -> int:
        """The address in pc."""
        ...

    def gpr(self, i: int, /) -> int:
        """A general register."""
        ...

    def set_gpr(self, i: int, v: int, /) -> None:
        """A general register = the low bits of v."""
        ...

    def pass_call(self) -> None:
        """At SYSCALL: the pc goes behind the calling instruction."""
        ...

    def serve_natively(self, number: int, word: int, /) -> None:
        """The processor may make the host's calls that this number stands for by itself.

        ``word`` says how (runtime/system_calls.py).  SYSCALL is still possible.
        """
        ...

    @property
    def call_result(self) -> int:
        """At CALLED: what the host has returned."""
        ...

    def run(self) -> int:
        """Run until something needs the operating system.  The GIL is released meanwhile."""
        ...

    def kick(self) -> None:
        """Make run() return INTERRUPTED soon.  Any thread may call it at any time."""
        ...

    def clone(self) -> GuestCpu:
        """Another thread's processor with a copy of the registers."""
        ...

    def invalidate(self, start: int, size: int, /) -> None:
        """Code in [start, start + size) changed, for every thread's processor."""
        ...

    def see_faults(self) -> None:
        """The guest handles faults: from now on every register is exact at FAULT."""
        ...

    def fork(self) -> int:
        """Fork the host process: 0 in the child, where only this processor is left."""
        ...

    def note_signal(self) -> None:
        """signals_queued = 1, seen by the thread before this returns; from any thread."""
        ...

    def release(self) -> None:
        """The thread has ended: this processor does not run again."""
        ...

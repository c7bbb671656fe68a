"""Host faults in translated code (user mode): the handler's set-up, one for each thread."""

from __future__ import annotations

import mmap

from jitemu import foreign
from jitemu.backend_llvm.convention import RECORD_BITS
from jitemu.hostmemory import libc
from jitemu.runtime.arena import Arena

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal

_SA_SIGINFO, _SA_ONSTACK, _SA_NODEFER, _SA_RESTORER = 4, 0x08000000, 0x40000000, 0x04000000
SIZE = 1 << RECORD_BITS


class _SigAction(foreign.Structure):
    """glibc's struct sigaction on x86-64 and every other 64-bit Linux but MIPS."""

    _fields_ = (
        ("handler", foreign.c_void_p),
        ("mask", foreign.c_uint64 * 16),
        ("flags", foreign.c_int),
        ("restorer", foreign.c_void_p),
    )


class _Stack(foreign.Structure):
    _fields_ = (("sp", foreign.c_void_p), ("flags", foreign.c_int), ("size", foreign.c_size_t))


class SignalStack:
    """The calling thread's signal stack, with the record the fault handler reads."""

    def __init__(self, arena: Arena, state_address: int) -> None:
        # not shared, as mmap's default is: a fork's child would have its frames there too
        self._memory = mmap.mmap(-1, 2 * SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        start = foreign.addressof(foreign.c_char.from_buffer(self._memory))
        base = (start + SIZE - 1) & -SIZE
        record = (foreign.c_uint64 * 5).from_address(base)
        record[0] = state_address
        record[1] = arena.base
        record[2] = arena.size
        record[3] = foreign.pointer_in(libc.signal)
        record[4] = foreign.pointer_in(libc.mprotect)
        stack = _Stack(base, 0, SIZE)
        if libc.sigaltstack(foreign.byref(stack), None):
            raise OSError(foreign.get_errno(), "sigaltstack")


def host_action(number: int, handler: int, flags: int = 0) -> bool:
    """Set a host disposition: SIG_DFL, SIG_IGN or a native function's address.  False for the
    signals that the C library keeps to itself."""
    action = _SigAction(handler=handler, flags=flags)
    return libc.sigaction(int(number), foreign.byref(action), None) == 0


def install(handler: int) -> None:
    """Let the native handler take SIGSEGV and SIGBUS of this process."""
    flags = _SA_SIGINFO | _SA_ONSTACK | _SA_NODEFER
    for number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE):
        if not host_action(number, handler, flags):
            raise OSError(foreign.get_errno(), "sigaction")

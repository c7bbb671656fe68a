"""Host faults in translated code (user mode): the handler's set-up, one for each thread."""

from __future__ import annotations

import ctypes
import mmap

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


class _SigAction(ctypes.Structure):
    """struct sigaction of glibc on x86-64."""

    _fields_ = (
        ("handler", ctypes.c_void_p),
        ("mask", ctypes.c_uint64 * 16),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    )


class _Stack(ctypes.Structure):
    _fields_ = (("sp", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


class SignalStack:
    """The calling thread's signal stack, with the record the fault handler reads."""

    def __init__(self, arena: Arena, state_address: int) -> None:
        self._memory = mmap.mmap(-1, 2 * SIZE)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        base = (start + SIZE - 1) & -SIZE
        record = (ctypes.c_uint64 * 5).from_address(base)
        record[0] = state_address
        record[1] = arena.base
        record[2] = arena.size
        record[3] = ctypes.cast(libc.signal, ctypes.c_void_p).value or 0
        record[4] = ctypes.cast(libc.mprotect, ctypes.c_void_p).value or 0
        stack = _Stack(base, 0, SIZE)
        if libc.sigaltstack(ctypes.byref(stack), None):
            raise OSError(ctypes.get_errno(), "sigaltstack")


def install(handler: int) -> None:
    """Let the native handler take SIGSEGV and SIGBUS of this process."""
    action = _SigAction()
    action.handler = handler
    action.flags = _SA_SIGINFO | _SA_ONSTACK | _SA_NODEFER
    for number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE):
        if libc.sigaction(int(number), ctypes.byref(action), None):
            raise OSError(ctypes.get_errno(), "sigaction")

"""Starting a process that the guest in this one does not see.

Neither SIGCHLD nor wait() of the guest may notice it: it is a grandchild, and the process
between is cloned without an exit signal.  What the two do is native: another thread's request
for Python's global lock may be pending in the copy, which has no other thread to pass it to.
"""

from __future__ import annotations

import ctypes
import os

from jitemu.ir.native import hostcall, load64, native
from jitemu.ir.state import RuntimeState

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Sequence
else:
    import _signal as signal

# x86-64 Linux
_DUP2, _CLONE, _EXECVE, _EXIT, _CHDIR, _SETSID = 33, 56, 59, 60, 80, 112
_SIGPROCMASK, _CLOSE_RANGE = 14, 436
_SET_MASK, _EVERY_FILE = 2, 0xFFFF_FFFF
WCLONE = -0x80000000
"""waitpid's: children without an exit signal."""


@native
def spawn_apart(
    s: RuntimeState, call: int, path: int, arguments: int, environment: int, folder: int, mask: int
) -> int:
    """The number of the process between, which ends at once; ``call`` is libc's ``syscall``.

    The three words behind the signal mask are the files that become numbers 0 to 2.
    """
    between = hostcall(call, _CLONE, 0, 0, 0, 0, 0)
    if between == 0:
        if hostcall(call, _CLONE, 0, 0, 0, 0, 0) == 0:
            hostcall(call, _SETSID)
            hostcall(call, _DUP2, load64(mask + 8), 0)
            hostcall(call, _DUP2, load64(mask + 16), 1)
            hostcall(call, _DUP2, load64(mask + 24), 2)
            hostcall(call, _CLOSE_RANGE, 3, _EVERY_FILE, 0)  # a guest's pipe would never end
            hostcall(call, _CHDIR, folder)
            hostcall(call, _SIGPROCMASK, _SET_MASK, mask, 0, 8)
            hostcall(call, _EXECVE, path, arguments, environment)
        hostcall(call, _EXIT, 0)
    return between


def start_apart(function: int, arguments: Sequence[str], files: Sequence[int]) -> None:
    """Run a program in a session of its own, in ``/``, with these as its standard files.

    ``function``: the address of ``spawn_apart``.
    """
    words = [os.fsencode(word) for word in arguments]
    settings = [os.fsencode(f"{name}={value}") for name, value in os.environ.items()]
    argv = (ctypes.c_char_p * (len(words) + 1))(*words)
    environment = (ctypes.c_char_p * (len(settings) + 1))(*settings)
    path, folder = ctypes.c_char_p(words[0]), ctypes.c_char_p(b"/")
    mask = (ctypes.c_uint64 * 4)(0, *files)
    call = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_void_p] * 7)(function)
    # Python's handlers write to a pipe that the copy shares
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        between = call(
            None,
            ctypes.cast(ctypes.CDLL(None).syscall, ctypes.c_void_p),
            ctypes.cast(path, ctypes.c_void_p),
            ctypes.cast(argv, ctypes.c_void_p),
            ctypes.cast(environment, ctypes.c_void_p),
            ctypes.cast(folder, ctypes.c_void_p),
            ctypes.cast(mask, ctypes.c_void_p),
        )
        if between > 0:
            os.waitpid(between, WCLONE)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if between < 0:
        raise OSError(ctypes.get_errno(), "clone")

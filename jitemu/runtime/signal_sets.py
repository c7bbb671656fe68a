"""Sets of signals as 64-bit words, and those that are special in user mode."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal

POKE = 64
"""A host signal that does nothing but end a system call with EINTR."""


def bit(number: int) -> int:
    """A signal's bit in a 64-bit set."""
    return 1 << (number - 1)


def set_of(*names: str) -> int:
    """The set of these signals."""
    return sum(bit(int(getattr(signal, name))) for name in names)


UNBLOCKABLE = set_of("SIGKILL", "SIGSTOP")
HARDWARE = set_of("SIGSEGV", "SIGBUS")
"""The engine's own handlers are on these."""
VIRTUAL = bit(32) | bit(33) | bit(POKE) | HARDWARE
"""Never set up in the host: the host's libc or jitemu has them.  The guest can send them to
itself."""
NEVER_MASKED = UNBLOCKABLE | VIRTUAL
"""Not blocked in the host, whatever the guest does."""

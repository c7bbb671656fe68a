"""A compile worker's process, or a stencil builder's, as the process with the guest sees it."""

from __future__ import annotations

import os

from jitemu.runtime import descriptors
from jitemu.runtime.worker import send

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import BinaryIO, Protocol

    class Model(Protocol):
        """A guest's processor model."""

        @property
        def name(self) -> str: ...
        @property
        def extensions(self) -> frozenset[str]: ...
        @property
        def flags(self) -> frozenset[str]: ...
else:
    import _signal as signal

REQUEST_BYTES = 1 << 18
"""A request has at most MOST_PAGES of guest code and some more."""


def model_words(cpu: Model) -> tuple[str, list[str], list[str]]:
    """A processor model as a message's part, for ``guest_named``."""
    return cpu.name, sorted(cpu.extensions), sorted(cpu.flags)


class Worker:
    """A compile worker's process, or a stencil builder's.  Its pipes are unbuffered: buffers
    have locks, which a fork of the guest could find held by another thread."""

    def __init__(self, spawn: int, module: str) -> None:
        """``spawn``: the address of the native ``spawn_apart``; ``module``: what it runs."""
        theirs, ours = map(descriptors.move_up, os.pipe())
        results, answers = map(descriptors.move_up, os.pipe())
        descriptors.widen_pipe(ours, REQUEST_BYTES)  # the guest does not wait for a worker to start
        nowhere = descriptors.move_up(os.open(os.devnull, os.O_WRONLY))
        self.requests: BinaryIO = os.fdopen(ours, "wb", buffering=0, closefd=False)
        self.results: BinaryIO = os.fdopen(results, "rb", buffering=0, closefd=False)
        from jitemu.runtime.isolated import python_for
        from jitemu.runtime.spawn import start_apart

        start_apart(spawn, python_for(module), (theirs, answers, nowhere))
        for file in (theirs, answers, nowhere):
            descriptors.close(file)

    def send(self, message: object) -> None:
        """Give it a message.  OSError: it has ended; the guest does not get the signal."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGPIPE,))
        try:
            send(self.requests, message)
        except BrokenPipeError:
            signal.sigtimedwait((signal.SIGPIPE,), 0)
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def close(self) -> None:
        """End it: its input ends.  In a fork's child: leave it to the parent."""
        descriptors.close(self.requests.fileno())
        descriptors.close(self.results.fileno())

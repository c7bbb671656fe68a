"""The stencil builder: what a first run without installed stencils began without.

Such a run builds those that are frequent and starts (``setup.translation_for``).  An
instruction that has none leaves native code (``EXIT_UNBUILT``), and the builder, a process of
its own (``spawn.py``), makes them on request.  A child of it builds the whole set for later runs:
once the guest has ended, so that it takes nothing from its regions and short runs do not begin
it again and again, or after a while, with the processor time that nobody wants.  A lock keeps
others from building the same.
"""

from __future__ import annotations

import _thread
import os
import sys

from jitemu import cachedir
from jitemu.backend_llvm import cache
from jitemu.messages import fail
from jitemu.runtime.setup import FIRST, build, set_path
from jitemu.runtime.worker import receive, send
from jitemu.runtime.worker_process import Worker, model_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jitemu.backend_llvm.stencilset import StencilSet
    from jitemu.runtime.engine import CodeSpace
    from jitemu.runtime.guest import Guest
    from jitemu.runtime.worker_process import Model

LOCK = ".lock"
"""Ending of the file that is locked while a set is built."""
_ATTEMPTS = 2
PATIENCE_SECONDS = 10.0
"""The whole set is begun after this time if the guest has not ended before."""

Made = list[tuple[int, bytes]]
"""Stencils, as the block translator reads them, with the places of their entries among those of
their instruction."""


class Builder:
    """The builder of a code space, as the process with the guest sees it."""

    def __init__(self, space: CodeSpace, model: Model, keep: bool) -> None:
        """``keep``: build the whole set for later runs."""
        self._space = space
        self._model = model
        self._keep = keep
        self._lock = _thread.allocate_lock()
        self._process = os.getpid()
        self._worker: Worker | None = self._start()

    def _start(self) -> Worker:
        worker = Worker(self._space.symbols["native.spawn_apart"], __name__)
        worker.send((self._keep, self._space.guest.name, model_words(self._model)))
        return worker

    def stencils(self, index: int) -> Made:
        """The stencils of the instruction with this table index; waits for them."""
        if self._process != os.getpid():  # a fork's child: the builder is the parent's
            self._lock = _thread.allocate_lock()
            self._process = os.getpid()
            self._stop()
        with self._lock:
            for _ in range(_ATTEMPTS):
                try:
                    self._worker = self._worker or self._start()
                    self._worker.send(index)
                    made = receive(self._worker.results)
                except OSError:
                    made = None
                if made is not None:
                    return made
                self._stop()  # it died: the next attempt starts another
        fail("building a stencil failed: its process died (is there memory enough?)")

    def _stop(self) -> None:
        if self._worker is not None:
            self._worker.close()
            self._worker = None


def main() -> None:
    """Serve requests."""
    from jitemu.backend_llvm.stencilset import StencilSet, number_functions
    from jitemu.runtime.guests import guest_named

    os.nice(10)
    source, sink = os.fdopen(0, "rb", buffering=0), sys.stdout.buffer
    keep, name, model = receive(source)
    guest = guest_named(name, *model)
    if keep and os.fork() == 0:
        try:
            os.close(1)  # so that the guest's process sees the builder's end
            _wait_for_end(0, PATIENCE_SECONDS)
            _finish(guest)
        finally:
            os._exit(0)
    number_functions(guest.target, guest.isa)
    stencils = StencilSet(guest.target, guest.isa, guest.roots)
    try:
        while (index := receive(source)) is not None:
            send(sink, _made(stencils, index))
    except BrokenPipeError:
        pass  # the main process is gone


def _made(stencils: StencilSet, index: int) -> Made:
    from jitemu.backend_llvm.stencilset import general_of
    from jitemu.runtime.tables import entry_number, stencil_bytes

    target, insns = stencils.target, stencils.isa.instructions
    insn = insns[list(insns.values())[index].stencil]
    shape, keys = stencils.shape(insn.name), general_of(target, insn)
    found = stencils.made(keys)
    return [
        (entry_number(target, shape, key), stencil_bytes(found[str(key)], insn.operands))
        for key in keys
    ]


def _wait_for_end(fd: int, seconds: float) -> None:
    """Wait until nobody can write to a pipe any more, and at most for some time."""
    import select

    poll = select.poll()
    poll.register(fd, 0)
    poll.poll(seconds * 1000)


def _finish(guest: Guest) -> None:
    """Build a guest's whole set, unless another process does."""
    import fcntl

    os.nice(19)
    path = set_path(guest)
    if not cachedir.make_private(os.path.dirname(path)):
        return
    lock = os.open(path + LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return
    if not os.path.exists(path):
        saved, data = build(guest)
        cache.save(path, saved, data)
    cachedir.remove(path + FIRST)
    cachedir.remove(path + LOCK)

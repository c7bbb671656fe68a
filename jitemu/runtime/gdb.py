"""-gdbjit: native code as gdb sees it, with the guest's functions and instructions.

A listing of the guest's code, ``jit-PID.lst`` in the current folder, is the source file:
each block's instructions, as they were translated, are lines of it.  A thread tells gdb of
new code now and then, so a gdb that attaches (``gdb -p PID``) knows nearly all of it.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from jitemu.messages import UserError, fail
from jitemu.trace_asm import DISASSEMBLERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from jitemu.backend_llvm.gdb_objects import Piece
    from jitemu.runtime.engine import CodeSpace
    from jitemu.runtime.records import Record

PERIOD_S = 0.2


class GdbCode:
    """One code space's pieces."""

    def __init__(self, space: CodeSpace, symbol: Callable[[int], str]) -> None:
        from jitemu.backend_llvm.gdb_objects import Interface

        try:
            self._interface = Interface()
        except LookupError:
            fail("-gdbjit: this build of llvmlite has no list of code for gdb; use its wheel")
        self._space = space
        self._symbol = symbol
        self._pending: list[Piece] = []
        self._flushes = space.flushes
        self._open()
        self._start()
        os.register_at_fork(after_in_child=self._forked)
        space.on_code = self.made
        space.watch()

    def _open(self) -> None:
        name = f"jit-{os.getpid()}.lst"
        self._line = 0
        try:
            self.path = os.path.abspath(name)
            self._listing = open(self.path, "w", encoding="utf-8", buffering=1)  # noqa: SIM115
        except OSError as error:
            fail(f"-gdbjit: cannot write {name}: {error.strerror}")

    def _start(self) -> None:
        self._mutex = threading.Lock()
        self._stop = threading.Event()
        threading.Thread(target=self._tell, name="gdb", daemon=True).start()

    def _forked(self) -> None:
        """The child has what it inherited, and a listing of its own for what it translates."""
        self._pending.clear()
        try:
            self._open()
        except UserError:  # its folder may be gone or not writable for it
            self._space.on_code = None
        else:
            self._start()

    def made(self, record: Record, code: bytes, places: list[tuple[int, int]]) -> None:
        """A block was made from guest code, or (without ``places``) a region."""
        from jitemu.backend_llvm.gdb_objects import Piece

        guest = self._space.guest
        address = guest.address_of(record.pc)
        function = self._symbol(address)
        name = f"{function}@{address:#x}" if function else f"{address:#x}"
        if not places:
            name = f"region {name}"
        with self._mutex:
            self._see_flushes()
            text = [f"{name}:"]
            if code:
                text += DISASSEMBLERS[guest.frontend](record.pc, code)
            first, self._line = self._line + 1, self._line + len(text)
            self._listing.write("\n".join(text) + "\n")
            lines = [(record.code, first)]
            inside = all(0 <= at < record.host_size for at, _ in places)
            if inside and len(places) == len(text) - 1:  # not those of another thread's block
                lines = [(record.code + at, first + 1 + n) for n, (at, _) in enumerate(places)]
            self._pending.append(Piece(name, record.code, record.host_size, lines))

    def _tell(self) -> None:
        from jitemu.backend_llvm.gdb_objects import code_object

        while not self._stop.wait(PERIOD_S):
            with self._mutex:
                self._see_flushes()
                if self._pending:
                    self._interface.add(code_object(self._pending, self.path))
                    self._pending.clear()

    def _see_flushes(self) -> None:
        """All code is forgotten at a flush."""
        if self._flushes != self._space.flushes:
            self._flushes = self._space.flushes
            self._pending.clear()
            self._interface.clear()

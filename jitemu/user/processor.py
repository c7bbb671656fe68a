"""The engine's processor as Linux user mode sees it: registers and exits."""

from __future__ import annotations

import os

from jitemu.ir.state import CALLS, EXIT_SYSCALL
from jitemu.runtime.exits import (
    EXIT_BREAKPOINT,
    EXIT_CALLED,
    EXIT_FENCE_I,
    EXIT_ILLEGAL,
    EXIT_REQUESTED,
)
from jitemu.runtime.layouts import Control
from jitemu.runtime.tiers import THRESHOLD, Pieces, Tiers
from jitemu.runtime.user_processor import PAGE, UserProcessor, UserSpace
from jitemu.user.cpu import ExitKind
from jitemu.user.hostcalls import GuestFault, read_guest, signed
from jitemu.user.memory import PROT_EXEC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import ClassVar, Self

    from jitemu.runtime.guest import Guest
    from jitemu.runtime.worker_process import Model
    from jitemu.user.memory import GuestSpace
    from jitemu.user.run import UserConfig

_KINDS = {
    EXIT_SYSCALL: ExitKind.SYSCALL,
    EXIT_CALLED: ExitKind.CALLED,
    EXIT_BREAKPOINT: ExitKind.BREAKPOINT,
    EXIT_ILLEGAL: ExitKind.ILLEGAL,
    EXIT_REQUESTED: ExitKind.INTERRUPTED,
}


class EngineCpu(UserProcessor):
    """A guest thread's processor (jitemu.user.cpu.GuestCpu), but for what a guest adds."""

    kept: ClassVar[tuple[tuple[str, int], ...]] = ()
    """Words of the state that a new thread gets from the one that made it, and how many."""
    word_mask: ClassVar[int] = (1 << 64) - 1
    first_argument: ClassVar[int] = 0
    """The register with a system call's first argument."""

    def __init__(self, space: UserSpace, tiers: Tiers | None) -> None:
        super().__init__(space)
        self.tiers = tiers
        self._x = self.state.at[space.guest.target.pinned_class]
        self._calls = self.state.at["calls"]
        self.state["call_arguments"] = self.state.address + 8 * (self._x + self.first_argument)
        if tiers is not None:
            tiers.attach(self, lambda: {"exact": int(space.exact)})
            self.requested = tiers.install

    @property
    def address(self) -> int:
        """The address in pc."""
        return self.space.guest.address_of(self.pc)

    def gpr(self, i: int, /) -> int:
        """A general register."""
        return self.state.words[self._x + i]

    def set_gpr(self, i: int, v: int, /) -> None:
        """A general register = the low bits of v."""
        self.state.words[self._x + i] = v & self.word_mask

    def serve_natively(self, number: int, word: int, /) -> None:
        """From now on native code makes the calls of this number."""
        if number < CALLS:
            self.state.words[self._calls + number] = word

    def note_signal(self) -> None:
        """A signal may be waiting for the thread to unblock it."""
        self.native("note_signal")

    @property
    def call_result(self) -> int:
        """What the host has returned for the call at pc."""
        return signed(self.state["call_result"])

    def run(self) -> int:
        """Run until the operating system is needed."""
        if self.tiers is not None and not self.tiers.started:
            self.tiers.start()  # here, as the thread begins best while this one is in native code
        while True:
            reason = super().run()
            if reason == EXIT_FENCE_I:
                self.user_space.fence()
                continue
            return _KINDS.get(reason, ExitKind.FAULT)

    def clone(self) -> Self:
        """Another thread's processor with a copy of the registers."""
        self.user_space.share()
        other = type(self)(self.user_space, self.tiers)
        words, at = other.state.words, self.state.at
        for name, count in self.kept:
            start = at[name]
            words[start : start + count] = self.state.words[start : start + count]
        other.pc = self.pc
        return other

    def invalidate(self, start: int, size: int, /) -> None:
        """Code there changes."""
        self.user_space.invalidate(start, size)
        self.user_space.fence()

    def fork(self) -> int:
        """Fork the host process while no other thread changes code."""
        with self.user_space.changing(self):
            pid = os.fork()
        if pid == 0:
            self.user_space.processors[:] = [self]
            if self.tiers is not None:
                self.tiers.after_fork()
        return pid

    def release(self) -> None:
        """The thread has ended."""
        with self.user_space.lock:
            if self in self.user_space.processors:
                self.user_space.processors.remove(self)


def make_engine(
    guest: Guest, model: Model, config: UserConfig, space: GuestSpace
) -> tuple[UserSpace, Tiers | None]:
    """The code space and the region tier that the options ask for."""
    from jitemu.runtime.setup import translation_for

    code = UserSpace(guest, translation_for(guest, config.cache, beside=True), space)
    if not code.translation.complete:
        from jitemu.runtime.builder import Builder

        code.build = Builder(code, model, config.cache).stencils
    log = config.log
    if config.one_insn:
        code.tables.set(Control.LIMIT, 1)
    each = log.exec or log.cpu or log.nochain
    if log.in_asm or log.op or log.op_opt or log.out_asm or each:
        from jitemu.runtime.tracing import Tracer

        code.trace(Tracer(log, guest, _symbols(space)), each)
    tiers = None
    threshold = THRESHOLD if config.hot_threshold is None else config.hot_threshold
    if threshold and not each:
        use_cache = config.cache and code.tracer is None  # traces show every block

        def read(numbers: Collection[int]) -> Pieces:
            return code_of(space, numbers)

        tiers = Tiers(code, model, lambda _: read, threshold, use_cache)
        code.on_page = tiers.know_page
    if config.reports is not None:
        config.reports.attach(code, tiers, _symbols(space))
    return code, tiers


def _symbols(space: GuestSpace) -> Callable[[int], str]:
    """Names of functions of the program and its interpreter."""
    from jitemu.trace_symbols import SymbolTable

    tables = [SymbolTable(name, bias) for name, bias in space.images]

    def lookup(pc: int) -> str:
        return next(filter(None, (table.lookup(pc) for table in tables)), "")

    return lookup


def code_of(space: GuestSpace, numbers: Collection[int]) -> Pieces:
    """The executable ones of some pages, in order; neighbours are one piece."""
    found: list[tuple[int, bytearray]] = []
    for number in sorted(numbers):
        at = number * PAGE
        region = space.region_at(at)
        if region is None or not region.prot & PROT_EXEC:
            continue
        try:
            data = read_guest(at, PAGE)
        except GuestFault:  # beyond the end of a mapped file
            continue
        if found and found[-1][0] + len(found[-1][1]) == at:
            found[-1][1].extend(data)
        else:
            found.append((at, bytearray(data)))
    return [(at, bytes(data)) for at, data in found]

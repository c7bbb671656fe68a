"""The engine's processor as Linux user mode sees it: riscv64 registers and exits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jitemu.runtime.codetable import Control
from jitemu.runtime.lookup import (
    EXIT_BREAKPOINT,
    EXIT_FENCE_I,
    EXIT_ILLEGAL,
    EXIT_REQUESTED,
    EXIT_SYSCALL,
)
from jitemu.runtime.tiers import THRESHOLD, Pieces, Tiers
from jitemu.runtime.user_processor import PAGE, UserProcessor, UserSpace
from jitemu.user.cpu import ExitKind
from jitemu.user.hostcalls import GuestFault, read_guest
from jitemu.user.memory import PROT_EXEC

if TYPE_CHECKING:
    from collections.abc import Callable

    from jitemu.user.memory import GuestSpace
    from jitemu.user.run import UserConfig

_KINDS = {
    EXIT_SYSCALL: ExitKind.SYSCALL,
    EXIT_BREAKPOINT: ExitKind.BREAKPOINT,
    EXIT_ILLEGAL: ExitKind.ILLEGAL,
    EXIT_REQUESTED: ExitKind.INTERRUPTED,
}
_MASK = (1 << 64) - 1
SNAPSHOT_PAGES = 2
"""Pages on either side of a hot pc that a region may reach."""
_MXCSR_FLAGS = ((0x20, 1), (0x10, 2), (0x08, 4), (0x04, 8), (0x01, 16))
"""MXCSR's sticky flags and fflags' NX, UF, OF, DZ, NV."""
_MXCSR_STICKY = 0x3F
_COPIED = (
    *(("x", 32), ("f", 32), ("frm", 1), ("fflags", 1), ("guest_mxcsr", 1)),
    *(("ctx", 1), ("ctx_tag", 1)),
)
"""Words of the state that a new thread begins with."""
_MXCSR_ROUNDING = (0, 3 << 13, 1 << 13, 2 << 13)
"""MXCSR's rounding control for RNE, RTZ, RDN, RUP."""


class EngineCpu(UserProcessor):
    """A guest thread's processor (jitemu.user.cpu.GuestCpu)."""

    def __init__(self, space: UserSpace, tiers: Tiers | None) -> None:
        super().__init__(space)
        self.tiers = tiers
        self._x = self.state.at["x"]
        self._f = self.state.at["f"]
        if tiers is not None:
            tiers.attach(self, lambda: {"exact": int(space.exact)})
            self.requested = tiers.install

    def gpr(self, i: int, /) -> int:
        """x[i]."""
        return self.state.words[self._x + i]

    def set_gpr(self, i: int, v: int, /) -> None:
        """x[i] = v."""
        if i:
            self.state.words[self._x + i] = v & _MASK

    def fpr(self, i: int, /) -> int:
        """f[i], raw."""
        return self.state.words[self._f + i]

    def set_fpr(self, i: int, v: int, /) -> None:
        """f[i] = v, raw."""
        self.state.words[self._f + i] = v & _MASK

    @property
    def fcsr(self) -> int:
        """frm and fflags; part of the flags are in the saved MXCSR."""
        flags, mxcsr = self.state["fflags"], self.state["guest_mxcsr"]
        for host, guest in _MXCSR_FLAGS:
            if mxcsr & host:
                flags |= guest
        return flags & 31 | (self.state["frm"] & 7) << 5

    @fcsr.setter
    def fcsr(self, value: int) -> None:
        frm = value >> 5 & 7
        if frm != self.state["frm"]:
            self.native("user_rounding", frm)
        self.state["frm"] = frm
        self.state["fflags"] = value & 31
        rounding = _MXCSR_ROUNDING[frm] if frm < 4 else 0
        kept = self.state["guest_mxcsr"] & ~(_MXCSR_STICKY | 3 << 13)
        self.state["guest_mxcsr"] = kept | rounding

    def run(self) -> ExitKind:  # type: ignore[override]
        """Run until the operating system is needed."""
        while True:
            reason = super().run()
            if reason == EXIT_FENCE_I:
                continue  # guarded pages have seen every write
            return _KINDS.get(reason, ExitKind.FAULT)

    def clone(self) -> EngineCpu:
        """Another thread's processor with a copy of the registers."""
        self.user_space.share()
        other = EngineCpu(self.user_space, self.tiers)
        words, at = other.state.words, self.state.at
        for name, count in _COPIED:
            start = at[name]
            words[start : start + count] = self.state.words[start : start + count]
        other.pc = self.pc
        return other

    def invalidate(self, start: int, size: int, /) -> None:
        """Code there changes."""
        self.user_space.invalidate(start, size)

    def after_fork(self) -> None:
        """Only this thread's processor is left."""
        self.user_space.processors[:] = [self]
        self.adopt_thread()
        if self.tiers is not None:
            self.tiers.after_fork()

    def release(self) -> None:
        """The thread has ended."""
        with self.user_space.lock:
            if self in self.user_space.processors:
                self.user_space.processors.remove(self)


def make_cpu(config: UserConfig, space: GuestSpace) -> EngineCpu:
    """The first thread's processor."""
    from jitemu.frontends.riscv.cpu import parse_cpu
    from jitemu.runtime.guests import riscv64_user
    from jitemu.runtime.setup import translation_for

    model = config.cpu or parse_cpu("rv64")
    guest = riscv64_user(model)
    code = UserSpace(guest, translation_for(guest, config.cache), space)
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
        tiers = Tiers(code, model, lambda pc: snapshot(space, pc), threshold, use_cache)
        code.on_page = tiers.know_page
        tiers.start()
    if config.reports is not None:
        config.reports.attach(code, tiers, _symbols(space))
    return EngineCpu(code, tiers)


def snapshot(space: GuestSpace, pc: int) -> tuple[Pieces, Callable[[], bool]]:
    """Guest code that a region at a pc may be made from."""
    pieces = code_around(space, pc)
    return pieces, lambda: code_around(space, pc) == pieces


def _symbols(space: GuestSpace) -> Callable[[int], str]:
    """Names of functions of the program and its interpreter."""
    from jitemu.trace_symbols import SymbolTable

    tables = [SymbolTable(name, bias) for name, bias in space.images]

    def lookup(pc: int) -> str:
        return next(filter(None, (table.lookup(pc) for table in tables)), "")

    return lookup


def code_around(space: GuestSpace, pc: int) -> Pieces:
    """The executable pages around a pc."""
    region = space.region_at(pc)
    if region is None or not region.prot & PROT_EXEC:
        return []
    low = max(region.start, (pc // PAGE - SNAPSHOT_PAGES) * PAGE)
    high = min(region.end, (pc // PAGE + SNAPSHOT_PAGES + 1) * PAGE)
    try:
        return [(low, read_guest(low, high - low))]
    except GuestFault:  # beyond the end of a mapped file
        return []

"""The engine's hart as a machine wants it (``Hart``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jitemu.frontends.riscv import inspect
from jitemu.frontends.riscv.privileged import EXIT_SBI, EXIT_WFI, PRIV_M, privilege_of
from jitemu.frontends.riscv.registers import F_NAMES, X_NAMES
from jitemu.runtime.engine import PAGE
from jitemu.runtime.exits import REQUEST_INTERRUPT
from jitemu.runtime.guests import riscv64_system
from jitemu.runtime.layouts import Control
from jitemu.runtime.setup import translation_for
from jitemu.runtime.system_processor import SystemProcessor, SystemSpace
from jitemu.runtime.tiers import THRESHOLD, Tiers
from jitemu.system.clock import TICK_NS
from jitemu.system.hart import SSIP, HartExit

if TYPE_CHECKING:
    from collections.abc import Callable

    from jitemu.frontends.riscv.cpu import CpuModel
    from jitemu.memory.physical import PhysicalSpace
    from jitemu.runtime.reports import Reports
    from jitemu.runtime.tiers import ReadPages
    from jitemu.system.tracing import HartLog
    from jitemu.trace import Log

MASK64 = (1 << 64) - 1
NEVER = MASK64
A0, A1 = 10, 11
_EXITS = {EXIT_SBI: HartExit.SBI_ECALL, EXIT_WFI: HartExit.WFI}
_LEVELS = {"sv39": 3, "sv48": 4, "sv57": 5}


class EngineHart(SystemProcessor):
    """A hart of the virt machine."""

    def __init__(self, space: SystemSpace, hart_id: int, model: CpuModel) -> None:
        super().__init__(space)
        state = self.state
        state["mhartid"] = hart_id
        state["sstc"] = int("sstc" in model.extensions)
        state["satp_levels"] = max((_LEVELS.get(f, 0) for f in model.flags), default=0)
        rom = space.physical.rom
        if rom is not None:
            state["rom_base"], state["rom_size"] = rom.base, rom.size
        self._x = state.at["x"]
        self.log: HartLog | None = None
        self.on_timer_change: Callable[[int | None], None] | None = None
        self.on_timer = self._timer_changed
        self._epoch_ns = 0

    def run(self) -> HartExit:  # type: ignore[override]
        """Execute until there is something for the machine to do."""
        reason = super().run()
        if self.fault is not None:
            fault, self.fault = self.fault, None
            raise fault
        if reason == EXIT_WFI:
            self.request(REQUEST_INTERRUPT)
        elif reason == EXIT_SBI:
            self.pc = self.pc - 4 & MASK64
        return _EXITS.get(reason, HartExit.INTERRUPTED)

    def set_interrupt(self, number: int, level: bool) -> None:
        """Drive a mip bit's wire; SSIP is software's bit (its callers are on the hart's thread)."""
        if number != SSIP:
            self.set_line(number, level)
            return
        self.state["mip"] = self.state["mip"] & ~(1 << SSIP) | level << SSIP
        if level:
            self.request(REQUEST_INTERRUPT)

    def interrupt_pending(self) -> bool:
        """WFI may end."""
        return bool(self.native("interrupt_waiting"))

    def next_timer_ns(self) -> int | None:
        """When stimecmp is reached, in monotonic nanoseconds."""
        ticks = self.state["stimecmp"]
        if ticks == NEVER:
            return None
        return self._epoch_ns + ticks * TICK_NS

    def _timer_changed(self, ticks: int) -> None:
        if self.on_timer_change is not None:
            self.on_timer_change(self.next_timer_ns())

    def set_time_epoch(self, epoch_ns: int) -> None:
        """Monotonic nanoseconds at time 0 (below 0 where the guest set a great time)."""
        self._epoch_ns = epoch_ns
        self.state["clock_epoch"] = epoch_ns & MASK64

    # Counting instructions

    def count(self, shift: int) -> None:
        """Count them, each 1 << shift ns of time."""
        self.space.tables.set(Control.COUNTS, 1)
        self.state["counting"], self.state["count_shift"] = 1, shift

    @property
    def counted_ns(self) -> int:
        """Nanoseconds that passed."""
        state = self.state
        done = state["count_end"] - state["budget"] & MASK64
        return (done << state["count_shift"]) + state["idle_ns"]

    def allot(self, instructions: int) -> None:
        """``run`` ends after so many more, if not before."""
        done = self.state["count_end"] - self.state["budget"]
        self.state["budget"] = instructions
        self.state["count_end"] = done + instructions & MASK64

    def pass_time(self, ns: int) -> None:
        """Have time pass without instructions."""
        self.state["idle_ns"] += ns

    def take_interrupt(self) -> None:
        """Trap to an interrupt that is pending and enabled."""
        self.native("take_interrupt")

    def read_gpr(self, index: int) -> int:
        """x[index]."""
        return self.state.words[self._x + index]

    def write_gpr(self, index: int, value: int) -> None:
        """x[index] = value."""
        if index:
            self.state.words[self._x + index] = value & MASK64

    # For people

    def use_log(self, log: Log) -> None:
        """Log traps and TLB fills, or stop that."""
        self.state["trap_hook"] = self.state["fill_hook"] = 0
        self.log = None
        if log.int or log.mmu:
            from jitemu.system.tracing import HartLog

            self.log = HartLog(log, self.state["mhartid"], self.state)

    def register(self, name: str) -> int | None:
        """A register's value by its name."""
        if name == "pc":
            return self.pc
        for kind, names in (("x", X_NAMES), ("f", F_NAMES)):
            for index, abi in enumerate(names):
                if name in (abi, f"{kind}{index}"):
                    return self.state.words[self.state.at[kind] + index]
        number = inspect.CSRS.get(name)
        return None if number is None else self.native("csr_read", number)

    def register_lines(self) -> list[str]:
        """All of them."""
        words, at = self.state.words, self.state.at
        x, f = (list(words[at[kind] : at[kind] + 32]) for kind in ("x", "f"))
        return inspect.register_lines(self.pc, lambda n: self.native("csr_read", n), x, f)

    def mapping_lines(self) -> list[str]:
        """What the page tables map."""
        return inspect.mapping_lines(self.state["satp"], self._read_word)

    def translate(self, address: int) -> int | None:
        """The physical address of a virtual one."""
        mode = self.state["satp"] if self.state["priv"] != PRIV_M else 0
        return inspect.translate(mode, address, self._read_word)

    def _read_word(self, address: int) -> int | None:
        data = self.system_space.physical.page(address, 8)
        return int.from_bytes(data, "little") if data else None

    def reset(self, pc: int) -> None:
        """Power-on state at a pc; all code is forgotten, as memory is loaded again."""
        self.native("reset_hart")
        self.space.flush()
        for index in range(1, 32):
            self.write_gpr(index, 0)
        self.pc = pc

    def start_supervisor(self, pc: int, a0: int, a1: int) -> None:
        """S mode at a pc, with the engine as the firmware."""
        self.native("start_supervisor")
        self.write_gpr(A0, a0)
        self.write_gpr(A1, a1)
        self.pc = pc


def make_hart(
    space: PhysicalSpace,
    hart_id: int,
    *,
    cpu: CpuModel,
    log: Log,
    symbol: Callable[[int], str],
    hot_threshold: int | None,
    cache: bool,
    reports: Reports | None = None,
) -> EngineHart:
    """A hart of a machine with this memory.  ``symbol`` names addresses in traces."""
    guest = riscv64_system(cpu)
    code = SystemSpace(guest, translation_for(guest, cache, beside=True), space)
    if not code.translation.complete:
        from jitemu.runtime.builder import Builder

        code.build = Builder(code, cpu, cache).stencils
    each = log.exec or log.cpu or log.nochain
    if log.in_asm or log.op or log.op_opt or log.out_asm or each:
        from jitemu.runtime.tracing import Tracer

        code.trace(Tracer(log, guest, symbol, privilege_of), each)
    hart = EngineHart(code, hart_id, cpu)
    hart.use_log(log)
    threshold = THRESHOLD if hot_threshold is None else hot_threshold
    tiers = None
    if threshold and not each:
        # traces show every block
        tiers = start_tiers(hart, code, cpu, threshold, cache and code.tracer is None)
    else:
        hart.requested = lambda processor: hart.apply_changes()
    if reports is not None:
        reports.attach(code, tiers, symbol)
    return hart


def start_tiers(
    hart: EngineHart, code: SystemSpace, cpu: CpuModel, threshold: int, use_cache: bool
) -> Tiers:
    """Let hot code become regions."""

    def snapshot(pc: int) -> ReadPages:
        """To read the page that a pc, which the hart is about to go on at, is in."""
        record = hart.find(pc)
        start = record.physical & -PAGE if record is not None else 0
        return lambda _: [(pc & -PAGE, code.physical.page(start, PAGE))]

    tiers = Tiers(code, cpu, snapshot, threshold, use_cache)
    if tiers.known is not None:
        tiers.known.add_all()

    def requested(processor: object) -> None:
        hart.apply_changes()
        tiers.install(hart)

    tiers.attach(hart, lambda: dict(code.guest.context(hart.state["ctx"])))
    hart.requested = requested
    tiers.start()
    return tiers

"""The machine: a board with a hart that runs, from power-on to the process's exit status.

Two threads: the main one serves the event loop (timers, the terminal, signals), the other
executes the guest, nearly always in native code.  Device state is guarded by the physical
space's lock, which both hold while they are in a device.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field

from jitemu.messages import UserError, fail, note
from jitemu.system import boot
from jitemu.system.board import VirtBoard, make_space
from jitemu.system.chardevs import Chardevs
from jitemu.system.clock import MachineClock, MachineTimers
from jitemu.system.eventloop import EventLoop
from jitemu.system.firmware import Firmware
from jitemu.system.hart import STIP, HartExit
from jitemu.system.images import check_gzip
from jitemu.system.monitor.session import Monitor
from jitemu.system.plugging import Backends, BoardHost, place
from jitemu.system.terminal import SignalGuard, block_signals
from jitemu.trace import Log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from fdt import FDT

    from jitemu.memory.physical import PhysicalSpace
    from jitemu.system.chardev import NullChardev
    from jitemu.system.clock import MachineTimer
    from jitemu.system.eventloop import LoopTimer
    from jitemu.system.hart import Hart, HartFactory
    from jitemu.system.icount import CountedTime, Icount
    from jitemu.system.plugged import BackendSpec, CaptureSpec, DeviceSpec

MACHINES = ("virt",)
PAGE = 4096
HARTS, HART = 1, 0  # how many there are, and the only one
LONGEST_WAIT_S = 3600.0
STOP_TIMEOUT_S = 5.0
SAME_SEED = b"-icount: every run is the same. "
"""The guest's random seed where runs are to be the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineConfig:
    """What the command line says of a machine."""

    machine: str = "virt"
    name: str = ""
    memory: int = 128 << 20
    """Bytes of RAM."""
    aclint: bool = False
    isa: str = "rv64imafdc_zicsr_zifencei"
    mmu_type: str | None = "riscv,sv48"
    """The hart's device tree properties riscv,isa and mmu-type (None: no such property)."""
    bios: str = ""
    """Firmware that starts in M mode: a file, or "none"; "" is the built-in one."""
    kernel: str = ""
    initrd: str = ""
    append: str = ""
    dtb: str = ""
    chardevs: tuple[str, ...] = ()
    serial: tuple[str, ...] = ("mon:stdio",)
    monitors: tuple[str, ...] = ()
    """Texts of -chardev, -serial and -monitor."""
    captures: tuple[CaptureSpec, ...] = ()
    devices: tuple[DeviceSpec, ...] = ()
    backends: tuple[BackendSpec, ...] = ()
    """What ``-device`` asks for, and what its properties refer to."""
    fw_cfg: tuple[tuple[str, bytes], ...] = ()
    """Names and contents of files for the firmware configuration device."""
    snapshot: bool = False
    """Disk images stay as they are: what is written goes to temporary files."""
    reboot: bool = True
    """Whether a guest's reset starts the machine again; if not, it ends it."""
    stopped: bool = False
    """Wait for ``Machine.resume`` before the first instruction."""
    icount: Icount | None = None
    """Let time pass with the instructions executed."""
    log: Log = field(default_factory=Log)

    def boot_files(self) -> boot.BootFiles:
        return boot.BootFiles(self.bios, self.kernel, self.initrd, self.append, self.dtb)

    def device_tree(self) -> FDT:
        """The machine's own device tree."""
        from jitemu.system.devicetree import virt_tree

        places = place(self.devices)
        seed = b"" if self.icount is None else SAME_SEED
        return virt_tree(
            self.memory, HARTS, self.isa, self.mmu_type, self.aclint, places, seed=seed
        )

    def check(self) -> None:
        """UserError for what cannot be built."""
        if self.machine not in MACHINES:
            fail(f"-M {self.machine}: no such machine; there is {', '.join(MACHINES)}")
        if self.memory < PAGE or self.memory % PAGE:
            fail(f"-m: {self.memory} bytes of RAM; give a multiple of {PAGE}")


def dump_device_tree(config: MachineConfig, path: str) -> None:
    """``-M virt,dumpdtb=PATH``: write the tree that the guest would get."""
    config.check()
    state = boot.load(config.boot_files(), _space(config), config.device_tree)
    try:
        with open(path, "wb") as file:
            file.write(state.blob)
    except OSError as error:
        fail(f"-M dumpdtb={path}: cannot write: {error.strerror}")
    note(f"dtb dumped to {path}. Exiting.")


def _space(config: MachineConfig) -> PhysicalSpace:
    try:
        return make_space(config.memory)
    except (OSError, OverflowError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        fail(f"-m: cannot have {config.memory >> 20} MiB of RAM: {reason}")


class Machine:
    """One machine, for one ``run``."""

    def __init__(self, config: MachineConfig, make_hart: HartFactory) -> None:
        config.check()
        self.config = config
        self.files = config.boot_files()
        boot.check_runnable(self.files)
        self.space = _space(config)
        self.loop = EventLoop(self.space.lock)
        self.clock = MachineClock()
        self.counted: CountedTime | None = None
        if config.icount is not None:
            from jitemu.system.icount import WALL_NS, CountedTime

            counted = self.counted = CountedTime(config.icount, self.space.lock)
            self.clock = MachineClock(counted.now, lambda: WALL_NS + counted.now())
        self.timers = MachineTimers(self.clock, self.counted or self.loop)
        self.control = self
        self._guard = SignalGuard(self._on_signal, self.loop.wakeup_fd)
        self.chardevs = Chardevs(self.loop, self._guard, lambda: self.shutdown(0))
        self.chardevs.save_all = self.save_disks
        for text in config.chardevs:
            self.chardevs.add(text)
        serial = [
            self.chardevs.open(spec, f"serial{index}", f"-serial {spec}")
            for index, spec in enumerate(config.serial or ("null",))
        ]
        boot.check_files(self.files)
        self.backends = Backends(config.backends, self)
        self.captures = [capture.open(self.backends) for capture in config.captures]
        take = self._take_backend
        self.host = BoardHost(
            *(self.space, self.space.lock, self.clock, self.timers, self, take, self._fail),
            repeatable=self.counted is not None,
        )
        self.board = VirtBoard(
            self.space,
            HARTS,
            config.aclint,
            serial[0],
            self.host,
            place(config.devices),
            self.set_interrupt,
            self._guest_error,
        )
        for name, content in config.fw_cfg:
            self.board.fw_cfg.add_file(name, content)
        self.hart = make_hart(self.space, HART)
        self.harts: list[Hart] = [self.hart]
        self.console = self.board.console
        self.firmware = Firmware(self)
        if self.counted is not None:
            self.counted.attach(self.hart, self._interrupt)
        self.hart.set_time_epoch(self.clock.host_epoch_ns)
        self.clock.on_epoch_change = self.hart.set_time_epoch
        self.hart.on_timer_change = self._arm_hart_timer
        self._hart_timer: LoopTimer | None = None
        self._sbi_timer: MachineTimer | None = None
        self._wake = threading.Event()
        self._resumed = threading.Event()
        if not config.stopped:
            self._resumed.set()
        self._stopping = False
        self._reset_wanted = False
        self._status = 0
        self._error: BaseException | None = None
        self._started = not config.stopped
        self._thread_id = 0
        self.loaded: list[tuple[int, int, str]] = []
        """(address, size, name) of what was put into memory at power-on."""
        self.device_tree = b""
        self._jobs: deque[Callable[[], None]] = deque()
        self.monitors = [self._monitor(index, spec) for index, spec in enumerate(config.monitors)]
        for index, spec in enumerate(config.serial):
            if spec.startswith("mon:"):
                end = self.chardevs.end(f"serial{index}", f"-serial {spec}")
                self.monitors.append(Monitor(self, end))

    def _monitor(self, index: int, spec: str) -> Monitor:
        return Monitor(self, self.chardevs.open(spec, f"compat_monitor{index}", f"-monitor {spec}"))

    def open_stream(self, spec: str, label: str) -> NullChardev:
        """A character device for a back end's own use."""
        return self.chardevs.open(spec, label, f"-netdev {label}")

    def _take_backend(self, kind: str, name: str) -> Any:
        """For a device; ValueError where there is none."""
        if kind != "chardev":
            return self.backends.take(kind, name)
        try:
            return self.chardevs.end(name, "")
        except UserError as error:
            raise ValueError(str(error).removeprefix(": ")) from None

    # For the user: start, pause, end

    def run(self) -> int:
        """Power on and run to the end; the exit status.  From the main thread."""
        try:
            self._power_on()
            with self._guard:
                self._serve()
        finally:
            self._close_chardevs()
            self.loop.close()
        if self._error is not None:
            raise self._error
        return self._status

    def _serve(self) -> None:
        """The main thread's part: everything but guest code."""
        thread = threading.Thread(target=self._execute, name="vcpu0", daemon=True)
        thread.start()
        try:
            self.loop.run()
        finally:
            self._stop_hart(thread)
            self.host.stop_workers()
            self.backends.close()
            for capture in self.captures:
                capture.close()
            self._close_chardevs()

    def pause(self) -> None:
        """Stop executing; machine time stands still and devices' timers wait."""
        self._resumed.clear()
        self._interrupt()

    def resume(self) -> None:
        self._started = True
        self._resumed.set()
        self._wake.set()

    @property
    def status(self) -> str:
        """What ``info status`` says."""
        if self._resumed.is_set():
            return "running"
        return "paused" if self._started else "paused (prelaunch)"

    @property
    def ending(self) -> bool:
        return self._stopping

    def hart_threads(self) -> list[int]:
        """The host's thread of each hart."""
        return [self._thread_id]

    def on_hart(self, job: Callable[[], None]) -> None:
        """Have a job run by the guest's thread, between two instructions of the guest, with
        the lock held: the hart's state is its own there.  Any thread."""
        self._jobs.append(job)
        self._interrupt()

    def shutdown(self, status: int) -> None:
        """End with this exit status; the first call counts.  Any thread, signal handlers too."""
        if not self._stopping:
            self._status = status
            self._stopping = True
        self._interrupt()
        self._resumed.set()
        self.loop.stop()

    def reset(self) -> None:
        """Start again from power-on, or end if that is what -no-reboot asks for."""
        if not self.config.reboot:
            self.shutdown(0)
            return
        self._reset_wanted = True
        self._interrupt()

    # For the board and the firmware

    def set_interrupt(self, hart: int, number: int, level: bool) -> None:
        self.harts[hart].set_interrupt(number, level)
        if level:
            self._wake.set()

    def set_timer(self, hart: int, ticks: int | None) -> None:
        """SBI's timer, for kernels that do not use stimecmp."""

        def expire() -> None:
            self.set_interrupt(hart, STIP, True)

        with self.space.lock:
            if self._sbi_timer is not None:
                self.timers.cancel(self._sbi_timer)
                self._sbi_timer = None
            self.set_interrupt(hart, STIP, False)
            if ticks is None:
                return
            if self.clock.ticks() >= ticks:
                expire()
            else:
                self._sbi_timer = self.timers.call_at(self.clock.deadline_ns(ticks), expire)

    def wait_for_interrupt(self, hart: int) -> None:
        """Sleep until WFI has to end.  Other reasons to wake do no harm: WFI is a hint."""
        if self.counted is not None:
            self.counted.wait(self._wake, self._wanted)
            return
        self._wake.clear()
        if self._wanted() or self.harts[hart].interrupt_pending():
            return
        timeout = LONGEST_WAIT_S
        deadline = self.harts[hart].next_timer_ns()
        if deadline is not None:
            timeout = min(timeout, (deadline - time.monotonic_ns()) / 1e9)
        if timeout > 0:
            self._wake.wait(timeout)

    def park(self, hart: int) -> None:
        while not (self._stopping or self._reset_wanted):
            self._serve_jobs()
            if not self._resumed.is_set():
                self._stand_still()
            self._wake.wait(LONGEST_WAIT_S)
            self._wake.clear()

    # The hart's thread

    def _execute(self) -> None:
        """Run the guest until the machine ends; an error ends it and is raised by ``run``."""
        block_signals()
        self._thread_id = threading.get_native_id()
        try:
            while not self._stopping:
                self._serve_jobs()
                if self._reset_wanted:
                    self._reset_wanted = False
                    self._started = self._resumed.is_set()
                    self._power_on()
                elif not self._resumed.is_set():
                    self._stand_still()
                else:
                    self._step()
        except BaseException as error:  # whatever it is, the main thread has to end and say so
            self._fail(error)

    def _serve_jobs(self) -> None:
        while self._jobs:
            with self.space.lock:
                self._jobs.popleft()()

    def _stand_still(self) -> None:
        """Until the machine is resumed, or something else is wanted."""
        self._let_time_pass(False)
        while not self._resumed.is_set():
            self._wake.clear()
            self._serve_jobs()
            if self._stopping or self._reset_wanted:
                return
            if not self._resumed.is_set() and not self._jobs:
                self._wake.wait(LONGEST_WAIT_S)
        self._let_time_pass(True)

    def _let_time_pass(self, passing: bool) -> None:
        with self.space.lock:
            if passing:
                self.clock.go_on()
                self.timers.go_on()
                self._arm_hart_timer(self.hart.next_timer_ns())
            else:
                self.timers.stop()
                self.clock.stop()
            for (kind, _), backend in self.backends.by_id.items():
                if kind == "netdev":
                    backend.hold(not passing)

    def _guest_error(self, text: str) -> None:
        if self.config.log.guest_errors:
            self.config.log.write_line(text)

    def save_disks(self) -> list[str]:
        """Commit every drive that has a backing image; what went wrong."""
        from jitemu.system.monitor.plugs import save

        drives = self.backends.of_kind("drive")
        return [line for drive in drives if drive.has_backing for line in save(drive)]

    def _fail(self, error: BaseException) -> None:
        """End the machine; ``run`` raises the error.  Any thread."""
        self._error = error
        self.shutdown(1)

    def _step(self) -> None:
        hart = self.hart
        if self.counted is not None:
            self.counted.begin()
        reason = hart.run()
        if reason == HartExit.WFI:
            self.wait_for_interrupt(HART)
        elif reason == HartExit.SBI_ECALL:
            self.firmware.handle_ecall(hart, HART)
        elif reason == HartExit.SHUTDOWN:
            self.shutdown(0)

    def _power_on(self) -> None:
        """Devices, memory and hart as they are when the machine is switched on."""
        with self.space.lock:
            self.set_timer(HART, None)
            self.board.reset()
            state = boot.load(self.files, self.space, self.config.device_tree, self._check_later)
            self.loaded, self.device_tree = state.loaded, state.blob
            self.hart.reset(self.space.rom.base if self.space.rom else self.space.ram.base)
            if self.files.built_in_firmware:
                self.hart.start_supervisor(state.kernel, HART, state.dtb)

    def _check_later(self, path: str, data: bytes) -> None:
        """Decompress the initrd beside the guest: a corrupt one ends the machine."""

        def check() -> None:
            block_signals()
            try:
                check_gzip(path, data)
            except UserError as error:
                self._error = error
                self.shutdown(error.status)

        threading.Thread(target=check, name="initrd check", daemon=True).start()

    # Details

    def _wanted(self) -> bool:
        """Something is waiting for the hart's thread to leave the guest."""
        wanted = self._stopping or self._reset_wanted or not self._resumed.is_set()
        return wanted or bool(self._jobs)

    def _interrupt(self) -> None:
        self.hart.kick()
        self._wake.set()

    def _arm_hart_timer(self, deadline_ns: int | None) -> None:
        """See that a running hart notices when stimecmp is reached.  A timer that is early
        enough is left as it is: it looks again when it expires."""
        if self.counted is not None:
            self.counted.changed()
            return
        with self.space.lock:
            timer = self._hart_timer
            if deadline_ns is None or (timer is not None and timer.deadline_ns <= deadline_ns):
                return
            if timer is not None:
                self.loop.cancel(timer)
            self._hart_timer = self.loop.call_at(deadline_ns, self._hart_timer_expired)

    def _hart_timer_expired(self) -> None:
        self._hart_timer = None
        deadline = self.hart.next_timer_ns()
        if deadline is None:
            return
        if deadline > time.monotonic_ns():
            self._arm_hart_timer(deadline)
        else:
            self._interrupt()

    def _on_signal(self, number: int) -> None:
        """In a signal handler, which may have interrupted anything: do it a little later."""

        def leave() -> None:
            note(f"terminating on signal {number}")
            self.shutdown(0)

        self.loop.call_soon(leave)

    def _stop_hart(self, thread: threading.Thread) -> None:
        """Wait for the guest's thread to leave native code."""
        self.shutdown(1)  # which counts only if the loop was left by an error
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while thread.is_alive() and time.monotonic() < deadline:
            self.hart.kick()
            thread.join(0.05)

    def _close_chardevs(self) -> None:
        with self.space.lock:
            self.chardevs.close()

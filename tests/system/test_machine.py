"""The machine with a fake hart: power-on, run loop, interrupts, reset, end."""

from __future__ import annotations

import gzip
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from jitemu.memory.physical import PhysicalSpace
from jitemu.messages import UserError
from jitemu.system.hart import MEIP, MTIP, SEIP, STIP, HartExit
from jitemu.system.machine import Machine, MachineConfig
from jitemu.trace import Log
from tests.system.fake_hart import FakeHart, Program

UART, PLIC, MTIMECMP, FINISHER = 0x1000_0000, 0xC00_0000, 0x200_4000, 0x10_0000
DBCN, TIME, SRST = 0x4442434E, 0x54494D45, 0x53525354
RUN, WFI, ECALL = HartExit.INTERRUPTED, HartExit.WFI, HartExit.SBI_ECALL


class Rig:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output = folder / "output"
        self.hart: FakeHart | None = None
        (folder / "kernel").write_bytes(b"code")

    def machine(self, program: Program, **settings: object) -> Machine:
        values: dict[str, object] = {
            "memory": 16 << 20,
            "kernel": str(self.folder / "kernel"),
            "serial": (f"file:{self.output}",),
        }

        def make(space: PhysicalSpace, hart_id: int) -> FakeHart:
            self.hart = FakeHart(space, hart_id, program)
            return self.hart

        return Machine(MachineConfig(**(values | settings)), make)  # pyright: ignore[reportArgumentType]

    def run(self, program: Program, **settings: object) -> int:
        return self.machine(program, **settings).run()


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def sequence(*steps: Callable[[FakeHart], HartExit | None]) -> Program:
    """A program that does one step a run; None is "go on"."""
    left = list(steps)

    def program(hart: FakeHart) -> HartExit:
        result = left.pop(0)(hart)
        return RUN if result is None else result

    return program


def power_off(hart: FakeHart) -> None:
    hart.space.mmio_write(FINISHER, 4, 0x5555)


def ecall(hart: FakeHart, extension: int, function: int, *arguments: int) -> HartExit:
    hart.registers[10 : 10 + len(arguments)] = arguments
    hart.registers[16], hart.registers[17] = function, extension
    return ECALL


def test_starts_in_the_kernel_with_the_built_in_firmware(rig: Rig) -> None:
    seen: list[tuple[int, bool, int, int]] = []

    def look(hart: FakeHart) -> None:
        seen.append((hart.pc, hart.supervisor, hart.registers[10], hart.registers[11]))
        assert hart.space.dma_read(hart.registers[11], 4) == b"\xd0\x0d\xfe\xed"
        power_off(hart)

    assert rig.run(look_once(look)) == 0
    assert seen == [(0x8020_0000, True, 0, 0x80E0_0000)]


def look_once(step: Callable[[FakeHart], None]) -> Program:
    return sequence(step, lambda hart: WFI, lambda hart: WFI)


def test_starts_in_the_reset_rom_without_it(rig: Rig) -> None:
    seen: list[tuple[int, bool, int]] = []

    def look(hart: FakeHart) -> None:
        seen.append((hart.pc, hart.supervisor, hart.space.read(hart.pc, 4)))
        power_off(hart)

    assert rig.run(look_once(look), bios="none") == 0
    assert seen == [(0x1000, False, 0x297)]


def test_exit_status_is_the_finishers(rig: Rig) -> None:
    assert rig.run(look_once(lambda h: h.space.mmio_write(FINISHER, 4, 0x0009_3333))) == 9


def test_output_is_complete_at_the_end(rig: Rig) -> None:
    text = bytes(range(256)) * 1000

    def send(hart: FakeHart) -> None:
        for byte in text:
            while not hart.space.mmio_read(UART + 5, 1) & 0x20:
                time.sleep(0.001)
            hart.space.mmio_write(UART, 1, byte)
        power_off(hart)

    assert rig.run(look_once(send)) == 0
    assert rig.output.read_bytes() == text


def test_firmware_console_and_shutdown(rig: Rig) -> None:
    def put(hart: FakeHart) -> HartExit:
        hart.space.dma_write(0x8010_0000, b"hi\n")
        return ecall(hart, DBCN, 0, 3, 0x8010_0000, 0)

    assert rig.run(sequence(put, lambda hart: ecall(hart, SRST, 0, 0, 1))) == 1
    assert rig.output.read_bytes() == b"hi\n"


def idle_until(bit: int, arm: Callable[[FakeHart], HartExit | None]) -> tuple[Program, list[float]]:
    """A guest that arms something, waits for the interrupt ``bit`` and powers off."""
    times: list[float] = []

    def program(hart: FakeHart) -> HartExit:
        if not times:
            hart.enabled = 1 << bit
            times.append(time.monotonic())
            return arm(hart) or RUN
        if not hart.pending >> bit & 1:
            return WFI
        times.append(time.monotonic())
        power_off(hart)
        return RUN

    return program, times


def test_clint_timer_wakes_an_idle_hart(rig: Rig) -> None:
    def arm(hart: FakeHart) -> None:
        now = hart.space.mmio_read(0x200_BFF8, 8)
        hart.space.mmio_write(MTIMECMP, 8, now + 300_000)  # 30 ms

    program, times = idle_until(MTIP, arm)
    before = time.process_time()
    assert rig.run(program) == 0
    assert 0.030 <= times[1] - times[0] < 1
    assert time.process_time() - before < 0.1


def test_sbi_timer_wakes_an_idle_hart(rig: Rig) -> None:
    def arm(hart: FakeHart) -> HartExit:
        now = (time.monotonic_ns() - hart.epoch_ns) // 100
        return ecall(hart, TIME, 0, now + 200_000)

    program, times = idle_until(STIP, arm)
    assert rig.run(program) == 0
    assert 0.020 <= times[1] - times[0] < 1


def test_stimecmp_ends_an_idle_wait_and_kicks_a_busy_hart(rig: Rig) -> None:
    kicks: list[bool] = []

    def arm(hart: FakeHart) -> None:
        hart.set_timer(time.monotonic_ns() + 20_000_000)

    def idle(hart: FakeHart) -> HartExit:
        return WFI

    def busy(hart: FakeHart) -> HartExit:
        arm(hart)
        kicks.append(hart.kicked.wait(5))
        power_off(hart)
        return RUN

    start = time.monotonic()
    assert rig.run(sequence(arm, idle, busy, idle)) == 0
    assert kicks == [True]
    assert 0.035 < time.monotonic() - start < 2


def test_an_idle_guest_costs_nothing(rig: Rig) -> None:
    machine = rig.machine(lambda hart: WFI)
    threading.Timer(0.5, lambda: machine.shutdown(3)).start()
    before = time.process_time()
    assert machine.run() == 3
    assert time.process_time() - before < 0.025
    assert rig.hart is not None
    assert rig.hart.runs < 10


def test_uart_interrupt_reaches_the_supervisor(rig: Rig) -> None:
    def arm(hart: FakeHart) -> None:
        space = hart.space
        space.mmio_write(PLIC + 10 * 4, 4, 1)
        space.mmio_write(PLIC + 0x2080, 4, 1 << 10)
        space.mmio_write(UART + 1, 1, 2)  # transmitter empty

    program, _ = idle_until(SEIP, arm)
    assert rig.run(program) == 0
    assert rig.hart is not None
    assert not rig.hart.pending >> MEIP & 1


def test_guest_reset_starts_again(rig: Rig) -> None:
    starts: list[bytes] = []

    def program(hart: FakeHart) -> HartExit:
        starts.append(hart.space.dma_read(0x8020_0000, 4))
        hart.space.dma_write(0x8020_0000, b"gone")
        hart.space.mmio_write(UART + 7, 1, 0x77)
        if len(starts) < 3:
            assert hart.space.mmio_read(UART + 1, 1) == 0
            hart.space.mmio_write(UART + 1, 1, 0xF)
            hart.space.mmio_write(FINISHER, 4, 0x7777)
        else:
            power_off(hart)
        return RUN

    assert rig.run(program) == 0
    assert starts == [b"code"] * 3
    assert rig.hart is not None
    assert rig.hart.resets == 3


def test_no_reboot_ends_instead(rig: Rig) -> None:
    program = sequence(lambda hart: ecall(hart, SRST, 0, 1, 0))
    assert rig.run(program, reboot=False) == 0
    assert rig.hart is not None
    assert rig.hart.resets == 1


def test_starts_stopped(rig: Rig) -> None:
    machine = rig.machine(look_once(power_off), stopped=True)
    runs: list[int] = []

    def later() -> None:
        assert rig.hart is not None
        runs.append(rig.hart.runs)
        machine.resume()

    threading.Timer(0.1, later).start()
    assert machine.run() == 0
    assert runs == [0]


def test_pause_and_resume(rig: Rig) -> None:
    def program(hart: FakeHart) -> HartExit:
        time.sleep(0.001)
        return RUN

    machine = rig.machine(program)
    runs: list[int] = []

    def count() -> None:
        assert rig.hart is not None
        runs.append(rig.hart.runs)

    def script() -> None:
        time.sleep(0.05)
        machine.pause()
        time.sleep(0.05)
        count()
        time.sleep(0.05)
        count()
        machine.resume()
        time.sleep(0.05)
        count()
        machine.shutdown(0)

    thread = threading.Thread(target=script)
    thread.start()
    machine.run()
    thread.join()
    assert 0 < runs[0] == runs[1] < runs[2]


def test_time_stands_still_while_stopped(rig: Rig) -> None:
    def program(hart: FakeHart) -> HartExit:
        time.sleep(0.001)
        return RUN

    machine = rig.machine(program)
    seen: list[object] = []

    def script() -> None:
        hart = rig.hart
        assert hart is not None
        machine.pause()
        while hart.runs != (time.sleep(0.01), hart.runs)[1]:
            pass
        ticks = machine.clock.ticks()
        machine.set_timer(0, ticks + 200_000)
        time.sleep(0.1)
        seen.append(machine.clock.ticks() == ticks)
        seen.append(hart.pending)
        epoch = hart.epoch_ns
        machine.resume()
        while not hart.pending >> STIP & 1:
            time.sleep(0.001)
        seen.append(machine.clock.ticks() - ticks >= 200_000)
        seen.append(hart.epoch_ns - epoch >= 100_000_000)
        machine.shutdown(0)

    thread = threading.Thread(target=script)
    thread.start()
    machine.run()
    thread.join()
    assert seen == [True, 0, True, True]


def test_jobs_on_the_harts_thread(rig: Rig) -> None:
    """They run whether the hart executes, waits or stands still, one at a time."""

    def program(hart: FakeHart) -> HartExit:
        return WFI

    machine = rig.machine(program)
    threads: list[int] = []

    def script() -> None:
        for stopped in (False, True):
            if stopped:
                machine.pause()
            for _ in range(20):
                done = threading.Event()

                def job(done: threading.Event = done) -> None:
                    threads.append(threading.get_native_id())
                    done.set()

                machine.on_hart(job)
                assert done.wait(5)
        machine.shutdown(0)

    thread = threading.Thread(target=script)
    thread.start()
    machine.run()
    thread.join()
    assert len(threads) == 40
    assert set(threads) == set(machine.hart_threads())


def test_an_error_in_the_harts_thread_is_raised(rig: Rig) -> None:
    def program(hart: FakeHart) -> HartExit:
        raise UserError("no more translations", 5)

    with pytest.raises(UserError, match="no more translations"):
        rig.run(program)


def test_a_corrupt_initrd_ends_the_machine(rig: Rig) -> None:
    initrd = rig.folder / "initrd"
    initrd.write_bytes(gzip.compress(b"070701" + os.urandom(5000))[:-20])
    with pytest.raises(UserError, match=r"-initrd .*: truncated gzip data"):
        rig.run(lambda hart: WFI, initrd=str(initrd))


def test_a_hart_that_does_not_stop_does_not_hang_the_end(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jitemu.system.machine.STOP_TIMEOUT_S", 0.1)
    release = threading.Event()

    def program(hart: FakeHart) -> HartExit:
        power_off(hart)
        release.wait(5)
        return RUN

    assert rig.run(program) == 0
    release.set()


def test_guest_errors_are_told(rig: Rig) -> None:
    def program(hart: FakeHart) -> HartExit:
        hart.space.mmio_read(PLIC + 0x1F_FFFC, 4)
        power_off(hart)
        return RUN

    path = rig.folder / "log"
    rig.run(program, log=Log(("guest_errors",), path=str(path)))
    lines = path.read_text().splitlines()
    assert lines == ["Plic: 4-byte read at offset 0x1ffffc, where it cannot be"]

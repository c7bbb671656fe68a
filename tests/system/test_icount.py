"""-icount: instructions are counted exactly, time follows, and every run is the same."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jitemu.cli import system_options
from jitemu.cli.options import parse
from jitemu.memory.physical import PhysicalSpace
from jitemu.messages import UserError
from jitemu.system.hart import HartExit
from jitemu.system.icount import Icount
from jitemu.system.machine import Machine, MachineConfig
from tests.system.fake_hart import FakeHart

SOURCE = Path(__file__).with_name("icount.S")
GCC = "riscv64-linux-gnu-gcc"
JITEMU = (sys.executable, "-m", "jitemu", "system-riscv64")
QEMU = ("qemu-system-riscv64", "-M", "virt")
COUNTS = (1, 101, 2001, 4, 7, 9, 26, 6, 3, 6, 5000, 5003)
"""What the guest's parts come to by the specification."""
TRAPS, WRITE = 6, 10
"""Where QEMU 7.2 differs: it counts some instructions that trap, and in ``minstret`` the one
that writes it."""
TIMERS = 80
WAIT_TICKS = 20_000_000
TICK_NS = 100

pytestmark = pytest.mark.skipif(shutil.which(GCC) is None, reason="needs the cross compiler")


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    elf = tmp_path_factory.mktemp("icount") / "guest"
    link = "-Wl,-Ttext=0x80000000,--build-id=none,-N,--no-warn-rwx-segments"
    command = [GCC, "-nostdlib", "-static", link, "-march=rv64gc", "-o", str(elf), str(SOURCE)]
    subprocess.run(command, check=True)
    return elf


def run(emulator: tuple[str, ...], image: list[str], icount: str, output: Path) -> list[int]:
    """The log of a run."""
    command = [*emulator, "-icount", icount, *image, "-display", "none", "-monitor", "none"]
    subprocess.run([*command, "-serial", f"file:{output}"], check=True, timeout=60)
    data = output.read_bytes()
    return [int.from_bytes(data[n : n + 8], "little") for n in range(0, len(data), 8)]


@pytest.mark.parametrize("shift", [0, 3])
def test_counts_timers_and_waiting(guest: Path, tmp_path: Path, shift: int) -> None:
    icount = f"shift={shift},sleep=off"
    log = run(JITEMU, ["-bios", str(guest)], icount, tmp_path / "log")
    assert log == run(JITEMU, ["-bios", str(guest)], icount, tmp_path / "again")
    assert tuple(log[: len(COUNTS)]) == COUNTS
    timers = log[len(COUNTS) : -2]
    assert len(timers) == 2 * TIMERS
    due = [-(-ticks * TICK_NS >> shift) for ticks in timers[::2]]
    late = {executed - wanted for executed, wanted in zip(timers[1::2], due, strict=True)}
    assert len(late) == 1, "each interrupt comes at the first instruction at which it is due"
    assert log[-1] - log[-2] == WAIT_TICKS


def test_regions_are_off(guest: Path, tmp_path: Path) -> None:
    """Who asks for regions is told that there are none."""
    command = [*JITEMU, "-icount", "shift=0,sleep=off", "-hot-threshold", "1", "-bios", str(guest)]
    log = f"file:{tmp_path / 'log'}"
    command += ["-display", "none", "-monitor", "none", "-serial", log]
    done = subprocess.run(command, check=True, timeout=60, capture_output=True, text=True)
    assert done.stderr.splitlines() == [
        "jitemu: warning: -hot-threshold has no effect with -icount: "
        "regions do not count instructions"
    ]


def test_sleeping_takes_time_but_does_not_change_it(guest: Path, tmp_path: Path) -> None:
    image = ["-bios", str(guest)]
    before = time.monotonic()
    slept = run(JITEMU, image, "shift=2", tmp_path / "slept")
    assert time.monotonic() - before > WAIT_TICKS * TICK_NS / 1e9
    assert slept == run(JITEMU, image, "shift=2,sleep=off", tmp_path / "skipped")


@pytest.mark.skipif(shutil.which(QEMU[0]) is None, reason="needs QEMU")
def test_qemu_counts_the_same(guest: Path, tmp_path: Path) -> None:
    image = ["-bios", "none", "-kernel", str(guest)]
    theirs = run(QEMU, image, "shift=0,sleep=off", tmp_path / "log")[: len(COUNTS)]
    same = [n for n in range(WRITE) if n != TRAPS]
    assert [theirs[n] for n in same] == [COUNTS[n] for n in same]


def test_kernel_and_disk_do_the_same_twice(riscv64_linux: Path, tmp_path: Path) -> None:
    script = (
        "md5sum /dev/vda; dd if=/dev/zero of=/dev/vda bs=64k count=20 conv=fsync; "
        "cat /proc/interrupts /proc/uptime; date"
    )
    append = f'console=ttyS0 guest.mods=virtio_blk guest.run="{script}"'
    logs: list[bytes] = []
    for name in ("first", "second"):
        disk, serial = tmp_path / f"{name}.raw", tmp_path / name
        disk.write_bytes(bytes(range(256)) * 8192)
        image = ["-kernel", str(riscv64_linux / "Image"), "-append", append, "-m", "256"]
        image += ["-initrd", str(riscv64_linux / "initramfs.cpio.gz")]
        image += ["-drive", f"file={disk},if=none,format=raw,id=disk"]
        image += ["-device", "virtio-blk-device,drive=disk", "-display", "none"]
        command = [*JITEMU, "-icount", "1,sleep=off", *image, "-serial", f"file:{serial}"]
        subprocess.run(command, check=True, timeout=240)
        logs.append(serial.read_bytes())
    assert b"GUEST-EXIT 0" in logs[0] and b"Power down" in logs[0]
    assert hashlib.md5(bytes(range(256)) * 8192).hexdigest().encode() in logs[0]
    assert logs[0] == logs[1]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("shift=11", "icount: Invalid shift value"),
        ("-1", "icount: Invalid shift value"),
        ("sleep=off", "icount: Invalid shift value"),
        ("auto", "shift=auto is not supported: give a number from 0 to 10"),
        ("3,align=on", "align=on is not supported: runs would not repeat"),
        ("3,sleep=maybe", "expects 'on' or 'off'"),
        ("3,foo=1", "Invalid parameter 'foo'"),
    ],
)
def test_errors(text: str, error: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(system_options.OPTIONS, ["-icount", text], {})
    assert str(caught.value) == f"-icount {text}: {error}"


def test_far_timers_and_other_threads(tmp_path: Path) -> None:
    """A deadline that no host could wait for is none; one that another thread sets counts."""
    (tmp_path / "kernel").write_bytes(b"code")
    calls: list[tuple[str, int]] = []
    machines: list[Machine] = []

    def program(hart: FakeHart) -> HartExit:
        clock, timers = machines[0].clock, machines[0].timers
        hart.counted_ns += hart.allotted << hart.shift
        if hart.runs == 2:
            hart.set_timer(1 << 70)
            timers.call_at(clock.monotonic_ns() + 1001, lambda: called("own"))
        elif not calls:
            pass
        elif calls[-1][0] == "own":
            loop = machines[0].loop

            def arm() -> None:
                calls.append(("armed", clock.monotonic_ns()))
                timers.call_at(calls[-1][1] + 5 * 10**12, lambda: called("other"))

            hart.pending = 0
            loop.call_soon(arm)
            return HartExit.WFI
        elif calls[-1][0] == "other":
            hart.space.mmio_write(0x10_0000, 4, 0x5555)
        return HartExit.INTERRUPTED

    def called(who: str) -> None:
        calls.append((who, machines[0].clock.monotonic_ns()))
        machines[0].set_interrupt(0, 5, True)

    def make(space: PhysicalSpace, hart_id: int) -> FakeHart:
        hart = FakeHart(space, hart_id, program)
        hart.enabled = 1 << 5
        return hart

    config = MachineConfig(
        memory=16 << 20,
        kernel=str(tmp_path / "kernel"),
        serial=("null",),
        icount=Icount(2, sleep=False),
    )
    machines.append(Machine(config, make))
    assert machines[0].run() == 0
    assert [who for who, _ in calls] == ["own", "armed", "other"]
    assert calls[2][1] - calls[1][1] == 5 * 10**12

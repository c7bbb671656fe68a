"""The built-in SBI against the specification, with a mock hart and platform."""

from __future__ import annotations

import random

import pytest

from jitemu.memory.physical import PhysicalSpace, Ram
from jitemu.system.firmware import Firmware
from jitemu.system.hart import SSIP, HartExit
from tests.devices.mocks import Control
from tests.system.fake_hart import FakeHart

RAM = 0x8000_0000
MINUS_1 = (1 << 64) - 1
TIME, IPI, RFENCE, HSM, SRST, DBCN = (
    int.from_bytes(name, "big") for name in (b"TIME", b"sPI", b"RFNC", b"HSM", b"SRST", b"DBCN")
)


class Console:
    def __init__(self) -> None:
        self.sent = bytearray()
        self.keys = bytearray()
        self.room = 1 << 20

    def put(self, byte: int) -> bool:
        self.sent.append(byte)
        self.room -= 1
        return self.room > 0

    def get(self) -> int | None:
        return self.keys.pop(0) if self.keys else None


class Platform:
    """Everything that the firmware asks of the machine, remembered."""

    def __init__(self) -> None:
        self.space = PhysicalSpace(Ram(RAM, 0x10000))
        self.control = Control()
        self.console = Console()
        self.hart = FakeHart(self.space, 0, lambda hart: HartExit.SBI_ECALL)
        self.harts = [self.hart]
        self.timers: list[int | None] = []
        self.waits = 0
        self.parked = 0
        self.firmware = Firmware(self)

    def set_interrupt(self, hart: int, number: int, level: bool) -> None:
        self.harts[hart].set_interrupt(number, level)

    def set_timer(self, hart: int, ticks: int | None) -> None:
        self.timers.append(ticks)

    def wait_for_interrupt(self, hart: int) -> None:
        self.waits += 1

    def park(self, hart: int) -> None:
        self.parked += 1

    def call(self, extension: int, function: int, *arguments: int) -> tuple[int, int]:
        """(error, value) with error as a signed number."""
        hart = self.hart
        hart.pc = 0x1000
        hart.registers[10:18] = [*arguments, *[0x55] * (6 - len(arguments)), function, extension]
        self.firmware.handle_ecall(hart, 0)
        assert hart.pc == 0x1004
        error, value = hart.registers[10], hart.registers[11]
        return error - (error >> 63 << 64), value


@pytest.fixture
def sbi() -> Platform:
    return Platform()


def test_base(sbi: Platform) -> None:
    assert sbi.call(0x10, 0) == (0, 0x0200_0000)
    for function in range(1, 7):
        assert sbi.call(0x10, function)[0] == 0
    assert sbi.call(0x10, 7) == (-2, 0)


@pytest.mark.parametrize(
    ("extension", "found"),
    [
        *((e, 1) for e in (0x10, TIME, IPI, RFENCE, HSM, SRST, DBCN, *range(9))),
        *((e, 0) for e in (9, 0x504D55, 0xFFFF, MINUS_1)),
    ],
)
def test_probe(sbi: Platform, extension: int, found: int) -> None:
    assert sbi.call(0x10, 3, extension) == (0, found)


def test_unknown_extension_is_not_supported(sbi: Platform) -> None:
    assert sbi.call(0x504D55, 0) == (-2, 0)
    assert sbi.call(9, 0) == (-2, 0)


def test_timer(sbi: Platform) -> None:
    assert sbi.call(TIME, 0, 12345) == (0, 0)
    sbi.call(TIME, 0, MINUS_1)
    assert sbi.timers == [12345, None]


def test_ipi(sbi: Platform) -> None:
    assert sbi.call(IPI, 0, 1, 0) == (0, 0)
    assert sbi.hart.pending == 1 << SSIP
    sbi.hart.pending = 0
    assert sbi.call(IPI, 0, 0, MINUS_1) == (0, 0)
    assert sbi.hart.pending == 1 << SSIP
    assert sbi.call(IPI, 0, 2, 0)[0] == -3
    assert sbi.call(IPI, 0, 1, 64)[0] == -3


def test_rfence(sbi: Platform) -> None:
    for function in range(3):
        assert sbi.call(RFENCE, function, 1, 0, 0, MINUS_1) == (0, 0)
    assert sbi.call(RFENCE, 0, 4, 0)[0] == -3
    assert sbi.call(RFENCE, 3, 1, 0)[0] == -2


def test_hsm(sbi: Platform) -> None:
    assert sbi.call(HSM, 2, 0) == (0, 0)
    assert sbi.call(HSM, 2, 1)[0] == -3
    assert sbi.call(HSM, 0, 0, RAM, 0)[0] == -6
    assert sbi.call(HSM, 0, 1, RAM, 0)[0] == -3
    assert sbi.call(HSM, 3, 0) == (0, 0)
    assert sbi.waits == 1
    assert sbi.call(HSM, 3, 0x8000_0000, RAM)[0] == -3
    sbi.call(HSM, 1)
    assert sbi.parked == 1


@pytest.mark.parametrize(
    ("kind", "reason", "statuses", "resets"),
    [(0, 0, [0], 0), (0, 1, [1], 0), (1, 0, [], 1), (2, 0, [], 1)],
)
def test_system_reset(
    sbi: Platform, kind: int, reason: int, statuses: list[int], resets: int
) -> None:
    sbi.call(SRST, 0, kind, reason)
    assert (sbi.control.statuses, sbi.control.resets, sbi.parked) == (statuses, resets, 1)


def test_system_reset_refuses_reserved_values(sbi: Platform) -> None:
    assert sbi.call(SRST, 0, 3, 0)[0] == -3
    assert sbi.call(SRST, 0, 0, 2)[0] == -3
    assert sbi.parked == 0


def test_debug_console(sbi: Platform) -> None:
    sbi.space.dma_write(RAM + 0x100, b"hello")
    assert sbi.call(DBCN, 0, 5, RAM + 0x100, 0) == (0, 5)
    assert sbi.call(DBCN, 2, 0x121) == (0, 0)
    assert sbi.console.sent == b"hello!"
    sbi.console.keys += b"abc"
    assert sbi.call(DBCN, 1, 2, RAM + 0x200, 0) == (0, 2)
    assert sbi.call(DBCN, 1, 8, RAM + 0x202, 0) == (0, 1)
    assert sbi.call(DBCN, 1, 8, RAM + 0x203, 0) == (0, 0)
    assert sbi.space.dma_read(RAM + 0x200, 4) == b"abc\0"


def test_debug_console_says_how_much_it_took(sbi: Platform) -> None:
    sbi.console.room = 3
    assert sbi.call(DBCN, 0, 5, RAM, 0) == (0, 3)


@pytest.mark.parametrize("function", [0, 1])
@pytest.mark.parametrize(
    ("count", "low", "high"),
    [(1, 0, 0), (1, RAM, 1), (2, RAM + 0xFFFF, 0), (MINUS_1, RAM, 0), (1 << 63, RAM, 0)],
)
def test_debug_console_bounds(
    sbi: Platform, function: int, count: int, low: int, high: int
) -> None:
    sbi.console.keys += b"x"
    assert sbi.call(DBCN, function, count, low, high)[0] == -3
    assert sbi.console.keys == b"x"


def test_legacy_calls_leave_a1_alone(sbi: Platform) -> None:
    assert sbi.call(1, 0, ord("k")) == (0, 0x55)
    assert sbi.console.sent == b"k"
    assert sbi.call(2, 0) == (-1, 0x55)
    sbi.console.keys += b"q"
    assert sbi.call(2, 0) == (ord("q"), 0x55)
    sbi.call(0, 0, 99)
    assert sbi.timers == [99]
    sbi.call(4, 0)
    assert sbi.hart.pending == 1 << SSIP
    sbi.call(3, 0)
    assert sbi.hart.pending == 0
    for extension in (5, 6, 7):
        assert sbi.call(extension, 0) == (0, 0x55)
    sbi.call(8, 0)
    assert sbi.control.statuses == [0]


def test_random_calls_do_no_harm(sbi: Platform) -> None:
    random.seed(3)
    extensions = [*range(10), 0x10, TIME, IPI, RFENCE, HSM, SRST, DBCN]
    values = [0, 1, 2, 64, RAM, RAM + 0xFFFF, MINUS_1, 1 << 63, 1 << 32]
    for _ in range(2000):
        arguments = [random.choice(values) for _ in range(6)]
        error, _ = sbi.call(random.choice(extensions), random.choice((0, 1, 2, 3, 9)), *arguments)
        assert -9 <= error < 256

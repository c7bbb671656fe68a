"""CLINT and ACLINT, test finisher, goldfish RTC, empty virtio slots."""

from __future__ import annotations

import pytest

from jitemu.devices.aclint import NEVER, Mswi, Mtimer, Sswi
from jitemu.devices.goldfish_rtc import GoldfishRtc
from jitemu.devices.test_finisher import TestFinisher
from jitemu.devices.virtio.mmio import EmptySlot
from jitemu.memory.physical import BusError
from tests.devices.mocks import Control, MockTime, Wire


def test_software_interrupts() -> None:
    wires = [Wire(), Wire()]
    mswi = Mswi(wires)
    mswi.write(4, 4, 0xFFFF_FFFF)
    assert mswi.read(4, 4) == 1
    assert (wires[0].level, wires[1].level) == (False, True)
    mswi.write(4, 4, 0)
    assert not wires[1].level
    with pytest.raises(BusError):
        mswi.read(0, 8)


def test_sswi_sets_and_reads_zero() -> None:
    wire = Wire()
    sswi = Sswi([wire])
    sswi.write(0, 4, 1)
    assert wire.level
    sswi.write(0, 4, 0)
    assert wire.changes == [True]
    assert sswi.read(0, 4) == 0


def test_timer_fires_when_mtime_reaches_mtimecmp() -> None:
    time, wire = MockTime(), Wire()
    mtimer = Mtimer(time, time, [wire])
    assert mtimer.read(0, 8) == NEVER
    mtimer.write(0, 8, 100)
    time.advance(100 * 100 - time.now_ns - 1)
    assert not wire.level
    time.advance(1)
    assert wire.level
    mtimer.write(0, 8, 200)
    assert not wire.level


def test_timer_by_halves_as_32_bit_code_writes_it() -> None:
    time, wire = MockTime(), Wire()
    mtimer = Mtimer(time, time, [wire])
    mtimer.write(0, 4, 0xFFFF_FFFF)
    mtimer.write(4, 4, 0)
    mtimer.write(0, 4, 50)
    assert mtimer.read(0, 8) == 50
    assert (mtimer.read(0, 4), mtimer.read(4, 4)) == (50, 0)
    time.advance(50 * 100)
    assert wire.level
    assert wire.changes == [True]


def test_mtime_reads_and_is_writable() -> None:
    time, wire = MockTime(), Wire()
    mtimer = Mtimer(time, time, [wire])
    time.advance(5 * 100)
    assert mtimer.read(0x7FF8, 8) == 15
    mtimer.write(0, 8, 1 << 40)
    mtimer.write(0x7FFC, 4, 0x100)
    assert mtimer.read(0x7FF8, 8) == 0x100_0000_000F
    assert wire.level


def test_a_deadline_beyond_all_time_is_harmless() -> None:
    time, wire = MockTime(), Wire()
    mtimer = Mtimer(time, time, [wire])
    mtimer.write(0, 8, NEVER - 1)
    time.advance(10**12)
    assert not wire.level


@pytest.mark.parametrize(
    ("value", "statuses", "resets"),
    [
        (0x5555, [0], 0),
        (0x0007_3333, [7], 0),
        (0x3333, [0], 0),
        (0x0100_3333, [1], 0),
        (0x7777, [], 1),
        (0x1234, [], 0),
    ],
)
def test_finisher(value: int, statuses: list[int], resets: int) -> None:
    control = Control()
    TestFinisher(control).write(0, 4, value)
    assert (control.statuses, control.resets) == (statuses, resets)


def rtc_rig() -> tuple[GoldfishRtc, MockTime, Wire]:
    time, wire = MockTime(), Wire()
    return GoldfishRtc(time, time, wire), time, wire


def rtc_time(rtc: GoldfishRtc) -> int:
    low = rtc.read(0, 4)
    return rtc.read(4, 4) << 32 | low


def test_rtc_time_is_the_hosts_and_can_be_set() -> None:
    rtc, time, _ = rtc_rig()
    assert rtc_time(rtc) == time.wall_ns()
    wanted = 946_684_800_000_000_000
    rtc.write(4, 4, wanted >> 32)
    rtc.write(0, 4, wanted & 0xFFFF_FFFF)
    assert rtc_time(rtc) == wanted
    time.advance(123)
    assert rtc_time(rtc) == wanted + 123


def set_alarm(rtc: GoldfishRtc, at_ns: int) -> None:
    rtc.write(0xC, 4, at_ns >> 32)
    rtc.write(0x8, 4, at_ns & 0xFFFF_FFFF)


def test_rtc_alarm() -> None:
    rtc, time, irq = rtc_rig()
    rtc.write(0x10, 4, 1)
    set_alarm(rtc, time.wall_ns() + 5000)
    assert rtc.read(0x18, 4) == 1
    time.advance(4999)
    assert not irq.level
    time.advance(1)
    assert irq.level
    assert rtc.read(0x18, 4) == 0
    rtc.write(0x1C, 4, 1)
    assert not irq.level


def test_rtc_alarm_in_the_past_rings_and_cleared_one_does_not() -> None:
    rtc, time, irq = rtc_rig()
    set_alarm(rtc, 5)
    assert not irq.level  # not enabled
    rtc.write(0x10, 4, 1)
    assert irq.level
    rtc.write(0x1C, 4, 0)
    set_alarm(rtc, time.wall_ns() + 50)
    rtc.write(0x14, 4, 0)
    time.advance(100)
    assert not irq.level


def test_empty_virtio_slot() -> None:
    slot = EmptySlot(2)
    assert slot.read(0, 4).to_bytes(4, "little") == b"virt"
    assert (slot.read(4, 4), slot.read(8, 4)) == (2, 0)
    slot.write(0x70, 4, 0xF)
    assert slot.read(0x70, 4) == 0

"""16550A against its data sheet and the probes of Linux's 8250 driver."""

from __future__ import annotations

import random

import pytest

from jitemu.devices.uart16550 import Uart16550
from tests.devices.mocks import MockChardev, MockTime, Wire

RBR = THR = DLL = 0
IER = DLM = 1
IIR = FCR = 2
LCR, MCR, LSR, MSR, SCR = 3, 4, 5, 6, 7


class Rig:
    def __init__(self) -> None:
        self.host = MockChardev()
        self.irq = Wire()
        self.time = MockTime()
        self.uart = Uart16550(self.host, self.irq, self.time, self.time, 3_686_400)

    def read(self, register: int) -> int:
        return self.uart.read(register, 1)

    def write(self, register: int, value: int) -> None:
        self.uart.write(register, 1, value)

    def set_115200(self) -> None:
        self.write(LCR, 0x83)
        self.write(DLL, 2)
        self.write(DLM, 0)
        self.write(LCR, 0x03)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_after_reset(rig: Rig) -> None:
    assert [rig.read(i) for i in (IER, IIR, LCR, LSR, SCR)] == [0, 1, 0, 0x60, 0]
    assert rig.read(MSR) == 0xB0


def test_linux_autodetects_a_16550a(rig: Rig) -> None:
    """The steps of the 8250 driver's autoconfig."""
    rig.write(IER, 0)
    assert rig.read(IER) & 0x0F == 0
    rig.write(IER, 0x0F)
    assert rig.read(IER) & 0x0F == 0x0F
    rig.write(IER, 0)
    rig.write(MCR, 0x10 | 0x0A)
    assert rig.read(MSR) & 0xF0 == 0x90
    rig.write(MCR, 0)
    rig.write(LCR, 0xBF)
    rig.write(2, 0)
    rig.write(LCR, 0)
    rig.write(FCR, 1)
    assert rig.read(IIR) >> 6 == 3  # 16550A
    rig.write(FCR, 1)
    rig.write(LCR, 0x80)
    assert rig.read(IIR) & 0x20 == 0  # not a 16750
    rig.write(LCR, 0)
    rig.write(IER, 0x40)
    assert rig.read(IER) & 0x40 == 0  # not an XScale UART
    rig.write(SCR, 0xA5)
    assert rig.read(SCR) == 0xA5


def test_divisor_latch_hides_data_and_ier(rig: Rig) -> None:
    rig.write(IER, 5)
    rig.write(LCR, 0x80)
    rig.write(DLL, 0x34)
    rig.write(DLM, 0x12)
    assert (rig.read(DLL), rig.read(DLM)) == (0x34, 0x12)
    rig.write(LCR, 0x03)
    assert rig.read(IER) == 5
    assert rig.host.sent == b""


def test_transmit_and_its_interrupt(rig: Rig) -> None:
    rig.write(IER, 2)
    assert rig.irq.level  # the holding register is empty: asks at once
    assert rig.read(IIR) == 0x02
    assert not rig.irq.level  # reading IIR took it back
    assert rig.read(IIR) == 0x01
    rig.write(THR, 0x41)
    assert rig.host.sent == b"A"
    assert rig.irq.level
    assert rig.read(LSR) & 0x60 == 0x60
    rig.write(IER, 0)
    assert not rig.irq.level


def test_a_host_that_does_not_read_holds_the_transmitter(rig: Rig) -> None:
    rig.host.room = 2
    rig.write(IER, 2)
    rig.write(THR, 0x41)
    assert rig.read(LSR) & 0x60 == 0x60
    rig.write(THR, 0x42)
    assert rig.read(LSR) & 0x60 == 0
    assert not rig.irq.level
    assert rig.host.on_writable is not None
    rig.host.on_writable()
    assert rig.read(LSR) & 0x60 == 0x60
    assert rig.irq.level


def test_receive_without_fifo(rig: Rig) -> None:
    rig.write(IER, 1)
    rig.host.type(b"xy")
    assert rig.irq.level
    assert rig.read(IIR) == 0x04
    assert rig.read(LSR) & 1
    assert rig.read(RBR) == ord("x")
    assert rig.read(RBR) == ord("y")  # the second had to wait
    assert rig.read(LSR) & 1 == 0
    assert not rig.irq.level


def test_trigger_level(rig: Rig) -> None:
    rig.set_115200()
    rig.write(FCR, 0x81)  # 8 characters
    rig.write(IER, 1)
    rig.host.type(b"1234567")
    assert not rig.irq.level
    rig.host.type(b"8")
    assert rig.irq.level
    assert rig.read(IIR) == 0xC4
    assert rig.read(RBR) == ord("1")
    assert not rig.irq.level


def test_character_timeout(rig: Rig) -> None:
    rig.set_115200()
    rig.write(FCR, 0x81)
    rig.write(IER, 1)
    rig.host.type(b"ab")
    four_characters = 4 * 10 * 1_000_000_000 // 115200
    rig.time.advance(four_characters - 1000)
    assert not rig.irq.level
    rig.time.advance(2000)
    assert rig.irq.level
    assert rig.read(IIR) == 0xCC
    assert rig.read(RBR) == ord("a")
    assert not rig.irq.level  # reading starts the time again
    rig.time.advance(four_characters + 1000)
    assert rig.read(IIR) == 0xCC
    assert rig.read(RBR) == ord("b")
    rig.time.advance(10 * four_characters)
    assert not rig.irq.level


def test_a_paste_is_never_lost(rig: Rig) -> None:
    rig.write(FCR, 0xC1)
    text = bytes(random.Random(1).randbytes(500))
    rig.host.type(text)
    got = bytearray()
    while rig.read(LSR) & 1:
        got.append(rig.read(RBR))
    assert got == text
    assert not rig.read(LSR) & 2


def test_break_is_a_line_status_interrupt(rig: Rig) -> None:
    rig.write(FCR, 1)
    rig.write(IER, 5)
    rig.host.breaks = 1
    rig.host.type(b"")
    assert rig.irq.level
    assert rig.read(IIR) == 0xC6
    assert rig.read(LSR) & 0x91 == 0x91
    assert rig.read(IIR) & 0xF != 0x6
    assert rig.read(RBR) == 0
    assert rig.read(LSR) & 0x91 == 0


def test_priority_of_interrupts(rig: Rig) -> None:
    rig.write(MCR, 0x1E)  # loop-back; DSR falls
    rig.write(IER, 0xF)
    rig.write(THR, 0x55)
    rig.write(THR, 0x66)  # overruns
    assert rig.read(IIR) == 0x06
    assert rig.read(LSR) & 0x2
    assert rig.read(IIR) == 0x04
    assert rig.read(RBR) == 0x66
    assert rig.read(IIR) == 0x02
    assert rig.read(IIR) == 0x00
    rig.read(MSR)
    assert rig.read(IIR) == 0x01
    assert rig.host.sent == b""


def test_loopback_modem_lines(rig: Rig) -> None:
    rig.read(MSR)
    for outputs, inputs in ((1, 0x20), (2, 0x10), (4, 0x40), (8, 0x80), (0xF, 0xF0)):
        rig.write(MCR, 0x10 | outputs)
        assert rig.read(MSR) & 0xF0 == inputs
    rig.write(MCR, 0x18)
    rig.read(MSR)
    rig.write(MCR, 0x1C)
    assert rig.read(MSR) & 4 == 0
    rig.write(MCR, 0x18)
    assert rig.read(MSR) & 4  # trailing edge of RI


def test_fcr_clears_the_receiver(rig: Rig) -> None:
    rig.write(FCR, 1)
    rig.write(IER, 1)
    rig.host.type(b"a")
    assert rig.read(LSR) & 1
    rig.write(FCR, 3)
    assert not rig.read(LSR) & 1
    assert not rig.irq.level


def test_wide_accesses_reach_one_register(rig: Rig) -> None:
    rig.uart.write(SCR, 4, 0x1234)
    assert rig.uart.read(SCR, 8) == 0x34


def test_random_accesses_do_no_harm(rig: Rig) -> None:
    random.seed(2)
    for _ in range(5000):
        register, size = random.randrange(8), random.choice((1, 2, 4, 8))
        if random.random() < 0.1:
            rig.host.type(random.randbytes(random.randrange(20)))
        elif random.random() < 0.5:
            assert 0 <= rig.uart.read(register, size) < 256
        else:
            rig.uart.write(register, size, random.getrandbits(8 * size))
        rig.time.advance(random.randrange(100_000))

"""National Semiconductor 16550A UART.

Characters leave at once: the transmitter is empty again as soon as the host took the byte.
They arrive as fast as the guest makes room for them, so typing ahead never overruns.
Section numbers are those of the PC16550D data sheet (June 1995).
"""

from __future__ import annotations

from collections import deque

from jitemu.devices.registers import RegisterDevice, port, ro, rw

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jitemu.devices.ports import Chardev, Clock, IrqLine, Scheduler, Timer

FIFO_DEPTH = 16
TRIGGER_LEVELS = (1, 4, 8, 14)
CHARACTERS_TO_TIMEOUT = 4

IER_RDA, IER_THRE, IER_RLS, IER_MSI = 1, 2, 4, 8
IIR_NONE, IIR_MSI, IIR_THRE, IIR_RDA, IIR_RLS, IIR_TIMEOUT = 0x1, 0x0, 0x2, 0x4, 0x6, 0xC
IIR_FIFO = 0xC0
FCR_ENABLE, FCR_CLEAR_RX, FCR_CLEAR_TX = 1, 2, 4
LCR_BREAK, LCR_DLAB = 0x40, 0x80
MCR_LOOP = 0x10
LSR_DR, LSR_OE, LSR_PE, LSR_FE, LSR_BI, LSR_THRE, LSR_TEMT, LSR_FIFO_ERROR = (
    *(1, 2, 4, 8),
    *(0x10, 0x20, 0x40, 0x80),
)
LSR_ERRORS = LSR_OE | LSR_PE | LSR_FE | LSR_BI
LSR_EMPTY = LSR_THRE | LSR_TEMT
MSR_DCTS, MSR_DDSR, MSR_TERI, MSR_DDCD = 1, 2, 4, 8
MSR_CTS, MSR_DSR, MSR_RI, MSR_DCD = 0x10, 0x20, 0x40, 0x80
NANOSECONDS = 1_000_000_000


class Uart16550(RegisterDevice):
    """``clock_hz`` is the input clock: baud rate times 16 times the divisor."""

    access_sizes = (1, 2, 4, 8)
    data = port(0, "RBR / THR; divisor latch low with DLAB", width=1)
    interrupts = port(1, "IER: 1 RDA, 2 THRE, 4 RLS, 8 MSI; divisor latch high with DLAB", width=1)
    identify = port(2, "IIR / FCR", width=1)
    lcr = rw(3, "line control: format, 0x40 break, 0x80 DLAB", width=1)
    mcr = rw(4, "modem control: DTR RTS OUT1 OUT2 LOOP", width=1, mask=0x1F, reset=0x08)
    status = ro(5, "LSR: DR OE PE FE BI THRE TEMT FIFO-error", width=1)
    modem = ro(6, "MSR: deltas, then CTS DSR RI DCD", width=1)
    scratch = rw(7, "no effect", width=1)

    def __init__(
        self, chardev: Chardev, irq: IrqLine, clock: Clock, scheduler: Scheduler, clock_hz: int
    ) -> None:
        super().__init__()
        self._chardev = chardev
        self._put = chardev.put
        self._irq = irq
        self._clock = clock
        self._scheduler = scheduler
        self._clock_hz = clock_hz
        self._timer: Timer | None = None
        self._rx: deque[tuple[int, int]] = deque()  # (character, its error bits of the LSR)
        self._clear()
        chardev.on_input = self.receive
        chardev.on_writable = self._drained

    def reset(self) -> None:
        self._stop_timeout()
        self.reset_registers()
        self._clear()
        self._irq.set(False)

    def _clear(self) -> None:
        self._ier = 0
        self._fcr = 0
        self._lsr = LSR_EMPTY
        self._msr = MSR_DCD | MSR_DSR | MSR_CTS
        self._divisor = 0
        self._rx.clear()
        self._thre_pending = False
        self._timed_out = False
        self._level = False

    # Interrupts (8.5, 8.6): the order of the tests is their priority.

    def _cause(self) -> int:
        ier = self._ier
        if ier & IER_RLS and self._lsr & LSR_ERRORS:
            return IIR_RLS
        if ier & IER_RDA and self._lsr & LSR_DR:
            if self._timed_out:
                return IIR_TIMEOUT
            if not self._fcr & FCR_ENABLE or len(self._rx) >= TRIGGER_LEVELS[self._fcr >> 6]:
                return IIR_RDA
        if ier & IER_THRE and self._thre_pending:
            return IIR_THRE
        if ier & IER_MSI and self._msr & 0xF:
            return IIR_MSI
        return IIR_NONE

    def _update(self) -> None:
        level = self._cause() != IIR_NONE
        if level != self._level:
            self._level = level
            self._irq.set(level)

    @identify.on_read
    def read_iir(self) -> int:
        cause = self._cause()
        if cause == IIR_THRE:
            self._thre_pending = False
            self._update()
        return cause | (IIR_FIFO if self._fcr & FCR_ENABLE else 0)

    @interrupts.on_read
    def read_ier(self) -> int:
        return self._divisor >> 8 if self.lcr & LCR_DLAB else self._ier

    @interrupts.on_write
    def write_ier(self, value: int) -> None:
        if self.lcr & LCR_DLAB:
            self._divisor = self._divisor & 0xFF | value << 8
            return
        changed = self._ier ^ value
        self._ier = value & 0xF
        if changed & IER_THRE:
            # Enabling it with the holding register empty asks at once (8.6).
            self._thre_pending = bool(value & IER_THRE and self._lsr & LSR_THRE)
        self._update()

    # Transmission

    @data.on_write
    def write_thr(self, value: int) -> None:
        if self.lcr & LCR_DLAB:
            self._divisor = self._divisor & ~0xFF | value
            return
        if self.mcr & MCR_LOOP:
            self._arrive(value, 0)
        elif not self._put(value):
            self._lsr &= ~LSR_EMPTY
            self._thre_pending = False
            self._update()
            return
        self._thre_pending = True
        if self._ier:
            self._update()

    def _drained(self) -> None:
        """The host took what it had; the transmitter is empty again."""
        if not self._lsr & LSR_THRE:
            self._lsr |= LSR_EMPTY
            self._thre_pending = True
            self._update()

    # Reception

    def receive(self) -> None:
        """Take from the host what there is room for."""
        if self.mcr & MCR_LOOP:
            return
        if self._chardev.take_break():
            self._arrive(0, LSR_BI)
        room = (FIFO_DEPTH if self._fcr & FCR_ENABLE else 1) - len(self._rx)
        if room > 0:
            for character in self._chardev.read(room):
                self._arrive(character, 0)
        self._update()

    def _arrive(self, character: int, errors: int) -> None:
        """A character is complete in the shift register (8.3 for the error bits)."""
        fifo = self._fcr & FCR_ENABLE
        if len(self._rx) >= (FIFO_DEPTH if fifo else 1):
            self._lsr |= LSR_OE
            if fifo:
                return  # a full FIFO keeps what it has; the holding register is overwritten
            self._rx.clear()
        self._rx.append((character, errors))
        self._lsr |= LSR_DR
        if len(self._rx) == 1:
            self._lsr |= errors
        self._restart_timeout()

    @data.on_read
    def read_rbr(self) -> int:
        if self.lcr & LCR_DLAB:
            return self._divisor & 0xFF
        rx = self._rx
        if not rx:
            return 0
        character = rx.popleft()[0]
        if rx:
            self._lsr |= rx[0][1]  # errors show when their character is at the FIFO's top
        else:
            self._lsr &= ~LSR_DR
        self._timed_out = False
        self._restart_timeout()
        self.receive()
        return character

    # The character timeout (8.11): data below the trigger level, and four characters' time
    # without a new one or a read.

    def _restart_timeout(self) -> None:
        self._stop_timeout()
        if self._rx and self._fcr & FCR_ENABLE:
            bits = 1 + 5 + (self.lcr & 3) + (self.lcr >> 3 & 1) + 1 + (self.lcr >> 2 & 1)
            bit_clocks = 16 * (self._divisor or 1)
            wait = CHARACTERS_TO_TIMEOUT * bits * bit_clocks * NANOSECONDS // self._clock_hz
            self._timer = self._scheduler.call_at(self._clock.monotonic_ns() + wait, self._timeout)

    def _stop_timeout(self) -> None:
        if self._timer is not None:
            self._scheduler.cancel(self._timer)
            self._timer = None

    def _timeout(self) -> None:
        self._timer = None
        self._timed_out = bool(self._rx)
        self._update()

    @identify.on_write
    def write_fcr(self, value: int) -> None:
        if (value ^ self._fcr) & FCR_ENABLE:
            value |= FCR_CLEAR_RX | FCR_CLEAR_TX  # changing the mode empties both (8.4)
        if value & FCR_CLEAR_RX:
            self._rx.clear()
            self._lsr &= ~(LSR_DR | LSR_BI)
            self._timed_out = False
            self._stop_timeout()
        if value & FCR_CLEAR_TX and self._lsr & LSR_THRE:
            self._thre_pending = True
        # The other bits can be written only together with the enable bit.
        self._fcr = value & 0xC9 if value & FCR_ENABLE else 0
        self.receive()

    # Line and modem

    @status.on_read
    def read_lsr(self) -> int:
        lsr = self._lsr
        if self._rx and self._fcr & FCR_ENABLE and any(errors for _, errors in self._rx):
            lsr |= LSR_FIFO_ERROR
        if lsr & LSR_ERRORS:
            self._lsr &= ~LSR_ERRORS
            self._update()
        return lsr

    @mcr.on_write
    def write_mcr(self, value: int) -> None:
        """In loop-back the modem's outputs are its inputs: RTS CTS, DTR DSR, OUT1 RI, OUT2 DCD."""
        if value & MCR_LOOP:
            lines = (value >> 1 & 1) << 4 | (value & 1) << 5 | (value & 0xC) << 4
        else:
            lines = MSR_DCD | MSR_DSR | MSR_CTS
        changed = (self._msr ^ lines) & 0xF0
        if lines & MSR_RI:
            changed &= ~MSR_RI  # TERI is set by the trailing edge only
        self._msr = lines | self._msr & 0xF | changed >> 4
        self.receive()
        self._update()

    @modem.on_read
    def read_msr(self) -> int:
        msr = self._msr
        self._msr &= 0xF0
        self._update()
        return msr

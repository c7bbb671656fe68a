"""The firmware that is there when no -bios is given: the RISC-V Supervisor Binary Interface
2.0, without any code in guest memory.  Section and error names are the specification's."""

from __future__ import annotations

from jitemu.system.hart import SSIP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Protocol

    from jitemu.devices.ports import MachineControl
    from jitemu.memory.physical import PhysicalSpace
    from jitemu.system.hart import Hart

    class Console(Protocol):
        """The serial port that the debug console is."""

        def put(self, byte: int) -> bool: ...

        def get(self) -> int | None:
            """The next byte that arrived, or None."""
            ...

    class Platform(Protocol):
        """What the firmware has the machine do."""

        @property
        def control(self) -> MachineControl: ...
        @property
        def console(self) -> Console: ...
        @property
        def space(self) -> PhysicalSpace: ...
        @property
        def harts(self) -> Sequence[Hart]: ...

        def set_interrupt(self, hart: int, number: int, level: bool) -> None: ...

        def set_timer(self, hart: int, ticks: int | None) -> None:
            """Lower STIP, and raise it when mtime reaches ``ticks``; None for never."""
            ...

        def wait_for_interrupt(self, hart: int) -> None:
            """Return once an interrupt is pending or the machine stops."""
            ...

        def park(self, hart: int) -> None:
            """Return when the machine is reset or ends."""
            ...

    # A function of an extension: (hart id, a0..a5) -> value, or a failure.
    Function = Callable[[int, list[int]], int]

SPEC_VERSION = 2 << 24
IMPLEMENTATION = int.from_bytes(b"jit", "big")  # none that the specification has given out
IMPLEMENTATION_VERSION = 1
MASK64 = (1 << 64) - 1

FAILED, NOT_SUPPORTED, INVALID_PARAM, DENIED, INVALID_ADDRESS, ALREADY_AVAILABLE = range(-1, -7, -1)

BASE, TIME, IPI, RFENCE, HSM, SRST, DBCN = (
    0x10,
    0x54494D45,
    0x735049,
    0x52464E43,
    0x48534D,
    0x53525354,
    0x4442434E,
)
LEGACY_EXTENSIONS = range(9)
CONSOLE_CHUNK = 4096  # bytes one DBCN call moves at most
HART_STARTED = 0
SUSPEND_RETENTIVE = 0
RESET_TYPES = SHUTDOWN, COLD_REBOOT, WARM_REBOOT = 0, 1, 2
REASON_NONE, REASON_FAILURE = 0, 1
REASON_IMPLEMENTATION = 0xE000_0000
A0, A1, A6, A7 = 10, 11, 16, 17


class SbiError(Exception):
    """A call fails with this (negative) code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Firmware:
    """Serves ``ecall`` from S mode."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._functions: dict[int, dict[int, Function]] = {
            BASE: self._base_functions(),
            TIME: {0: self._set_timer},
            IPI: {0: self._send_ipi},
            # One hart executes at a time and sees its own fences; see ``_fence``.
            RFENCE: dict.fromkeys(range(3), self._fence),
            HSM: {
                0: self._hart_start,
                1: self._hart_stop,
                2: self._hart_status,
                3: self._hart_suspend,
            },
            SRST: {0: self._system_reset},
            DBCN: {0: self._console_write, 1: self._console_read, 2: self._console_write_byte},
        }
        self._legacy: dict[int, Function] = {
            0: self._set_timer,
            1: self._legacy_putchar,
            2: self._legacy_getchar,
            3: self._legacy_clear_ipi,
            4: self._legacy_send_ipi,
            # Remote fences: the only hart is never remote.
            **dict.fromkeys(range(5, 8), self._nothing),
            8: self._legacy_shutdown,
        }

    def handle_ecall(self, hart: Hart, hart_id: int = 0) -> None:
        """Do what the registers ask for, put the result into a0 and a1, go past the ecall."""
        arguments = [hart.read_gpr(A0 + i) & MASK64 for i in range(6)]
        extension, function = hart.read_gpr(A7) & MASK64, hart.read_gpr(A6) & MASK64
        hart.pc = (hart.pc + 4) & MASK64
        legacy = self._legacy.get(extension)
        if legacy is not None:
            hart.write_gpr(A0, legacy(hart_id, arguments) & MASK64)
            return
        error = value = 0
        call = self._functions.get(extension, {}).get(function)
        if call is None:
            error = NOT_SUPPORTED
        else:
            try:
                value = call(hart_id, arguments)
            except SbiError as failure:
                error = failure.code
        hart.write_gpr(A0, error & MASK64)
        hart.write_gpr(A1, value & MASK64)

    # Base extension (4)

    def _base_functions(self) -> dict[int, Function]:
        def constant(value: int) -> Function:
            return lambda _hart, _arguments: value

        return {
            0: constant(SPEC_VERSION),
            1: constant(IMPLEMENTATION),
            2: constant(IMPLEMENTATION_VERSION),
            3: self._probe,
            4: constant(0),  # mvendorid, marchid, mimpid: not given
            5: constant(0),
            6: constant(0),
        }

    def _probe(self, _hart: int, arguments: list[int]) -> int:
        return int(arguments[0] in self._functions or arguments[0] in LEGACY_EXTENSIONS)

    # Timer (6), IPI (7), RFENCE (8)

    def _set_timer(self, hart: int, arguments: list[int]) -> int:
        ticks = arguments[0]
        self._platform.set_timer(hart, None if ticks == MASK64 else ticks)
        return 0

    def _harts_of_mask(self, mask: int, base: int) -> list[int]:
        """The harts that a mask and base name (3.1); all of them for a base of -1."""
        count = len(self._platform.harts)
        if base == MASK64:
            return list(range(count))
        harts = [base + bit for bit in range(64) if mask >> bit & 1]
        if any(hart >= count for hart in harts):
            raise SbiError(INVALID_PARAM)
        return harts

    def _send_ipi(self, _hart: int, arguments: list[int]) -> int:
        for hart in self._harts_of_mask(arguments[0], arguments[1]):
            self._platform.set_interrupt(hart, SSIP, True)
        return 0

    def _fence(self, _hart: int, arguments: list[int]) -> int:
        """Kernels fence their own hart with the instruction; there is no other."""
        self._harts_of_mask(arguments[0], arguments[1])
        return 0

    # Hart state management (9)

    def _check_hart(self, number: int) -> None:
        if number >= len(self._platform.harts):
            raise SbiError(INVALID_PARAM)

    def _hart_start(self, _hart: int, arguments: list[int]) -> int:
        self._check_hart(arguments[0])
        raise SbiError(ALREADY_AVAILABLE)

    def _hart_stop(self, hart: int, _arguments: list[int]) -> int:
        self._platform.park(hart)
        return 0

    def _hart_status(self, _hart: int, arguments: list[int]) -> int:
        self._check_hart(arguments[0])
        return HART_STARTED

    def _hart_suspend(self, hart: int, arguments: list[int]) -> int:
        """Retentive suspend is a long WFI; others would need power states to lose."""
        if arguments[0] & 0xFFFF_FFFF != SUSPEND_RETENTIVE:
            raise SbiError(INVALID_PARAM)
        self._platform.wait_for_interrupt(hart)
        return 0

    # System reset (10)

    def _system_reset(self, hart: int, arguments: list[int]) -> int:
        kind, reason = arguments[0] & 0xFFFF_FFFF, arguments[1] & 0xFFFF_FFFF
        if kind not in RESET_TYPES or REASON_FAILURE < reason < REASON_IMPLEMENTATION:
            raise SbiError(INVALID_PARAM)
        if kind == SHUTDOWN:
            self._platform.control.shutdown(0 if reason == REASON_NONE else 1)
        else:
            self._platform.control.reset()
        self._platform.park(hart)
        return 0

    # Debug console (12)

    def _console_write(self, _hart: int, arguments: list[int]) -> int:
        count, low, high = arguments[:3]
        if high or not self._platform.space.is_ram(low, count):
            raise SbiError(INVALID_PARAM)
        data = self._platform.space.dma_read(low, min(count, CONSOLE_CHUNK))
        for written, byte in enumerate(data, 1):
            if not self._platform.console.put(byte):
                return written
        return len(data)

    def _console_read(self, _hart: int, arguments: list[int]) -> int:
        count, low, high = arguments[:3]
        space, data = self._platform.space, bytearray()
        if high or not space.is_ram(low, count):
            raise SbiError(INVALID_PARAM)
        while len(data) < min(count, CONSOLE_CHUNK):
            byte = self._platform.console.get()
            if byte is None:
                break
            data.append(byte)
        space.dma_write(low, data)
        return len(data)

    def _console_write_byte(self, _hart: int, arguments: list[int]) -> int:
        self._platform.console.put(arguments[0] & 0xFF)
        return 0

    # Legacy extensions (5): no value in a1

    def _nothing(self, _hart: int, _arguments: list[int]) -> int:
        return 0

    def _legacy_putchar(self, _hart: int, arguments: list[int]) -> int:
        self._platform.console.put(arguments[0] & 0xFF)
        return 0

    def _legacy_getchar(self, _hart: int, _arguments: list[int]) -> int:
        byte = self._platform.console.get()
        return -1 if byte is None else byte

    def _legacy_clear_ipi(self, hart: int, _arguments: list[int]) -> int:
        self._platform.set_interrupt(hart, SSIP, False)
        return 0

    def _legacy_send_ipi(self, hart: int, _arguments: list[int]) -> int:
        """The mask is in memory, by virtual address; the caller is the only hart there is."""
        self._platform.set_interrupt(hart, SSIP, True)
        return 0

    def _legacy_shutdown(self, hart: int, _arguments: list[int]) -> int:
        self._platform.control.shutdown(0)
        self._platform.park(hart)
        return 0

"""SiFive test finisher: the register through which firmware and tests end the machine."""

from __future__ import annotations

from jitemu.devices.registers import RegisterDevice, port

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jitemu.devices.ports import MachineControl

FAIL = 0x3333
PASS = 0x5555
RESET = 0x7777


class TestFinisher(RegisterDevice):
    """One write-only word: the low half says what to do, the high half is the exit code."""

    __test__ = False  # not a pytest class
    access_sizes = (2, 4)
    finish = port(0x0, "0x5555 exit 0; code<<16 | 0x3333 exit code; 0x7777 reset")

    def __init__(self, control: MachineControl) -> None:
        super().__init__()
        self._control = control

    @finish.on_read
    def read_finish(self) -> int:
        return 0

    @finish.on_write
    def write_finish(self, value: int) -> None:
        command = value & 0xFFFF
        if command == PASS:
            self._control.shutdown(0)
        elif command == FAIL:
            # An exit status has eight bits; a failure must not turn into 0 by losing the rest.
            code = value >> 16 & 0xFFFF
            self._control.shutdown(code & 0xFF or (1 if code else 0))
        elif command == RESET:
            self._control.reset()
        else:
            self.guest_error(f"unknown command {value:#x}")

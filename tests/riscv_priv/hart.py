"""A hart on the reference interpreter, with RAM and a device, for the tests here."""

from __future__ import annotations

from copy import deepcopy

from jitemu.frontends.riscv import csrs, fetch, memory, start, traps
from jitemu.frontends.riscv.privileged import HartState
from jitemu.frontends.riscv.state import S
from jitemu.ir.interp import run_native
from jitemu.ir.machine import Machine, PagedMemory
from jitemu.ir.native import NativeFunction

NATIVES = (csrs, fetch, memory, start, traps)
"""Importing them defines the native functions, which are looked up by name."""

RAM_BASE = 0x8000_0000
RAM_SIZE = 1 << 20
RAM_HOST = 0x5000_0000_0000
CODE_PAGES = 0x6000_0000_0000
BAD_DEVICE = 0x1000_2000
"""A device address at which reads and writes fail."""


CODE_WRITTEN = NativeFunction(
    "code_written",
    ("physical", "size"),
    {},
    lambda: "def code_written(s, physical, size):\n    hostcall(s.scratch[0], physical, size)",
)
"""Stands in for the engine's, which would forget translated code."""

_RESET: list[tuple[dict[str, int], dict[str, list[int]]]] = []


class Hart:
    """The state after reset; ``call`` runs a native function by name."""

    def __init__(self) -> None:
        host = PagedMemory()
        host.map(RAM_HOST, RAM_SIZE)
        host.map(CODE_PAGES, RAM_SIZE // 4096 * 8)
        self.machine = Machine(HartState, mode="system", emitter=S)
        self.machine.host = host
        self.now_ns = 0
        self.log: list[tuple[str, int, int, int]] = []
        functions = {
            "host_clock": self._clock,
            "mmio_read": self._mmio_read,
            "mmio_write": self._mmio_write,
            "timer_notify": self._timer,
        }
        for at, (name, function) in enumerate(functions.items(), 0x1000):
            self.machine.host_functions[at] = function
            self[name] = at
        self.set_code_callback(0x2000)
        self["ram_base"], self["ram_size"], self["ram_host"] = RAM_BASE, RAM_SIZE, RAM_HOST
        self["code_pages"] = CODE_PAGES
        self["sstc"], self["satp_levels"] = 1, 5
        self._reset()

    def _reset(self) -> None:
        """reset_hart; it is slow here (it empties the tables), so its result is kept."""
        if not _RESET:
            self.call("reset_hart")
            _RESET.append((dict(self.machine.fields), deepcopy(self.machine.arrays)))
        fields, arrays = _RESET[0]
        self.machine.fields.update(fields)
        for name, words in arrays.items():
            self.machine.arrays[name][:] = words

    def __getitem__(self, name: str) -> int:
        return self.machine.fields[name]

    def __setitem__(self, name: str, value: int) -> None:
        self.machine.fields[name] = value

    def array(self, name: str) -> list[int]:
        """An array of the state."""
        return self.machine.arrays[name]

    def call(self, name: str, *args: int) -> int:
        """Run a native function."""
        return run_native(name, self.machine, *args)

    def open_pmp(self) -> None:
        """Let all modes access everything."""
        self.array("pmpaddr")[0] = (1 << 54) - 1
        self.array("pmpcfg")[0] = 0x1F
        self.call("pmp_update")

    def read(self, physical: int, size: int = 8) -> int:
        """RAM."""
        return self.machine.host.read(physical - RAM_BASE + RAM_HOST, size)

    def write(self, physical: int, value: int, size: int = 8) -> None:
        """RAM."""
        self.machine.host.write(physical - RAM_BASE + RAM_HOST, size, value)

    def set_code(self, physical: int, word: int) -> None:
        """What code_pages says of a page."""
        self.machine.host.write(CODE_PAGES + (physical - RAM_BASE) // 4096 * 8, 8, word)

    def _clock(self, which: int, buffer: int) -> int:
        assert which == 1
        self.machine.host_write(buffer, 8, self.now_ns // 10**9)
        self.machine.host_write(buffer + 8, 8, self.now_ns % 10**9)
        return 0

    def _mmio_read(self, address: int, size: int) -> int:
        self.log.append(("read", address, size, 0))
        self["mmio_failed"] = int(address == BAD_DEVICE)
        return 0xFEDC_BA98_7654_3210

    def _mmio_write(self, address: int, size: int, value: int) -> int:
        self.log.append(("write", address, size, value))
        self["mmio_failed"] = int(address == BAD_DEVICE)
        return 0

    def set_code_callback(self, address: int) -> None:
        """Where the stand-in for the engine's code_written finds the test."""
        self.machine.host_functions[address] = self.code_written
        self.array("scratch")[0] = address

    def code_written(self, address: int, size: int) -> int:
        """A store hit what set_code says is code."""
        self.log.append(("code", address, size, 0))
        return 0

    def _timer(self, deadline: int) -> int:
        self.log.append(("timer", deadline, 0, 0))
        return 0

"""The engine in system mode, with RAM, a device window and page tables of its own."""

from __future__ import annotations

import struct
from functools import cache

from jitemu.frontends.riscv.privileged import EXIT_WFI
from jitemu.ir.machine import PAGE
from jitemu.memory.physical import BusError, PhysicalSpace, Ram
from jitemu.runtime.guests import riscv64_system
from jitemu.runtime.setup import translation_for
from jitemu.runtime.system_processor import SystemProcessor, SystemSpace
from tests.engine.executors import CPU, Engine
from tests.engine.image import BASE, DONE, Image, encode, harness

RAM_SIZE = 16 << 20
TABLES = BASE + 0x80_0000
FREE = BASE + 0xA0_0000
"""RAM that images do not use."""
DEVICE = 0x1000_0000
DEVICE_SIZE = PAGE
V, R, W, X, A, D = 1, 2, 4, 8, 0x40, 0x80
LEAF = V | R | W | X | A | D
SV39 = 8 << 60
PAGES = RAM_SIZE // PAGE
FS_INITIAL = 1 << 13


class Registers:
    """A device of registers that remember, and a log of the accesses."""

    def __init__(self) -> None:
        self.data = bytearray(range(256)) * (DEVICE_SIZE // 256)
        self.log: list[tuple[str, int, int, int]] = []

    def read(self, offset: int, size: int) -> int:
        if offset >= DEVICE_SIZE // 2:
            raise BusError
        value = int.from_bytes(self.data[offset : offset + size], "little")
        self.log.append(("read", offset, size, value))
        return value

    def write(self, offset: int, size: int, value: int) -> None:
        if offset >= DEVICE_SIZE // 2:
            raise BusError
        self.log.append(("write", offset, size, value))
        self.data[offset : offset + size] = value.to_bytes(size, "little")


class SystemMode(Engine):
    """Runs images in M mode or, by 4 KiB pages mapped to themselves, in S mode."""

    def __init__(self) -> None:
        ram = Ram(BASE, RAM_SIZE)
        self.physical = PhysicalSpace(ram)
        self.device = Registers()
        self.physical.map_mmio(DEVICE, DEVICE_SIZE, self.device, "registers")
        self.memory = ram.view
        guest = riscv64_system(CPU)
        self.system_space = SystemSpace(guest, translation_for(guest), self.physical)
        self.space = self.system_space
        self.hart = SystemProcessor(self.system_space)
        self.processor = self.hart
        self.hart.requested = lambda processor: self.hart.apply_changes()
        self.hart.state["satp_levels"] = 3
        self.supervisor = False
        self._map_all()

    @property
    def name(self) -> str:  # type: ignore[override]
        return "S mode" if self.supervisor else "M mode"

    def _map_all(self) -> None:
        """RAM and the device at their own addresses."""
        root, middle, low, leaves = (TABLES + n * PAGE for n in (0, 1, 2, 4))
        self.set_entry(root, DEVICE >> 30, low, V)
        self.set_entry(low, DEVICE >> 21 & 511, low + PAGE, V)
        self.set_entry(low + PAGE, DEVICE >> 12 & 511, DEVICE, LEAF)
        self.set_entry(root, BASE >> 30, middle, V)
        for n in range(PAGES >> 9):
            self.set_entry(middle, n, leaves + n * PAGE, V)
        for n in range(PAGES):
            self.set_leaf(BASE + n * PAGE, BASE + n * PAGE, LEAF)

    def set_entry(self, table: int, index: int, physical: int, bits: int) -> None:
        """Write a page table entry."""
        at = table + 8 * index - BASE
        self.memory[at : at + 8] = struct.pack("<Q", physical >> 12 << 10 | bits)

    def set_leaf(self, address: int, physical: int, bits: int) -> None:
        """Map a page of RAM's addresses; the TLB does not know yet."""
        self.set_entry(TABLES + 4 * PAGE, address - BASE >> 12, physical, bits)

    def load(self, image: Image) -> None:
        super().load(image)
        # M mode's FP unit is off at first.
        code = encode("lui", rd=5, imm=FS_INITIAL) + encode("csrrs", rd=0, csr=0x300, rs1=5)
        code += encode("jal", rd=0, imm=harness()[1] - (DONE + 8 + len(code)))
        self.memory[DONE - BASE : DONE - BASE + 8] = encode("wfi") + bytes(4)
        self.memory[DONE - BASE + 8 : DONE - BASE + 8 + len(code)] = code

    def reset(self, pc: int) -> None:
        """Power on, in the mode chosen, with everything mapped."""
        self.hart.native("reset_hart")
        if self.supervisor:
            self.hart.state["satp"] = SV39 | TABLES >> 12
            self.hart.native("start_supervisor")
        self.hart.pc = pc

    def go(self) -> None:
        self.reset(harness()[1] if self.supervisor else DONE + 8)
        reason = self.hart.run()
        state = self.hart.state
        causes = [hex(state[n]) for n in ("mcause", "mepc", "mtval", "scause", "sepc", "stval")]
        assert reason == EXIT_WFI and self.hart.pc == DONE + 4, (reason, hex(self.hart.pc), causes)

    def holes(self, ctx: int) -> dict[str, int]:
        return dict(self.space.guest.context(ctx))


@cache
def system_mode() -> SystemMode:
    """The one of this process."""
    return SystemMode()


def in_machine_mode() -> SystemMode:
    """M mode, addresses physical."""
    system_mode().supervisor = False
    return system_mode()


def in_supervisor_mode() -> SystemMode:
    """S mode, Sv39."""
    system_mode().supervisor = True
    return system_mode()

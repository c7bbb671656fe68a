"""The bare-metal program's log on the interpreter, held against QEMU's."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from jitemu.frontends.riscv import extensions, system_insns, zicsr
from jitemu.frontends.riscv.state import isa
from jitemu.ir.interp import run_instruction, translate
from jitemu.ir.machine import MemoryFault
from tests.riscv_priv.bare_metal import build
from tests.riscv_priv.hart import RAM_BASE, Hart

QEMU, GCC = "qemu-system-riscv64", "riscv64-linux-gnu-gcc"
DEFINITIONS = (extensions, system_insns, zicsr)
UART = 0x1000_0000


class GuestMemory:
    """Data accesses of instructions, as translated code makes them."""

    def __init__(self, hart: Hart) -> None:
        self.hart = hart

    def _mode(self) -> int:
        return self.hart["ctx"] >> 5

    def read(self, addr: int, size: int) -> int:
        value = self.hart.call("slow_load", addr, size, self._mode())
        if self.hart["trapped"]:
            raise MemoryFault(addr, False)
        return value

    def write(self, addr: int, size: int, value: int) -> None:
        if size > 1 and addr % size:  # only atomics are misaligned in this program
            self.hart.call("slow_address", addr, size, self._mode())
        else:
            self.hart.call("slow_store", addr, size, value, self._mode())
        if self.hart["trapped"]:
            raise MemoryFault(addr, True)


def run(elf: Path) -> list[int]:
    """The log, when the program begins to print it."""
    from elftools.elf.elffile import ELFFile  # pyright: ignore

    hart = Hart()
    machine = hart.machine
    machine.memory = GuestMemory(hart)
    with elf.open("rb") as file:
        for segment in ELFFile(file).iter_segments("PT_LOAD"):
            for n, byte in enumerate(segment.data()):
                hart.write(segment["p_paddr"] + n, byte, 1)
    decoder = isa.decoder()
    hart["pc"] = RAM_BASE
    for _ in range(100_000):
        if hart.log and hart.log[-1][1] == UART:
            break
        pc = hart["pc"]
        if not hart.call("fetch_translate", pc):
            continue
        body = translate(decoder, machine, hart.read(hart["fetch_physical"], 4))
        if body is None:
            hart.call("raise_exception", 2, 0)
            continue
        outcome = run_instruction(body[0], machine, pc, body[1])
        if outcome.kind not in ("fault", "leave"):
            hart["pc"] = outcome.pc
    else:
        pytest.fail("the program does not end")
    start, end = machine.arrays["x"][8:10]
    return [hart.read(address) for address in range(start, end, 8)]


@pytest.mark.skipif(not shutil.which(QEMU) or not shutil.which(GCC), reason="no QEMU")
def test_same_log(tmp_path: Path) -> None:
    elf = build(tmp_path)
    output = tmp_path / "uart"
    command = [QEMU, "-M", "virt", "-cpu", "rv64,h=false", "-bios", "none", "-display", "none"]
    command += ["-kernel", str(elf), "-serial", f"file:{output}", "-monitor", "none"]
    subprocess.run(command, check=True, timeout=20)
    printed = output.read_bytes()
    wanted = [int.from_bytes(printed[n : n + 8], "little") for n in range(0, len(printed), 8)]
    got = run(elf)
    pairs = enumerate(zip(wanted, got, strict=False))
    assert [(n, f"{a:#x}", f"{b:#x}") for n, (a, b) in pairs if a != b] == []
    assert len(wanted) == len(got) > 1000

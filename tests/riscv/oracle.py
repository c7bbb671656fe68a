"""What other implementations make of the same guest code: Unicorn, QEMU and objdump."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unicorn import riscv_const as names
from unicorn import unicorn_const as kinds
from unicorn.unicorn import Uc, UcError

from tests.riscv.operands import CODE, SCRATCH, SCRATCH_SIZE

CODE_SIZE = 0x4000
X = [names.UC_RISCV_REG_X0 + n for n in range(32)]
FS_INITIAL = 0x2000


@dataclass
class Result:
    """A hart after guest code."""

    pc: int
    x: list[int]
    memory: bytes
    """The scratch area."""


class IllegalInstruction(Exception):
    """The oracle raised an exception (in machine mode only illegal instructions do)."""


class UnicornOracle:
    """RV64GC of QEMU 5: no bit manipulation, no NaN boxing of arguments."""

    def __init__(self) -> None:
        self.uc: Any = Uc(kinds.UC_ARCH_RISCV, kinds.UC_MODE_RISCV64)
        self.uc.mem_map(CODE, CODE_SIZE)
        self.uc.mem_map(SCRATCH, SCRATCH_SIZE)
        self.uc.reg_write(names.UC_RISCV_REG_MSTATUS, FS_INITIAL)
        self.fresh = self.uc.context_save()

    def run(self, code: bytes, x: Sequence[int], memory: bytes, count: int = 0) -> Result:
        """Run code to its end, or so many instructions of it."""
        self.uc.context_restore(self.fresh)
        self.uc.mem_write(CODE, code)
        self.uc.ctl_remove_cache(CODE, CODE + CODE_SIZE)
        self.uc.mem_write(SCRATCH, memory)
        self.uc.reg_write_batch([(X[n], x[n]) for n in range(1, 32)])
        try:
            self.uc.emu_start(CODE, CODE + len(code), count=count)
        except UcError as error:
            if error.errno == kinds.UC_ERR_EXCEPTION:
                raise IllegalInstruction from None
            if error.errno != kinds.UC_ERR_FETCH_UNMAPPED:
                raise
        values = [int(v) for v in self.uc.reg_read_batch([*X, names.UC_RISCV_REG_PC])]
        return Result(values[32], values[:32], bytes(self.uc.mem_read(SCRATCH, SCRATCH_SIZE)))

    def legal(self, word: int, size: int) -> bool:
        """Whether the word is an instruction (that it may jump or fault does not matter)."""
        self.uc.context_restore(self.fresh)
        self.uc.mem_write(CODE, word.to_bytes(size, "little"))
        try:
            self.uc.emu_start(CODE, CODE + size, count=1)
        except UcError as error:
            return error.errno != kinds.UC_ERR_EXCEPTION
        return True


QEMU = shutil.which("qemu-riscv64")
A0, A1, A2, A7, T0, T1 = 10, 11, 12, 17, 5, 6
BASE, RECORD = 0x10000, struct.Struct("<QQQ")


def _i(opcode: int, funct3: int, rd: int, rs1: int, imm: int) -> int:
    return (imm & 0xFFF) << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode


def _move(rd: int, rs1: int, imm: int = 0) -> int:
    return _i(0x13, 0, rd, rs1, imm)


def _elf(code: bytes, data: bytes) -> bytes:
    """A static program: one segment that may be read, written and executed."""
    size = 64 + 56 + len(code) + len(data)
    ident = b"\x7fELF\2\1\1".ljust(16, b"\0")
    head = struct.pack("<HHIQQQIHHHHHH", 2, 243, 1, BASE + 120, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 7, 0, BASE, BASE, size, size, 0x1000)
    return ident + head + segment + code + data


def qemu_run(folder: Path, cases: Iterable[tuple[int, int, int]]) -> list[int]:
    """a0 after each (word, a1, a2): an instruction with rd = a0, rs1 = a1, rs2 = a2.

    One program runs them all on ``qemu-riscv64 -cpu rv64`` (a0 is a1 ^ a2 before).
    """
    cases = list(cases)
    code: list[int] = []
    size = 4 * (5 + 6 * len(cases) + 7)
    data = BASE + 120 + size
    lui = (data + 0x800) & 0xFFFFF000
    code += [lui | T0 << 7 | 0x37, _move(T0, T0, data - lui), _move(T1, T0), _move(0, 0)]
    code.append(_move(0, 0))
    for word, _, _ in cases:
        code += [_i(3, 3, A1, T0, 0), _i(3, 3, A2, T0, 8)]
        code += [A2 << 20 | A1 << 15 | 4 << 12 | A0 << 7 | 0x33, word]
        code += [A0 << 20 | T0 << 15 | 3 << 12 | 16 << 7 | 0x23, _move(T0, T0, RECORD.size)]
    count = A2 << 7 | 0x33 | T1 << 20 | T0 << 15 | 0x40000000
    code += [count, _move(A1, T1), _move(A0, 0, 1), _move(A7, 0, 64), 0x73]
    code += [_move(A7, 0, 93), 0x73]
    records = b"".join(RECORD.pack(a, b, 0) for _, a, b in cases)
    program = folder / "cases"
    program.write_bytes(_elf(struct.pack(f"<{len(code)}I", *code), records))
    program.chmod(0o755)
    assert QEMU
    done = subprocess.run([QEMU, "-cpu", "rv64", program], capture_output=True, timeout=60)
    assert len(done.stdout) == len(records), (done.returncode, done.stderr)
    return [result for _, _, result in RECORD.iter_unpack(done.stdout)]


OBJDUMP = shutil.which("riscv64-linux-gnu-objdump")
MARCH = "rv64gc_zicsr_zifencei_zihintpause_zba_zbb_zbc_zbs_zicbom_zicboz"


def objdump(folder: Path, words: Sequence[int], size: int) -> list[str]:
    """The mnemonic of each word, "" where it is none."""
    source, image = folder / "words.s", folder / "words.o"
    source.write_text("".join(f".insn {size}, {word:#x}\n" for word in words))
    assert OBJDUMP
    assembler = OBJDUMP.replace("objdump", "as")
    subprocess.run([assembler, f"-march={MARCH}", "-o", image, source], check=True, timeout=60)
    command = [OBJDUMP, "-M", "no-aliases", "-zd", str(image)]
    text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    rows = [line.split("\t") for line in text.splitlines() if line.startswith(" ")]
    assert [int(row[1], 16) for row in rows] == list(words)
    return ["" if row[2][0] in ".0" or row[2] == "c.unimp" else row[2] for row in rows]

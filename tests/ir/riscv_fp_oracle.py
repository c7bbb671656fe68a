"""Runs one RISC-V floating-point instruction over many operands, under Unicorn or QEMU.

A guest loop of twelve instructions reads records of (a, b, c, frm) and writes back
(result, fflags), so thousands of cases cost one start of the emulator.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

BASE = 0x10000
DATA = 0x11000
RECORD = struct.Struct("<QQQQ")
ANSWER = struct.Struct("<QQ16x")

# Operands are fa0, fa1, fa2 (or a0); the result is in fa3 (or a3).
FA0, FA1, FA2, FA3, A0, A3 = 10, 11, 12, 13, 10, 13

Case = tuple[int, int, int, int]


def fp_op(funct7: int, rs2: int, rm: int, rd: int = FA3, rs1: int = FA0) -> int:
    """An instruction word of the OP-FP major opcode."""
    return funct7 << 25 | rs2 << 20 | rs1 << 15 | rm << 12 | rd << 7 | 0b1010011


def fma_op(opcode: int, format_code: int) -> int:
    return FA2 << 27 | format_code << 25 | FA1 << 20 | FA0 << 15 | 7 << 12 | FA3 << 7 | opcode


@dataclass(frozen=True)
class Probe:
    """An instruction word and the shape of its operands and result."""

    word: int
    load_size: int  # bytes of a floating-point operand
    store_size: int  # bytes of a floating-point result
    to_x: bool  # the result is an integer register


def _loop(probe: Probe) -> list[int]:
    """Registers: t0 the record, t1 the end, t2 scratch."""
    funct3 = {2: 1, 4: 2, 8: 3}

    def load(rd: int, offset: int) -> int:
        return offset << 20 | 5 << 15 | funct3[probe.load_size] << 12 | rd << 7 | 0b0000111

    def store_x(rs2: int, offset: int) -> int:
        return rs2 << 20 | 5 << 15 | 3 << 12 | offset << 7 | 0b0100011

    store_f = FA3 << 20 | 5 << 15 | funct3[probe.store_size] << 12 | 0b0100111
    body = [
        load(FA0, 0),
        load(FA1, 8),
        load(FA2, 16),
        0 << 20 | 5 << 15 | 3 << 12 | A0 << 7 | 0b0000011,  # ld a0, 0(t0)
        24 << 20 | 5 << 15 | 3 << 12 | 7 << 7 | 0b0000011,  # ld t2, 24(t0)
        0x003 << 20 | 7 << 15 | 1 << 12 | 0b1110011,  # csrw fcsr, t2
        probe.word,
        0x001 << 20 | 0 << 15 | 2 << 12 | 7 << 7 | 0b1110011,  # csrr t2, fflags
        store_x(0, 0),
        store_x(A3, 0) if probe.to_x else store_f,
        store_x(7, 8),
        RECORD.size << 20 | 5 << 15 | 0 << 12 | 5 << 7 | 0b0010011,  # addi t0, t0, 32
    ]
    back = -4 * len(body)
    field = (back >> 12 & 1) << 31 | (back >> 5 & 0x3F) << 25
    field |= (back >> 1 & 0xF) << 8 | (back >> 11 & 1) << 7
    return [*body, field | 6 << 20 | 5 << 15 | 1 << 12 | 0b1100011]  # bne t0, t1, loop


def _load_immediate(rd: int, value: int) -> list[int]:
    """lui and addi for a positive 31-bit constant."""
    upper = (value + 0x800) >> 12
    low = (value - (upper << 12)) & 0xFFF
    return [upper << 12 | rd << 7 | 0b0110111, low << 20 | rd << 15 | rd << 7 | 0b0010011]


def _records(cases: Sequence[Case]) -> bytes:
    return b"".join(RECORD.pack(a, b, c, rm << 5) for a, b, c, rm in cases)


def _answers(data: bytes) -> list[tuple[int, int]]:
    return [answer for answer in ANSWER.iter_unpack(data)]


def under_unicorn(probe: Probe, cases: Sequence[Case]) -> list[tuple[int, int]]:
    from unicorn import riscv_const
    from unicorn.unicorn import Uc
    from unicorn.unicorn_const import UC_ARCH_RISCV, UC_MODE_RISCV64

    data = _records(cases)
    program = struct.pack("<13I", *_loop(probe))
    machine = Uc(UC_ARCH_RISCV, UC_MODE_RISCV64)
    machine.mem_map(BASE, 0x1000)
    machine.mem_map(DATA, (len(data) + 0xFFF) & ~0xFFF)
    machine.mem_write(BASE, program)
    machine.mem_write(DATA, data)
    status = int(machine.reg_read(riscv_const.UC_RISCV_REG_MSTATUS))
    machine.reg_write(riscv_const.UC_RISCV_REG_MSTATUS, status | 0x6000)  # FS: dirty
    machine.reg_write(riscv_const.UC_RISCV_REG_T0, DATA)
    machine.reg_write(riscv_const.UC_RISCV_REG_T1, DATA + len(data))
    machine.emu_start(BASE, BASE + len(program))
    return _answers(bytes(machine.mem_read(DATA, len(data))))


def qemu_available() -> bool:
    return shutil.which("qemu-riscv64") is not None


def under_qemu(probe: Probe, cases: Sequence[Case], folder: Path) -> list[tuple[int, int]]:
    """The same loop as a static ELF program that writes its records to standard output."""
    data = _records(cases)
    code = [
        *_load_immediate(5, DATA),
        *_load_immediate(6, DATA + len(data)),
        *_loop(probe),
        *_load_immediate(10, 1),  # write(1, DATA, len)
        *_load_immediate(11, DATA),
        *_load_immediate(12, len(data)),
        *_load_immediate(17, 64),
        0b1110011,
        *_load_immediate(10, 0),  # exit(0)
        *_load_immediate(17, 93),
        0b1110011,
    ]
    entry = BASE + 0x100
    text = struct.pack(f"<{len(code)}I", *code)
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    header = ident + struct.pack("<HHIQQQIHHHHHH", 2, 243, 1, entry, 64, 0, 5, 64, 56, 1, 0, 0, 0)
    size_all = DATA - BASE + len(data)
    header += struct.pack("<IIQQQQQQ", 1, 7, 0, BASE, BASE, size_all, size_all, 0x1000)
    image = header.ljust(0x100, b"\0") + text
    program = folder / "oracle.elf"
    program.write_bytes(image.ljust(DATA - BASE, b"\0") + data)
    program.chmod(0o755)
    command = ["qemu-riscv64", "-cpu", "rv64,Zfh=true", str(program)]
    run = subprocess.run(command, capture_output=True, check=True, timeout=60)
    return _answers(run.stdout)

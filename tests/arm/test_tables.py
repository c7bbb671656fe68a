"""Branches through tables: every way to hold the table's address and the index."""

from __future__ import annotations

import itertools
import struct
from pathlib import Path

import pytest

from tests.arm.fp_image import CODE, RECORDS, elf_image, ending, load_constant, run_engine, words

TABLES = RECORDS + 0x1000
REGISTERS = (0, 3, 5, 6, 8, 12)
"""Pinned in host registers, and not."""
SLOTS = 5
"""Places to go to, 4 bytes each: movs r7, #n; b out."""


def branch(base: int, index: int, half: bool, choice: int) -> bytes:
    """A32 code that stores 1 + choice at lr, by a tbb or tbh in T32; lr += 4."""
    code = load_constant(base, TABLES + 0x100 * half, False) + load_constant(index, choice, False)
    code += words(0xE28F7001, 0xE12FFF17, thumb=False)  # add r7, pc, #1; bx r7
    code += words(0xE8D0F000 | base << 16 | half << 4 | index, thumb=True)
    for slot in range(SLOTS):
        out = (4 * (SLOTS - slot - 1) + 2 - 4) >> 1 & 0x7FF
        code += struct.pack("<2H", 0x2701 + slot, 0xE000 | out)
    code += b"\x78\x47\xc0\x46"  # bx pc; nop
    return code + words(0xE48E7004, thumb=False)  # str r7, [lr], #4


@pytest.mark.parametrize("threshold", [0, 1])
def test_tables(tmp_path: Path, threshold: int) -> None:
    """In blocks, and as regions."""
    pairs = [
        (a, b, half) for a, b in itertools.permutations(REGISTERS, 2) for half in (False, True)
    ]
    code = load_constant(14, RECORDS, False)
    for number, (base, index, half) in enumerate(pairs):
        code += branch(base, index, half, number % SLOTS)
    entries = [2 * slot for slot in range(SLOTS)]
    tables = struct.pack(f"<{SLOTS}B", *entries).ljust(0x100, b"\0")
    tables += struct.pack(f"<{SLOTS}H", *entries)
    size = 4 * len(pairs)
    program = tmp_path / "program"
    data = bytes(size).ljust(0x1000, b"\0") + tables
    program.write_bytes(elf_image((CODE, code + ending((RECORDS, size)), 5), (RECORDS, data, 6)))
    program.chmod(0o755)
    got = struct.unpack(f"<{len(pairs)}I", run_engine(program, threshold))
    assert list(got) == [1 + number % SLOTS for number in range(len(pairs))]

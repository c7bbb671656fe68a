"""Blocks of instructions by Unicorn, the interpreter, and as one program on the engine's tiers.

``python -m tests.arm.fp_image COUNT SEED [NAME [THRESHOLD]]`` is the long form: each encoding
(whose name begins so; ``int`` for those that are not floating point) occurs COUNT times; the
tiers are those of hot thresholds 0 and 1.
"""

from __future__ import annotations

import dataclasses
import random
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from jitemu.frontends.arm.state import S, isa
from jitemu.ir.machine import PagedMemory
from jitemu.isa import Instruction
from tests.arm import compare
from tests.arm.fp_compare import ROUNDED_OTHERWISE, core_fields, encodings, predictable
from tests.arm.fp_oracle import (
    FPSCR_BITS,
    FpAfter,
    FpCase,
    FpOracle,
    FpReference,
    fp_case_of,
)
from tests.arm.oracle import AT, FLAGS, MIDDLE, SCRATCH, SCRATCH_SIZE, random_word
from tests.arm.oracle import predictable as integer_predictable
from tests.arm.rounds import run_rounds

CODE, WINDOWS, WINDOW, RECORDS = 0x10000000, 0x11000000, 0x1000, 0x12000000
RECORD = struct.Struct("<32Q16I")
"""d0 to d31, r0 to r12, apsr, fpscr, sp."""
BATCH = 250
LR = 14


def _word(name: str, thumb: bool, **fields: int) -> bytes:
    insn = isa.instructions[name + (".t" if thumb else "")]
    word = insn.encode(**fields)
    if "cond" in {f.name for f in insn.fields}:
        word |= 14 << 28
    if thumb:
        word = word >> 16 | (word & 0xFFFF) << 16
    return word.to_bytes(4, "little")


def load_constant(register: int, value: int, thumb: bool) -> bytes:
    """movw, movt."""
    low, high = value & 0xFFFF, value >> 16
    return _word("movw", thumb, rd=register, val=low) + _word("movt", thumb, rd=register, val=high)


def words(*given: int, thumb: bool) -> bytes:
    """Instruction words in memory."""
    return b"".join(
        (w >> 16 | (w & 0xFFFF) << 16 if thumb else w).to_bytes(4, "little") for w in given
    )


def block_code(case: FpCase, number: int) -> bytes:
    """Registers from the record, the instruction, registers to the record."""
    thumb = case.thumb
    code = load_constant(LR, RECORDS + number * RECORD.size, thumb)
    # vldmia lr!, {d0-d15}; vldmia lr!, {d16-d31}; the rest by words of lr.
    code += words(0xECBE0B20, 0xECFE0B20, thumb=thumb)
    code += words(0xE59E0038 if not thumb else 0xF8DE0038, thumb=thumb)  # ldr r0, [lr, #56]
    code += words(0xEEE10A10, thumb=thumb)  # vmsr fpscr, r0
    code += words(0xE59E0034 if not thumb else 0xF8DE0034, thumb=thumb)  # ldr r0, [lr, #52]
    code += words(0xE12CF000 if not thumb else 0xF3808C00, thumb=thumb)  # msr apsr_nzcvqg, r0
    code += words(0xE59E003C if not thumb else 0xF8DE003C, thumb=thumb)  # ldr r0, [lr, #60]
    code += words(0xE1A0D000, thumb=False) if not thumb else b"\x85\x46\x00\xbf"  # mov sp, r0
    code += words(0xE89E1FFF, thumb=thumb)  # ldm lr, {r0-r12}
    code += case.code + b"\x00\xbf" * (len(case.code) // 2 % 2)
    code += words(0xE24EEC01 if not thumb else 0xF5AE7E80, thumb=thumb)  # sub lr, lr, #256
    code += words(0xECAE0B20, 0xECEE0B20, thumb=thumb)  # vstmia lr!, ...
    code += words(0xE88E1FFF, thumb=thumb)  # stm lr, {r0-r12}
    code += words(0xE10F0000 if not thumb else 0xF3EF8000, thumb=thumb)  # mrs r0, apsr
    code += words(0xE58E0034 if not thumb else 0xF8CE0034, thumb=thumb)
    code += words(0xEEF10A10, thumb=thumb)  # vmrs r0, fpscr
    code += words(0xE58E0038 if not thumb else 0xF8CE0038, thumb=thumb)
    code += words(0xE1A0000D, thumb=False) if not thumb else b"\x68\x46\x00\xbf"  # mov r0, sp
    return code + words(0xE58E003C if not thumb else 0xF8CE003C, thumb=thumb)


def ending(*written: tuple[int, int]) -> bytes:
    """write(1, address, size) of each, exit(0), in A32."""
    code = b""
    for address, size in written:
        for register, value in ((0, 1), (1, address), (2, size), (7, 4)):
            code += load_constant(register, value, False)
        code += words(0xEF000000, thumb=False)
    for register, value in ((0, 0), (7, 1)):
        code += load_constant(register, value, False)
    return code + words(0xEF000000, thumb=False)


def image_of(cases: list[FpCase]) -> bytes:
    """A static program that runs all and writes the records and the windows."""
    code = b""
    for number, case in enumerate(cases):
        if case.thumb:  # add r0, pc, #1; bx r0 and back: bx pc; nop
            code += words(0xE28F0001, 0xE12FFF10, thumb=False)
            code += block_code(case, number) + b"\x78\x47\xc0\x46"
        else:
            code += block_code(case, number)
        if len(code) % 4:
            raise AssertionError
    code += ending((RECORDS, len(cases) * RECORD.size), (WINDOWS, len(cases) * WINDOW))
    records = b"".join(
        RECORD.pack(*c.d, *c.registers[:13], c.flags, c.fpscr, c.registers[13]) for c in cases
    )
    return elf_image(
        (CODE, code, 5), (WINDOWS, b"".join(c.memory for c in cases), 6), (RECORDS, records, 6)
    )


def elf_image(*parts: tuple[int, bytes, int]) -> bytes:
    """A static program of these (address, bytes, rights), which begins at CODE."""
    head = b"\x7fELF\1\1\1".ljust(16, b"\0")
    head += struct.pack(
        "<HHIIIIIHHHHHH", 2, 40, 1, CODE, 52, 0, 0x5000400, 52, 32, len(parts), 0, 0, 0
    )
    at = 4096
    body = b""
    for address, data, rights in parts:
        head += struct.pack(
            "<8I", 1, at + len(body), address, address, len(data), len(data), rights, 4096
        )
        body += data.ljust(-(-len(data) // 4096) * 4096, b"\0")
    return head.ljust(at, b"\0") + body


class WindowOracle(FpOracle):
    """Unicorn with a block's window as its only memory beside the code."""

    def __init__(self) -> None:
        super().__init__()
        uc: Any = self.uc
        uc.mem_unmap(SCRATCH, SCRATCH_SIZE)
        self.at = 0

    def after(self, case: FpCase, number: int) -> tuple[FpAfter, bytes]:
        """(state after, its window)."""
        uc: Any = self.uc
        if self.at:
            uc.mem_unmap(self.at, WINDOW)
        self.at = WINDOWS + number * WINDOW
        uc.mem_map(self.at, WINDOW)
        uc.mem_write(self.at, case.memory)
        result = self.run_fp(dataclasses.replace(case, memory=b""), whole=True)
        return result, bytes(uc.mem_read(self.at, WINDOW))

    def memory_after(self) -> bytes:
        """Windows are compared instead."""
        return b""


class WindowReference(FpReference):
    """The interpreter with a block's window."""

    def after(self, case: FpCase, number: int) -> tuple[FpAfter, bytes]:
        """The same."""
        at = WINDOWS + number * WINDOW
        result = self.run_fp(case, window=at)
        assert isinstance(self.machine.memory, PagedMemory)
        return result, self.machine.memory.get(at, WINDOW)


def _aim(case: FpCase, number: int, rng: random.Random) -> FpCase:
    """The case with its pointers in a window of its own, and lr free."""
    middle = WINDOWS + number * WINDOW + WINDOW // 2
    registers: list[int] = []
    for r in case.registers:
        if abs(r - MIDDLE) < 0x200:
            registers.append(r - MIDDLE + middle)
        else:  # neither it nor a sum with it is in the window of another block
            near = 0x700 <= r <= 0x100000 or CODE <= r < RECORDS + (1 << 24)
            registers.append(1 if near else r)
    registers[14] = RECORDS + number * RECORD.size + 256
    registers[13] = middle
    return dataclasses.replace(case, registers=registers, memory=rng.randbytes(WINDOW))


LENGTH = 6
"""Instructions of a block."""

Names = str
"""Of a block's instructions, for messages."""


def integer_encodings() -> list[Instruction]:
    """Of what can be part of a block: exclusive accesses see the blocks before."""
    return [i for i in compare.encodings() if "ex" not in i.name[:5]]


def _usable(insn: Instruction, case: FpCase, reference: FpReference) -> bool:
    """Predictable, goes on, and does not name the pc nor lr."""
    decoded = reference.decoder.decode_at(AT | case.thumb, case.code)
    if decoded is None or "literal" in decoded.insn.name:
        return False
    name, f = decoded.insn.stencil, decoded.fields
    if name.startswith(compare.FLOATING):
        if f.get("a") or name == "vmsr" or name in ROUNDED_OTHERWISE:  # "a": it may fault
            return False
        numbers = [f[n] for n in core_fields(decoded.insn)]
        return predictable(insn, case, reference) and all(n <= 12 for n in numbers)
    s = S("user", AT | case.thumb)
    decoded.build(s)
    if s.ended or name.startswith(("adr", *compare.ALIGNED)) or f.get("list", 0) >> 13:
        return False
    numbers = [v for n, v in f.items() if n[0] == "r"]
    return integer_predictable(insn, case, reference.decoder) and all(n <= 13 for n in numbers)


def blocks_of(
    insns: Iterable[Instruction], count: int, rng: random.Random, length: int = LENGTH
) -> Iterator[tuple[Names, FpCase]]:
    """Blocks in which each encoding occurs so many times."""
    reference = FpReference()
    chosen = [insn for insn in insns for _ in range(count)]
    rng.shuffle(chosen)
    pending: dict[bool, list[tuple[Instruction, bytes]]] = {False: [], True: []}
    for number, insn in enumerate(chosen):
        code, thumb = random_word(rng, insn)
        case = fp_case_of(rng, code, thumb)
        if _usable(insn, case, reference):
            pending[thumb].append((insn, code))
        for thumb, block in pending.items():
            if len(block) == length or (block and number == len(chosen) - 1):
                codes = [code for _, code in block]
                case = fp_case_of(rng, b"".join(codes), thumb)
                yield ", ".join(insn.name for insn, _ in block), _pointed(case, codes, reference)
                block.clear()


def _pointed(case: FpCase, codes: list[bytes], reference: FpReference) -> FpCase:
    """The case with an address in the base, and a small number in the index, of loads and stores
    of the integer unit."""
    registers = list(case.registers)
    for code in codes:
        decoded = reference.decoder.decode_at(AT | case.thumb, code)
        assert decoded is not None
        if decoded.insn.stencil.startswith(("ld", "st", "swp")):
            base, index = decoded.fields.get("rn", 13), decoded.fields.get("rm")
            if index is not None and abs(registers[index] - MIDDLE) < 0x200:
                registers[index] = registers[index] & 7
            registers[base] = MIDDLE + (registers[base] & 60)
    return dataclasses.replace(case, registers=registers)


def run_engine(program: Path, threshold: int) -> bytes:
    """What the program writes on a tier; in a process of its own."""
    command = [sys.executable, "-m", "tests.arm.programs", str(program), str(threshold)]
    done = subprocess.run(command, capture_output=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def check_batch(
    batch: list[tuple[Names, FpCase]],
    oracle: WindowOracle,
    reference: WindowReference,
    rng: random.Random,
    thresholds: tuple[int, ...],
) -> tuple[int, list[str]]:
    """(blocks compared, differences from Unicorn)."""
    kept: list[tuple[Names, FpCase, FpAfter, bytes]] = []
    found: list[str] = []
    for names, case in batch:
        case = _aim(case, len(kept), rng)
        after, window = oracle.after(case, len(kept))
        if after.core.how != "next":
            continue
        kept.append((names, case, after, window))
        result = reference.after(case, len(kept) - 1)
        if result[0].core.how == "misaligned":
            kept.pop()
            continue
        wrong = result != (after, window)
        found += [f"{names} {case.code.hex()} interpreter"] if wrong else []
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "program"
        program.write_bytes(image_of([case for _, case, _, _ in kept]))
        program.chmod(0o755)
        results = {f"threshold {t}": run_engine(program, t) for t in thresholds}
    for name, data in results.items():
        for number, (names, case, after, window) in enumerate(kept):
            found += compare_record(name, data, number, len(kept), names, case, after, window)
    return len(kept), found


def compare_record(
    name: str,
    data: bytes,
    number: int,
    count: int,
    names: Names,
    case: FpCase,
    after: FpAfter,
    window: bytes,
) -> list[str]:
    """What differs in a record."""
    record = RECORD.unpack_from(data, number * RECORD.size)
    at = count * RECORD.size + number * WINDOW
    core = after.core
    wanted = [*after.d, *core.registers[:13], core.flags, after.fpscr, core.registers[13]]
    got = [*record[:45], record[45] & FLAGS, record[46] & FPSCR_BITS, record[47]]
    labels = [*(f"d{n}" for n in range(32)), *(f"r{n}" for n in range(13))]
    labels += ["flags", "fpscr", "sp"]
    parts = [
        f"{label} {b:#x}, not {a:#x}"
        for label, a, b in zip(labels, wanted, got, strict=True)
        if a != b
    ]
    if data[at : at + WINDOW] != window:
        parts.append("memory")
    return [f"{names} {case.code.hex()} {name}: {'; '.join(parts)}"] if parts else []


def differences(
    insns: Iterable[Instruction], count: int, seed: int, thresholds: tuple[int, ...] = (0, 1)
) -> tuple[int, list[str]]:
    """(blocks compared, what differed) of the interpreter and these tiers."""
    rng = random.Random(seed)
    oracle, reference = WindowOracle(), WindowReference()
    compared = 0
    found: list[str] = []
    blocks = blocks_of(insns, count, rng)
    while batch := list(islice(blocks, BATCH)):
        done, wrong = check_batch(batch, oracle, reference, rng, thresholds)
        compared += done
        found += wrong
    return compared, found


def main() -> int:
    """Compare, and print what differs."""
    count, seed = int(sys.argv[1]), int(sys.argv[2])
    prefix = sys.argv[3] if len(sys.argv) > 3 else ""
    thresholds = (int(sys.argv[4]),) if len(sys.argv) > 4 else (0, 1)
    insns = integer_encodings() if prefix == "int" else encodings(prefix)
    return run_rounds(lambda n, s: differences(insns, n, s, thresholds), count, seed, 3)


if __name__ == "__main__":
    sys.exit(main())

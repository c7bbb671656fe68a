"""Blocks of instructions by Unicorn, the interpreter, and as one program on the engine's tiers.

``python -m tests.arm.fp_image COUNT SEED [NAME [THRESHOLD]]`` is the long form: each encoding
(whose name begins so) occurs COUNT times; the tiers are those of hot thresholds 0 and 1.
"""

from __future__ import annotations

import dataclasses
import random
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from jitemu.frontends.arm.state import isa
from jitemu.ir.machine import PagedMemory
from jitemu.isa import Instruction
from tests.arm.fp_compare import ROUNDED_OTHERWISE, core_fields, encodings, predictable
from tests.arm.fp_oracle import (
    FPSCR_BITS,
    FpAfter,
    FpCase,
    FpOracle,
    FpReference,
    fp_case_of,
)
from tests.arm.oracle import AT, FLAGS, MIDDLE, random_word

CODE, WINDOWS, WINDOW, RECORDS = 0x10000000, 0x11000000, 0x1000, 0x12000000
RECORD = struct.Struct("<32Q16I")
"""d0 to d31, r0 to r12, apsr, fpscr, lr."""
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


def _load_constant(register: int, value: int, thumb: bool) -> bytes:
    low, high = value & 0xFFFF, value >> 16
    return _word("movw", thumb, rd=register, val=low) + _word("movt", thumb, rd=register, val=high)


def _words(*words: int, thumb: bool) -> bytes:
    return b"".join(
        (w >> 16 | (w & 0xFFFF) << 16 if thumb else w).to_bytes(4, "little") for w in words
    )


def block_code(case: FpCase, number: int) -> bytes:
    """Registers from the record, the instruction, registers to the record."""
    thumb = case.thumb
    code = _load_constant(LR, RECORDS + number * RECORD.size, thumb)
    # vldmia lr!, {d0-d15}; vldmia lr!, {d16-d31}; the rest by words of lr.
    code += _words(0xECBE0B20, 0xECFE0B20, thumb=thumb)
    code += _words(0xE59E0038 if not thumb else 0xF8DE0038, thumb=thumb)  # ldr r0, [lr, #56]
    code += _words(0xEEE10A10, thumb=thumb)  # vmsr fpscr, r0
    code += _words(0xE59E0034 if not thumb else 0xF8DE0034, thumb=thumb)  # ldr r0, [lr, #52]
    code += _words(0xE128F000 if not thumb else 0xF3808800, thumb=thumb)  # msr apsr, r0
    code += _words(0xE89E1FFF, thumb=thumb)  # ldm lr, {r0-r12}
    code += case.code
    code += _words(0xE24EEC01 if not thumb else 0xF5AE7E80, thumb=thumb)  # sub lr, lr, #256
    code += _words(0xECAE0B20, 0xECEE0B20, thumb=thumb)  # vstmia lr!, ...
    code += _words(0xE88E1FFF, thumb=thumb)  # stm lr, {r0-r12}
    code += _words(0xE10F0000 if not thumb else 0xF3EF8000, thumb=thumb)  # mrs r0, apsr
    code += _words(0xE58E0034 if not thumb else 0xF8CE0034, thumb=thumb)
    code += _words(0xEEF10A10, thumb=thumb)  # vmrs r0, fpscr
    return code + _words(0xE58E0038 if not thumb else 0xF8CE0038, thumb=thumb)


def _ending(count: int) -> bytes:
    """write(1, records), write(1, windows), exit(0), in A32."""
    code = b""
    for address, size in ((RECORDS, count * RECORD.size), (WINDOWS, count * WINDOW)):
        for register, value in ((0, 1), (1, address), (2, size), (7, 4)):
            code += _load_constant(register, value, False)
        code += _words(0xEF000000, thumb=False)
    for register, value in ((0, 0), (7, 1)):
        code += _load_constant(register, value, False)
    return code + _words(0xEF000000, thumb=False)


def image_of(cases: list[FpCase]) -> bytes:
    """A static program that runs all and writes the records and the windows."""
    code = b""
    for number, case in enumerate(cases):
        if case.thumb:  # add r0, pc, #1; bx r0 and back: bx pc; nop
            code += _words(0xE28F0001, 0xE12FFF10, thumb=False)
            code += block_code(case, number) + b"\x78\x47\xc0\x46"
        else:
            code += block_code(case, number)
        if len(code) % 4:
            raise AssertionError
    code += _ending(len(cases))
    records = b"".join(RECORD.pack(*c.d, *c.registers[:13], c.flags, c.fpscr, 0) for c in cases)
    parts = (
        (CODE, code, 5),
        (WINDOWS, b"".join(c.memory for c in cases), 6),
        (RECORDS, records, 6),
    )
    head = b"\x7fELF\1\1\1".ljust(16, b"\0")
    head += struct.pack("<HHIIIIIHHHHHH", 2, 40, 1, CODE, 52, 0, 0x5000400, 52, 32, 3, 0, 0, 0)
    at = 4096
    body = b""
    for address, data, rights in parts:
        head += struct.pack(
            "<8I", 1, at + len(body), address, address, len(data), len(data), rights, 4096
        )
        body += data.ljust(-(-len(data) // 4096) * 4096, b"\0")
    return head.ljust(at, b"\0") + body


class WindowOracle(FpOracle):
    """Unicorn with the windows' memory."""

    def __init__(self) -> None:
        super().__init__()
        self.uc.mem_map(WINDOWS, BATCH * WINDOW)
        self.uc.mem_map(RECORDS, -(-BATCH * RECORD.size // 4096) * 4096)

    def after(self, case: FpCase, number: int) -> tuple[FpAfter, bytes]:
        """(state after, its window); the scratch memory of other tests is not used."""
        uc: Any = self.uc
        at = WINDOWS + number * WINDOW
        uc.mem_write(at, case.memory)
        result = self.run_fp(dataclasses.replace(case, memory=b""), whole=True)
        return without_memory(result), bytes(uc.mem_read(at, WINDOW))


class WindowReference(FpReference):
    """The interpreter with a block's window."""

    def after(self, case: FpCase, number: int) -> tuple[FpAfter, bytes]:
        """The same."""
        at = WINDOWS + number * WINDOW
        result = self.run_fp(case, window=at)
        assert isinstance(self.machine.memory, PagedMemory)
        return without_memory(result), self.machine.memory.get(at, WINDOW)


def without_memory(after: FpAfter) -> FpAfter:
    """Windows are compared instead."""
    return dataclasses.replace(after, core=dataclasses.replace(after.core, memory=b""))


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
    registers[13] = 0
    return dataclasses.replace(case, registers=registers, memory=rng.randbytes(WINDOW))


LENGTH = 6
"""Instructions of a block."""

Names = str
"""Of a block's instructions, for messages."""


def _usable(insn: Instruction, case: FpCase, reference: FpReference) -> bool:
    """Predictable, without the pc, and lr and sp are not touched."""
    decoded = reference.decoder.decode_at(AT | case.thumb, case.code)
    if decoded is None or not predictable(insn, case, reference):
        return False
    if decoded.fields.get("a"):  # it may fault
        return False
    name = decoded.insn.stencil
    if "literal" in name or name == "vmsr" or name in ROUNDED_OTHERWISE:
        return False
    return all(decoded.fields[n] <= 12 for n in core_fields(decoded.insn))


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
                case = fp_case_of(rng, b"".join(code for _, code in block), thumb)
                yield ", ".join(insn.name for insn, _ in block), case
                block.clear()


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
        wrong = reference.after(case, len(kept) - 1) != (after, window)
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
    words = RECORD.unpack_from(data, number * RECORD.size)
    at = count * RECORD.size + number * WINDOW
    d, r, flags, fpscr = words[:32], words[32:45], words[45] & FLAGS, words[46] & FPSCR_BITS
    core = after.core
    wanted = [*after.d, *core.registers[1:13], core.flags, after.fpscr]
    got = [*d, *r[1:], flags, fpscr]
    labels = [*(f"d{n}" for n in range(32)), *(f"r{n}" for n in range(1, 13)), "flags", "fpscr"]
    parts = [
        f"{label} {b:#x}, not {a:#x}"
        for label, a, b in zip(labels, wanted, got, strict=True)
        if a != b
    ]
    if data[at : at + WINDOW] != window:
        parts.append("memory")
    if r[0] != core.registers[0]:
        parts.append(f"r0 {r[0]:#x}, not {core.registers[0]:#x}")
    return [f"{names} {case.code.hex()} {name}: {'; '.join(parts)}"] if parts else []


def differences(
    insns: Iterable[Instruction], count: int, seed: int, thresholds: tuple[int, ...] = (0, 1)
) -> tuple[int, list[str]]:
    """(blocks compared, what differed) of the interpreter and these tiers."""
    rng = random.Random(seed)
    oracle, reference = WindowOracle(), WindowReference()
    compared = 0
    found: list[str] = []
    blocks = list(blocks_of(insns, count, rng))
    for start in range(0, len(blocks), BATCH):
        batch = blocks[start : start + BATCH]
        done, wrong = check_batch(batch, oracle, reference, rng, thresholds)
        compared += done
        found += wrong
    return compared, found


def main() -> int:
    """Compare, and print what differs."""
    count, seed = int(sys.argv[1]), int(sys.argv[2])
    prefix = sys.argv[3] if len(sys.argv) > 3 else ""
    thresholds = (int(sys.argv[4]),) if len(sys.argv) > 4 else (0, 1)
    compared, found = differences(encodings(prefix), count, seed, thresholds)
    print("\n".join([*found, f"{compared} compared, {len(found)} differ"]))
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())

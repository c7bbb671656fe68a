"""The log: items, ranges, and every record's shape beside qemu-riscv64's own output."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from jitemu.messages import UserError
from jitemu.trace import (
    ITEMS,
    Log,
    help_text,
    parse_items,
    parse_ranges,
    register_line,
    register_lines,
)
from jitemu.trace_symbols import SymbolTable

GCC = "riscv64-linux-gnu-gcc"
QEMU = "qemu-riscv64"
needs_qemu = pytest.mark.skipif(
    shutil.which(QEMU) is None or shutil.which(GCC) is None, reason="needs qemu-user and gcc"
)
PROGRAM = """
    .globl _start
    .type _start, @function
_start:
    .option norvc
    jal ra, next
    li a0, 0
    li a7, 93
    ecall
    .option rvc
    .size _start, . - _start
next:
    auipc gp, 0x67
    addi sp, sp, -16
    ld a1, 8(sp)
    beq a1, a1, out
    sub a1, a1, a5
out:
    ret
"""
SHAPES = {
    "in_asm": r"(?m)^-{16}\nIN: \S*\n(?:0x[0-9a-f]{16}:  [0-9a-f]{4,8} {10,14}\S.*\n)+\n",
    "out_asm": r"(?m)^OUT: \[size=\d+\]\n  -- guest addr 0x[0-9a-f]{16}.*\n"
    r"(?:0x[0-9a-f]+:  (?:[0-9a-f]{2} ){1,7}.*\n|  -- .*\n)+",
    "exec": r"(?m)^Trace 0: 0x[0-9a-f]+ "
    r"\[0{16}/[0-9a-f]{16}/[0-9a-f]{8}/[0-9a-f]{8}\] \S*$",
    "cpu": r"(?m)^ pc       [0-9a-f]{16}\n"
    r"(?: x\d+/\S+ {2,4}[0-9a-f]{16} .*x\d+/\S+ {2,4}[0-9a-f]{16}\n){8}",
    "page": r"(?m)^page layout changed following .*\nstart            end              "
    r"size             prot\n(?:[0-9a-f]{16}-[0-9a-f]{16} [0-9a-f]{16} [r-][w-][x-]\n)+",
    "op": r"(?m)^OP:\n(?: .*\n|\n)+",
    "op_opt": r"(?m)^OP after optimization and liveness analysis:\n(?: .*\n|\n)+",
    "addresses": r"(?m)^entry       0x[0-9a-f]{16}$",
}
INT_SHAPE = (
    r"riscv_cpu_do_interrupt: hart:0, async:[01], cause:[0-9a-f]{16}, "
    r"epc:0x[0-9a-f]{16}, tval:0x[0-9a-f]{16}, desc=\w+\n"
)
NAMES = ["x0/zero", "x1/ra", "x2/sp", "x3/gp", *(f"x{i}/r{i}" for i in range(4, 32))]


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which(GCC) is None:
        pytest.skip(f"needs {GCC}")
    folder = tmp_path_factory.mktemp("trace")
    (folder / "program.S").write_text(PROGRAM)
    command = [GCC, "-nostdlib", "-static", "-o", "program", "program.S"]
    subprocess.run(command, cwd=folder, check=True)
    return folder / "program"


@pytest.fixture(scope="session")
def qemu_log(program: Path) -> str:
    items = "in_asm,out_asm,op,op_opt,exec,cpu,page,nochain"
    command = [QEMU, "-d", items, "-D", "log", str(program)]
    subprocess.run(command, cwd=program.parent, check=True)
    return (program.parent / "log").read_text()


def text_code(program: Path) -> tuple[int, bytes]:
    from elftools.elf.elffile import ELFFile

    with open(program, "rb") as file:
        section = ELFFile(file).get_section_by_name(".text")
        assert section is not None
        return section["sh_addr"], section.data()


def our_log(path: Path, program: Path) -> str:
    """Every kind of record, written for the program."""
    start, code = text_code(program)
    log = Log(parse_items("all"), path=str(path))
    log.write_in_asm(start, code, SymbolTable(str(program)).lookup(start))
    log.write_op(" mov x1, 1\n")
    log.write_op(" mov x1, 1\n", optimised=True)
    log.write_out_asm(0x7FC49400010B, bytes.fromhex("48c74508a4030100c3"), [(0, start)])
    log.write_exec(0x7F00, start, "_start")
    log.write_cpu([register_line("pc", start), *register_lines(NAMES, range(32))])
    log.write_page("mmap", [(0x10000, 0x20000, "r-x")])
    log.write_addresses([("entry", start)])
    return path.read_text()


@needs_qemu
@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_hold_for_qemu_and_for_us(
    shape: str, program: Path, qemu_log: str, tmp_path: Path
) -> None:
    assert re.search(SHAPES[shape], qemu_log)
    assert re.search(SHAPES[shape], our_log(tmp_path / "log", program))


@needs_qemu
def test_in_asm_has_the_addresses_and_words_of_qemu(
    program: Path, qemu_log: str, tmp_path: Path
) -> None:
    """Address, encoding, and the note on the target of what is relative to pc."""
    line = re.compile(r"(?m)^(0x[0-9a-f]{16}):  ([0-9a-f]{4,8}) .*?(# 0x[0-9a-f]+)?$")
    theirs = set(line.findall(qemu_log))
    ours = set(line.findall(our_log(tmp_path / "log", program)))
    assert theirs
    assert theirs <= ours
    columns = re.compile(r"(?m)^0x[0-9a-f]{16}:  022\S+ +jal|^0x[0-9a-f]{16}:  \w{8} +jal +")
    assert columns.search(qemu_log)
    ours_columns = {len(found) for found in columns.findall(our_log(tmp_path / "log", program))}
    assert ours_columns == {len(found) for found in columns.findall(qemu_log)}


@needs_qemu
def test_symbols_are_those_of_qemu(program: Path, qemu_log: str) -> None:
    table = SymbolTable(str(program))
    found = re.findall(r"Trace 0: \S+ \[\w+/(\w+)/\S+\] (\S*)", qemu_log)
    assert ("_start" in dict(found).values(), len(found) >= 3) == (True, True)
    for address, name in found:
        assert table.lookup(int(address, 16)) == name


def test_symbols_with_a_bias_and_of_no_file(program: Path, tmp_path: Path) -> None:
    start, _ = text_code(program)
    assert SymbolTable(str(program), 0x1000).lookup(start + 0x1000) == "_start"
    assert SymbolTable(str(tmp_path / "none")).lookup(start) == ""
    broken = tmp_path / "broken"
    data = bytearray(program.read_bytes())
    data[0x28:0x30] = b"\xff" * 8  # section headers beyond the end
    broken.write_bytes(data)
    assert SymbolTable(str(broken)).lookup(start) == ""


def test_int_and_mmu_lines(tmp_path: Path) -> None:
    log = Log(["int", "mmu"], path=str(tmp_path / "log"))
    log.write_int(0, False, 11, 0x8000002A, 0, "machine_ecall")
    log.write_mmu(0x1000, 2, 3, 0x1000, 7)
    log.write_mmu(0x2000, 1, 0, None, 0)
    lines = (tmp_path / "log").read_text().splitlines(keepends=True)
    assert re.fullmatch(INT_SHAPE, lines[0])
    # as qemu-system-riscv64 -d int,mmu has them
    assert "epc:0x000000008000002a, tval:0x0000000000000000, desc=machine_ecall" in lines[0]
    assert lines[1] == "riscv_cpu_tlb_fill ad 1000 rw 2 mmu_idx 3\n"
    expected = "riscv_cpu_tlb_fill address=1000 ret 0 physical 0000000000001000 prot 7\n"
    assert lines[2] == expected
    assert lines[4].startswith("riscv_cpu_tlb_fill address=2000 ret 1 ")


def test_unknown_and_cut_instructions_have_lines(tmp_path: Path) -> None:
    log = Log(["in_asm"], path=str(tmp_path / "log"))
    log.write_in_asm(0x1000, bytes.fromhex("b3055520") + b"\xff\xff\xff\xff\x13", privilege=3)
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines[1:3] == ["IN: ", "Priv: 3; Virt: 0"]
    assert [line[:18] for line in lines[3:6]] == [f"{pc:#018x}" for pc in (0x1000, 0x1004, 0x1008)]


def test_items() -> None:
    assert parse_items("in_asm,exec") == ("in_asm", "exec")
    assert set(parse_items("all")) == set(ITEMS)
    log = Log(["exec"])
    assert log.exec
    assert not any(getattr(log, name) for name in ITEMS if name != "exec")


@needs_qemu
def test_help_has_the_words_of_qemu() -> None:
    theirs = subprocess.run([QEMU, "-d", "help"], capture_output=True, text=True).stdout
    for line in help_text().splitlines():
        assert line in theirs.splitlines() or line.split()[0] == "jit"  # jitemu's own


def test_a_silent_log_opens_no_file(tmp_path: Path) -> None:
    Log((), path=str(tmp_path / "log"))
    assert not (tmp_path / "log").exists()


def test_log_file_errors_and_names(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot open the log file: No such file"):
        Log(["exec"], path=str(tmp_path / "none" / "log"))
    Log(["exec"], path=str(tmp_path / "log.%d"))
    assert (tmp_path / f"log.{os.getpid()}").exists()


def test_ranges() -> None:
    text = "0x1000+0x10,0x2000-0x10,0x3000..0x3010,16+1"
    ranges = ((0x1000, 0x100F), (0x1FF1, 0x2000), (0x3000, 0x3010), (16, 16))
    assert parse_ranges(text) == ranges
    log = Log(["exec"], ranges)
    assert [log.wants(pc) for pc in (0x100F, 0x1010, 0x1FF0, 0x2000, 0x3010)] == [
        *(True, False, False, True, True)
    ]
    assert Log(["exec"]).wants(0)


@pytest.mark.parametrize("text", ["0x1000", "", ",", "0x10+", "+1", "0x1..zz", "1-9", "5..4"])
def test_bad_ranges(text: str) -> None:
    with pytest.raises(ValueError, match=r"range|Invalid number"):
        parse_ranges(text)


@needs_qemu
@pytest.mark.parametrize("text", ["0x100e8+0x8", "0x100f0-0x9", "0x100e0..0x100ff", "0x1+0x1"])
def test_ranges_choose_the_blocks_that_qemu_chooses(program: Path, text: str) -> None:
    def blocks(*options: str) -> set[int]:
        command = [QEMU, "-d", "exec,nochain", *options, str(program)]
        err = subprocess.run(command, capture_output=True, text=True, check=True).stderr
        return {int(pc, 16) for pc in re.findall(r"\[\w+/(\w+)/", err)}

    log = Log(["exec"], parse_ranges(text))
    assert {pc for pc in blocks() if log.wants(pc)} == blocks("-dfilter", text)

"""-gdbjit: what gdb says of translated code, and the objects that tell it."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jitemu.backend_llvm.gdb_objects import Piece, code_object
from tests.user.conftest import ENGINE

SOURCE = """
#include <stdio.h>
__attribute__((noinline)) unsigned long spinning(unsigned long n)
{
    for (;;)
        n = (n ^ n << 7 ^ n >> 9) + 3;
}
int main(void)
{
    puts("ready");
    fflush(stdout);
    return (int)spinning(1);
}
"""


def test_objects_say_where_lines_are() -> None:
    from elftools.elf.elffile import ELFFile

    pieces = [
        Piece("first", 0x6000_1000, 32, [(0x6000_1000, 2), (0x6000_1010, 700)]),
        Piece("second", 0x6000_2000, 16, [(0x6000_2000, 5)]),
    ]
    elf = ELFFile(io.BytesIO(code_object(pieces, "/folder/list.lst")))
    table: Any = elf.get_section_by_name(".symtab")
    symbols = {s.name: (s["st_value"], s["st_size"]) for s in table.iter_symbols() if s.name}
    assert symbols == {"first": (0x6000_1000, 32), "second": (0x6000_2000, 16)}
    dwarf: Any = elf.get_dwarf_info()
    unit = next(dwarf.iter_CUs())
    entries = dwarf.line_program_for_CU(unit).get_entries()
    states = [e.state for e in entries if e.state is not None]
    lines = [(s.address, s.line) for s in states if not s.end_sequence]
    assert lines == [(0x6000_1000, 2), (0x6000_1010, 700), (0x6000_2000, 5)]
    assert [s.address for s in states if s.end_sequence] == [0x6000_1020, 0x6000_2010]
    assert unit.get_top_DIE().get_full_path() == "/folder/list.lst"


@pytest.mark.skipif(shutil.which("gdb") is None, reason="needs gdb")
def test_gdb_names_functions_and_shows_instructions(
    build: Callable[..., Path], tmp_path: Path
) -> None:
    program = build("spinning", "-static", source=SOURCE)
    command = [*ENGINE, "-hot-threshold", "0", "-gdbjit", str(program)]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as guest:
        try:
            assert guest.stdout is not None and guest.stdout.readline() == "ready\n"
            time.sleep(1)
            asked = ["-ex", "frame", "-ex", "info line *$pc", "-ex", "x/i $pc"]
            gdb = ["gdb", "-nx", "-batch", "-p", str(guest.pid), *asked]
            done = subprocess.run(gdb, capture_output=True, text=True, timeout=60)
        finally:
            guest.kill()
    listing = tmp_path / f"jit-{guest.pid}.lst"
    found = re.search(rf'Line (\d+) of "{listing.name}" starts at address', done.stdout)
    assert found, done.stdout + done.stderr
    line = listing.read_text().splitlines()[int(found[1]) - 1]
    assert re.match(r"0x[0-9a-f]{16}:  [0-9a-f]{4,8} +\w", line)
    assert re.search(r"<spinning@0x[0-9a-f]+(\+\d+)?>:", done.stdout)
    assert os.listdir(tmp_path) == [listing.name]


def test_no_listing_no_run(build: Callable[..., Path], tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    command = f'cd {folder} && rmdir {folder} && exec "$@"'
    words = ["sh", "-c", command, "sh", *ENGINE, "-gdbjit", str(build("code"))]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr

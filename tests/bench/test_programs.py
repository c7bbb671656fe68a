"""Every C program gives the same checksum on the host and under QEMU."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from bench import build
from bench.model import GUESTS, RISCV64, Guest
from bench.rows import ROWS
from jitemu.messages import UserError


def needed(*guests: Guest) -> pytest.MarkDecorator:
    tools = ["gcc", *(tool for guest in guests for tool in (guest.compiler, f"qemu-{guest.name}"))]
    missing = not all(shutil.which(tool) for tool in tools)
    return pytest.mark.skipif(missing, reason=f"needs {', '.join(tools)}")


def output(*command: object) -> str:
    words = [str(word) for word in command]
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=30).stdout


@needed(*GUESTS.values())
@pytest.mark.parametrize("name", [name for name in build.sources() if name != "disk"])
def test_same_checksum(name: str) -> None:
    native = build.build(name, None)
    results = {size: output(native, size) for size in (1, 3)}
    for guest in GUESTS.values():
        program = build.build(name, guest)
        assert results == {size: output(f"qemu-{guest.name}", program, size) for size in (1, 3)}
    if name not in ("hello", "clock"):
        assert results[1] != results[3], "the checksum does not depend on the work"


def test_every_program_has_a_row() -> None:
    assert {row.source for row in ROWS if row.source} == set(build.sources())


def test_programs_are_short() -> None:
    for name in build.sources():
        assert len((build.PROGRAMS / f"{name}.c").read_text().splitlines()) < 120


@needed(RISCV64)
def test_built_once(cache: Path) -> None:
    first = build.build("hello", None)
    stamp = first.stat().st_mtime_ns
    assert first.is_relative_to(cache)
    assert build.build("hello", None) == first
    assert first.stat().st_mtime_ns == stamp


def test_missing_compiler_is_named() -> None:
    with pytest.raises(UserError, match="no-such-gcc is not installed"):
        build.build("hello", replace(RISCV64, compiler="no-such-gcc"))

"""Every C program gives the same checksum on the host and under qemu-riscv64."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from bench import build
from bench.rows import ROWS
from jitemu.messages import UserError

TOOLS = ("gcc", build.GUEST_COMPILER, "qemu-riscv64")
needs_tools = pytest.mark.skipif(
    not all(shutil.which(tool) for tool in TOOLS), reason=f"needs {', '.join(TOOLS)}"
)


def output(*command: object) -> str:
    words = [str(word) for word in command]
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=30).stdout


@needs_tools
@pytest.mark.parametrize("name", [name for name in build.sources() if name != "disk"])
def test_same_checksum(name: str) -> None:
    native = build.build(name, build.HOST_COMPILER)
    guest = build.build(name, build.GUEST_COMPILER)
    results = {size: output(native, size) for size in (1, 3)}
    assert results == {size: output("qemu-riscv64", guest, size) for size in (1, 3)}
    if name not in ("hello", "clock"):
        assert results[1] != results[3], "the checksum does not depend on the work"


def test_every_program_has_a_row() -> None:
    assert {row.source for row in ROWS if row.source} == set(build.sources())


def test_programs_are_short() -> None:
    for name in build.sources():
        assert len((build.PROGRAMS / f"{name}.c").read_text().splitlines()) < 120


@needs_tools
def test_built_once(cache: Path) -> None:
    first = build.build("hello", build.HOST_COMPILER)
    stamp = first.stat().st_mtime_ns
    assert first.is_relative_to(cache)
    assert build.build("hello", build.HOST_COMPILER) == first
    assert first.stat().st_mtime_ns == stamp


def test_missing_compiler_is_named() -> None:
    with pytest.raises(UserError, match="no-such-gcc is not installed"):
        build.build("hello", "no-such-gcc")

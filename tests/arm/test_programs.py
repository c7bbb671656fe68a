"""Compiled programs on the engine's tiers, against qemu-arm."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.arm.programs import GCC, QEMU, build

FLAGS = (("-O2", "-marm"), ("-O2", "-mthumb"), ("-O0", "-marm"), ("-O0", "-mthumb"))


@pytest.mark.skipif(not (GCC and QEMU), reason="arm-linux-gnueabihf-gcc and qemu-arm")
@pytest.mark.parametrize("flags", FLAGS, ids=" ".join)
def test_program(tmp_path: Path, flags: tuple[str, ...]) -> None:
    """Baseline, then with every block a region."""
    program = build(tmp_path, *flags)
    wanted = subprocess.run([str(QEMU), program], capture_output=True, timeout=60, check=True)
    assert len(wanted.stdout) > 100
    for threshold in (0, 1):
        # A process of its own: the program wants low addresses.
        command = [sys.executable, "-m", "tests.arm.programs", str(program), str(threshold)]
        got = subprocess.run(command, capture_output=True, timeout=120, check=False)
        assert got.stdout == wanted.stdout, got.stderr.decode()

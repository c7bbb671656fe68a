"""Guests that generate and rewrite code, and fork when they are warm: every result is right."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.user.conftest import run_with
from tests.user.long import MODES

ROUNDS = {"self": 600, "threads": 4, "fork": 1}


@pytest.mark.parametrize("threshold", ["0", "2"])
@pytest.mark.parametrize("mode", MODES)
def test_generated_code(build: Callable[..., Path], mode: str, threshold: str) -> None:
    """In blocks alone, and with regions made nearly at once."""
    program, words = build("jit"), (mode, str(ROUNDS.get(mode, 9)), "1")
    done = run_with("engine", "-hot-threshold", threshold, program, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    if mode != "alias" and shutil.which("qemu-riscv64"):  # where QEMU 7.2 is wrong
        qemu = subprocess.run(["qemu-riscv64", program, *words], capture_output=True, text=True)
        assert done.stdout == qemu.stdout

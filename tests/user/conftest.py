"""Guest programs built once, and ways of running them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.user.unicorn_main import COMMAND, HERE

PROGRAMS = Path(__file__).parent / "programs"
COMPILER = "riscv64-linux-gnu-gcc"
ENGINE = (
    sys.executable,
    "-c",
    f"import sys; sys.path.insert(0, {HERE!r}); "
    "from jitemu.cli.main import main; sys.exit(main(sys.argv[1:]))",
    "user-riscv64",
)
RUNNERS = {"engine": ENGINE, "unicorn": COMMAND}
Finished = subprocess.CompletedProcess[str]
Run = Callable[..., Finished]


def run_with(runner: str, *words: str | Path) -> Finished:
    """Run a guest program; what it printed and its status."""
    command = [*RUNNERS[runner], *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """build(name, *flags): a program of ``programs`` (or given as source text) for riscv64."""
    if not shutil.which(COMPILER):
        pytest.skip(f"needs {COMPILER}")
    folder = tmp_path_factory.mktemp("guests")
    built: dict[tuple[str, ...], Path] = {}

    def compile_program(name: str, *flags: str, source: str = "") -> Path:
        key = (name, source, *flags)
        if key not in built:
            path = folder / f"{name}{len(built)}"
            origin = PROGRAMS / f"{name}.c"
            if source:
                origin = folder / f"{name}{len(built)}.c"
                origin.write_text(source)
            options = flags or ("-static",)
            command = [COMPILER, "-O1", "-w", "-pthread", *options, str(origin), "-o", str(path)]
            subprocess.run(command, check=True)
            built[key] = path
        return built[key]

    return compile_program

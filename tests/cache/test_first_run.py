"""A run with neither cache nor installed stencils: it begins with few, the rest is built beside."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jitemu.runtime.installed import UNUSED
from tests.cache.runs import COMPILER, ROOT, Cache, expected, run_together

THREADS = 4
KILLS = 4
WAIT_SECONDS = 90
RARE = Path(__file__).with_name("rare.c")


def builders(cache: Cache) -> list[int]:
    """Numbers of the processes that build for this cache."""
    found: list[int] = []
    wanted = f"XDG_CACHE_HOME={cache.folder}".encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
                environment = (entry / "environ").read_bytes()
            except OSError:
                continue
            if b"jitemu.runtime.builder" in command and wanted in environment.split(b"\0"):
                found.append(int(entry.name))
    return found


@pytest.fixture
def empty(tmp_path: Path) -> Cache:
    """An empty cache, and an installation without stencils."""
    cache = Cache(tmp_path)
    cache.environment[UNUSED] = "1"
    return cache


@pytest.fixture(scope="session")
def rare(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A program whose threads execute instructions that the first set lacks, and its output."""
    if not shutil.which(COMPILER):
        pytest.skip(f"needs {COMPILER}")
    path = tmp_path_factory.mktemp("rare") / "rare"
    flags = ["-O1", "-static", "-pthread", "-march=rv64gc_zba_zbb_zbs_zbc"]
    subprocess.run([COMPILER, *flags, RARE, "-o", path], check=True)
    done = subprocess.run(
        ["qemu-riscv64", "-cpu", "rv64,zbc=on", path, str(THREADS)],
        capture_output=True,
        text=True,
        check=True,
    )
    return path, done.stdout


def run(cache: Cache, program: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a guest program to its end."""
    return subprocess.run(
        [sys.executable, "-m", "jitemu", "user-riscv64", program, *words],
        env=cache.environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=WAIT_SECONDS,
    )


def test_rest_is_built_beside_threads(empty: Cache, rare: tuple[Path, str]) -> None:
    """Instructions that lack stencils, met by several threads and in a fork, in the first run;
    and what the builder leaves."""
    program, output = rare
    first = run(empty, program, str(THREADS))
    assert (first.stdout, "Building stencils" in first.stderr) == (output, True)
    empty.wait_for_stencils()
    second = run(empty, program, str(THREADS))
    assert second.stdout == output
    assert second.stderr == ""
    assert builders(empty) == []


def test_two_at_once(empty: Cache, work: Path) -> None:
    assert run_together(empty, [work] * 2, 100) == [expected(rounds=100)] * 2
    empty.wait_for_stencils()


def test_run_while_the_whole_set_is_built(empty: Cache, work: Path) -> None:
    """The second run begins with the first one's set."""
    for _ in range(2):
        assert empty.run(work, rounds=1)[0] == expected(rounds=1)
    empty.wait_for_stencils()


def test_killed_builders(empty: Cache, work: Path) -> None:
    """Whenever a builder is killed: nothing is half done, and a later run begins another."""
    rng = random.Random(5)
    for _ in range(KILLS):
        assert empty.run(work, rounds=1)[0] == expected(rounds=1)
        time.sleep(rng.uniform(0, 1))
        for pid in builders(empty):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.1)
    assert empty.run(work, rounds=1)[0] == expected(rounds=1)
    deadline = time.monotonic() + WAIT_SECONDS
    while "" not in empty.sets():
        assert time.monotonic() < deadline, empty.sets()
        time.sleep(0.05)
    assert empty.run(work)[0] == expected()


def test_builder_killed_beside_the_guest(empty: Cache, rare: tuple[Path, str]) -> None:
    """A run whose builder dies starts another when it needs a stencil."""
    program, output = rare
    process = subprocess.Popen(
        [sys.executable, "-m", "jitemu", "user-riscv64", program, str(THREADS), "wait"],
        env=empty.environment,
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    found = builders(empty)
    assert found
    for pid in found:
        os.kill(pid, signal.SIGKILL)
    rest, _ = process.communicate("go\n", timeout=WAIT_SECONDS)
    assert rest == output
    assert process.returncode == 0
    wait_for_end(empty)


def wait_for_end(cache: Cache) -> None:
    """Wait until no builder is left."""
    deadline = time.monotonic() + WAIT_SECONDS
    while builders(cache):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_cache_that_cannot_be_written(empty: Cache, work: Path) -> None:
    """The run does without it."""
    folder = empty.folder / "jitemu"
    folder.mkdir()
    folder.chmod(0o777)  # others may write there: it is not used
    try:
        assert empty.run(work, rounds=1)[0] == expected(rounds=1)
        wait_for_end(empty)
        assert list(folder.iterdir()) == []
    finally:
        folder.chmod(0o700)

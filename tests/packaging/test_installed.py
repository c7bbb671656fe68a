"""A first run of an installation: its stencils are used, but never wrong ones."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jitemu.backend_llvm import cache
from jitemu.runtime import installed
from tests.cache.runs import Cache
from tests.cache.test_first_run import builders
from tests.packaging.conftest import TOP

BUILDING = "Building stencils"
COMPILERS = {"riscv64": "riscv64-linux-gnu-gcc", "arm": "arm-linux-gnueabihf-gcc"}
DAMAGES = 40


class Installation:
    """An unpacked wheel and a cache, at first empty."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder = folder
        self.cache = Cache(home)
        del self.cache.environment["PYTHONPATH"]
        self.cache.environment |= {"PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1"}
        self.cache.environment.pop(installed.UNUSED, None)

    def run(self, *words: str) -> tuple[str, str]:
        """Run ``jitemu WORDS``: what it printed, and what it said."""
        done = subprocess.run(
            [sys.executable, "-m", "jitemu", *words],
            env=self.cache.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            input="q\n",  # which ends the bare-metal guest
            check=True,
            timeout=60,
        )
        return done.stdout, done.stderr

    def set_of(self, guest: str) -> Path:
        """The file of a guest's stencils."""
        (found,) = (self.folder / "jitemu" / "stencils").glob(f"{guest}-*")
        return found


@pytest.fixture
def installation(unpacked: Path, tmp_path: Path) -> Installation:
    """Of the tree as it is."""
    home = tmp_path / "home"
    home.mkdir()
    return Installation(unpacked, home)


def hello(guest: str, folder: Path) -> str:
    """A program for a guest, static."""
    if not shutil.which(COMPILERS[guest]):
        pytest.skip(f"needs {COMPILERS[guest]}")
    path = folder / f"hello-{guest}"
    source = TOP / "bench/programs/hello.c"
    subprocess.run([COMPILERS[guest], "-O1", "-static", source, "-o", path], check=True)
    return str(path)


@pytest.fixture
def program(tmp_path: Path) -> str:
    """A program for riscv64."""
    return hello("riscv64", tmp_path)


@pytest.mark.parametrize("guest", ["riscv64-user", "riscv64-system", "arm-user"])
def test_first_run(installation: Installation, tmp_path: Path, guest: str) -> None:
    """It takes the set, keeps it, and builds nothing; later runs use what is kept."""
    if guest == "riscv64-system":
        kernel = str(installation.folder / "jitemu/get/hello.bin")
        words = ["system-riscv64", "-nographic", "-kernel", kernel]
    else:
        architecture = guest.partition("-")[0]
        words = [f"user-{architecture}", hello(architecture, tmp_path)]
    output, said = installation.run(*words)
    assert "hello" in output.lower()
    assert said == ""
    assert builders(installation.cache) == []
    assert installation.cache.sets() == [""]
    (kept,) = (installation.cache.folder / "jitemu/stencils").iterdir()
    assert kept.stat().st_size == installation.set_of(guest).stat().st_size
    installation.set_of(guest).unlink()
    before = kept.stat().st_mtime_ns
    assert installation.run(*words) == (output, "")
    assert kept.stat().st_mtime_ns == before


def test_other_sources(installation: Installation, program: str) -> None:
    """A set of sources that were edited is not used."""
    with (installation.folder / "jitemu/isa.py").open("a") as file:
        file.write("# edited\n")
    output, said = installation.run("user-riscv64", "-no-cache", program)
    assert (output, BUILDING in said) == ("hello\n", True)


def test_asked_not_to(installation: Installation, program: str) -> None:
    installation.cache.environment[installed.UNUSED] = "1"
    assert BUILDING in installation.run("user-riscv64", "-no-cache", program)[1]


def test_damaged(installation: Installation, program: str, tmp_path: Path) -> None:
    """Whatever byte is changed, and wherever it ends: it is neither used nor kept."""
    path, copy = installation.set_of("riscv64-user"), tmp_path / "copy"
    whole = path.read_bytes()
    assert cache.load_checked(str(path)) is not None
    rng = random.Random(8)
    places = [*range(0, 48, 5), *(rng.randrange(len(whole)) for _ in range(DAMAGES))]
    made = range(40, 48)  # the time at which it was made, which does not matter
    for at in (place for place in places if place not in made):
        damaged = bytearray(whole)
        damaged[at] ^= rng.randrange(1, 256)
        path.write_bytes(damaged)
        assert cache.load_checked(str(path), str(copy)) is None, at
    for size in (0, 7, 4096, len(whole) - 1):
        path.write_bytes(whole[:size])
        assert cache.load_checked(str(path), str(copy)) is None, size
    assert not copy.exists()
    output, said = installation.run("user-riscv64", "-no-cache", program)
    assert (output, BUILDING in said) == ("hello\n", True)


def test_cache_that_cannot_be_used(installation: Installation, program: str) -> None:
    """The set is used where it is; so it is where nothing is to be kept."""
    home = installation.cache.folder
    assert installation.run("user-riscv64", "-no-cache", program) == ("hello\n", "")
    assert os.listdir(home) == []
    (home / "jitemu").mkdir()
    (home / "jitemu").chmod(0o777)  # others may write there
    output, said = installation.run("user-riscv64", program)
    assert (output, BUILDING in said) == ("hello\n", False)
    assert "cannot keep stencils there" in said
    (home / "jitemu").rmdir()
    (home / "jitemu").write_text("")
    assert installation.run("user-riscv64", program)[0] == "hello\n"


def test_clear_leaves_it(installation: Installation, program: str) -> None:
    """And ``show`` names it."""
    installation.run("user-riscv64", program)
    installation.run("cache", "clear")
    assert installation.cache.sets() == []
    path = installation.set_of("riscv64-user")
    shown, _ = installation.run("cache", "show")
    assert "installed: stencils of 3 of 3 guests for this processor" in shown
    assert shown.endswith(f"in {path.parent}\n")
    assert installation.run("user-riscv64", program) == ("hello\n", "")

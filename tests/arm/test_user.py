"""``jitemu user-arm``: whole programs beside qemu-arm, in both instruction sets."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.arm.round_trips import COMPRESSORS, mixed_data, round_trip
from tests.user.conftest import ENGINE as RISCV_ENGINE
from tests.user.conftest import PROGRAMS
from tests.user.test_debian import APPLETS, BASH, PYTHON, outcome

ENGINE = (*RISCV_ENGINE[:-1], "user-arm")
COMPILER, QEMU = shutil.which("arm-linux-gnueabihf-gcc"), shutil.which("qemu-arm")
GUEST = ("-E", "PATH=/usr/bin", "-E", "LC_ALL=C")
Build = Callable[..., Path]

needs_tools = pytest.mark.skipif(not (COMPILER and QEMU), reason="needs qemu-arm, a compiler")


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """build(name, *flags): a static program of tests/user/programs for armhf."""
    folder = tmp_path_factory.mktemp("armhf")

    def compile_program(name: str, *flags: str) -> Path:
        path = folder / "-".join((name, *flags))
        if not path.exists():
            options = ("-O1", "-w", "-pthread", "-static", *flags)
            source = PROGRAMS / f"{name}.c"
            subprocess.run([str(COMPILER), *options, source, "-o", path], check=True)
        return path

    return compile_program


def run(words: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)


@needs_tools
@pytest.mark.parametrize("flags", ["-marm", "-mthumb"])
@pytest.mark.parametrize("name", ["threads", "signals", "blocking"])
def test_programs(build: Build, name: str, flags: str) -> None:
    wanted = (PROGRAMS / f"{name}.expected").read_text()
    done = run((*ENGINE, build(name, flags)))
    assert done.stdout == wanted


def own_program(folder: Path, name: str, *flags: str) -> Path:
    """A static T32 program of this folder."""
    program, source = folder / name, Path(__file__).with_name(f"{name}.c")
    words = [str(COMPILER), "-O1", "-static", "-mthumb", *flags, source, "-o", program]
    subprocess.run(words, check=True)
    return program


@needs_tools
def test_alignment(tmp_path: Path) -> None:
    """Accesses that ask for alignment are SIGBUS where they do not have it."""
    program = own_program(tmp_path, "alignment", "-march=armv8-a", "-mfpu=neon-fp-armv8")
    wanted = run((str(QEMU), program)).stdout
    assert wanted.count("signal 7 code 1") == 22
    assert run((*ENGINE, program)).stdout == wanted


@needs_tools
def test_ranges_of_pages(tmp_path: Path) -> None:
    """Calls that look at pages see the guest's, as the host's kernel does for its programs."""
    program = own_program(tmp_path, "pages")
    native = tmp_path / "native"
    subprocess.run(["gcc", "-w", Path(__file__).with_name("pages.c"), "-o", native], check=True)
    assert run((*ENGINE, program)).stdout == run((native,)).stdout


@needs_tools
def test_faults_are_exact(tmp_path: Path) -> None:
    """A handler sees all registers as they are, in blocks and in regions."""
    bare = ("-nostdlib", "-ffreestanding", "-fno-stack-protector", "-D_GNU_SOURCE")
    program = own_program(tmp_path, "exact", *bare, "-march=armv7-a", "-mfpu=neon")
    wanted = subprocess.run([str(QEMU), program], capture_output=True, check=True).stdout
    assert len(wanted) == 4 * 80
    for threshold in ("0", "1"):
        words = (*ENGINE, "-hot-threshold", threshold, program)
        got = subprocess.run(words, capture_output=True, timeout=120, check=True)
        assert got.stdout == wanted


@needs_tools
def test_code_made_at_run_time(build: Build) -> None:
    program = build("code", "-marm")
    assert outcome((*ENGINE, program), Path("/")) == outcome((str(QEMU), program), Path("/"))


@needs_tools
def test_calls(build: Build) -> None:
    """As for riscv64, but for what tells of the processor."""
    lines = (PROGRAMS / "calls.expected").read_text().splitlines()
    done = run((*ENGINE, build("calls", "-marm"))).stdout.splitlines()
    assert done[0] == "machine armv7l"
    hwcap = run((str(QEMU), build("calls", "-marm"))).stdout.splitlines()[1]
    assert done[1] == hwcap
    assert done[3:] == lines[3:]


@needs_tools
@pytest.mark.parametrize("flags", ["-marm", "-mthumb"])
def test_trace_has_qemus_shape(build: Build, flags: str) -> None:
    """The first blocks, which differ in nothing but where they end."""
    program = build("code", flags)
    theirs = run((str(QEMU), "-d", "in_asm", program)).stderr.splitlines()
    ours = run((*ENGINE, "-d", "in_asm", program)).stderr.splitlines()
    first = [[line for line in text if line.startswith("0x")][:10] for text in (theirs, ours)]
    assert len(first[0]) == 10 and first[0] == first[1]
    cpu = run((*ENGINE, "-d", "cpu", program)).stderr.splitlines()[:5]
    assert cpu[0].startswith("R00=00000000 R01=")
    assert cpu[4] == run((str(QEMU), "-d", "cpu", program)).stderr.splitlines()[4]


@needs_tools
def test_processor_models(build: Build) -> None:
    """An instruction that a model lacks is SIGILL; -cpu help lists the models."""
    shown = run((*ENGINE, "-cpu", "help")).stdout
    assert "  cortex-a15\n" in shown
    done = run((*ENGINE, "-cpu", "arm926", build("code", "-mthumb")))
    assert done.returncode == -4 and "Illegal instruction" in done.stderr
    done = run((*ENGINE, "-cpu", "cortex-m3", build("code")))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)


def test_python(armhf_root: Path, tmp_path: Path) -> None:
    words = ("-L", armhf_root, *GUEST, armhf_root / "usr/bin/python3", "-c", PYTHON)
    assert outcome((*ENGINE, *words), tmp_path) == outcome((str(QEMU), *words), tmp_path)


def test_bash(armhf_root: Path, tmp_path: Path) -> None:
    words = ("-L", armhf_root, *GUEST, armhf_root / "usr/bin/bash", "-c", BASH)
    assert outcome((*ENGINE, *words), tmp_path) == outcome((str(QEMU), *words), tmp_path)


def test_busybox(armhf_root: Path, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("".join(f"{n * 7919 % 6552}\n" for n in range(500)))
    differ: list[str] = []
    for line in APPLETS[::4]:
        words = (armhf_root / "usr/bin/busybox", *line.split())
        if outcome((str(QEMU), *words), tmp_path) != outcome((*ENGINE, *words), tmp_path):
            differ.append(line)
    assert not differ


@pytest.mark.parametrize("name", COMPRESSORS)
def test_compressors(armhf_root: Path, tmp_path: Path, name: str) -> None:
    data = tmp_path / "data"
    data.write_bytes(mixed_data(1 << 20, 2))
    assert round_trip(name, ENGINE, (str(QEMU),), armhf_root, data) == []

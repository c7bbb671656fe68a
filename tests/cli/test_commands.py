"""The jitemu command as a process: output, errors, exit statuses, start-up."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = [sys.executable, "-m", "jitemu"]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *words], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )


def test_help_lists_the_commands() -> None:
    done = run("help")
    assert done.returncode == 0
    for command in ("user-riscv64", "system-riscv64", "get", "cache", "img", "help", "version"):
        assert f"\n  {command}" in done.stdout
    assert run("--help").stdout == done.stdout


@pytest.mark.parametrize(
    ("words", "start"),
    [
        (["--version"], "jitemu version "),
        (["user-riscv64", "-h"], "usage: jitemu user-riscv64 [options] program [arguments...]"),
        (["help", "system-riscv64"], "usage: jitemu system-riscv64 [options]"),
        (["get", "-help"], "usage: jitemu get guest [options]"),
        (["system-riscv64", "-M", "help"], "Supported machines are:"),
    ],
)
def test_what_is_asked_for_goes_to_standard_output(words: list[str], start: str) -> None:
    done = run(*words)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(start)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ([], "no command; jitemu help lists them"),
        (["fly"], "fly: unknown command; jitemu help lists them"),
        (["user-riscv64"], "no user program specified"),
        (["user-riscv64", "-foo", "prog"], "-foo: invalid option"),
        (["system-riscv64", "-foo"], "-foo: invalid option"),
        (["system-riscv64", "-m"], "-m: requires an argument"),
        (["system-riscv64", "disk.img"], "nothing to run: "),
        (["system-riscv64", "-append", "x"], "-append only allowed with -kernel option"),
        (["get"], "jitemu get takes one of these: riscv64-linux, riscv64-root, armhf-root, hello"),
    ],
)
def test_errors_are_one_line_and_status_1(words: list[str], error: str) -> None:
    done = run(*words)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"jitemu: {error}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "program"),
    [
        (["-foo"], "qemu-system-riscv64"),
        (["-m"], "qemu-system-riscv64"),
        (["-append", "x", "-M", "virt", "-display", "none"], "qemu-system-riscv64"),
    ],
)
def test_wording_is_that_of_qemu(words: list[str], program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"needs {program}")
    theirs = subprocess.run([program, *words], capture_output=True, text=True, timeout=10)
    ours = run(program.removeprefix("qemu-"), *words)
    assert ours.stderr == theirs.stderr.replace(program, "jitemu")
    assert ours.returncode == theirs.returncode


def test_the_parse_imports_nothing_slow() -> None:
    code = (
        "import sys; from jitemu.cli import main, user_options, options;"
        "options.parse(user_options.OPTIONS, ['-L', '/x', 'prog'], {});"
        "print(*sys.modules)"
    )
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:] = {sys.path!r}; {code}"]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    slow = {"argparse", "rich", "dataclasses", "inspect", "subprocess", "elftools", "capstone"}
    assert not slow & set(out)
    assert not [name for name in out if name.startswith(("jitemu.get", "jitemu.trace"))]


def test_a_reader_that_stops_is_no_error() -> None:
    done = subprocess.run(
        f"{sys.executable} -m jitemu user-riscv64 -help | head -n 1; echo ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines()[-1] == "0"
    assert done.stderr == ""


@pytest.mark.parametrize("how", ["no reader", "full", "closed"])
def test_work_is_done_whether_or_not_it_can_be_printed(how: str, tmp_path: Path) -> None:
    program = [sys.executable, "-m", "jitemu", "img"]
    subprocess.run([*program, "create", "-q", "-f", "qcow2", "a.qcow2", "1M"], cwd=tmp_path)
    reader, writer = os.pipe()
    os.close(reader)
    with open("/dev/full", "w") as full, open(writer, "w") as nobody:
        for words in (["resize", "a.qcow2", "+1M"], ["convert", "-p", "a.qcow2", "a.raw"]):
            done = subprocess.run(
                [*program, *words],
                cwd=tmp_path,
                stdout=full if how == "full" else nobody,
                stderr=subprocess.PIPE,
                text=True,
                preexec_fn=(lambda: os.close(1)) if how == "closed" else None,
            )
            problem = "jitemu: cannot print: No space left on device\n"
            assert (done.returncode, done.stderr) == ((1, problem) if how == "full" else (0, ""))
    assert (tmp_path / "a.raw").read_bytes() == bytes(2 << 20)

"""``python -m bench`` from end to end, with stand-ins for the emulator."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from bench import __main__ as command
from bench.inputs import Inputs, data_file
from bench.model import ARM, CONTESTANTS, QUICK, RISCV64, Row, contestant
from bench.results import FAILED, OK, UNCHECKED, WRONG, Report, SideResult
from bench.rows import ROWS
from bench.session import Plan, Session
from jitemu.messages import UserError
from jitemu.runtime.installed import UNUSED

needs_tools = pytest.mark.skipif(
    not all(shutil.which(t) for t in ("gcc", RISCV64.compiler, "qemu-riscv64")),
    reason="needs the compilers and qemu-riscv64",
)
BY_NAME = {row.name: row for row in ROWS}


def script(folder: Path, body: str) -> str:
    """A stand-in for jitemu: a shell script that gets jitemu's command line."""
    path = folder / "stand-in"
    path.write_text("#!/bin/sh\n" + body)
    path.chmod(0o755)
    return str(path)


def run_one(row: Row, jitemu: str, *sides: str, rounds: int = 1) -> dict[str, SideResult]:
    report = Report({}, {})
    plan = Plan(tuple(contestant(s, RISCV64) for s in sides), rounds, "quick", 10)
    Session(plan, Inputs([jitemu], RISCV64), report).run([row])
    assert not report.skipped
    return report.rows[0].sides


@needs_tools
def test_qemu_against_qemu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A stand-in that is QEMU too gives right output, and all parts of a report."""
    jitemu = script(tmp_path, 'shift; [ "$1" = -hot-threshold ] && shift 2; exec qemu-riscv64 "$@"')
    saved = tmp_path / "out.json"
    words = ["hello", "nqueens", "--quick", "--rounds", "2", "--jitemu-cmd", jitemu]
    assert command.main([*words, "--json", str(saved)]) == 0
    document: Any = json.loads(saved.read_text())
    assert [row["name"] for row in document["rows"]] == ["hello", "nqueens"]
    for row in document["rows"]:
        assert row["reference"] == "native"
        assert set(row["sides"]) == {"native", "qemu", "baseline", "regions"}
        assert {side["verdict"] for side in row["sides"].values()} == {OK}
        assert {len(side["seconds"]) for side in row["sides"].values()} == {2}
    assert "geometric mean" in capsys.readouterr().out


@needs_tools
def test_wrong_checksum(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jitemu = script(tmp_path, "echo nqueens 0123456789abcdef")
    assert command.main(["nqueens", "--quick", "--jitemu-cmd", jitemu]) == 1
    shown = capsys.readouterr().out
    assert "baseline: WRONG" in shown and "regions: WRONG" in shown


JOB = Row("job", "any", "", guest=("{user}", "{n}"), native=("echo", "7"), size=7 * QUICK)


@pytest.mark.parametrize(
    ("body", "verdict"),
    [("echo $2", OK), ("echo 8", WRONG), ("echo 7; exit 1", FAILED), ("kill -9 $$", FAILED)],
)
def test_verdicts(tmp_path: Path, body: str, verdict: str) -> None:
    sides = run_one(JOB, script(tmp_path, body), "native", "regions")
    assert (sides["native"].verdict, sides["regions"].verdict) == (OK, verdict)


def test_output_that_nothing_confirms(tmp_path: Path) -> None:
    sides = run_one(JOB, script(tmp_path, "echo 8"), "regions")
    assert sides["regions"].verdict == UNCHECKED


def test_runs_alternate_and_failures_are_not_repeated(tmp_path: Path) -> None:
    log = tmp_path / "log"
    body = f'[ "$2" = -hot-threshold ] && echo b >> {log} || {{ echo r >> {log}; exit 1; }}'
    row = Row("job", "any", "", guest=("{user}",), same=False)
    sides = run_one(row, script(tmp_path, body), "baseline", "regions", rounds=3)
    assert log.read_text().split() == ["b", "r", "b", "b"]
    assert (len(sides["baseline"].seconds), len(sides["regions"].seconds)) == (3, 0)


@pytest.mark.parametrize(("side", "unused"), [("regions-cold", ""), ("regions-bare", "1")])
def test_cold_runs_start_with_an_empty_cache(
    tmp_path: Path, cache: Path, side: str, unused: str
) -> None:
    count = 'ls "$XDG_CACHE_HOME" | wc -l; echo x > "$XDG_CACHE_HOME/left"'
    body = f'echo "${UNUSED}"; {count}'
    row = Row("job", "any", "", guest=("{user}",), pattern=rf"^{unused}\n0\n$", same=False)
    sides = run_one(row, script(tmp_path, body), side, rounds=2)
    assert sides[side].verdict == OK
    assert not (cache / "left").exists()


def test_guest_that_cannot_be_fetched_skips_the_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jitemu = script(tmp_path, "exit 1")
    assert command.main(["true", "--sides", "regions", "--jitemu-cmd", jitemu]) == 0
    assert "skipped true: riscv64-root cannot be fetched" in capsys.readouterr().out


def test_fetched_folder_is_used(tmp_path: Path) -> None:
    (tmp_path / "guest/root/usr/bin").mkdir(parents=True)
    inputs = Inputs([script(tmp_path, f"echo {tmp_path}/guest")], RISCV64)
    words = inputs.command(
        BY_NAME["true"], BY_NAME["true"].guest, contestant("regions", RISCV64), 0
    )
    assert words[1:3] == ["user-riscv64", "-L"]
    assert words[3:] == [f"{tmp_path}/guest/root", f"{tmp_path}/guest/root/usr/bin/true"]


def test_another_guest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its commands and its sysroot; rows that it has no form of are skipped."""
    root = tmp_path / "root"
    (root / "usr/bin").mkdir(parents=True)
    inputs, row = Inputs(["jitemu"], ARM, root=str(root)), BY_NAME["true"]
    sides = [contestant(name, ARM) for name in CONTESTANTS]
    shown = [inputs.command(row, row.guest, side, 0)[:2] for side in sides if side.user]
    assert shown[0] == ["qemu-arm", "-L"]
    assert all(words == ["jitemu", "user-arm"] for words in shown[1:])
    words = ["--guest", "arm", "--sides", "regions", "boot", "step-decode"]
    assert command.main(words) == 0
    assert capsys.readouterr().out.count("none of the chosen sides has a form of it") == 2


def test_folder_that_holds_no_guest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no Image in it"):
        Inputs(["jitemu"], RISCV64, linux=str(tmp_path)).folder("riscv64-linux")


def test_data_file_has_the_size_and_is_the_same_each_time() -> None:
    first = data_file(700).read_bytes()
    assert len(first) == 700 << 10
    data_file(700).unlink()
    assert data_file(700).read_bytes() == first


def test_rows_are_declared_once_and_can_be_filled_in() -> None:
    assert len(BY_NAME) == len(ROWS)
    assert sum(row.group == "integer" for row in ROWS) >= 8
    for row in ROWS:
        assert row.guest or row.native, row.name
        used = "".join((*row.guest, *row.native))
        assert (row.size > 0) == ("{n}" in used or "{data}" in used), row.name


def test_choosing_rows() -> None:
    assert [r.name for r in command.choose(["sieve"])] == ["sieve"]
    assert {r.group for r in command.choose(["float", "system-*"])} == {"float", "system"}
    assert command.choose([]) == list(ROWS)


@pytest.mark.parametrize(
    "words",
    [["no-such-row"], ["--sides", "nobody"], ["--rounds", "0"], ["--json", "/no/folder/x"]],
)
def test_bad_options_get_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(words) == 1
    error = capsys.readouterr().err
    assert error.startswith("bench: ") and error.count("\n") == 1


def test_list_runs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--list", "boot"]) == 0
    assert capsys.readouterr().out.split()[:2] == ["boot", "boot"]

"""Results, their JSON form, and the comparison of two of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import compare, results
from bench.results import FAILED, OK, WRONG, Report, RowResult, SideResult
from jitemu.messages import UserError


def side(*seconds: float, verdict: str = OK) -> SideResult:
    return SideResult(list(seconds), list(seconds), [1000] * len(seconds), verdict)


def report(**sides: SideResult) -> Report:
    row = RowResult("sieve", "integer", "s", 10, "native", sides)
    return Report({"cpu": "any"}, {"rounds": 2}, [row], 900, {"boot": "no kernel"})


def test_ratio_is_the_median_of_pairs() -> None:
    row = report(qemu=side(2.0, 4.0, 3.0), regions=side(1.0, 2.0, 1.0)).rows[0]
    assert row.ratio("regions") == (2.0, 2.0, 3.0)
    assert row.ratio("qemu") is None and row.ratio("absent") is None


@pytest.mark.parametrize("verdict", [WRONG, FAILED])
def test_bad_rows_make_the_report_unsound(verdict: str) -> None:
    assert report(qemu=side(1.0), regions=side(1.0)).sound
    assert not report(qemu=side(1.0), regions=side(verdict=verdict)).sound


def test_wrong_output_has_no_ratio() -> None:
    bad = report(qemu=side(1.0), regions=side(0.1, verdict=WRONG))
    assert bad.rows[0].ratio("regions") is None
    assert bad.group_means() == {}


def test_group_means() -> None:
    found = report(native=side(0.1), qemu=side(4.0), regions=side(2.0))
    found.rows.append(RowResult("lz", "integer", "s", 1, "", {"qemu": side(8.0)}))
    found.rows[1].sides["regions"] = side(1.0)
    assert found.group_means() == {"integer": {"regions": pytest.approx(4.0)}}


def test_json_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    before = report(qemu=side(2.0, 4.0), regions=side(1.0, 1.0))
    before.write(path)
    assert results.read(path) == before
    document = json.loads(path.read_text())
    found = document["rows"][0]["sides"]["regions"]["ratio_to_qemu"]
    assert found == {"median": 3.0, "low": 2.0, "high": 4.0}
    assert document["groups"] == {"integer": {"regions": pytest.approx(3.0)}}


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "7", '{"format": 99}', f'{{"format": {results.FORMAT}}}']
)
def test_bad_json_gets_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"bad\.json: (not a result|format 99)"):
        results.read(path)


def test_nested_bad_json_gets_one_line(tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    report(qemu=side(1.0)).write(path)
    path.write_text(path.read_text().replace('"seconds"', '"second"'))
    with pytest.raises(UserError, match="not a result"):
        results.read(path)


def compared(tmp_path: Path, old: Report, new: Report, threshold: float) -> int:
    old.write(tmp_path / "old.json")
    new.write(tmp_path / "new.json")
    files = [str(tmp_path / name) for name in ("old.json", "new.json")]
    return compare.main([*files, "--threshold", str(threshold)])


def test_compare_flags_what_is_slower(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = report(qemu=side(2.0), regions=side(1.0))
    new = report(qemu=side(2.0), regions=side(1.2))
    assert compared(tmp_path, old, new, 10) == 1
    assert "SLOWER" in capsys.readouterr().out
    assert compared(tmp_path, old, new, 25) == 0
    assert compared(tmp_path, new, old, 10) == 0


def test_compare_cancels_a_slower_machine(tmp_path: Path) -> None:
    old = report(qemu=side(2.0), regions=side(1.0))
    assert compared(tmp_path, old, report(qemu=side(4.0), regions=side(2.0)), 1) == 0


def test_compare_without_qemu_takes_times(tmp_path: Path) -> None:
    assert compared(tmp_path, report(regions=side(1.0)), report(regions=side(2.0)), 50) == 1


def test_compare_flags_what_broke(tmp_path: Path) -> None:
    old = report(qemu=side(2.0), regions=side(1.0))
    assert compared(tmp_path, old, report(qemu=side(2.0), regions=side(verdict=WRONG)), 50) == 1


def test_compare_needs_something_in_common(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compared(tmp_path, report(regions=side(1.0)), report(baseline=side(1.0)), 5) == 1
    assert "no emulated row in common" in capsys.readouterr().err


@pytest.mark.parametrize(("seconds", "status"), [(1.0, False), (1.2, True)])
def test_judge(seconds: float, status: bool) -> None:
    old = report(qemu=side(2.0), regions=side(1.0))
    assert compare.judge(old, report(qemu=side(2.0), regions=side(seconds)), 10) is status

"""The warm-up curve: its arithmetic, and a small run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bench import warmup
from bench.model import RISCV64
from bench.warmup import Curve


def even(start: float, each: float, turns: int = 1000) -> Curve:
    return Curve([start + each * (n + 1) for n in range(turns)])


def test_speeds() -> None:
    curve = even(0.5, 0.01)
    assert curve.steady == pytest.approx(100)
    assert curve.speed(3) == pytest.approx(100, rel=0.02)
    assert curve.speed(0.2) == 0
    assert curve.speed(0.6) == pytest.approx(100 * 0.4 / 0.5, rel=0.05)
    assert curve.speed(9) is None


def test_who_overtakes() -> None:
    slow, late = even(0, 0.02), even(2, 0.01)
    ahead = late.overtakes(slow)
    assert ahead == pytest.approx(4, abs=0.03)
    assert slow.overtakes(late) is None
    assert even(0, 0.01).overtakes(slow) == 0


@pytest.mark.skipif(
    not all(shutil.which(tool) for tool in (RISCV64.compiler, "qemu-riscv64")),
    reason="needs QEMU and the cross compiler",
)
def test_picture_and_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stand_in = tmp_path / "jitemu"
    stand_in.write_text(
        '#!/bin/sh\nshift; [ "$1" = -hot-threshold ] && shift 2; exec qemu-riscv64 "$@"'
    )
    stand_in.chmod(0o755)
    picture = tmp_path / "curve.png"
    words = ["--turns", "300", "--rounds", "1", "--png", str(picture)]
    assert warmup.main([*words, "--jitemu-cmd", str(stand_in)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert all(side in printed for side in ("qemu", "baseline", "cold", "warm"))
    assert warmup.main(["--turns", "300", "--jitemu-cmd", "false"]) == 1
    assert "exit status 1" in capsys.readouterr().err

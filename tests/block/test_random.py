"""Random operations, crashes and damaged images: short forms of ``tests.block.long``."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.block import crash, hostile
from tests.block.long import sequence

pytestmark = pytest.mark.skipif(not shutil.which("qemu-img"), reason="qemu-img is not installed")


@pytest.mark.parametrize("seed", range(60))
def test_operations_leave_what_a_plain_model_says(seed: int, tmp_path: Path) -> None:
    sequence(seed, tmp_path)


@pytest.mark.parametrize("seed", range(12))
def test_flushed_data_survives_kill_9(seed: int, tmp_path: Path) -> None:
    crash.kill_writer(seed, tmp_path)


@pytest.mark.parametrize("seed", range(8))
def test_flushed_data_survives_a_loss_of_power(seed: int, tmp_path: Path) -> None:
    crash.lose_power(seed, tmp_path)


def test_damaged_images_are_errors_and_nothing_worse(tmp_path: Path) -> None:
    assert hostile.run(tmp_path, range(300)) == []

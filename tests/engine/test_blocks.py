"""Random blocks, few; ``python -m tests.engine.long`` runs many."""

from __future__ import annotations

import pytest

from tests.engine.compare import Batch

DEEP, REGIONS = 8, 40
SEEDS = (1, 5, 12, 15)
"""Of each oracle and each mode of regions."""


@pytest.mark.parametrize("seed", SEEDS)
def test_blocks(seed: int) -> None:
    found = Batch(seed, 500).check(DEEP, REGIONS)
    assert not found, "\n".join(map(str, found[:5]))

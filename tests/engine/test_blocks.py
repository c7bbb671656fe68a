"""Random blocks, few; ``python -m tests.engine.long`` runs many."""

from __future__ import annotations

import pytest

from tests.engine.compare import Batch

DEEP = 20


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_blocks(seed: int) -> None:
    found = Batch(seed, 500).check(DEEP)
    assert not found, "\n".join(map(str, found[:5]))

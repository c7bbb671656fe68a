"""A cache with stencils, and the guest program, for all tests here."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cache.runs import COMPILER, WARMING, Cache, build, expected


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The guest program."""
    if not shutil.which(COMPILER):
        pytest.skip(f"needs {COMPILER}")
    return build(tmp_path_factory.mktemp("work"))


@pytest.fixture(scope="session")
def stencils(tmp_path_factory: pytest.TempPathFactory, work: Path) -> Cache:
    """A cache with stencils."""
    cache = Cache(tmp_path_factory.mktemp("stencils"))
    output, _ = cache.run(work, "-hot-threshold", "0", rounds=1)
    assert output == expected(rounds=1)
    cache.wait_for_stencils()
    return cache


@pytest.fixture
def cold(tmp_path: Path, stencils: Cache) -> Cache:
    """A cache with nothing but stencils."""
    cache = Cache(tmp_path)
    cache.copy_stencils(stencils)
    return cache


@pytest.fixture
def warm(cold: Cache, work: Path) -> Cache:
    """A cache with the guest program's regions."""
    output, counters = cold.run(work, rounds=WARMING)
    assert output == expected(rounds=WARMING)
    assert counters["cache_hits"] == 0 and counters["compiled"] > 0
    cold.settle()
    return cold

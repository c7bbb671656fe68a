"""A cache folder of the tests' own, and orphans left alone."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from bench import measure


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Programs built once for all tests of a worker."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is read from or written to the user's cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))


@pytest.fixture(autouse=True)
def no_adoption() -> Generator[None]:
    """A bench in this process adopts orphans; tests of other things must not find them."""
    yield
    measure.adopt(False)

"""What regions are found to have, noted while a test makes them."""

from __future__ import annotations

import pytest

from jitemu.backend_llvm import regions
from jitemu.backend_llvm.counted import Counted


def noted_loops(monkeypatch: pytest.MonkeyPatch, finder: str) -> list[Counted]:
    """The loops that a function of the regions module finds from now on, as they are found."""
    found_loops: list[Counted] = []
    find = getattr(regions, finder)

    def note(*arguments: object) -> dict[object, Counted]:
        found = find(*arguments)
        found_loops.extend(found.values())
        return found

    monkeypatch.setattr(regions, finder, note)
    return found_loops

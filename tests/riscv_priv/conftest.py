"""The engine's part of the native functions, for the reference interpreter."""

from __future__ import annotations

import pytest

from jitemu.ir import interp
from tests.riscv_priv.hart import CODE_WRITTEN


@pytest.fixture(autouse=True)
def engine_natives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the interpreter find the stand-in under the engine's name."""
    monkeypatch.setitem(vars(interp)["_compiled"], "code_written", CODE_WRITTEN.compile())

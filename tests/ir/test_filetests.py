"""Every filetest, by every executor, before and after passes."""

from __future__ import annotations

from pathlib import Path

import pytest

from jitemu.ir.passes import optimize
from jitemu.ir.text import parse_function, print_function
from jitemu.ir.verify import verify
from tests.ir.executors import EXECUTORS, Executor
from tests.ir.filetest import Case, expect, ops_of, read, start_of

CASES = [c for p in sorted((Path(__file__).parent / "filetests").glob("*.ir")) for c in read(p)]


def _name(case: Case) -> str:
    return case.name


@pytest.mark.parametrize("case", CASES, ids=_name)
@pytest.mark.parametrize("executor", EXECUTORS, ids=lambda e: e.name)
def test_runs(executor: Executor, case: Case) -> None:
    plain, passed, optimized = case.function(), case.optimized(), case.function()
    optimize(optimized)
    for run in case.runs:
        start = start_of(run, plain)
        ends = [executor.run(function, start) for function in (plain, passed, optimized)]
        if ends[0] is None:
            pytest.skip(f"{executor.name} does not run this kind")
        expect(run, ends[0])
        assert ends[1] == ends[0], "after the case's passes"
        assert ends[2] == ends[0], "after the default passes"


@pytest.mark.parametrize("case", CASES, ids=_name)
def test_text_and_passes(case: Case) -> None:
    function = case.function()
    verify(function)
    text = print_function(function)
    assert print_function(parse_function(text)) == text
    passed = case.optimized()
    verify(passed)
    if case.check is not None:
        assert ops_of(passed) == case.check
    assert case.runs or case.check

"""Random functions: what text, verifier, passes and executors must agree on."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from jitemu.ir.code import Function
from jitemu.ir.passes import optimize
from jitemu.ir.text import parse_function, print_function
from jitemu.ir.verify import verify
from tests.ir.executors import EXECUTORS, End, Interpreter
from tests.ir.filetest import PASSES
from tests.ir.random_functions import random_diamonds, random_instruction, random_start

Make = Callable[[Random], Function]
SEEDS = range(12)
EACH = 25


def shape(function: Function) -> list[object]:
    """All of a function that matters, values by number."""
    function.number()

    def of(value: object) -> str:
        return repr(value)

    return [
        (b.label, [(op.name, op.type, op.attrs, [of(a) for a in op.args], of(op.result))])
        for b in function.blocks
        for op in b.ops
    ]


@pytest.mark.parametrize("make", [random_instruction, random_diamonds])
@pytest.mark.parametrize("seed", SEEDS)
def test_text_round_trip(make: Make, seed: int) -> None:
    rng = Random(seed)
    for _ in range(EACH):
        function = make(rng)
        verify(function)
        again = parse_function(print_function(function))
        verify(again)
        assert shape(again) == shape(function)


@pytest.mark.parametrize("make", [random_instruction, random_diamonds])
@pytest.mark.parametrize("seed", SEEDS)
def test_passes_keep_the_meaning(make: Make, seed: int) -> None:
    rng = Random(1000 + seed)
    interpreter = Interpreter()
    for _ in range(EACH):
        function = make(rng)
        start = random_start(rng)
        before = interpreter.run(function, start)
        text = print_function(function)
        for name in PASSES:
            changed = parse_function(text)
            for run in PASSES[name]:
                run(changed)
            verify(changed)
            after = interpreter.run(changed, start)
            assert after == before, f"{name}:\n{text}\n{print_function(changed)}"


@pytest.mark.parametrize("seed", SEEDS)
def test_executors_agree(seed: int) -> None:
    rng = Random(2000 + seed)
    for _ in range(EACH):
        function = random_instruction(rng)
        start = random_start(rng)
        ends: list[End] = []
        for executor in EXECUTORS:
            end = executor.run(function, start)
            if end is not None:
                ends.append(end)
        assert all(end == ends[0] for end in ends), print_function(function)


def test_passes_reach_a_fixed_point_soon() -> None:
    rng = Random(5)
    for _ in range(40):
        function = random_instruction(rng, 30)
        for _ in range(6):
            optimize(function)
        text = print_function(function)
        optimize(function)
        assert print_function(function) == text

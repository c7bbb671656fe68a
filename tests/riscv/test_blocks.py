"""Random blocks: many instructions together, with jumps and loops, as Unicorn runs them."""

from __future__ import annotations

import random

import pytest

from jitemu.frontends.riscv.extensions import EXTENSIONS, decoder_for, parse_cpu
from tests.riscv.operands import SCRATCH_SIZE, random_block, random_state
from tests.riscv.oracle import UnicornOracle
from tests.riscv.reference import Reference

BLOCKS = 100
UNICORN_HAS = frozenset(("i", "m", "a", "c"))


@pytest.mark.parametrize("length", [3, 12, 40])
def test_reference_as_unicorn(length: int) -> None:
    rng = random.Random(length)
    decoder = decoder_for(parse_cpu("rv64"))
    unicorn, reference = UnicornOracle(), Reference(decoder)
    for _ in range(BLOCKS):
        code = random_block(rng, decoder, length, UNICORN_HAS)
        x, memory = random_state(rng), rng.randbytes(SCRATCH_SIZE)
        assert reference.run(code, x, memory) == unicorn.run(code, x, memory), code.hex()


def test_blocks_end() -> None:
    """With all integer extensions: no block runs forever, leaves its code or the scratch area."""
    rng = random.Random("all")
    decoder = decoder_for(parse_cpu("max"))
    reference = Reference(decoder)
    integer = frozenset(EXTENSIONS) - {"f", "d"}
    for _ in range(BLOCKS):
        code = random_block(rng, decoder, 20, integer)
        reference.run(code, random_state(rng), rng.randbytes(SCRATCH_SIZE))

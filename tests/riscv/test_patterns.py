"""Definitions that contradict each other or themselves are refused."""

from __future__ import annotations

import pytest

from jitemu.frontends.riscv.state import S
from jitemu.isa import Isa

BASE = "imm:12 rs1:5 000 rd:5 0110111"


def define(*patterns: str) -> Isa:
    isa = Isa("test")

    def body(s: S) -> None:
        s.fence()

    for n, pattern in enumerate(patterns):
        isa.insn(pattern, "", "i", f"n{n}")(body)
    return isa


@pytest.mark.parametrize(
    "other",
    [
        BASE,
        "000000000000 rs1:5 funct:3 rd:5 0110111",
        "000000000000 rs1:5 funct:3 rd:5 011011 low:1",
        "000000000000 rs1:5 000 rd:5 01101 low:2",
    ],
)
def test_overlaps(other: str) -> None:
    for patterns in ((BASE, other), (other, BASE)):
        with pytest.raises(ValueError, match="n1 overlaps n0"):
            define(*patterns)


@pytest.mark.parametrize(
    "other",
    [
        "imm:12 rs1:5 000 rd:5 0110011",
        "imm:12 rs1:5 001 rd:5 0110111",
        "imm:12 00000 000 rd:5 0110111",
        "imm:12 rs1:5 000 rd:5 011011 low:1",
        "imm:12 0110",
    ],
)
def test_distinct_or_narrower(other: str) -> None:
    assert len(define(BASE, other).instructions) == 2
    assert len(define(other, BASE).instructions) == 2


@pytest.mark.parametrize("pattern", ["imm:12 0110111", "Imm:12 0110", "imm[3 0000"])
def test_bad_patterns(pattern: str) -> None:
    with pytest.raises(ValueError, match="pattern"):
        define(pattern)


def test_the_narrower_one_is_decoded() -> None:
    decoder = define(BASE, "imm:12 00000 000 rd:5 0110111").decoder()
    names = [decoder.decode(word) for word in (0x37, 0x8037)]
    assert [found.insn.name for found in names if found] == ["n1", "n0"]

"""Floating point and SIMD: every encoding, any words, and blocks on all executions."""

from __future__ import annotations

import pytest

from tests.arm import fp_compare, fp_image, fp_words

GROUPS = 8


@pytest.mark.parametrize("group", range(GROUPS))
def test_encodings(group: int) -> None:
    """Each with random fields and operands, by Unicorn and the interpreter."""
    insns = fp_compare.encodings()[group::GROUPS]
    compared, found = fp_compare.differences(insns, 1, 2000 + group)
    assert compared > 150
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", ("vadd_", "vmul_", "vfma_", "vcvt", "vmla_", "vqrshl"))
def test_rounding(name: str) -> None:
    """More operands where rounding, flags and saturation are."""
    compared, found = fp_compare.differences(fp_compare.encodings(name)[::2], 6, 5)
    assert compared > 20
    assert not found, "\n".join(found)


def test_words() -> None:
    """Any words: those that are undefined are."""
    ended, found = fp_words.differences(1500, 9)
    assert ended["next"] > 300 and ended["illegal"] > 300
    assert not found, "\n".join(found)


def test_baseline() -> None:
    """Blocks of all encodings, on stencils and by the interpreter."""
    compared, found = fp_image.differences(fp_compare.encodings(), 1, 11, (0,))
    assert compared > 200
    assert not found, "\n".join(found)


def test_regions() -> None:
    """The same of some, as regions."""
    compared, found = fp_image.differences(fp_compare.encodings()[::40], 1, 12, (1,))
    assert compared > 5
    assert not found, "\n".join(found)

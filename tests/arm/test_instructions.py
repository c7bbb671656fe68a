"""Every encoding with random fields and operands, against Unicorn."""

from __future__ import annotations

import random

import pytest

from tests.arm.compare import differences, encodings
from tests.arm.oracle import AT, After, Case, Oracle, Reference, random_case
from tests.arm.undefined import describe, disagreements

GROUPS = 8


@pytest.mark.parametrize("group", range(GROUPS))
def test_encodings(group: int) -> None:
    """A part of all encodings, some cases each."""
    compared, found = differences(encodings()[group::GROUPS], 6, 1000 + group)
    assert compared > 100
    assert not found, "\n".join(found)


def _it_case(rng: random.Random) -> tuple[Case, int]:
    """An IT block of additions, shifts and moves of low registers; (case, instructions)."""
    count = rng.randrange(1, 5)
    first = rng.randrange(14)
    mask = (rng.getrandbits(4) & (0x1F0 >> count) | 8 >> count - 1) & 15
    code = (0xBF00 | first << 4 | mask).to_bytes(2, "little")
    for _ in range(count):
        base = rng.choice((0x1800, 0x1A00, 0x0000, 0x0800, 0x4000, 0x4040, 0x4340, 0x43C0))
        code += (base | rng.getrandbits(6)).to_bytes(2, "little")
    return random_case(rng, code, True), count + 1


def test_it_blocks() -> None:
    """Instructions of IT blocks are skipped or not, and leave the flags."""
    rng = random.Random(5)
    oracle, reference = Oracle(), Reference()
    for _ in range(400):
        case, count = _it_case(rng)
        assert reference.run_many(case, count) == oracle.run(case, whole=True), case.code.hex()


def test_undefined() -> None:
    """Words that the manual keeps undefined are."""
    reference = Reference()
    for word in (0xE7F000F0, 0xE7FFDEFE, 0xF7F0A000, 0xFFFFFFFF):
        case = Case(word.to_bytes(4, "little"), False, [0] * 15, 0, b"")
        assert reference.run(case) == After("illegal")
    case = Case(b"\x00\xde", True, [0] * 15, 0, b"")
    assert reference.run(case) == After("illegal")
    assert reference.decoder.decode_at(AT, b"\0\0") is None  # cut off


def test_words_of_eq_blocks() -> None:
    """The same word, seen outside of an IT block before, is skipped in one."""
    decoder = Reference().decoder
    code = bytes.fromhex("01f10101")  # add.w r1, r1, #1
    outside, inside = decoder.decode_at(AT | 1, code), decoder.decode_at(AT | 1 | 8 << 32, code)
    assert outside is not None and outside.guard is None
    assert inside is not None and inside.guard is not None


def test_undefined_words() -> None:
    """Random words of both sets: what there is and what not."""
    assert [describe(case, False) for case in disagreements("max", 4000, 7)] == []


@pytest.mark.parametrize("model", ["arm946", "arm926", "arm11mpcore"])
def test_undefined_words_of_old_models(model: str) -> None:
    """Of A32: Unicorn executes the halves of T32's long branches one by one, as these did."""
    found = [describe(case, False) for case in disagreements(model, 2500, 8) if not case.thumb]
    assert found == []

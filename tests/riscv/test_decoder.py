"""Which words are instructions, and which ones, as Unicorn and objdump see it."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from jitemu.frontends.riscv.extensions import decoder_for, parse_cpu
from jitemu.frontends.riscv.state import isa
from tests.riscv.operands import random_fields
from tests.riscv.oracle import OBJDUMP, UnicornOracle, objdump

DECODER = decoder_for(parse_cpu("max"))
DEFINED = [insn for insn in isa.instructions.values() if insn.width]
SHORT = [word for word in range(1 << 16) if word & 3 != 3]


def matched(word: int) -> str:
    """The definition that a legal word matches, before expansion."""
    if DECODER.decode(word) is None:
        return ""
    width = 32 if word & 3 == 3 else 16
    insns = [i for i in DEFINED if i.width == width]
    return max(
        (i for i in insns if word & i.mask == i.match), key=lambda i: i.mask.bit_count()
    ).name


@pytest.mark.parametrize("name", [i.name for i in DEFINED])
def test_round_trip(name: str) -> None:
    """Encoding and decoding give back the fields."""
    rng = random.Random(name)
    insn = isa.instructions[name]
    for _ in range(20):
        fields = random_fields(rng, insn)
        data = insn.encode(**fields)
        assert insn.decode(data) == fields
        if matched(data) == name and insn.expansion is None:
            decoded = DECODER.decode(data)
            assert decoded is not None
            assert (decoded.insn, decoded.fields) == (insn, fields)
            assert decoded.length == insn.width // 8


def unicorn_accepts(word: int) -> bool:
    """Reserved encodings that Unicorn takes for instructions."""
    return word & 0xE003 == 0x8000 or word & 0xFC43 == 0x9C41


def test_short_words_as_unicorn() -> None:
    unicorn = UnicornOracle()
    legal = [w for w in SHORT if unicorn.legal(w, 2) and not unicorn_accepts(w)]
    assert [w for w in SHORT if DECODER.decode(w) is not None] == legal


# objdump writes shifts by zero, which are hints, with a name of their own.
SHIFTS_BY_ZERO = {"c.slli64": "c.slli", "c.srli64": "c.srli", "c.srai64": "c.srai"}
RESERVED = 0x6101
"""c.addi16sp by zero, which objdump prints all the same."""


@pytest.mark.skipif(OBJDUMP is None, reason="riscv64-linux-gnu-objdump is not installed")
def test_short_words_as_objdump(tmp_path: Path) -> None:
    theirs = objdump(tmp_path, SHORT, 2)
    for word, name in zip(SHORT, theirs, strict=True):
        expected = "" if word == RESERVED else SHIFTS_BY_ZERO.get(name, name)
        assert matched(word) == expected, hex(word)


MAJOR_OPCODES = (0x03, 0x0F, 0x13, 0x17, 0x1B, 0x23, 0x2F, 0x33, 0x37, 0x3B, 0x63, 0x67, 0x6F)
"""Of the integer instructions."""


def integer_words(count: int) -> list[int]:
    """Random words of the integer opcodes, many of them near a definition."""
    rng = random.Random("words")
    insns = [i for i in DEFINED if i.match & 0x7F in MAJOR_OPCODES]
    words: list[int] = []
    for _ in range(count):
        near = rng.choice(insns)
        word = near.encode(**random_fields(rng, near))
        if rng.random() < 0.6:
            word ^= 1 << rng.randrange(7, 32)
        if rng.random() < 0.3:
            word = rng.getrandbits(32) & ~0x7F | rng.choice(MAJOR_OPCODES)
        words.append(word)
    return words


# Fences: objdump wants the reserved fields to be zero, the standard that they be ignored.
# The rest it does not know: fence.tso and pause are names for fences, zicond is newer.
UNKNOWN_TO_OBJDUMP = ("fence", "fence.i", "czero.eqz", "czero.nez")
FENCES = {"fence.tso": "fence"}


@pytest.mark.skipif(OBJDUMP is None, reason="riscv64-linux-gnu-objdump is not installed")
def test_integer_words_as_objdump(tmp_path: Path) -> None:
    words = integer_words(10_000)
    for word, name in zip(words, objdump(tmp_path, words, 4), strict=True):
        ours = matched(word)
        name = re.sub(r"\.(aq|rl|aqrl)$", "", name)
        if ours not in UNKNOWN_TO_OBJDUMP or name:
            assert ours == FENCES.get(name, name), hex(word)


def test_integer_words_as_unicorn() -> None:
    """RV64IMA without the extensions that Unicorn lacks."""
    unicorn = UnicornOracle()
    z = "zba zbb zbc zbs zicond zicbom zicboz"
    decoder = decoder_for(parse_cpu("rv64," + ",".join(f"{name}=off" for name in z.split())))
    for word in integer_words(10_000):
        assert (decoder.decode(word) is not None) == unicorn.legal(word, 4), hex(word)

"""Regions guess divisors: right or wrong, the results are those of blocks."""

from __future__ import annotations

import random

import pytest

from jitemu.frontends.riscv.i import EXIT_BREAKPOINT
from tests.engine.executors import Profile, UserMode, user_mode
from tests.engine.guest_code import Program, put_code, record_at, register, set_registers
from tests.engine.image import BLOCKS

A0, A1, A2 = 10, 11, 12
MASK64 = (1 << 64) - 1
NAMES = ("div", "divu", "rem", "remu", "divw", "divuw", "remw", "remuw")
EDGES = (0, 1, 2, 3, 7, 1 << 31, (1 << 31) - 1, (1 << 32) - 5, 1 << 32, 1 << 63, MASK64, -7, -2)


def divide(user: UserMode, dividend: int, divisor: int) -> int:
    set_registers(user, {A0: dividend, A1: divisor, A2: 0})
    user.processor.pc = BLOCKS
    assert user.processor.run() == EXIT_BREAKPOINT
    return register(user, A2)


@pytest.mark.parametrize("name", NAMES)
def test_guesses(name: str) -> None:
    """Every division, by divisors as seen and by others."""
    rng = random.Random(name)
    user = user_mode()
    for seen in (*EDGES, rng.getrandbits(16), rng.getrandbits(40), rng.getrandbits(64)):
        user.space.flush()
        program = Program()
        program.put(name, rd=A2, rs1=A0, rs2=A1)
        program.put("ebreak")
        put_code(user, program)
        dividends = [e + d & MASK64 for e in EDGES for d in (-1, 0, 1)]
        dividends += [rng.getrandbits(rng.randint(1, 64)) for _ in range(20)]
        divisors = [seen, seen + 1, seen ^ 1 << 32, -seen, rng.getrandbits(64), *EDGES]
        pairs = [(a, b & MASK64) for a in dividends for b in divisors]
        wanted = [divide(user, *pair) for pair in pairs]
        head = record_at(user, BLOCKS)
        assert head is not None
        assert user.force_region(head, profile=Profile(seen={("x", A1): seen & MASK64}))
        assert [divide(user, *pair) for pair in pairs] == wanted, hex(seen)
    user.space.flush()


def test_a_guess_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The region compares with what was seen, and has no division there."""
    from jitemu.backend_llvm import target

    texts: list[str] = []
    compile_text = target.compile_text

    def note(text: str, passes: str, late: str) -> bytes:
        texts.append(text)
        return compile_text(text, passes, late=late)

    monkeypatch.setattr(target, "compile_text", note)
    user = user_mode()
    user.space.flush()
    program = Program()
    program.put("remu", rd=A2, rs1=A0, rs2=A1)
    program.put("ebreak")
    put_code(user, program)
    assert divide(user, 100, 7) == 2
    head = record_at(user, BLOCKS)
    assert head is not None and user.force_region(head, profile=Profile(seen={("x", A1): 97}))
    assert len(texts) == 1 and "97" in texts[0]
    assert (divide(user, 100, 7), divide(user, 100, 97)) == (2, 3)
    user.space.flush()

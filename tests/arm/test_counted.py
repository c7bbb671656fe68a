"""Counted loops whose condition is in flags: which there are, and that they count right."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from jitemu.backend_llvm import regions
from jitemu.backend_llvm.lifting import lift
from jitemu.backend_llvm.request import Request
from jitemu.frontends.arm.cpu import parse_cpu
from jitemu.runtime.guest_arm import arm_user
from tests.arm.fp_image import CODE, RECORDS, elf_image, ending, load_constant, run_engine, words

CONDITIONS = ("eq", "ne", "cs", "cc", "mi", "pl", "vs", "vc", "hi", "ls", "ge", "lt", "gt", "le")
MASK = (1 << 32) - 1
Flags = tuple[bool, bool, bool, bool]


def subtract(a: int, b: int) -> Flags:
    """N Z C V of a - b."""
    result = a - b & MASK
    overflow = (a ^ b) & (a ^ result) & 1 << 31
    return bool(result >> 31), result == 0, a >= b, bool(overflow)


def add(a: int, b: int) -> Flags:
    """N Z C V of a + b."""
    result = a + b & MASK
    overflow = ~(a ^ b) & (a ^ result) & 1 << 31
    return bool(result >> 31), result == 0, a + b > MASK, bool(overflow)


def holds(condition: str, flags: Flags) -> bool:
    """The predicate of a branch."""
    n, z, c, v = flags
    number = CONDITIONS.index(condition)
    even = (z, c, n, v, c and not z, n == v, n == v and not z)[number // 2]
    return even != bool(number % 2)


# Each kind of loop: its words with the step in them, and the counter and flags that one
# iteration leaves of r3 (the counter), r2 (the bound) and the step.

Iteration = Callable[[int, int, int], tuple[int, Flags]]


def _step(s: int) -> int:
    """add r3, r3, #s."""
    return 0xE2833000 | s if s >= 0 else 0xE2433000 | -s


COMPARE, COMPARE_BOUND, COMPARE_0, COMPARE_5 = 0xE1530002, 0xE1520003, 0xE3530000, 0xE3530005
KINDS: dict[str, tuple[Callable[[int], list[int]], Iteration]] = {
    "subs": (
        lambda s: [0xE2533000 | abs(s)],
        lambda r, b, s: (r - abs(s) & MASK, subtract(r, abs(s))),
    ),
    "adds": (
        lambda s: [0xE2933000 | abs(s)],
        lambda r, b, s: (r + abs(s) & MASK, add(r, abs(s))),
    ),
    "cmp": (
        lambda s: [_step(s), COMPARE],
        lambda r, b, s: (r + s & MASK, subtract(r + s & MASK, b)),
    ),
    "bound": (
        lambda s: [_step(s), COMPARE_BOUND],
        lambda r, b, s: (r + s & MASK, subtract(b, r + s & MASK)),
    ),
    "before": (
        lambda s: [COMPARE, _step(s)],
        lambda r, b, s: (r + s & MASK, subtract(r, b)),
    ),
    "zero": (
        lambda s: [_step(s), COMPARE_0],
        lambda r, b, s: (r + s & MASK, subtract(r + s & MASK, 0)),
    ),
    "five": (
        lambda s: [_step(s), COMPARE_5],
        lambda r, b, s: (r + s & MASK, subtract(r + s & MASK, 5)),
    ),
    "register": (  # add r3, r3, r5
        lambda s: [0xE0833005, COMPARE],
        lambda r, b, s: (r + s & MASK, subtract(r + s & MASK, b)),
    ),
}
SOMETIMES = [0x22833001, COMPARE]
"""addcs r3, r3, #1: no step of every iteration."""
ONLY_DOWN = ("cs", "hi", "ge", "gt")
UP, DOWN = {"ne", "cc", "ls", "lt", "le"}, {"ne", *ONLY_DOWN}
COUNTED = {
    ("subs", -1): {*DOWN, "pl"},
    ("adds", 1): {"ne", "mi"},
    ("cmp", 4): UP,
    ("cmp", -4): DOWN,
    ("bound", 4): {"ne", "cs", "hi", "ge", "gt"},
    ("bound", -4): {"ne", "cc", "ls", "lt", "le"},
    ("before", 1): UP,
    ("before", -1): DOWN,
    ("zero", -1): {*DOWN, "pl"},
    ("five", 1): UP,
    ("register", 1): {"cc", "lt"},
}
COUNT = 0xE2844001
"""add r4, r4, #1."""


def loop_code(instructions: list[int], condition: str) -> bytes:
    """An iteration, counted in r4, and the branch back."""
    body = [COUNT, *instructions]
    branch = CONDITIONS.index(condition) << 28 | 0x0A000000 | -(len(body) + 2) & 0xFFFFFF
    return words(*body, branch, thumb=False)


GUEST = arm_user(parse_cpu("max"))


def is_counted(code: bytes) -> bool:
    def read(address: int) -> bytes:
        return code[address - CODE : address - CODE + 4] if address >= CODE else b""

    lifter = lift(GUEST.target, GUEST.decoder, read, Request(CODE, GUEST.context(0)))
    text, _, _ = regions.region_text(lifter.code.target, lifter.request, lifter, lifter.entries())
    return "%limit." in text


@pytest.mark.parametrize(("kind", "step"), COUNTED, ids=str)
def test_counted(kind: str, step: int) -> None:
    """Flags tell as much as comparisons of registers do."""
    found = {c for c in CONDITIONS if is_counted(loop_code(KINDS[kind][0](step), c))}
    assert found == COUNTED[kind, step]
    assert not any(is_counted(loop_code(SOMETIMES, c)) for c in CONDITIONS)


def iterations(kind: str, step: int, condition: str, start: int, bound: int) -> tuple[int, int]:
    """(counter, iterations) at the end; 0 if the loop is long."""
    for number in range(1, 3 << 12):
        start, flags = KINDS[kind][1](start, bound, step)
        if not holds(condition, flags):
            return start, number
    return 0, 0


def random_loop(rng: random.Random) -> tuple[bytes, tuple[int, int]] | None:
    """Code that sets r2, r3, r4, r5 and loops; the counter and the iterations at the end."""
    kind, condition = rng.choice(list(KINDS)), rng.choice(CONDITIONS)
    step = rng.choice((1, 1, -1, 2, -3, 4, 24, -24, 255))
    edge = rng.choice((0, 5, 1 << 31, rng.getrandbits(32)))
    bound = edge + rng.randrange(-3, 4) & MASK
    away = rng.choice((0, 1, 2, 70, 300, 4096, 5000))
    target = {"subs": 0, "adds": 0, "zero": 0, "five": 5}.get(kind, bound)
    target = rng.choice((target, target, 1 << 31))
    direction = -abs(step) if kind == "subs" else abs(step) if kind == "adds" else step
    start = target - away * direction + rng.choice((0, 0, 0, 1)) & MASK
    end = iterations(kind, step, condition, start, bound)
    if not end[1]:
        return None
    code = b"".join(
        load_constant(r, v, False) for r, v in ((2, bound), (3, start), (4, 0), (5, step & MASK))
    )
    return code + loop_code(KINDS[kind][0](step), condition), end


@pytest.mark.parametrize("threshold", [0, 1])
def test_same_iterations(tmp_path: Path, threshold: int) -> None:
    """Loops near the ends of the number ranges, in blocks and as regions."""
    rng = random.Random(3)
    loops = [found for _ in range(500) if (found := random_loop(rng)) is not None][:120]
    assert len(loops) == 120
    code = load_constant(6, RECORDS, False)
    for loop, _ in loops:
        code += loop + words(0xE8A60018, thumb=False)  # stmia r6!, {r3, r4}
    size = 8 * len(loops)
    program = tmp_path / "program"
    program.write_bytes(
        elf_image((CODE, code + ending((RECORDS, size)), 5), (RECORDS, bytes(size), 6))
    )
    program.chmod(0o755)
    got = list(struct.iter_unpack("<2I", run_engine(program, threshold)))
    assert got == [end for _, end in loops]

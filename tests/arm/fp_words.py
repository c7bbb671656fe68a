"""Any words of the spaces of floating point and SIMD, by Unicorn and the interpreter.

``python -m tests.arm.fp_words COUNT SEED`` is the long form.
"""

from __future__ import annotations

import random
import sys
from collections import Counter

from tests.arm.fp_compare import explain, misaligned, predictable
from tests.arm.fp_oracle import FpOracle, FpReference, fp_case_of
from tests.arm.oracle import AT
from tests.arm.rounds import run_rounds

SPACES = (
    # (bits that are fixed, their mask): data processing of SIMD, loads and stores of elements,
    # VFP with the predicate AL, its transfers, and VFP without a predicate.
    (0xF2000000, 0xFE000000),
    (0xF2000000, 0xFE000000),
    (0xF4000000, 0xFF100000),
    (0xEE000A00, 0xFF000E00),
    (0xEC000A00, 0xFE000E00),
    (0xFE000A00, 0xFF000E00),
)


def not_claimed(word: int) -> bool:
    """An extension of ARMv8.2 and later, which HWCAP does not announce (half precision, dot
    products, complex numbers, VJCVT), or what Unicorn executes but the manual keeps undefined.
    """
    simd, three = word >> 25 == 0x79, word >> 23 & 1 == 0
    code, low, size = word >> 8 & 15, word >> 4 & 1, word >> 20 & 3
    upper = word >> 24 & 1
    if simd and three:
        half = (code >= 13 or (code, low) == (12, 1)) and size & 1
        return bool(half or (upper and (code, low) == (13, 1) and size & 2))
    if simd and not low and size == 3:  # one operand, of half precision
        return word >> 18 & 3 == 1 and word >> 16 & 3 != 0
    if simd and not low and word >> 6 & 1:  # by a scalar of half precision
        return code in (1, 5, 9) and size == 1
    if simd and not low:  # VQDMULL with U
        return bool(upper and code == 13)
    if simd and word >> 7 & 1 == 0:  # to and from fixed point
        return code in (12, 13)
    if word & 0x0FBF0FD0 == 0x0EB90BC0:  # VJCVT
        return True
    return word >> 24 in (0xFC, 0xFD, 0xFE) and code in (8, 9, 13)


def random_simd_word(rng: random.Random) -> int:
    """A word of one of the spaces."""
    match, mask = rng.choice(SPACES)
    return match | rng.getrandbits(32) & ~mask & 0xFFFFFFFF


def differences(count: int, seed: int) -> tuple[Counter[str], list[str]]:
    """(cases by how they ended, what differed)."""
    rng = random.Random(seed)
    oracle, reference = FpOracle(), FpReference()
    ended: Counter[str] = Counter()
    found: list[str] = []
    for _ in range(count):
        word = random_simd_word(rng)
        case = fp_case_of(rng, word.to_bytes(4, "little"), False)
        decoded = reference.decoder.decode_at(AT, case.code)
        if decoded is not None and not predictable(decoded.insn, case, reference):
            continue
        if misaligned(case, reference):
            continue
        wanted, got = oracle.run_fp(case), reference.run_fp(case)
        ended[wanted.core.how] += 1
        if wanted != got and not (decoded is None and not_claimed(word)):
            name = decoded.insn if decoded is not None else None
            text = explain(name, case, got, wanted) if name else f"undefined; not {wanted.core.how}"
            found.append(f"{word:08x} {text}")
    return ended, found


def main() -> int:
    """Compare, and print what differs."""

    def compare(count: int, seed: int) -> tuple[int, list[str]]:
        ended, found = differences(count, seed)
        return ended.total(), found

    return run_rounds(compare, int(sys.argv[1]), int(sys.argv[2]), 10000)


if __name__ == "__main__":
    sys.exit(main())

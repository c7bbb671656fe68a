"""Any words of the spaces of floating point and SIMD, by Unicorn and the interpreter.

``python -m tests.arm.fp_words COUNT SEED`` is the long form.
"""

from __future__ import annotations

import random
import sys
from collections import Counter

from tests.arm.fp_compare import explain, predictable
from tests.arm.fp_oracle import FpOracle, FpReference, fp_case_of
from tests.arm.oracle import AT

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

UNKNOWN = {
    "half": "arithmetic in half precision (FEAT_FP16)",
    "dot": "dot products, complex numbers, BF16 (ARMv8.2 to 8.6)",
}
"""What Unicorn's processor has and this one does not claim to have."""


def not_claimed(word: int) -> bool:
    """An extension of ARMv8.2 and later."""
    simd = word >> 25 == 0x79
    if simd and word >> 23 & 1 == 0:  # three registers: half precision, by size or code
        code, low, size = word >> 8 & 15, word >> 4 & 1, word >> 20 & 3
        return (code >= 13 or (code, low) == (12, 1)) and size & 1 == 1
    if simd and word >> 4 & 1 == 0 and word >> 6 & 1 and word >> 8 & 15 in (1, 5, 9):
        return word >> 20 & 3 == 1  # by scalar
    if simd and word >> 16 & 0xF == 0x7 and word >> 20 & 11 == 11:
        return False
    if simd and word >> 23 & 7 == 7 and word >> 20 & 3 == 3 and word >> 4 & 1 == 0:
        return word >> 18 & 3 == 1 and word >> 16 & 3 != 0  # one operand
    if simd and word >> 4 & 1 and word >> 7 & 1 == 0 and word >> 8 & 14 == 12:
        return True  # to and from fixed point
    return word >> 25 == 0x7F and word >> 24 & 1 == 0 and word >> 8 & 15 == 9


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
        wanted, got = oracle.run_fp(case), reference.run_fp(case)
        ended[wanted.core.how] += 1
        if wanted != got and not (decoded is None and not_claimed(word)):
            name = decoded.insn if decoded is not None else None
            text = explain(name, case, got, wanted) if name else f"undefined; not {wanted.core.how}"
            found.append(f"{word:08x} {text}")
    return ended, found


def main() -> int:
    """Compare, and print what differs."""
    ended, found = differences(int(sys.argv[1]), int(sys.argv[2]))
    print("\n".join([*found, f"{dict(ended)}, {len(found)} differ"]))
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())

"""The long forms of comparisons: in rounds, so that nothing is kept and all is told at once."""

from __future__ import annotations

import random
from collections.abc import Callable

Compare = Callable[[int, int], tuple[int, list[str]]]
"""compare(count, seed): (cases compared, what differed)."""


def run_rounds(compare: Compare, count: int, seed: int, each: int = 10) -> int:
    """Compare ``count`` times so much, ``each`` in a round; the exit status."""
    rng = random.Random(seed)
    compared = differ = 0
    for begun in range(0, count, each):
        done, found = compare(min(each, count - begun), rng.getrandbits(32))
        compared += done
        differ += len(found)
        print(*found, f"{compared} compared, {differ} differ", sep="\n", flush=True)
    return int(bool(differ))

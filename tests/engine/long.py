"""Many random blocks: ``python -m tests.engine.long --blocks 100000 --seed 1``.

Every block runs as stencils in user mode, M mode and S mode (Sv39), and by Unicorn or QEMU.
Of each thousand the first ``--regions`` ones also run as regions, compiled many at once, in
user mode (with an exact state at faults, or without), M mode or S mode; the first ``--deep``
ones by the reference interpreter and as regions compiled one by one.  ``--short`` makes most
blocks short, which is more of them in a time.

``python -m tests.engine.long --blocks 1000000 --regions 1000 --short`` compares a million
regions and more.  The exit status is 1 if any results differ.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time

from tests.engine.compare import Batch
from tests.engine.image import MAX_BLOCKS

SHOWN = 5
"""Differences printed of a batch."""
LONG_BLOCKS = 16
"""One batch in so many has no short blocks."""


def main() -> int:
    """Run the batches; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=100_000, help="random blocks to run")
    parser.add_argument("--seed", type=int, default=1, help="of the first thousand; then counts up")
    parser.add_argument("--regions", type=int, default=0, help="of each thousand, also as regions")
    parser.add_argument("--deep", type=int, default=10, help="of each thousand, by reference, too")
    parser.add_argument("--short", action="store_true", help="most blocks are short")
    options = parser.parse_args()
    started = time.monotonic()
    done = bad = deep = made = 0
    seed = options.seed
    while done < options.blocks:
        count = min(MAX_BLOCKS, options.blocks - done)
        words = [f"--blocks {count} --seed {seed} --regions {options.regions}"]
        words += [f"--deep {options.deep}", *(["--short"] if options.short else [])]
        again = f"\nagain: python -m tests.engine.long {' '.join(words)}"
        batch = Batch(seed, count, options.short and seed % LONG_BLOCKS != 0)
        try:
            found = batch.check(options.deep, min(options.regions, count))
        except BaseException:
            print(again)
            raise
        done += count
        deep += min(options.deep, count)
        made += batch.made
        for difference in found[:SHOWN]:
            print(f"\nseed {seed}, {difference}")
        if found:
            bad += len({d.number for d in found})
            print(again)
        rate = done / (time.monotonic() - started)
        words = f"{done} blocks, {made} regions, {rate:.0f} blocks a second, {bad} differ"
        print(f"\r{words}", end="", flush=True)
        if seed == options.seed:
            gc.freeze()  # the definitions stay, and there are many
        seed += 1
    seconds = time.monotonic() - started
    print(f"\n{done} blocks ({deep} by reference), {made} regions in {seconds:.1f} s: {bad} differ")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

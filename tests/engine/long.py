"""Many random blocks: ``python -m tests.engine.long --blocks 100000 --seed 1``.

Every block runs as stencils in user mode, M mode and S mode (Sv39), and by Unicorn or
QEMU; of each thousand the first ``--deep`` ones also run by the reference interpreter and
as regions.  The exit status is 1 if any results differ.
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.engine.compare import Batch
from tests.engine.image import MAX_BLOCKS

SHOWN = 5
"""Differences printed of a batch."""


def main() -> int:
    """Run the batches; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=100_000, help="random blocks to run")
    parser.add_argument("--seed", type=int, default=1, help="of the first thousand; then counts up")
    parser.add_argument(
        "--deep", type=int, default=10, help="of each thousand, also as regions and by reference"
    )
    options = parser.parse_args()
    started = time.monotonic()
    done = bad = deep = 0
    seed = options.seed
    while done < options.blocks:
        batch = Batch(seed, min(MAX_BLOCKS, options.blocks - done))
        found = batch.check(options.deep)
        done += len(batch.blocks)
        deep += min(options.deep, len(batch.blocks))
        for difference in found[:SHOWN]:
            print(f"\nseed {seed}, {difference}")
        if found:
            bad += len({d.number for d in found})
            count = len(batch.blocks)
            print(f"again: python -m tests.engine.long --blocks {count} --seed {seed}")
        rate = done / (time.monotonic() - started)
        print(f"\r{done} blocks, {rate:.0f} a second, {bad} differ", end="", flush=True)
        seed += 1
    seconds = time.monotonic() - started
    print(f"\n{done} blocks ({deep} also as regions) in {seconds:.1f} s: {bad} differ")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

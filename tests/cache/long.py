"""The long forms: ``python -m tests.cache.long [KILLS] [PROCESSES]`` (200 and 50)."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from tests.cache.runs import Cache, build, expected, kill_at_random, run_together

CHECK_EACH = 10
"""Kills between two runs to the end."""


def main(kills: int = 200, processes: int = 50) -> None:
    """Kill many runs, run many at once; AssertionError for a wrong result."""
    with tempfile.TemporaryDirectory() as folder:
        cache = Cache(Path(folder))
        programs = [build(Path(folder), step) for step in (3, 5, 9)]
        results = [expected(step) for step in (3, 5, 9)]
        cache.run(programs[0], "-hot-threshold", "0", rounds=1)
        start = time.monotonic()
        for number in range(0, kills, CHECK_EACH):
            program = programs[number // CHECK_EACH % 3]
            kill_at_random(cache, program, min(CHECK_EACH, kills - number), seed=number)
            output, counters = cache.run(program)
            assert output == results[number // CHECK_EACH % 3], output
            print(f"{number + CHECK_EACH} kills, {time.monotonic() - start:.0f} s: {counters}")
        chosen = [number % 3 for number in range(processes)]
        outputs = run_together(cache, [programs[n] for n in chosen])
        assert outputs == [results[n] for n in chosen], outputs
        print(f"{processes} processes at once, {time.monotonic() - start:.0f} s: all right")
        cache.settle()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

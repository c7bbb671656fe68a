"""Long forms of the tests of disk images.

python -m tests.block.long sequences 10000 [first]
python -m tests.block.long kills 500 [first]
python -m tests.block.long power 500 [first]
python -m tests.block.long images 100000 [first]
"""

from __future__ import annotations

import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

from tests.block import crash, hostile
from tests.block.model import Sequence

STEPS = 20
"""Of a sequence of operations."""
BATCH = 5000


def sequence(seed: int, folder: Path) -> None:
    """One random sequence of operations."""
    Sequence(seed, folder).run(STEPS)


RUNS: dict[str, Callable[[int, Path], None]] = {
    "sequences": sequence,
    "kills": crash.kill_writer,
    "power": crash.lose_power,
}


def _each(run: Callable[[int, Path], None], numbers: range) -> int:
    failed = 0
    for number in numbers:
        with tempfile.TemporaryDirectory(dir=_memory()) as folder:
            try:
                run(number, Path(folder))
            except Exception:
                failed += 1
                print(f"{number} failed\n{traceback.format_exc()}", flush=True)
        if (number + 1 - numbers.start) % 100 == 0:
            print(f"{number + 1 - numbers.start} done, {failed} failed", flush=True)
    return failed


def _memory() -> str | None:
    """Files in memory: what is tested is not the host's disk."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def _images(numbers: range) -> int:
    failed = 0
    for start in range(numbers.start, numbers.stop, BATCH):
        end = min(start + BATCH, numbers.stop)
        with tempfile.TemporaryDirectory(dir=_memory()) as folder:
            failures = hostile.run(Path(folder), range(start, end))
        failed += len(failures)
        print(*failures, f"{end - numbers.start} done, {failed} failed", sep="\n", flush=True)
    return failed


def main(words: list[str]) -> int:
    """Run one kind; the exit status is 1 if something failed."""
    if len(words) < 2 or words[0] not in (*RUNS, "images"):
        sys.exit(__doc__)
    first = int(words[2]) if len(words) > 2 else 0
    numbers = range(first, first + int(words[1]))
    failed = _images(numbers) if words[0] == "images" else _each(RUNS[words[0]], numbers)
    print(f"{len(numbers)} {words[0]}, {failed} failed")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

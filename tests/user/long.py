"""Guests that generate code, at length: ``python -m tests.user.long [ROUNDS [SEED]]``.

Each seed runs every mode of programs/jit.c with several thresholds, ROUNDS in all; the
program holds its generated code against an interpreter of its own.  The exit status is 1 if
any result was wrong, and what to run again is printed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

MODES = ("rwx", "protect", "alias", "fresh", "threads", "self", "fork")
THRESHOLDS = ("0", "2", "4", "30", "1")
SIZES = {"self": 20_000, "threads": 20, "fork": 3}
"""Rounds of a run; with threshold 1, where all is compiled by LLVM, a thirtieth."""
LIMIT_S = 1200
PROGRAM = Path(__file__).parent / "programs/jit.c"


def one(program: Path, mode: str, threshold: str, seed: int) -> bool:
    """Run it; whether it was right."""
    size = SIZES.get(mode, 60)
    words = [mode, str(max(size // 30, 1) if threshold == "1" else size), str(seed)]
    options = ["user-riscv64", "-hot-threshold", threshold, str(program), *words]
    command = [sys.executable, "-m", "jitemu", *options]
    start = time.monotonic()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)
        text, right = done.stdout.strip() + done.stderr[-300:], done.returncode == 0
    except subprocess.TimeoutExpired:
        text, right = "does not end", False
    seconds = time.monotonic() - start
    print(f"threshold {threshold:>2}, {seconds:6.1f} s: {text}", flush=True)
    if not right:
        print("wrong: jitemu", *options, flush=True)
    return right


def main(rounds: int = 35, seed: int = 1) -> int:
    """Run them all; the exit status."""
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "jit"
        flags = ["-O1", "-w", "-static", "-pthread", str(PROGRAM), "-o", str(program)]
        subprocess.run(["riscv64-linux-gnu-gcc", *flags], check=True)
        pairs = [(mode, threshold) for threshold in THRESHOLDS for mode in MODES]
        wrong = 0
        for number in range(rounds):
            mode, threshold = pairs[number % len(pairs)]
            wrong += not one(program, mode, threshold, seed + number // len(pairs))
    print(f"{rounds} runs, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))

"""``python -m bench.warmup --png FILE``: how fast a guest is from its first moments on.

Runs a program of many small loops (``programs/progress.c``), which notes when each of its
turns ended, under QEMU and under jitemu: without regions, with regions and none in the
cache ("cold"; stencils are there), and with those of the run before ("warm").
"""

from __future__ import annotations

import argparse
import os
import shlex
import statistics
import sys
import tempfile
import time
from bisect import bisect_right
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench import build, machine, measure
from bench.model import BASELINE, RISCV64
from jitemu.messages import UserError, fail

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TURNS = 50_000
"""About 7 s under QEMU."""
ROUNDS = 3
MOMENTS = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0)
"""Seconds after the start for which the speed is told: over the half before to the half behind."""
STEADY = 0.5
"""The steady speed is that of the last part of the turns, this large."""
POINTS = 60
QEMU, NONE, COLD, WARM = "qemu", "baseline", "cold", "warm"


class Curve:
    """When a run's turns ended, in seconds after its start."""

    def __init__(self, ends: Sequence[float]) -> None:
        self.ends = ends

    @property
    def steady(self) -> float:
        """Turns a second, at last."""
        first = int(len(self.ends) * (1 - STEADY))
        return (len(self.ends) - 1 - first) / (self.ends[-1] - self.ends[first])

    def done(self, moment: float) -> int:
        """Turns ended by then."""
        return bisect_right(self.ends, moment)

    def speed(self, moment: float) -> float | None:
        """Turns a second around a moment; None once it has ended."""
        low, high = moment / 1.5, moment * 1.5
        if high > self.ends[-1]:
            return None
        return (self.done(high) - self.done(low)) / (high - low)

    def overtakes(self, other: Curve) -> float | None:
        """From when on it has done more turns than another; None if it never has."""
        behind = [n for n, (a, b) in enumerate(zip(self.ends, other.ends, strict=True)) if a > b]
        if not behind:
            return 0.0
        return self.ends[behind[-1] + 1] if behind[-1] + 1 < len(self.ends) else None


class Setup(NamedTuple):
    """What the runs have in common."""

    jitemu: tuple[str, ...]
    program: Path
    turns: int
    by_cpu: bool
    timeout: float

    def run(self, emulator: Sequence[str], cache: str) -> Curve:
        """One run; UserError if it fails."""
        with tempfile.NamedTemporaryFile() as stamps:
            command = [*emulator, str(self.program), str(self.turns), stamps.name]
            begun = time.monotonic_ns()
            env = {**os.environ, "XDG_CACHE_HOME": cache} if cache else None
            sample = measure.run(command, timeout=self.timeout, env=env)
            if sample.trouble:
                fail(f"{shlex.join(command)}: {sample.trouble}")
            lines = [line.split() for line in stamps.read().splitlines()]
        start = 0 if self.by_cpu else begun
        return Curve([(int(line[self.by_cpu]) - start) / 1e9 for line in lines])


def curves(setup: Setup, rounds: int) -> dict[str, Curve]:
    """Of each side the run whose total time is the median."""
    found: dict[str, list[Curve]] = {QEMU: [], NONE: [], COLD: [], WARM: []}
    jitemu = (*setup.jitemu, "user-riscv64")
    with tempfile.TemporaryDirectory(prefix="jitemu-warmup-") as folder:
        setup._replace(turns=1).run([*jitemu, *BASELINE], folder)  # builds the stencils
        for _ in range(rounds):
            found[QEMU].append(setup.run(["qemu-riscv64"], ""))
            found[NONE].append(setup.run([*jitemu, *BASELINE], folder))
            for path in Path(folder).glob("jitemu/regions/*/*"):
                path.unlink()
            found[COLD].append(setup.run(jitemu, folder))
            found[WARM].append(setup.run(jitemu, folder))
    middle = {s: statistics.median_low(c.ends[-1] for c in runs) for s, runs in found.items()}
    return {
        side: next(c for c in runs if c.ends[-1] == middle[side]) for side, runs in found.items()
    }


def show(found: Mapping[str, Curve], setup: Setup) -> None:
    """Print the figures: speeds as multiples of QEMU's steady one."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    kind = "processor time" if setup.by_cpu else "time"
    unit = found[QEMU].steady
    print(f"Speed by {kind} since the start; 1.00 is QEMU's steady speed, {unit:.0f} turns/s")
    moments = [f"at {moment:g} s" for moment in MOMENTS]
    table = Table("", "first turn", *moments, "steady", "ahead of QEMU", box=SIMPLE, pad_edge=False)
    for side, curve in found.items():
        speeds = [curve.speed(moment) for moment in MOMENTS]
        ahead = "" if side == QEMU else curve.overtakes(found[QEMU])
        table.add_row(
            side,
            f"{curve.ends[0]:.3f} s",
            *("-" if speed is None else f"{speed / unit:.2f}" for speed in speeds),
            f"{curve.steady / unit:.2f}",
            ahead
            if isinstance(ahead, str)
            else "never"
            if ahead is None
            else f"from {ahead:.2f} s",
        )
    Console(width=None if Console().is_terminal else 120).print(table)


def draw(found: Mapping[str, Curve], path: Path, setup: Setup) -> None:
    """Save the picture."""
    try:
        import matplotlib as mpl
    except ImportError:
        fail("--png needs matplotlib: pip install 'jitemu[bench]'")
    mpl.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    unit = found[QEMU].steady
    names = {QEMU: "QEMU", NONE: "jitemu, stencils alone", COLD: "jitemu, no regions in the cache"}
    names[WARM] = "jitemu, warm cache"
    for side, curve in found.items():
        first, last = curve.ends[0], curve.ends[-1] / 1.5
        moments = [first * (last / first) ** (n / POINTS) for n in range(POINTS + 1)]
        speeds = [curve.speed(moment) for moment in moments]
        known = [(m, s / unit) for m, s in zip(moments, speeds, strict=True) if s is not None]
        axes.plot(*zip(*known, strict=True), label=names[side])
    axes.set_xscale("log")
    axes.set_xlabel("processor seconds" if setup.by_cpu else "seconds since the start")
    axes.set_ylabel("speed (1 = QEMU's steady speed)")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    try:
        figure.savefig(path, dpi=120)
    except OSError as error:
        fail(f"--png {path}: {error.strerror}")


def _run(words: Sequence[str] | None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.warmup", description=__doc__)
    add = parser.add_argument
    add("--png", type=Path, metavar="FILE", help="save a picture of the curves")
    add("--turns", type=int, default=TURNS, help="of the program (default: %(default)s)")
    add("--rounds", type=int, default=ROUNDS, help="runs of each, the median one counts")
    add("--cpu", action="store_true", help="by processor time (where others use the machine)")
    add("--timeout", type=float, default=300, metavar="S", help="for each run (default 300)")
    add(
        "--jitemu-cmd",
        default=shlex.join([sys.executable, "-m", "jitemu"]),
        metavar="CMD",
        help="command that is run as jitemu (default: %(default)s)",
    )
    options = parser.parse_args(words)
    if options.turns < 100 or options.rounds < 1 or options.timeout <= 0:
        fail("--turns must be 100 at least, --rounds and --timeout above zero")
    measure.adopt()
    setup = Setup(
        tuple(shlex.split(options.jitemu_cmd)),
        build.build("progress", RISCV64),
        *(options.turns, options.cpu, options.timeout),
    )
    found = curves(setup, options.rounds)
    facts = machine.describe(RISCV64)
    print(f"{facts['cpu']}, load {facts['load']}")
    show(found, setup)
    if options.png:
        draw(found, options.png, setup)
        print(f"{options.png}: the picture")


def main(words: Sequence[str] | None = None) -> int:
    """The exit status: 0, 1 when something is missing or failed, 130 when interrupted."""
    try:
        _run(words)
    except UserError as error:
        print(f"bench: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Guest programs run beside one cache, whole or killed at any moment.

``python -m tests.cache.runs FILE OPTION...`` runs ``jitemu OPTION...`` and writes the
tiers' counters to FILE.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

COMPILER = "riscv64-linux-gnu-gcc"
SOURCE = Path(__file__).with_name("work.c")
ROOT = Path(__file__).parents[2]
ROUNDS = 3000
"""About half a second."""
STENCILS_SECONDS = 90
"""The whole set is built in this time, by a process with the lowest priority."""
WARMING = 8 * ROUNDS
"""Long enough for the worker to compile what is hot."""


def build(folder: Path, step: int = 3) -> Path:
    """The guest program; ``step`` is a constant in its hottest loop."""
    path = folder / f"work-{step}"
    flags = ["-O1", "-static", f"-DSTEP={step}"]
    subprocess.run([COMPILER, *flags, SOURCE, "-o", path], check=True)
    return path


def expected(step: int = 3, rounds: int = ROUNDS) -> str:
    """What QEMU's or jitemu's run of it prints, computed by the host's own compiler."""
    folder = Path(os.environ.get("TMPDIR", "/tmp"))
    path = folder / f"jitemu-work-{os.getpid()}-{step}"
    subprocess.run(["gcc", "-O1", f"-DSTEP={step}", SOURCE, "-o", path], check=True)
    try:
        done = subprocess.run([path, str(rounds)], capture_output=True, text=True, check=True)
        return done.stdout
    finally:
        path.unlink()


class Cache:
    """A cache folder, and runs with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.endswith("_NO_CACHE")},
            "XDG_CACHE_HOME": str(folder),
            "PYTHONPATH": str(ROOT),
        }

    def sets(self) -> list[str]:
        """Endings of the names of the files with stencils, of one guest; the whole set has
        none."""
        names = os.listdir(self.folder / "jitemu" / "stencils")
        return sorted("".join(name.partition(".")[1:]) for name in names)

    def wait_for_stencils(self) -> None:
        """Wait until the whole set is there, and nothing beside it."""
        deadline = time.monotonic() + STENCILS_SECONDS
        while self.sets() != [""]:
            assert time.monotonic() < deadline, self.sets()
            time.sleep(0.05)

    def start(
        self, program: Path, *options: str, rounds: int = ROUNDS, counters: Path | None = None
    ) -> subprocess.Popen[str]:
        """Begin to run a guest program."""
        words = ["user-riscv64", *options, str(program), str(rounds)]
        module = ["jitemu"] if counters is None else ["tests.cache.runs", str(counters)]
        return subprocess.Popen(
            [sys.executable, "-m", *module, *words],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, program: Path, *options: str, rounds: int = ROUNDS) -> tuple[str, dict[str, int]]:
        """Run it to its end: what it printed, and the tiers' counters."""
        counters = self.folder / "counters.json"
        running = self.start(program, *options, rounds=rounds, counters=counters)
        output, errors = running.communicate(timeout=120)
        assert running.returncode == 0, errors
        return output, json.loads(counters.read_text())

    def packs(self) -> dict[str, bytes]:
        """All packs, by name."""
        found: dict[str, bytes] = {}
        for path in self.folder.glob("jitemu/regions/*/*.pack"):
            try:
                found[path.name] = path.read_bytes()
            except FileNotFoundError:  # merged meanwhile
                continue
        return found

    def settle(self, seconds: float = 20) -> None:
        """Wait until the workers have written what they have."""
        end = time.monotonic() + seconds
        before: dict[str, bytes] = {}
        while time.monotonic() < end:
            time.sleep(0.5)
            now = self.packs()
            if now and now == before:
                return
            before = now
        raise AssertionError("no worker has written a pack")

    def copy_stencils(self, other: Cache) -> None:
        """Begin with another cache's stencils."""
        name = "jitemu/stencils"
        (self.folder / "jitemu").mkdir(mode=0o700)
        shutil.copytree(other.folder / name, self.folder / name)


def kill_at_random(cache: Cache, program: Path, times: int, seed: int) -> None:
    """Begin runs and end them with kill -9 at any moment."""
    rng = random.Random(seed)
    for _ in range(times):
        running = cache.start(program, rounds=WARMING)
        time.sleep(rng.random() * 2.5)
        running.kill()
        running.communicate()


def run_together(cache: Cache, programs: list[Path], rounds: int = ROUNDS) -> list[str]:
    """Run them all at once; what each printed."""
    running = [cache.start(program, rounds=rounds) for program in programs]
    outputs: list[str] = []
    for process in running:
        output, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors
        outputs.append(output)
    return outputs


def _counted(path: str, words: list[str]) -> int:
    from jitemu.cli.main import main
    from jitemu.runtime.tiers import Tiers

    made: list[Tiers] = []
    original = Tiers.__init__

    def init(self: Tiers, *args: object, **kwargs: object) -> None:
        original(self, *args, **kwargs)  # type: ignore[arg-type]
        made.append(self)

    Tiers.__init__ = init  # type: ignore[method-assign]
    status = main(words)
    names = ("cache_hits", "cache_misses", "compiled", "regions")
    counters = {name: sum(getattr(tiers, name) for tiers in made) for name in names}
    Path(path).write_text(json.dumps(counters))
    return status


if __name__ == "__main__":
    sys.exit(_counted(sys.argv[1], sys.argv[2:]))

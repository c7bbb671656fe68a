"""Second runs start hot; what others did to the cache never makes a result wrong."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.cache.runs import WARMING, Cache, build, expected, kill_at_random, run_together

PROCESSES = 6
KILLS = 10


def test_second_run_starts_hot(warm: Cache, work: Path) -> None:
    output, counters = warm.run(work)
    assert output == expected()
    assert counters["cache_hits"] > 0


@pytest.mark.parametrize("how", ["option", "variable"])
def test_no_cache(warm: Cache, work: Path, how: str) -> None:
    before = warm.packs()
    if how == "variable":
        warm.environment["JITEMU_NO_CACHE"] = "1"
    output, counters = warm.run(work, *(["-no-cache"] if how == "option" else []))
    assert output == expected()
    assert counters["cache_hits"] == 0 and counters["cache_misses"] > 0
    assert warm.packs() == before


def test_traces_show_all_blocks(warm: Cache, work: Path) -> None:
    """Regions of earlier runs would hide blocks that -d in_asm shows."""
    log = warm.folder / "log"
    output, counters = warm.run(work, "-d", "in_asm", "-D", str(log), rounds=3)
    assert output == expected(rounds=3)
    assert counters["cache_hits"] == 0


def test_other_code_at_the_same_addresses(warm: Cache, tmp_path: Path) -> None:
    """Two programs that differ in one constant: none of the other's regions is taken."""
    for step in (5, 3, 5):
        program = build(tmp_path, step)
        output, _ = warm.run(program)
        assert output == expected(step)
        warm.settle()


def test_damaged_packs(warm: Cache, work: Path) -> None:
    """Damage anywhere in the packs: the result is right all the same."""
    rng = random.Random(3)
    whole = {p: p.read_bytes() for p in warm.folder.glob("jitemu/regions/*/*.pack")}
    assert whole
    for _ in range(4):
        for path, data in whole.items():
            damaged = bytearray(data)
            for at in rng.sample(range(len(damaged)), 40):
                damaged[at] ^= rng.randrange(1, 256)
            path.write_bytes(damaged[: rng.randrange(len(damaged))])
        assert warm.run(work, rounds=100)[0] == expected(rounds=100)


def test_processes_share_it(cold: Cache, work: Path) -> None:
    outputs = run_together(cold, [work] * PROCESSES, WARMING)
    assert outputs == [expected(rounds=WARMING)] * PROCESSES
    cold.settle()
    output, counters = cold.run(work)
    assert output == expected()
    assert counters["cache_hits"] > 0


def test_killed_at_any_moment(cold: Cache, work: Path) -> None:
    kill_at_random(cold, work, KILLS, seed=1)
    cold.settle()
    output, counters = cold.run(work)
    assert output == expected()
    assert counters["cache_hits"] > 0


def test_folder_that_others_can_write(warm: Cache, work: Path) -> None:
    """It is not used, and the user is told."""
    os.chmod(warm.folder / "jitemu", 0o777)
    running = warm.start(work, rounds=1)
    output, errors = running.communicate(timeout=120)
    assert output == expected(rounds=1)
    assert "cannot keep stencils there" in errors

"""Measuring of real processes."""

from __future__ import annotations

import resource
import time

import pytest

from bench import measure, steps
from bench.rows import STEPS


def shell(script: str, timeout: float = 10) -> measure.Sample:
    return measure.run(["sh", "-c", script], timeout=timeout)


def test_time_and_output() -> None:
    sample = shell("sleep 0.2; echo done")
    assert (sample.status, sample.output, sample.trouble) == (0, b"done\n", "")
    assert 0.2 <= sample.seconds < 2
    assert sample.cpu < 0.2


def test_cpu_time_of_children_counts() -> None:
    sample = shell("i=0; (while [ $i -lt 200000 ]; do i=$((i+1)); done); true")
    assert sample.cpu > 0.05


def test_peak_memory() -> None:
    size = 128 << 20
    words = ["python3", "-c", f"b = bytearray({size}); b[::4096] = bytes(len(b[::4096]))"]
    sample = measure.run(words, timeout=20)
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # which a child's peak begins with
    assert size // 1024 < sample.rss_kib < max(2 * size // 1024, own + 1024)


def test_failure_shows_the_last_line_of_standard_error() -> None:
    sample = shell("echo one >&2; echo two >&2; exit 3")
    assert (sample.status, sample.trouble) == (3, "exit status 3: two")


def test_timeout_ends_the_whole_group() -> None:
    begun = time.monotonic()
    sample = measure.run(
        ["sh", "-c", "sleep 30 & sleep 30"], timeout=0.3, span=("A", "B")
    )  # the background process holds the console open
    assert time.monotonic() - begun < 5
    assert sample.trouble == "no end after 0 s"


def test_missing_command() -> None:
    sample = measure.run(["/no/such/command"], timeout=1)
    assert sample.trouble == "/no/such/command: No such file or directory"


def test_span_is_timed_between_its_lines() -> None:
    script = "sleep 1; printf 'say BEGIN\\r\\nBEGIN\\r\\n'; sleep 0.4; printf 'x\\r\\nEND\\r\\n'"
    sample = measure.run(["sh", "-c", script], timeout=10, span=("BEGIN", "END"))
    assert (sample.output, sample.trouble) == (b"x\n", "")
    assert 0.2 <= sample.seconds < 1  # a busy machine sees a line late


def test_span_that_never_comes() -> None:
    sample = measure.run(["echo", "BEGIN"], timeout=10, span=("BEGIN", "END"))
    assert sample.trouble == "the console never showed BEGIN and END"


@pytest.mark.parametrize("text", ["rate=", "rate=0", "rate=1.2.3"])
def test_rate_that_is_none(text: str) -> None:
    sample = measure.run(["echo", text], timeout=10, rate=r"rate=([\d.]+)")
    assert sample.trouble == "no rate in the output"


def test_rate_becomes_seconds_per_gigabyte() -> None:
    sample = measure.run(["echo", "rate=5e8 rate=250000000.0"], timeout=10, rate=r"=(\d+\.\d+)")
    assert sample.seconds == 4.0


def test_every_step_has_a_row() -> None:
    rows = {row.name.removeprefix("step-"): row.only for row in STEPS}
    assert {n for n, tier in rows.items() if tier == "baseline"} == {*steps.BASELINE, "block"}
    assert {n for n, tier in rows.items() if tier == "regions"} == {*steps.REGION, "region"}

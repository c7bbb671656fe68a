"""``python -m bench.compare OLD NEW --threshold PERCENT``: what became slower."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench import stats
from bench.model import NATIVE, QEMU
from bench.results import FAILED, WRONG, Report, RowResult, read
from jitemu.messages import UserError, fail

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Change(NamedTuple):
    """One side of one row in two reports."""

    row: str
    side: str
    measure: str  # what is compared
    old: float  # a cost: less is better
    new: float
    trouble: str = ""  # the new run's verdict when it has no figure

    @property
    def percent(self) -> float:
        """How much slower; negative: faster."""
        return (self.new / self.old - 1) * 100

    def flagged(self, threshold: float) -> bool:
        """Slower by more than ``threshold`` percent, or no longer right at all."""
        return bool(self.trouble) or self.percent > threshold


def changes(old: Report, new: Report) -> Iterator[Change]:
    """Every emulated side that both reports have a figure for, or that broke since.

    Where QEMU ran beside it in both, its time by QEMU's is compared, so that a faster or a
    busier machine cancels out; otherwise its time.
    """
    before = {row.name: row for row in old.rows}
    for row in new.rows:
        past = before.get(row.name)
        for name in row.sides if past else ():
            if past and name in past.sides and name not in (NATIVE, QEMU):
                yield from _change(past, row, name)


def _change(past: RowResult, row: RowResult, name: str) -> Iterator[Change]:
    verdict = row.sides[name].verdict
    if verdict in (WRONG, FAILED):
        if past.sides[name].verdict != verdict:
            yield Change(row.name, name, "", 1, 1, verdict)
        return
    old_ratio, new_ratio = past.ratio(name), row.ratio(name)
    if old_ratio and new_ratio:
        yield Change(row.name, name, "time / QEMU", 1 / old_ratio.median, 1 / new_ratio.median)
        return
    if past.size != row.size:
        return
    old = stats.summary(past.sides[name].seconds)
    new = stats.summary(row.sides[name].seconds)
    if old and new:
        yield Change(row.name, name, row.unit, old.median, new.median)


def _show(found: Sequence[Change], threshold: float) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    table = Table("row", "side", "compared", "old", "new", "change", "", box=SIMPLE)
    for change in found:
        flag = "[red]SLOWER[/]" if change.flagged(threshold) else ""
        cells = (f"{change.old:.3f}", f"{change.new:.3f}", f"{change.percent:+.1f}%", flag)
        if change.trouble:
            cells = ("", "", "", f"[red]{change.trouble}[/]")
        table.add_row(change.row, change.side, change.measure, *cells)
    Console().print(table)


def judge(old: Report, new: Report, threshold: float) -> bool:
    """Print what changed; whether something is flagged.  UserError if nothing is in both."""
    found = list(changes(old, new))
    if not found:
        fail("the two runs have no emulated row in common")
    _show(found, threshold)
    return any(change.flagged(threshold) for change in found)


def main(words: Sequence[str] | None = None) -> int:
    """Exit status: 0, or 1 when a row is flagged or a file cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description=__doc__)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument(
        "--threshold", type=float, required=True, metavar="PERCENT", help="slower than this"
    )
    options = parser.parse_args(words)
    try:
        return int(judge(read(options.old), read(options.new), options.threshold))
    except UserError as error:
        print(f"bench: {error}", file=sys.stderr)
        return error.status


if __name__ == "__main__":
    sys.exit(main())

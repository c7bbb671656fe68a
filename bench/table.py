"""The result as a table for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import stats
from bench.results import OK

if TYPE_CHECKING:
    from bench.results import Report, RowResult

COLUMNS = (
    "row",
    "side",
    "time",
    "±",
    "QEMU / side",
    "least-most",
    "CPU s",
    "workers",
    "peak MB",
    "",
)


def show(report: Report) -> None:
    """Print the rows, the groups' means and what was skipped to standard output."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    wide = Console(width=None if Console().is_terminal else 120)
    table = Table(*COLUMNS, box=SIMPLE, pad_edge=False)
    for column in table.columns[2:9]:
        column.justify = "right"
    group = ""
    for row in report.rows:
        if row.group != group:
            group = row.group
            table.add_row(f"[bold]{group}[/]")
        for cells in _lines(row, report.rss_floor_kib):
            table.add_row(*cells)
    wide.print(table)
    for row in report.rows:
        for name, side in row.sides.items():
            if side.detail:
                wide.print(f"{row.name}, {name}: {side.verdict}: {side.detail}", markup=False)
    means = Table("group", "side", "QEMU / side, geometric mean", box=SIMPLE, pad_edge=False)
    for name, sides in report.group_means().items():
        for side, mean in sides.items():
            means.add_row(name, side, f"{mean:.2f}x")
    if means.row_count:
        wide.print(means)
    for name, why in report.skipped.items():
        wide.print(f"skipped {name}: {why}", markup=False)


def _lines(row: RowResult, rss_floor_kib: int) -> list[tuple[str, ...]]:
    """A line of cells for each side."""
    lines: list[tuple[str, ...]] = []
    for name, side in row.sides.items():
        times, ratio, cpu = stats.summary(side.seconds), row.ratio(name), stats.summary(side.cpu)
        workers = stats.summary(side.workers)
        peak = max(side.rss_kib, default=0)
        lines.append(
            (
                "" if lines else row.name,
                name,
                f"{times.median:.3f} {row.unit}" if times else "-",
                f"{times.spread:.0%}" if times and len(side.seconds) > 1 else "",
                f"{ratio.median:.2f}x" if ratio else "",
                f"{ratio.low:.2f}-{ratio.high:.2f}" if ratio and ratio.low < ratio.high else "",
                f"{cpu.median:.2f}" if cpu else "",
                f"{workers.median:.2f}" if workers and workers.high else "",
                f"{'<' if peak <= rss_floor_kib else ''}{peak / 1024:.0f}" if peak else "",
                "" if side.verdict == OK else f"[red]{side.verdict}[/]",
            )
        )
    return lines

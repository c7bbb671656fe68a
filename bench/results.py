"""What a run of the bench found, and its JSON form."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench import stats
from bench.model import NATIVE, QEMU
from jitemu.messages import fail

if TYPE_CHECKING:
    from pathlib import Path

    from bench.model import Sample

FORMAT = 2

OK, WRONG, FAILED, UNCHECKED = "ok", "WRONG", "FAILED", "unchecked"


@dataclass
class SideResult:
    """One contestant's runs of one row; the lists have an item for each round."""

    seconds: list[float] = field(default_factory=list[float])
    cpu: list[float] = field(default_factory=list[float])
    rss_kib: list[int] = field(default_factory=list[int])
    verdict: str = OK
    detail: str = ""  # why the verdict is not "ok"
    workers: list[float] = field(default_factory=list[float])

    def add(self, sample: Sample) -> None:
        """Count one more round."""
        self.seconds.append(sample.seconds)
        self.cpu.append(sample.cpu)
        self.workers.append(sample.workers)
        self.rss_kib.append(sample.rss_kib)


@dataclass
class RowResult:
    """One row's runs."""

    name: str
    group: str
    unit: str
    size: int
    reference: str  # the contestant whose output is the right one; empty: none ran
    sides: dict[str, SideResult] = field(default_factory=dict[str, SideResult])
    by_cpu: bool = False  # ratios are of processor time

    def ratio(self, side: str) -> stats.Summary | None:
        """QEMU's time by this side's, paired by round: above 1 is faster than QEMU."""
        qemu, other = self.sides.get(QEMU), self.sides.get(side)
        if qemu is None or other is None or side == QEMU:
            return None
        if WRONG in (qemu.verdict, other.verdict):
            return None
        pair = (qemu.cpu, other.cpu) if self.by_cpu else (qemu.seconds, other.seconds)
        return stats.summary(stats.paired_ratios(*pair))


@dataclass
class Report:
    """A whole run."""

    machine: dict[str, str]
    options: dict[str, Any]
    rows: list[RowResult] = field(default_factory=list[RowResult])
    rss_floor_kib: int = 0  # peak figures at or below this mean "not more than this"
    skipped: dict[str, str] = field(default_factory=dict[str, str])  # row: why

    @property
    def sound(self) -> bool:
        """Nothing was wrong and nothing failed."""
        verdicts = (side.verdict for row in self.rows for side in row.sides.values())
        return not any(verdict in (WRONG, FAILED) for verdict in verdicts)

    def group_means(self) -> dict[str, dict[str, float]]:
        """Geometric mean of the median ratios to QEMU: group, then contestant."""
        values: dict[str, dict[str, list[float]]] = {}
        for row in self.rows:
            for side in row.sides:
                if side != NATIVE and (ratio := row.ratio(side)):
                    values.setdefault(row.group, {}).setdefault(side, []).append(ratio.median)
        return {
            group: {side: mean for side, v in sides.items() if (mean := stats.geometric_mean(v))}
            for group, sides in values.items()
        }

    def write(self, path: Path) -> None:
        """Save as JSON: every sample, and what the table shows computed from them."""
        document: dict[str, Any] = {"format": FORMAT, **dataclasses.asdict(self)}
        document["groups"] = self.group_means()
        for row, entry in zip(self.rows, document["rows"], strict=True):
            for name, side in row.sides.items():
                times, ratio = stats.summary(side.seconds), row.ratio(name)
                entry["sides"][name]["time"] = times and times._asdict()
                entry["sides"][name]["ratio_to_qemu"] = ratio and ratio._asdict()
        path.write_text(json.dumps(document, indent=1) + "\n")


def read(path: Path) -> Report:
    """The report in a JSON file that ``write`` made; UserError when it is not one."""
    try:
        document: Any = json.loads(path.read_text())
        if document["format"] != FORMAT:
            fail(f"{path}: format {document['format']}, not {FORMAT}; run the bench again")
        return Report(
            document["machine"],
            document["options"],
            [_row(entry) for entry in document["rows"]],
            document["rss_floor_kib"],
            document["skipped"],
        )
    except OSError as error:
        fail(f"{path}: {error.strerror}")
    except (ValueError, KeyError, TypeError, AttributeError):
        fail(f"{path}: not a result file of the bench (python -m bench --json FILE makes one)")


def _row(entry: dict[str, Any]) -> RowResult:
    names = [f.name for f in dataclasses.fields(SideResult)]
    sides = {
        side: SideResult(**{name: found[name] for name in names})
        for side, found in entry["sides"].items()
    }
    head = {f.name: entry[f.name] for f in dataclasses.fields(RowResult) if f.name != "sides"}
    return RowResult(**head, sides=sides)

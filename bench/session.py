"""Runs rows: the order of the runs, the check of every output, the verdicts."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench import measure, stats
from bench.model import NATIVE, QEMU, Contestant, Row, Sample
from bench.results import FAILED, UNCHECKED, WRONG, Report, RowResult, SideResult
from jitemu.messages import UserError, note
from jitemu.runtime.installed import UNUSED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.inputs import Inputs


@dataclass(frozen=True)
class Plan:
    """How to run the rows."""

    contestants: tuple[Contestant, ...]
    rounds: int
    scale: str  # quick, normal or long
    timeout: float  # seconds for each run
    by_cpu: bool = False  # ratios of processor time, for a machine that has other work


class Session:
    """Runs rows one after the other and adds what it finds to ``report``."""

    def __init__(self, plan: Plan, inputs: Inputs, report: Report) -> None:
        self.plan = plan
        self.inputs = inputs
        self.report = report

    def run(self, rows: Sequence[Row]) -> None:
        """Run the rows; one that lacks something is skipped with the reason."""
        for number, row in enumerate(rows, 1):
            note(f"[{number}/{len(rows)}] {row.name}: {row.about}")
            try:
                self.report.rows.append(_RowRun(row, self.plan, self.inputs).run())
                floor = measure.own_rss_kib()
                self.report.rss_floor_kib = max(self.report.rss_floor_kib, floor)
            except UserError as why:
                self.report.skipped[row.name] = str(why)
                note(f"{row.name}: skipped: {why}")


class _RowRun:
    """One row: a first, unmeasured run of everybody, then the rounds."""

    def __init__(self, row: Row, plan: Plan, inputs: Inputs) -> None:
        self.row = row
        self.plan = plan
        self.inputs = inputs
        self.size = row.scaled(plan.scale)
        self.expected: bytes | None = None
        self.contestants = {c.name: c for c in plan.contestants if self._template(c)}
        by_cpu = plan.by_cpu and not row.rate
        reference = self._reference()
        self.result = RowResult(row.name, row.group, row.unit, self.size, reference, by_cpu=by_cpu)

    def _template(self, contestant: Contestant) -> tuple[str, ...]:
        if self.row.only not in ("", contestant.name):
            return ()
        if contestant.name == NATIVE:
            return self.row.native
        lacking = "{system}" in self.row.guest and not contestant.system
        return () if lacking or self._for_another_guest() else self.row.guest

    def _for_another_guest(self) -> bool:
        return self.row.guests != () and self.inputs.guest.name not in self.row.guests

    def _reference(self) -> str:
        """Whose output is right: the native program's, or else QEMU's."""
        if not self.row.same:
            return ""
        return next((name for name in (NATIVE, QEMU) if name in self.contestants), "")

    def run(self) -> RowResult:
        """UserError when there is nobody to run it or something is missing."""
        if not self.contestants:
            raise UserError("none of the chosen sides has a form of it")
        commands = {
            name: self.inputs.command(self.row, self._template(c), c, self.size)
            for name, c in self.contestants.items()
        }
        self.result.sides = {name: SideResult() for name in self.contestants}
        first = [self.result.reference] if self.result.reference else []
        if self.plan.scale != "quick":
            first += [n for n, c in self.contestants.items() if not c.cold and n not in first]
        for name in first:
            self._once(name, commands[name])
        for round_number in range(self.plan.rounds):
            for name in stats.running_order(list(self.contestants), round_number):
                if sample := self._once(name, commands[name]):
                    self.result.sides[name].add(sample)
        return self.result

    def _once(self, name: str, command: list[str]) -> Sample | None:
        """One run, checked; None when it failed, now or in an earlier round."""
        side = self.result.sides[name]
        if side.verdict == FAILED:
            return None
        contestant = self.contestants[name]
        with _empty_cache() if contestant.cold else nullcontext() as cache:
            changed = {"XDG_CACHE_HOME": cache} if cache else {}
            if contestant.bare:
                changed[UNUSED] = "1"
            sample = measure.run(
                command,
                timeout=self.plan.timeout,
                env={**os.environ, **changed},
                span=None if name == NATIVE else self.row.span,
                rate=self.row.rate,
            )
        if sample.trouble:
            side.verdict, side.detail = FAILED, sample.trouble
            note(f"{self.row.name}: {name}: {sample.trouble}")
            return None
        self._check(name, side, sample.output)
        if self.row.instructions:
            each = 1e9 / (self.row.instructions * self.size)
            sample = replace(sample, seconds=sample.seconds * each)
        return sample

    def _check(self, name: str, side: SideResult, output: bytes) -> None:
        row, reference = self.row, self.result.reference
        if row.pattern and not re.search(row.pattern.encode(), output.replace(b"\r\n", b"\n")):
            side.verdict, side.detail = WRONG, f"output lacks {row.pattern}: {output[-80:]!r}"
        elif self.expected is None and name == reference:
            self.expected = output
        elif self.expected is not None and output != self.expected:
            side.verdict = WRONG
            side.detail = f"{output[:80]!r}, where {reference} gives {self.expected[:80]!r}"
        elif not (reference and self.expected is not None) and not row.pattern and row.same:
            side.verdict, side.detail = UNCHECKED, "nothing to compare its output with"


def _empty_cache() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="jitemu-bench-cold-")


def installed(contestants: Sequence[Contestant], rows: Sequence[Row]) -> tuple[Contestant, ...]:
    """Those that can run; a missing QEMU is noted once and left out."""
    user = any("{user}" in row.guest for row in rows)
    system = any("{system}" in row.guest for row in rows)
    found: list[Contestant] = []
    for contestant in contestants:
        needed = (*contestant.user[:1] * user, *contestant.system[:1] * system)
        missing = [w for w in needed if not w.startswith("{") and not shutil.which(w)]
        if missing:
            note(f"{contestant.name} is left out: {', '.join(missing)} is not installed")
        else:
            found.append(contestant)
    return tuple(found)

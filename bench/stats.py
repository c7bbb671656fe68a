"""Medians, spreads, paired ratios and geometric means."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class Summary(NamedTuple):
    """Median, least and greatest of some values."""

    median: float
    low: float
    high: float

    @property
    def spread(self) -> float:
        """Half the range as a part of the median: the ± that people expect."""
        return (self.high - self.low) / 2 / self.median if self.median else 0.0


def summary(values: Sequence[float]) -> Summary | None:
    """None for no values."""
    if not values:
        return None
    return Summary(statistics.median(values), min(values), max(values))


def paired_ratios(over: Sequence[float], under: Sequence[float]) -> list[float]:
    """over[i] / under[i] of each round: both ran side by side, so drift cancels.

    A round that one of the two did not finish is left out.
    """
    return [a / b for a, b in zip(over, under, strict=False) if a > 0 and b > 0]


def geometric_mean(values: Sequence[float]) -> float | None:
    """None for no values; the values are positive."""
    if not values:
        return None
    return math.exp(math.fsum(math.log(v) for v in values) / len(values))


def running_order(names: Sequence[str], round_number: int) -> list[str]:
    """Forward in even rounds, backward in odd ones: nobody always runs on a warm machine."""
    return list(names) if round_number % 2 == 0 else list(reversed(names))

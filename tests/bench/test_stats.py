"""Statistics against values worked out by hand."""

from __future__ import annotations

import pytest

from bench import stats


def test_summary() -> None:
    found = stats.summary([3.0, 1.0, 2.0])
    assert found == (2.0, 1.0, 3.0)
    assert found is not None and found.spread == 0.5
    assert stats.summary([]) is None


def test_ratios_are_of_the_same_round() -> None:
    # The second round ran on a machine twice as busy: both doubled, the ratio did not.
    assert stats.paired_ratios([3.0, 6.0], [1.0, 2.0]) == [3.0, 3.0]


def test_ratios_leave_unfinished_rounds_out() -> None:
    assert stats.paired_ratios([3.0, 6.0, 5.0], [1.0]) == [3.0]
    assert stats.paired_ratios([3.0, 0.0], [0.0, 1.0]) == []


def test_geometric_mean() -> None:
    assert stats.geometric_mean([2.0, 8.0]) == pytest.approx(4.0)
    assert stats.geometric_mean([0.5, 2.0]) == pytest.approx(1.0)
    assert stats.geometric_mean([]) is None


def test_order_alternates() -> None:
    names = ["a", "b", "c"]
    orders = [stats.running_order(names, i) for i in range(4)]
    assert orders == [["a", "b", "c"], ["c", "b", "a"], ["a", "b", "c"], ["c", "b", "a"]]

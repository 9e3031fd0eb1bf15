"""Whether something that is measured again and again grows."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple


def slope(points: Sequence[tuple[float, float]]) -> float:
    """
    Estimate a trend by Theil and Sen: no peak, and no level that is left again, counts for much.

    :param points: of seconds and values; two at least.
    :returns: by how much the value grows a second.
    """
    return statistics.median(
        (later - earlier) / (after - before)
        for (before, earlier), (after, later) in combinations(points, 2)
        if after > before
    )


class Allowance(NamedTuple):
    """
    By how much something may grow.

    :ivar share: of its median.
    :ivar amount: if that is more.
    """

    share: float
    amount: float


class Trend(NamedTuple):
    """
    What was found.

    :ivar median: of the values.
    :ivar growth: from the first to the last, by the trend.
    :ivar allowed: how much it may be.
    """

    median: float
    growth: float
    allowed: float

    @property
    def is_flat(self) -> bool:
        """Whether it does not grow by more."""
        return self.growth <= self.allowed


def judge(points: Sequence[tuple[float, float]], allowance: Allowance) -> Trend:
    """:param points: of seconds and values; two at least."""
    median = statistics.median(value for _, value in points)
    growth = slope(points) * (points[-1][0] - points[0][0])
    return Trend(median, growth, max(allowance.amount, allowance.share * median))

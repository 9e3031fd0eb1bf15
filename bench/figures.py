"""Figures: what is measured, in which unit, and what is said of several of them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

#: One measurement: a figure for each name of :data:`METRICS` that it has.
Figures = Mapping[str, float]

# Below this, what usually has no digits behind the point has some.
_SMALL = 10
# From this share of a core on, a process has no time left.
_BUSY = 0.9


@dataclass(frozen=True)
class Metric:
    """
    :param heading: of a column.
    :param digits: behind the point.
    :param spread: whether least and most are shown beside the median.
    """

    heading: str
    digits: int = 0
    spread: bool = False

    def text(self, figure: float) -> str:
        """:returns: a figure, as it is shown."""
        digits = self.digits if self.digits or figure >= _SMALL else 2
        return f"{figure:,.{digits}f}"


#: By the names that they have in JSON.
METRICS: Mapping[str, Metric] = {
    "cost": Metric("us a message", spread=True),
    "rate": Metric("messages/s"),
    "p50": Metric("p50 ms", 2),
    "p99": Metric("p99 ms", 2),
    "max": Metric("max ms", 1),
    "peak": Metric("peak MiB", 1),
    "server": Metric("server's core", 2),
    "load": Metric("load's core", 2),
    "others": Metric("others", 2),
    "switches": Metric("preempted", 1),
    "memory": Metric("KiB a client", 1, spread=True),
    "handovers": Metric("hand-overs", 2),
    "unit": Metric("us a unit", 2, spread=True),
    "part": Metric("us"),
    "part beside": Metric("us beside"),
    "most": Metric("% on one", 0, spread=True),
}


def percentile(figures: Sequence[float], share: float) -> float:
    """
    :param figures: at least one.
    :param share: of them, 0 to 1.
    :returns: the least figure that so large a share of them does not exceed.
    """
    return sorted(figures)[max(math.ceil(share * len(figures)), 1) - 1]


def latency(seconds: Sequence[float]) -> Figures:
    """:returns: how long messages took."""
    shares = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return {name: percentile(seconds, share) * 1e3 for name, share in shares.items()}


def bottleneck(figures: Figures, cores: int) -> str:
    """
    :param figures: medians, with ``server``, ``load`` and ``others``; with ``alone`` for the
        busiest process of the server.
    :param cores: of the machine.
    :returns: who had no time left, so that there were no more messages.
    """
    names = [
        name
        for name, share in (("server", figures["alone"]), ("load", figures["load"]))
        if share >= _BUSY
    ]
    if not names and figures["server"] + figures["load"] + figures["others"] >= _BUSY * cores:
        names = ["machine"]
    return " and ".join(names) or "waiting"


@dataclass(frozen=True)
class Result:
    """
    What came out of all rounds for one row of a table.

    :param group: the table.
    :param name: of the row.
    :param figures: of all rounds, for each metric.
    """

    group: str
    name: str
    figures: Mapping[str, Sequence[float]]

    def median(self, metric: str) -> float:
        """:returns: the median of the rounds."""
        return statistics.median(self.figures[metric])

    def medians(self) -> Figures:
        """:returns: all medians."""
        return {metric: self.median(metric) for metric in self.figures}

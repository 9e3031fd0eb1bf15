"""Whether a daemon has grown, and what it looked like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.chaos.picture import Panel, Span, draw
from tests.chaos.slope import Allowance, Trend, judge

#: By how much each may grow after that.
ALLOWANCES: Mapping[str, Allowance] = {
    "memory, MiB": Allowance(0.03, 2.0),
    "open files": Allowance(0.05, 3.0),
    "threads": Allowance(0.0, 1.0),
    "deferreds": Allowance(0.1, 15.0),
    "delayed calls": Allowance(0.1, 10.0),
    "sessions": Allowance(0.1, 5.0),
    "envelopes": Allowance(0.1, 10.0),
    "objects": Allowance(0.03, 2000.0),
}


@dataclass
class Found:
    """
    What came of it.

    :ivar seconds: when each sample was taken.
    :ivar samples: the values of each quantity, all processes together.
    :ivar faults: what is wrong, by its kind.
    :ivar figures: other numbers.
    """

    seconds: list[float] = field(default_factory=list)
    samples: dict[str, list[float]] = field(default_factory=lambda: {n: [] for n in ALLOWANCES})
    faults: dict[str, list[str]] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)

    def points(self, name: str, after: float = 0.0) -> list[tuple[float, float]]:
        """:returns: the samples of a quantity."""
        pairs = zip(self.seconds, self.samples[name], strict=True)
        return [pair for pair in pairs if pair[0] >= after]

    def trends(self, after: float) -> dict[str, Trend]:
        """:param after: how many seconds there is nothing to see in."""
        return {
            name: judge(self.points(name, after), allowance)
            for name, allowance in ALLOWANCES.items()
        }


def picture(found: Found, warm_up: float) -> str:
    """:returns: what was measured over time, as SVG; what comes before ``warm_up`` is grey."""
    panels = [
        Panel("memory (resident), MiB", [("", found.points("memory, MiB"))]),
        Panel(
            "open files and threads",
            [(name, found.points(name)) for name in ("open files", "threads")],
        ),
        Panel(
            "live objects of Python",
            [(name, found.points(name)) for name in ("deferreds", "delayed calls", "sessions")],
        ),
        Panel("all objects of Python", [("", found.points("objects"))]),
    ]
    return draw("The daemon over time", panels, [Span(0, warm_up, "not judged")])


def report(found: Found, trends: Mapping[str, Trend]) -> int:
    """:returns: the exit status: 1 if something grows, or is wrong. All is printed."""
    print(", ".join(f"{name}: {value:,}" for name, value in found.figures.items()))
    for name, faults in found.faults.items():
        print(f"{name}: {len(faults)}", *faults[:5])
    for name, trend in trends.items():
        verdict = "flat" if trend.is_flat else "GROWS"
        print(
            f"{name}: {verdict}; median {trend.median:,.1f}, growth {trend.growth:+,.1f} "
            f"(allowed {trend.allowed:,.1f})"
        )
    is_bad = any(found.faults.values()) or not all(trend.is_flat for trend in trends.values())
    return int(is_bad)

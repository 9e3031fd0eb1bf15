"""Rounds: every row is measured once, then every row once more, so that noise meets all alike."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bench.contenders.contender import ServerError
from bench.figures import METRICS, Figures, Result
from bench.sending import LoadError

# What is told while it goes on, the first of them that there is.
_TOLD = ("cost", "memory", "most", "rate", "p99")


@dataclass(frozen=True)
class Case:
    """
    A row that is to be measured.

    :param group: of the table.
    :param name: of the row.
    :param measure: starts a server, and measures it once.
    """

    group: str
    name: str
    measure: Callable[[], Figures]


@dataclass(frozen=True)
class Outcome:
    """
    What came out.

    :param results: for each case that could be measured.
    :param skipped: group, name and cause of those that could not.
    """

    results: Sequence[Result]
    skipped: list[tuple[str, str, str]] = field(default_factory=list)


def tell(line: str) -> None:
    """Tell whoever waits what is being done."""
    print(line, file=sys.stderr, flush=True)


def take_turns(cases: Sequence[Case], rounds: int) -> Outcome:
    """
    Measure all cases of a group, in turns, and then those of the next.

    :param rounds: how often.
    """
    figures: dict[Case, dict[str, list[float]]] = {case: {} for case in cases}
    failed: dict[Case, str] = {}
    for group in dict.fromkeys(case.group for case in cases):
        for number in range(rounds):
            for case in cases:
                if case.group == group and case not in failed:
                    before = f"round {number + 1} of {rounds}: {group}: {case.name}: "
                    try:
                        measured = case.measure()
                    except (ServerError, LoadError) as error:
                        failed[case] = str(error)
                        tell(f"{before}skipped: {error}")
                        continue
                    tell(before + _summary(measured))
                    for metric, figure in measured.items():
                        figures[case].setdefault(metric, []).append(figure)
    results = [Result(case.group, case.name, figures[case]) for case in cases if case not in failed]
    return Outcome(results, [(case.group, case.name, why) for case, why in failed.items()])


def _summary(figures: Figures) -> str:
    metric = next(name for name in _TOLD if name in figures)
    return f"{METRICS[metric].text(figures[metric])} {METRICS[metric].heading}"

"""What each part of a message's way costs, here and in another checkout."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from bench.contenders.known import BESIDE
from bench.contenders.ours import Guerrilla
from bench.experiments.setting import Setting
from bench.figures import Result
from bench.reports.report import Report
from bench.rounds import Outcome, tell
from bench.sending import ROOT, LoadError

#: Metrics, in the order of the columns.
HERE, THERE = "part", "part beside"
# Repetitions, and how often a part is done in each.
_EFFORT, _QUICK = (100, 20), (5, 5)
# Of another checkout guerrilla_tw is imported, and of this one the benchmark.
_PROGRAM = """\
import sys
root, beside, *sys.argv[1:] = sys.argv[1:]
sys.path.insert(0, beside)
import guerrilla_tw
sys.path.insert(0, root)
from bench.costs.__main__ import main
main()
"""
_PATIENCE = 300

Key = tuple[str, str]


def run(setting: Setting) -> Report:
    """Measure both in turns; of each part the smallest of all rounds counts."""
    roots, skipped = _roots(setting)
    least: dict[Key, dict[str, float]] = {}
    for number in range(setting.rounds):
        for metric, root in list(roots.items()):
            tell(f"round {number + 1} of {setting.rounds}: {root}")
            try:
                measured = _measure(root, setting.quick)
            except LoadError as error:
                if metric == HERE:
                    raise
                skipped.append(("costs", str(root), str(error)))
                del roots[metric]
                continue
            for key, cost in measured.items():
                costs = least.setdefault(key, {})
                costs[metric] = min(costs.get(metric, cost), cost)
    results = [
        Result(group, name, {metric: [cost] for metric, cost in costs.items()})
        for (group, name), costs in least.items()
    ]
    return Report("costs", (HERE, THERE), Outcome(results, skipped), compared=HERE, absent="-")


def _roots(setting: Setting) -> tuple[dict[str, Path], list[tuple[str, str, str]]]:
    """:returns: the checkouts by column; and what cannot be had, as in :class:`.Outcome`."""
    other = setting.contenders.get(BESIDE)
    if not isinstance(other, Guerrilla):
        return {HERE: ROOT}, []
    if why := other.missing():
        return {HERE: ROOT}, [("costs", other.title, why)]
    return {HERE: ROOT, THERE: other.root}, []


def _measure(root: Path, quick: bool) -> dict[Key, float]:
    """:returns: what each part costs in a checkout, in microseconds."""
    numbers = map(str, _QUICK if quick else _EFFORT)
    lenient = [] if root == ROOT else ["--lenient"]
    command = [sys.executable, "-c", _PROGRAM, str(ROOT), str(root), *numbers, *lenient]
    done = subprocess.run(  # noqa: S603  (the command is ours)
        command, capture_output=True, text=True, timeout=_PATIENCE
    )
    if done.returncode:
        raise LoadError(done.stderr.strip().rpartition("\n")[2])
    return {(group, name): cost for group, name, cost in json.loads(done.stdout)}

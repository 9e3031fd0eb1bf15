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
    roots = {HERE: ROOT}
    other = setting.contenders.get(BESIDE)
    skipped = []
    if isinstance(other, Guerrilla):
        if why := other.missing():
            skipped.append(("costs", other.title, why))
        else:
            roots[THERE] = other.root
    least: dict[Key, dict[str, float]] = {}
    for number in range(setting.rounds):
        for metric, root in roots.items():
            tell(f"round {number + 1} of {setting.rounds}: {root}")
            for key, cost in _measure(root, setting.quick).items():
                costs = least.setdefault(key, {})
                costs[metric] = min(costs.get(metric, cost), cost)
    results = [
        Result(group, name, {metric: [cost] for metric, cost in costs.items()})
        for (group, name), costs in least.items()
    ]
    return Report("costs", (HERE, THERE), Outcome(results, skipped), compared=HERE, absent="-")


def _measure(root: Path, quick: bool) -> dict[Key, float]:
    """:returns: what each part costs in a checkout, in microseconds."""
    numbers = map(str, _QUICK if quick else _EFFORT)
    lenient = [] if root == ROOT else ["--lenient"]
    command = [sys.executable, "-c", _PROGRAM, str(ROOT), str(root), *numbers, *lenient]
    done = subprocess.run(  # noqa: S603  (the command is ours)
        command, capture_output=True, text=True, timeout=_PATIENCE
    )
    if done.returncode:
        raise LoadError(f"{root}: {done.stderr}")
    return {(group, name): cost for group, name, cost in json.loads(done.stdout)}

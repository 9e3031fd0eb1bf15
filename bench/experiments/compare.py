"""Every server under every load."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from bench.contenders.contender import Contender
from bench.contenders.known import BESIDE, STOCK
from bench.experiments.setting import Setting
from bench.figures import Figures
from bench.loads import LOADS, QUICK, Load, chosen
from bench.measuring import measure
from bench.reports.report import Report
from bench.rounds import Case, Outcome, take_turns

_COLUMNS = ("cost", "rate", "p50", "p99", "max", "peak", "server", "load", "others", "switches")


def pairs(
    setting: Setting, loads: Sequence[Load]
) -> tuple[list[tuple[Load, Contender]], list[tuple[str, str, str]]]:
    """:returns: which contender takes which load; and group, name and cause where one does not."""
    taken: list[tuple[Load, Contender]] = []
    skipped: list[tuple[str, str, str]] = []
    for load in loads:
        for contender in setting.contenders.values():
            if why := contender.missing() or contender.lacks(load.tls):
                skipped.append((load.title, contender.title, why))
            else:
                taken.append((load, contender))
    return taken, skipped


def reference(setting: Setting) -> str:
    """:returns: title of the contender that the others are compared with."""
    for name in (BESIDE, STOCK):
        if name in setting.contenders:
            return setting.contenders[name].title
    return ""


def run(setting: Setting) -> Report:
    """Measure."""
    loads = list(setting.loads) or (chosen(QUICK) if setting.quick else list(LOADS.values()))
    taken, skipped = pairs(setting, loads)
    outcome = take_turns(
        [
            Case(load.title, contender.title, partial(_measure, setting, contender, load))
            for load, contender in taken
        ],
        setting.rounds,
    )
    return Report(
        "compare",
        _COLUMNS,
        Outcome(outcome.results, [*skipped, *outcome.skipped]),
        reference=reference(setting),
        bound=True,
    )


def _measure(setting: Setting, contender: Contender, load: Load) -> Figures:
    with contender.running(tls=load.tls, clients=load.clients) as server:
        return measure(server, load, setting.messages(load))

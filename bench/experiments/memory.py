"""What idle clients hold."""

from __future__ import annotations

from functools import partial

from bench.contenders.contender import Contender
from bench.experiments.compare import pairs, reference
from bench.experiments.setting import Setting
from bench.figures import Figures
from bench.generator.spec import IMPLICIT
from bench.loads import Load
from bench.measuring import idle_memory
from bench.reports.report import Report
from bench.rounds import Case, Outcome, take_turns

_CLIENTS, _QUICK_CLIENTS = 5_000, 500


def run(setting: Setting) -> Report:
    """Measure, with and without TLS."""
    clients = _QUICK_CLIENTS if setting.quick else _CLIENTS
    loads = [
        Load("idle", f"{clients:,} idle clients", 0, clients=clients),
        Load("idle-tls", f"{clients:,} idle clients, TLS", 0, clients=clients, tls=IMPLICIT),
    ]
    taken, skipped = pairs(setting, loads)
    outcome = take_turns(
        [
            Case(load.title, contender.title, partial(_measure, contender, load))
            for load, contender in taken
        ],
        setting.rounds,
    )
    return Report(
        "memory",
        ("memory",),
        Outcome(outcome.results, [*skipped, *outcome.skipped]),
        reference=reference(setting),
        compared="memory",
    )


def _measure(contender: Contender, load: Load) -> Figures:
    with contender.running(tls=load.tls, clients=load.clients) as server:
        return idle_memory(server, load)

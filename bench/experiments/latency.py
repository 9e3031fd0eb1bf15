"""How long messages take where there is time: at half of the load that servers can take."""

from __future__ import annotations

import statistics
from functools import partial

from bench.contenders.contender import Contender
from bench.contenders.known import STOCK
from bench.experiments.compare import pairs, reference
from bench.experiments.setting import Setting
from bench.figures import Figures
from bench.loads import Load, chosen
from bench.measuring import pace, saturate, warm_up
from bench.reports.report import Report
from bench.rounds import Case, Outcome, take_turns

_COLUMNS = ("p50", "p99", "max", "rate", "cost", "server", "load", "others", "switches")


def run(setting: Setting) -> Report:
    """Measure: first at half of what each can take, then at half of what stock can."""
    loads = list(setting.loads) or chosen(["kept"])
    taken, skipped = pairs(setting, loads)
    rates: dict[str, list[float]] = {}
    cases = [
        Case(
            f"{load.title}, at half of what each can take",
            contender.title,
            partial(
                _at_half, setting, contender, load, rates.setdefault(_key(contender, load), [])
            ),
        )
        for load, contender in taken
    ]
    if STOCK in setting.contenders:
        stock = setting.contenders[STOCK]
        cases += [
            Case(
                f"{load.title}, at half of what {stock.title} can take",
                contender.title,
                partial(_at_half_of, setting, contender, load, rates[_key(stock, load)]),
            )
            for load, contender in taken
        ]
    outcome = take_turns(cases, setting.rounds)
    return Report(
        "latency",
        _COLUMNS,
        Outcome(outcome.results, [*skipped, *outcome.skipped]),
        reference=reference(setting),
        compared="p99",
    )


def _key(contender: Contender, load: Load) -> str:
    return f"{load.name} {contender.name}"


def _at_half(setting: Setting, contender: Contender, load: Load, rates: list[float]) -> Figures:
    """:param rates: what it can take is added to them."""
    messages = setting.messages(load)
    with contender.running(tls=load.tls, clients=load.clients) as server:
        warm_up(server, load, messages)
        rate = saturate(server, load, messages)["rate"]
        rates.append(rate)
        return pace(server, load, messages, rate / 2)


def _at_half_of(setting: Setting, contender: Contender, load: Load, rates: list[float]) -> Figures:
    """:param rates: what another one can take."""
    messages = setting.messages(load)
    with contender.running(tls=load.tls, clients=load.clients) as server:
        warm_up(server, load, messages)
        return pace(server, load, messages, statistics.median(rates) / 2)

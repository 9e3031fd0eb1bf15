"""
What a unit of work costs when there is more of it.

Our own generator sends everything, so that rows of a table differ in one thing only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

from bench.chains import CHAINS, backends
from bench.contenders.ours import NULL_CHAIN, Guerrilla
from bench.experiments.setting import Setting
from bench.figures import Figures, Result
from bench.loads import SIZE, Load
from bench.measuring import saturate, warm_up
from bench.reports.report import FIRST, Report
from bench.rounds import Case, Outcome, take_turns

_COLUMNS = ("unit", "cost", "rate", "p50", "p99", "peak", "server", "load", "others")
_CLIENTS = (1, 10, 100, 1_000, 5_000)
_SIZES = {
    "1 KB": 1_000,
    "10 KB": 10_000,
    "100 KB": 100_000,
    "1 MB": 1_000_000,
    "10 MB": 10_000_000,
    "100 MB": 100_000_000,
}
_RECIPIENTS = (1, 2, 5, 10, 20, 50, 100)
_WORKERS = (1, 2, 4, 8, 16, 32, 64)
_BLOCKING = CHAINS["maildir"]

# Messages of each row, and the octets that they may have together.
_MESSAGES, _OCTETS = 5_000, 400_000_000


def run(setting: Setting) -> Report:
    """Measure clients, sizes, recipients and workers."""
    with backends([_BLOCKING]) as configured:
        cases = list(_cases(setting, configured[_BLOCKING.name]))
        outcome = take_turns(cases, setting.rounds)
    return Report(
        "growth",
        _COLUMNS,
        outcome,
        reference=FIRST,
        compared="unit",
        remarks=list(_ratios(outcome)),
    )


def _cases(setting: Setting, blocking: Mapping[str, object]) -> Iterator[Case]:
    for clients in _CLIENTS:
        load = _load(max(_MESSAGES, clients * 2), clients=clients)
        yield _case(setting, "Clients; the unit is a message", f"{clients:,}", load)
    for name, size in _SIZES.items():
        messages = min(_MESSAGES, _OCTETS // size)
        load = _load(messages, size=size, clients=min(messages, 20))
        yield _case(setting, "Size; the unit is a KB", name, load, units=size / 1_000)
    for count in _RECIPIENTS:
        load = _load(max(_MESSAGES // count, 500), recipients=count)
        yield _case(setting, "Recipients; the unit is one of them", f"{count}", load, units=count)
    for workers in _WORKERS:
        backend = {**blocking, "save_workers_size": workers}
        load = _load(_MESSAGES // 2, clients=max(_WORKERS))
        title = f"Workers, {_BLOCKING.title}; the unit is a message"
        yield _case(setting, title, f"{workers}", load, backend=backend)


def _load(messages: int, *, clients: int = 20, size: int = SIZE, recipients: int = 1) -> Load:
    return Load("", "", messages, size=size, clients=clients, recipients=recipients, is_timed=True)


def _case(
    setting: Setting,
    group: str,
    name: str,
    load: Load,
    *,
    units: float = 1,
    backend: Mapping[str, object] = NULL_CHAIN,
) -> Case:
    ours = Guerrilla("ours", "", log_level=setting.log_level, backend=backend)
    return Case(group, name, partial(_measure, setting, ours, load, units))


def _measure(setting: Setting, ours: Guerrilla, load: Load, units: float) -> Figures:
    messages = setting.messages(load)
    with ours.running(clients=load.clients) as server:
        warm_up(server, load, messages)
        figures = saturate(server, load, messages)
    return {**figures, "unit": figures["cost"] / units}


def _ratios(outcome: Outcome) -> Iterator[str]:
    """
    :returns: for each table what a unit of the last row costs beside one of the first; and beside
        the one that costs least, because what comes once, such as a message's own cost, is
        shared by the units, and hides in the first row that they become dearer later.
    """
    groups: dict[str, list[Result]] = {}
    for result in outcome.results:
        groups.setdefault(result.group, []).append(result)
    for group, rows in groups.items():
        first, last = rows[0], rows[-1]
        least = min(rows, key=lambda row: row.median("unit"))
        ratios = [last.median("unit") / row.median("unit") for row in (first, least)]
        yield (
            f"{group}: {last.name} is {ratios[0]:.2f} of {first.name}, "
            f"and {ratios[1]:.2f} of {least.name}, the least"
        )

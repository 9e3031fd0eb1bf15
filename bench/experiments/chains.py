"""What a message costs with each store, and how often it goes to another thread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import handovers
from bench.chains import CHAINS, NULL, Chain, backends
from bench.contenders.ours import Guerrilla
from bench.experiments.setting import Setting
from bench.figures import Figures
from bench.loads import Load, chosen
from bench.measuring import saturate, warm_up
from bench.reports.report import FIRST, Report
from bench.rounds import Case, take_turns

_COLUMNS = ("rate", "cost", "handovers", "server", "load", "others")
# Of the messages of a load: a store takes many times as long as none.
_SHARE = 0.2
_QUICK = (NULL, "redis", "sqlite", "maildir")


def run(setting: Setting) -> Report:
    """Measure. The first row is the chain that stores nothing, if it takes part."""
    names = setting.chains or (_QUICK if setting.quick else tuple(CHAINS))
    chains = [CHAINS[name] for name in names]
    loads = list(setting.loads) or chosen(["kept"])
    with backends(chains) as configured:
        cases = [
            Case(
                load.title,
                chain.title,
                partial(measure, setting, configured[chain.name], at_once(load, chain)),
            )
            for load in loads
            for chain in chains
        ]
        outcome = take_turns(cases, setting.rounds)
    return Report("chains", _COLUMNS, outcome, reference=FIRST, bound=True)


def at_once(load: Load, chain: Chain) -> Load:
    """:returns: a load from so many clients as the chain wants."""
    return replace(load, clients=chain.clients, messages=int(load.messages * _SHARE))


def measure(setting: Setting, backend: Mapping[str, object], load: Load) -> Figures:
    """:returns: what it costs, with ``handovers``: to threads, for each message."""
    messages = setting.messages(load)
    with TemporaryDirectory(prefix="bench-") as directory:
        counter = Path(directory, "handovers")
        handovers.make(counter)
        ours = Guerrilla("ours", "", log_level=setting.log_level, backend=backend, counted=counter)
        with ours.running(tls=load.tls, clients=load.clients) as server:
            warm_up(server, load, messages)
            before = handovers.read(counter)
            figures = saturate(server, load, messages)
            counted = handovers.read(counter) - before
    return {**figures, "handovers": counted / messages}

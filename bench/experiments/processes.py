"""guerrilla_tw in two processes, beside one."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial

from bench import proc
from bench.client import Client
from bench.contenders.contender import Server
from bench.contenders.ours import Guerrilla
from bench.experiments.setting import Setting
from bench.figures import Figures
from bench.generator.spec import Spec
from bench.loads import Load, chosen
from bench.measuring import measure, pace, saturate, warm_up
from bench.reports.report import FIRST, Report
from bench.rounds import Case, take_turns
from bench.sending import generator

_COLUMNS = ("cost", "rate", "p50", "p99", "most", "peak", "server", "load", "others", "switches")
_PROCESSES = {"1 process": 1, "2 processes": 2}
# That connect and stay, to see where they are.
_CLIENTS = 40


def run(setting: Setting) -> Report:
    """
    Measure: what messages cost, and how many of the clients one process gets.

    Two processes that share a load have less to do each, and so do less of it at a time. To tell
    that from what it costs to be two, messages are also sent at the same rate to one and to two.
    """
    loads = list(setting.loads) or chosen(["kept", "200-clients", "new"])
    cases = [
        Case(load.title, name, partial(_measure, setting, _ours(setting, count), load))
        for load in loads
        for name, count in _PROCESSES.items()
    ]
    for load in loads:
        rates: list[float] = []
        cases += [
            Case(
                f"{load.title}, at half of what one process can take",
                name,
                partial(_at_half, setting, count, load, rates),
            )
            for name, count in _PROCESSES.items()
        ]
    ours = _ours(setting, 2)
    title = f"{_CLIENTS} clients, 2 processes"
    cases.append(Case(title, "connecting at once", partial(_split, ours, _at_once)))
    cases.append(Case(title, "one after the other", partial(_split, ours, _in_turn)))
    outcome = take_turns(cases, setting.rounds)
    return Report("processes", _COLUMNS, outcome, reference=FIRST, bound=True)


def _ours(setting: Setting, processes: int) -> Guerrilla:
    return Guerrilla("", "", log_level=setting.log_level, settings={"processes": processes})


def _measure(setting: Setting, ours: Guerrilla, load: Load) -> Figures:
    with ours.running(tls=load.tls, clients=load.clients) as server:
        return measure(server, load, setting.messages(load))


def _at_half(setting: Setting, count: int, load: Load, rates: list[float]) -> Figures:
    """:param rates: what one process can take, which has its turn first, is added to them."""
    messages = setting.messages(load)
    with _ours(setting, count).running(clients=load.clients) as server:
        warm_up(server, load, messages)
        if count == 1:
            rates.append(saturate(server, load, messages)["rate"])
        return pace(server, load, messages, statistics.median(rates) / 2)


def _split(
    ours: Guerrilla, connected: Callable[[Server], AbstractContextManager[object]]
) -> Figures:
    """:returns: ``most``, the share of the clients that the process with most of them has."""
    with ours.running() as server:
        workers = proc.descendants(server.pid)[1:]
        before = {pid: proc.open_files(pid) for pid in workers}
        with connected(server):
            most = max(proc.open_files(pid) - before[pid] for pid in workers)
    return {"most": most / _CLIENTS * 100}


def _at_once(server: Server) -> AbstractContextManager[object]:
    return generator(Spec(server.host, server.port, 0, clients=_CLIENTS))


@contextmanager
def _in_turn(server: Server) -> Iterator[None]:
    """Each connects when the one before has been greeted."""
    with ExitStack() as stack:
        for _ in range(_CLIENTS):
            stack.enter_context(Client(server.port).socket)
        yield

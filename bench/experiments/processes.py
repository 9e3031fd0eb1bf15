"""guerrilla_tw in two processes, beside one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial

from bench import proc
from bench.client import Client
from bench.contenders.contender import Server
from bench.contenders.ours import Guerrilla
from bench.experiments.setting import Setting
from bench.figures import Figures
from bench.generator.spec import Spec
from bench.loads import Load, chosen
from bench.measuring import measure
from bench.reports.report import FIRST, Report
from bench.rounds import Case, take_turns
from bench.sending import generator

_COLUMNS = ("cost", "rate", "p50", "p99", "most", "peak", "server", "load", "others", "switches")
_PROCESSES = {"1 process": 1, "2 processes": 2}
# It gives way to all that has something to do, and does not outlive this program.
_IDLER = """
import os
parent = os.getppid()
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
while os.getppid() == parent:
    pass
"""
# That connect and stay, to see where they are.
_CLIENTS = 40


def run(setting: Setting) -> Report:
    """
    Measure: what messages cost, and how many of the clients one process gets.

    Cores may be halves of one. Then each is slower while the other is busy, as it is more often
    with two processes. So there is a second comparison, where all cores are busy all the time.
    """
    loads = list(setting.loads) or chosen(["kept", "new"])
    cases = [
        Case(f"{load.title}{where}", name, partial(_measure, setting, count, load, surroundings))
        for where, surroundings in (("", nullcontext), (", cores always busy", _all_busy))
        for load in loads
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


def _measure(
    setting: Setting,
    count: int,
    load: Load,
    surroundings: Callable[[], AbstractContextManager[None]],
) -> Figures:
    ours = _ours(setting, count)
    with ours.running(tls=load.tls, clients=load.clients) as server, surroundings():
        return measure(server, load, setting.messages(load))


@contextmanager
def _all_busy() -> Iterator[None]:
    """Have something run on each core whenever nothing else does."""
    command = [sys.executable, "-c", _IDLER]
    with ExitStack() as idlers:
        for _ in range(os.cpu_count() or 1):
            idler = idlers.enter_context(subprocess.Popen(command))  # noqa: S603  (ours)
            idlers.callback(idler.kill)
        yield


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

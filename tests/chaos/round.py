"""A round: a daemon, its store, its clients, and a fault."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from tests.chaos.arena import Arena
from tests.chaos.daemon import Daemon
from tests.chaos.judge import Judge, Verdict
from tests.chaos.plan import NONE, SPOOL_DISK_FULL, Plan
from tests.chaos.processor import PLUGIN, TROUBLES
from tests.chaos.senders import Senders
from tests.chaos.spool import SpoolUnderTest
from tests.integration.daemon_process import free_port
from tests.integration.store_under_test import Fault, StoreUnderTest, full_disk

#: ``gw_save_timeout``; short, so that a round is.
TIMEOUT = "2s"


class Round:
    """
    One round.

    :param plan: what is to happen.
    :param arena: has the store.
    """

    def __init__(self, plan: Plan, arena: Arena) -> None:
        self._plan = plan
        self._chance = random.Random(plan.seed)
        self._store = arena.store(plan.store, plan.fault)
        self._store.chance.seed(plan.seed)
        directory = arena.make_directory()
        self._spool = SpoolUnderTest(directory / "spool", small=plan.fault == SPOOL_DISK_FULL)
        settings = _settings(self._store, plan)
        if plan.spool:
            settings |= self._spool.settings(plan.spool)
        self._trouble = directory / "trouble"
        if "Troubled" in settings["save_process"]:
            settings["trouble_file"] = str(self._trouble)
        port = free_port()
        self.daemon = Daemon(directory, _config(plan, port, settings), PLUGIN)
        self._prefix = f"s{plan.seed}-"
        self._senders = Senders(port, f"s{plan.seed}", plan.clients)

    def run(self) -> Verdict:
        """
        Have it all happen, and judge it.

        :raises AssertionError: no mail is accepted any more, or something hangs.
        """
        record = self._senders.record
        fault = self._faults()[self._plan.fault]
        try:
            self.daemon.start()
            self._senders.start()
            record.wait_for_more(self._plan.before)
            for _ in range(self._plan.times):
                try:
                    fault.begin()
                    record.look_on(10 * self._plan.clients, self._plan.seconds)
                finally:
                    fault.end()
                # More than may have been on their way.
                record.wait_for_more(2 * self._plan.clients)
            self._senders.stop()
            if self._plan.spool:
                self._spool.wait_until_delivered()
            self.daemon.terminate()
            return self._judge(fault)
        finally:
            self.daemon.close()
            self._spool.close()

    def _judge(self, fault: Fault) -> Verdict:
        judge = Judge(
            self._senders.record.attempts,
            self._prefix,
            is_quiet=self._plan.fault == NONE,
            refusal=fault.refusal,
            knows_keys=not self._plan.spool,
        )
        verdict = judge.judge(self._store.stored())
        if not fault.is_told:
            verdict.wrong += [f"the daemon logged: {line}" for line in self.daemon.complaints()]
        verdict.wrong += self._spool.given_up()
        if fault.forgets:
            verdict.lost.clear()
        return verdict

    def _faults(self) -> Mapping[str, Fault]:
        daemon = self.daemon
        troubles = {
            f"processor {trouble}": Fault(
                partial(self._trouble.write_text, trouble), self._trouble.unlink, is_told=True
            )
            for trouble in TROUBLES
        }
        return {
            NONE: Fault(lambda: None),
            "daemon killed": Fault(daemon.kill, daemon.start),
            "supervisor killed": Fault(daemon.kill, daemon.start),
            "worker killed": Fault(lambda: daemon.kill_a_worker(self._chance.random())),
            "out of descriptors": Fault(daemon.limit_files, daemon.unlimit, is_told=True),
            "files too large": Fault(
                lambda: daemon.limit_size(self._chance.choice((100, 1000, 40_000))),
                daemon.unlimit,
                # A limit of the system's is taken for one of the store's.
                refusal="552 5.3.4 ",
            ),
            "reload": Fault(daemon.reload, daemon.reload),
            "shutdown": Fault(daemon.terminate, daemon.start),
            SPOOL_DISK_FULL: full_disk(self._spool.directory),
            **troubles,
            **self._store.faults,
        }


def _settings(store: StoreUnderTest, plan: Plan) -> dict[str, Any]:
    chain = store.settings["save_process"]
    if plan.fault.startswith("processor "):
        before, _, last = chain.rpartition("|")
        chain = f"{before}|Troubled|{last}"
    return {
        **store.settings,
        "save_process": chain,
        "save_workers_size": plan.workers,
        "gw_save_timeout": TIMEOUT,
    }


def _config(plan: Plan, port: int, settings: dict[str, Any]) -> dict[str, Any]:
    server = {
        "is_enabled": True,
        "listen_interface": f"127.0.0.1:{port}",
        # A client that is too slow is one of ours, and waits for us.
        "timeout": 60,
    }
    return {
        "processes": plan.processes,
        "spill_size": plan.spill_size,
        "backend_config": settings,
        "servers": [server],
    }


def run_round(
    plan: Plan, arena: Arena, keep: Callable[[str], object] = lambda output: None
) -> tuple[Verdict, float]:
    """
    Have a round.

    :param keep: is given what the daemon has logged if something is wrong.
    :returns: what came of it, and how many seconds it took.
    :raises SkipTest: it cannot be had here.
    """
    began = time.monotonic()
    a_round = Round(plan, arena)
    try:
        verdict = a_round.run()
    except AssertionError as failure:
        verdict = Verdict(wrong=[str(failure)])
    if verdict.is_bad:
        keep(a_round.daemon.output())
    return verdict, time.monotonic() - began

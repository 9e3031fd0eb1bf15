"""A round for each store and most faults; ``make chaos`` has any number of random ones."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.chaos.arena import Arena
from tests.chaos.plan import make_plan
from tests.chaos.round import run_round

_SEED = 1


class RoundTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.arena = Arena()
        self.arena.__enter__()
        self.addCleanup(self.arena.__exit__)

    def check(self, row: str, fault: str) -> None:
        plan = make_plan(_SEED, row, fault)
        log = Path(self.mktemp())
        verdict, _ = run_round(plan, self.arena, log.write_text)
        found = {name: getattr(verdict, name) for name in ("lost", "doubled", "wrong")}
        self.assertFalse(verdict.is_bad, f"{found}; log: {log.absolute()}; again: {plan.replay}")
        self.assertGreater(verdict.acknowledged, 0)

    def test_sqlite_supervisor_killed(self) -> None:
        self.check("sqlite", "supervisor killed")

    def test_sqlite_files_too_large(self) -> None:
        self.check("sqlite", "files too large")

    def test_sqlite_out_of_descriptors(self) -> None:
        self.check("sqlite", "out of descriptors")

    def test_sqlite_locked(self) -> None:
        self.check("sqlite", "store locked")

    def test_maildir_worker_killed(self) -> None:
        self.check("maildir", "worker killed")

    def test_maildir_away(self) -> None:
        self.check("maildir", "store away")

    def test_maildir_disk_full(self) -> None:
        self.check("maildir", "disk full")

    def test_maildir_processor_hangs(self) -> None:
        self.check("maildir", "processor hangs")

    def test_mysql_network_halves(self) -> None:
        self.check("mysql", "network halves")

    def test_mysql_processor_raises(self) -> None:
        self.check("mysql", "processor raises")

    def test_mysql_in_batches_network_drops(self) -> None:
        self.check("mysql-batches", "network drops")

    def test_postgresql_killed(self) -> None:
        self.check("postgresql", "store killed")

    def test_postgresql_in_batches_network_is_cut(self) -> None:
        self.check("postgresql-batches", "network is cut")

    def test_redis_paused(self) -> None:
        self.check("redis", "store paused")

    def test_redis_shutdown(self) -> None:
        self.check("redis", "shutdown")

    def test_redis_disk_full(self) -> None:
        self.check("redis", "disk full")

    def test_redis_that_forgets(self) -> None:
        self.check("redis-default", "store killed")

    def test_redis_with_mysql_network_delays(self) -> None:
        self.check("redis+mysql", "network delays")

    def test_mysql_with_redis_processor_talks_nonsense(self) -> None:
        self.check("mysql+redis", "processor talks nonsense")

    def test_all_in_one_and_redis_restarted(self) -> None:
        self.check("guerrilladbredis", "store restarted")

    def test_all_in_one_and_mysql_killed(self) -> None:
        self.check("guerrillaredisdb", "store killed")

    def test_fastcgi_paused(self) -> None:
        self.check("fastcgi", "store paused")

    def test_fastcgi_reload(self) -> None:
        self.check("fastcgi", "reload")

    def test_spool_store_killed(self) -> None:
        self.check("spool-fallback", "store killed")

    def test_spool_daemon_killed(self) -> None:
        self.check("spool-always", "daemon killed")

    def test_spool_disk_full(self) -> None:
        self.check("spool-fallback", "spool disk full")

"""A store hangs, dies and comes back under load: a 250 is kept, and the rest was told 4xx."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.store_faults import run_round
from tests.integration.store_under_test import Stored, StoreUnderTest
from tests.integration.stores import STORES, SqliteStore


class StoreFaultTests(SynchronousTestCase):
    """One round a store; ``python -m tests.integration.store_faults`` has more."""

    def open(self, kind: type[StoreUnderTest]) -> StoreUnderTest:
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        store = kind(directory)
        self.addCleanup(store.close)
        return store

    def check(self, name: str) -> None:
        found = run_round(self.open(STORES[name]), seed=1, timeout="2s")
        self.assertEqual(found.wrong, [])

    def test_sqlite(self) -> None:
        self.check("sqlite")

    def test_sqlite_on_a_full_disk(self) -> None:
        self.check("sqlite-full")

    def test_maildir(self) -> None:
        self.check("maildir")

    def test_maildir_on_a_full_disk(self) -> None:
        self.check("maildir-full")

    def test_mysql_in_batches(self) -> None:
        self.check("mysql-batches")

    def test_postgresql(self) -> None:
        self.check("postgresql")

    def test_redis(self) -> None:
        self.check("redis")

    def test_redis_that_forgets(self) -> None:
        self.check("redis-default")

    def test_redis_with_mysql(self) -> None:
        self.check("redis+mysql")

    def test_mysql_with_redis(self) -> None:
        self.check("mysql+redis")

    def test_all_in_one_and_redis(self) -> None:
        self.check("guerrilladbredis")

    def test_all_in_one_and_mysql(self) -> None:
        self.check("guerrillaredisdb")

    def test_fastcgi(self) -> None:
        self.check("fastcgi")

    def test_what_is_lost_damaged_or_doubled_is_found(self) -> None:
        """Or all of the above would mean nothing."""

        class BadStore(SqliteStore):
            def stored(self) -> Iterator[Stored]:
                _, (key, octets), doubled, *others = super().stored()
                yield from [Stored(key, octets[:-1]), doubled, doubled, *others]

        found = "\n".join(run_round(self.open(BadStore), seed=1, faults=["no fault"]).wrong)
        self.assertIn("and damaged", found)
        self.assertIn("stored twice", found)
        # The damaged one is not there either.
        self.assertEqual(found.count("is lost"), 2)

"""How often the directory of the spool is looked at, and in which order what is due is tried."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, execute
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.backends.due_names import DueNames
from guerrilla_tw.backends.looking import Looking
from guerrilla_tw.backends.workers import WorkerPool
from guerrilla_tw.spool.records import Original
from guerrilla_tw.spool.spool import Spool
from tests.backends.fakes import Events, FakeReactor, make_envelope

T = TypeVar("T")
NOW = 1_800_000_000.0
LIMIT = 10


class SlowPool(WorkerPool):
    """Its threads take seconds."""

    def __init__(self, clock: FakeReactor, seconds: float) -> None:
        super().__init__(clock, 1, "slow")
        self.clock = clock
        self.seconds = seconds

    def defer(self, function: Callable[..., T], *args: Any) -> Deferred[T]:
        self.clock.advance(self.seconds)
        return execute(function, *args)


class LookingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = FakeReactor()
        self.clock.advance(NOW)
        self.root = os.path.abspath(self.mktemp())
        os.makedirs(os.path.dirname(self.root), exist_ok=True)
        self.spool = Spool(self.root, 2**22, 1)
        self.spool.open()
        self.events = Events()
        self.pool = SlowPool(self.clock, 1.0)
        self.looking = Looking(
            self.spool, self.pool, LIMIT, self.clock, self.events.logger(), self.clock.seconds
        )

    def write(self, due: float) -> None:
        self.spool.write(Original(make_envelope(), NOW), "451 4.2.2 full", due).release()

    def look(self) -> Sequence[str]:
        scan = self.successResultOf(self.looking.look(frozenset()))
        return scan.due if scan else ()

    def seconds_until(self, *, is_idle: bool) -> float:
        began = self.clock.seconds()
        while not self.looking.is_due(is_idle=is_idle):
            self.clock.advance(0.25)
        return self.clock.seconds() - began

    def test_at_once_at_the_start(self) -> None:
        self.assertTrue(self.looking.is_due(is_idle=True))

    def test_share_of_the_processor(self) -> None:
        """Where many wait there is always one that is due next."""
        self.write(NOW + 2)
        self.assertEqual(self.look(), ())
        self.looking.look_in(0.0)
        self.assertEqual(self.seconds_until(is_idle=True), 20.0)

    def test_when_the_next_is_due(self) -> None:
        self.pool.seconds = 0.0
        self.write(NOW + 2)
        self.assertEqual(self.look(), ())
        self.assertEqual(self.seconds_until(is_idle=True), 2.0)
        self.assertEqual(len(self.look()), 1)
        self.assertEqual(self.seconds_until(is_idle=True), 5.0)

    def test_more_than_it_gives(self) -> None:
        for _ in range(LIMIT + 1):
            self.write(NOW)
        self.assertEqual(len(self.look()), LIMIT)
        self.assertEqual(self.seconds_until(is_idle=True), 1.0)

    def test_where_there_is_much_to_do(self) -> None:
        for _ in range(LIMIT + 1):
            self.write(NOW)
        self.look()
        self.assertEqual(self.seconds_until(is_idle=False), 20.0)

    def test_disk_that_fails(self) -> None:
        os.rename(os.path.join(self.root, "queue"), os.path.join(self.root, "away"))
        self.assertEqual(self.look(), ())
        self.assertIn("the spool cannot be read", self.events.texts()[-1])
        os.rename(os.path.join(self.root, "away"), os.path.join(self.root, "queue"))
        self.assertEqual(self.seconds_until(is_idle=True), 20.0)


class DueNamesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.due = DueNames()

    def add(self, *names: str) -> None:
        for name in names:
            self.due.add(name)

    def rest(self) -> str:
        return "".join(self.due.pop(youngest=False) for _ in range(len(self.due)))

    def test_the_oldest_first_and_once(self) -> None:
        self.add("b", "a", "b", "c")
        self.assertEqual(self.due.pop(youngest=True), "c")
        self.assertEqual(self.rest(), "ab")

    def test_what_has_failed_comes_last(self) -> None:
        self.assertTrue(self.due.failed("a"))
        self.add("a", "b", "c")
        self.assertEqual(self.rest(), "bca")

    def test_until_the_store_takes_one(self) -> None:
        self.due.failed("a")
        self.add("a", "b")
        self.due.succeeded(is_back=False)
        self.assertEqual(self.rest(), "ab")

    def test_tried_at_once_when_the_store_is_back(self) -> None:
        self.due.failed("a")
        self.due.succeeded(is_back=True)
        self.assertEqual(self.rest(), "a")

    def test_its_own_fault(self) -> None:
        """Others were taken, and it fails again."""
        self.due.failed("a")
        self.due.succeeded(is_back=True)
        self.rest()
        self.assertFalse(self.due.failed("a"))
        self.due.succeeded(is_back=True)
        self.assertEqual(self.rest(), "")
        self.due.forget("a")
        self.assertTrue(self.due.failed("a"))

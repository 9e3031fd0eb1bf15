"""When messages are tried again, and how many at once."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.spool.schedule import LONGEST, Pace, backoff


class BackoffTests(SynchronousTestCase):
    def test_doubles_up_to_a_limit(self) -> None:
        waits = [backoff(attempts, lambda: 1.0) for attempts in (1, 2, 3, 4)]
        self.assertEqual(waits, [1, 2, 4, 8])
        for attempts in (20, 10_000_000):
            self.assertEqual(backoff(attempts, lambda: 1.0), LONGEST)

    def test_what_failed_together_is_tried_apart(self) -> None:
        self.assertEqual(backoff(4, lambda: 0.0), 4)


class PaceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.pace = Pace(8, lambda: 1.0)

    def test_all_slots_at_first(self) -> None:
        self.assertEqual(self.pace.limit(0.0), 8)

    def test_one_now_and_then_while_the_store_is_away(self) -> None:
        now = 100.0
        pauses = []
        for _ in range(8):
            self.pace.failed(now)
            self.assertEqual(self.pace.limit(now), 0)
            pauses.append(self.pace.pause_end - now)
            now = self.pace.pause_end
            self.assertEqual(self.pace.limit(now), 1)
        self.assertEqual(pauses, [1, 2, 4, 8, 16, 30, 30, 30])

    def test_a_processor_that_raises_is_no_store_that_is_away(self) -> None:
        """But nothing is tried more than ten times a second for it."""
        for now in (0.0, 0.1, 0.2):
            self.pace.raised(now)
            self.assertEqual(self.pace.limit(now + 0.09), 0)
            self.assertEqual(self.pace.limit(now + 0.1), 1)
        self.assertFalse(self.pace.is_away)
        self.pace.failed(1.0)
        # It makes no other pause shorter.
        self.pace.raised(1.5)
        self.assertEqual(self.pace.pause_end, 2.0)

    def test_what_fails_together_is_one_sign(self) -> None:
        told = [self.pace.failed(0.0) for _ in range(8)]
        self.assertEqual(told, [False] * 8)
        self.assertEqual(self.pace.pause_end, 1.0)
        self.assertTrue(self.pace.failed(1.0))
        self.assertTrue(self.pace.is_away)
        self.assertFalse(self.pace.failed(10.0))

    def test_more_and_more_when_it_is_back(self) -> None:
        self.pace.failed(0.0)
        self.pace.failed(1.0)
        self.assertEqual([self.pace.succeeded() for _ in range(4)], [True, False, False, False])
        self.assertEqual(self.pace.limit(1.0), 8)
        self.pace.failed(2.0)
        limits = []
        for _ in range(4):
            self.pace.succeeded()
            limits.append(self.pace.limit(2.0))
        self.assertEqual(limits, [2, 4, 8, 8])

    def test_one_message_that_fails_is_no_store_that_is_away(self) -> None:
        for now in (0.0, 10.0, 20.0):
            self.assertFalse(self.pace.failed(now))
            self.assertFalse(self.pace.succeeded())

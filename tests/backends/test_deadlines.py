"""Many deadlines with one timer."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.backends.deadlines import Deadlines


class DeadlinesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.late: list[tuple[str, float]] = []
        self.deadlines: Deadlines[str] = Deadlines(self.clock, self.give_up)

    def give_up(self, item: str) -> None:
        self.late.append((item, self.clock.seconds()))

    def test_each_at_its_end(self) -> None:
        for item, seconds in (("a", 5.0), ("b", 2.0), ("c", 5.0), ("d", 7.0), ("e", 0.0)):
            self.deadlines.begin(item, seconds)
        self.clock.pump([0.0] + [0.5] * 20)
        self.assertEqual(self.late, [("e", 0.0), ("b", 2.0), ("a", 5.0), ("c", 5.0), ("d", 7.0)])

    def test_what_is_done_in_time_is_not_given_up(self) -> None:
        for item in "abc":
            self.deadlines.begin(item, 5)
        self.assertTrue(self.deadlines.end("a"))
        self.clock.advance(3)
        self.deadlines.begin("d", 5)
        self.assertTrue(self.deadlines.end("c"))
        self.clock.advance(2)
        self.assertEqual(self.late, [("b", 5.0)])
        self.assertFalse(self.deadlines.end("b"))
        self.clock.advance(3)
        self.assertEqual(self.late, [("b", 5.0), ("d", 8.0)])

    def test_one_timer_until_nothing_is_to_come(self) -> None:
        for number in range(100):
            self.deadlines.begin(str(number), 5)
        (timer,) = self.clock.getDelayedCalls()
        for number in range(100):
            self.deadlines.end(str(number))
        self.deadlines.begin("last", 5)
        self.assertEqual(self.clock.getDelayedCalls(), [timer])
        self.deadlines.close()
        self.assertEqual(self.clock.getDelayedCalls(), [timer])
        self.deadlines.end("last")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nothing_is_left_to_be_done(self) -> None:
        """The timer ends by itself, or when no more is to come."""
        self.deadlines.begin("a", 5)
        self.deadlines.end("a")
        self.clock.advance(5)
        self.assertEqual((self.late, self.clock.getDelayedCalls()), ([], []))
        self.deadlines.begin("b", 5)
        self.deadlines.end("b")
        self.deadlines.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_many_that_end_one_after_the_other_are_given_up_together(self) -> None:
        """Each look is at all that there is: one for each end would be quadratic."""
        for number in range(1000):
            self.deadlines.begin(str(number), 1 + number / 1000)
        self.clock.pump([0.001] * 2100)
        self.assertEqual([item for item, _ in self.late], [str(number) for number in range(1000)])
        for number, (_, late) in enumerate(self.late):
            self.assertTrue(0 <= late - (1 + number / 1000) + 1e-6 < 0.025)
        self.assertLess(len({late for _, late in self.late}), 60)

    def test_whoever_is_told_may_end_and_begin_others(self) -> None:
        def give_up(item: str) -> None:
            self.give_up(item)
            if item == "a":
                self.deadlines.end("b")
                self.deadlines.begin("c", 1)

        self.deadlines = Deadlines(self.clock, give_up)
        self.deadlines.begin("a", 5)
        self.deadlines.begin("b", 5)
        self.deadlines.begin("d", 9)
        self.clock.pump([5, 1, 3])
        self.assertEqual(self.late, [("a", 5.0), ("c", 6.0), ("d", 9.0)])
        self.assertEqual(self.clock.getDelayedCalls(), [])

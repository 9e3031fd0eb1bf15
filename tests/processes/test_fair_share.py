"""Whose turn it is to accept, on a clock of the test's own, and with no processes."""

from __future__ import annotations

import contextlib
import os
import random

from twisted.internet.task import Clock

from guerrilla_tw.processes.fair_share import FairShare
from tests.processes.test_crowd import CrowdTestCase

PATIENCE = 0.1


class Process:
    """A worker: a port, and clients that stay until they are told to go."""

    def __init__(self, test: FairShareTestCase, number: int) -> None:
        self.member = test.members[number - 1]
        self.share = FairShare(self.member, test.clock)
        self.tally = self.member.tally(0)
        self.clients = 0
        self.accepted = 0
        self.reads = False
        self.hangs = False
        self.share.join(self)

    def pause(self) -> None:
        """As of a port."""
        self.reads = False

    def resume(self) -> None:
        """As of a port."""
        self.reads = True

    def hear(self) -> None:
        """Look whether its bell has rung."""
        with contextlib.suppress(BlockingIOError):
            if os.read(self.member.bell, 100):
                self.share.wake()

    def accepts(self) -> bool:
        """:returns: whether it accepts a client that waits, now that it looks."""
        self.hear()
        if not self.reads or not self.share.is_ours():
            return False
        self.clients += 1
        self.accepted += 1
        self.tally.count(self.clients)
        self.share.have_accepted()
        return True

    def lose_all(self) -> None:
        """Its clients go."""
        self.clients = 0
        self.tally.count(0)


class FairShareTestCase(CrowdTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.random = random.Random(1)
        self.processes = [Process(self, number) for number in range(1, self.size + 1)]

    def come(self) -> float:
        """
        Have a client come. Mostly the same process is the quickest to look.

        :returns: seconds that he had to wait.
        """
        began = self.clock.seconds()
        while True:
            able = [process for process in self.processes if not process.hangs]
            if self.random.random() < 0.1:
                self.random.shuffle(able)
            if any(process.accepts() for process in able):
                for process in able:
                    process.hear()
                return self.clock.seconds() - began
            self.clock.advance(0.01)

    def accepted(self) -> list[int]:
        """:returns: how many clients each has accepted."""
        return [process.accepted for process in self.processes]


class ShareTests(FairShareTestCase):
    def assert_fair(self, waits: list[float]) -> None:
        self.assertLessEqual(max(self.accepted()) - min(self.accepted()), 8)
        self.assertLess(max(waits), PATIENCE / 2)

    def test_clients_that_stay(self) -> None:
        self.assert_fair([self.come() for _ in range(60)])

    def test_one_at_a_time(self) -> None:
        waits = []
        for _ in range(60):
            waits.append(self.come())
            for process in self.processes:
                process.lose_all()
        self.assert_fair(waits)

    def test_all_with_pauses_in_between(self) -> None:
        waits = []
        for _ in range(60):
            waits.append(self.come())
            self.clock.advance(1)
        self.assert_fair(waits)

    def test_one_that_begins(self) -> None:
        """It gets clients until it has as many."""
        for _ in range(60):
            self.come()
        self.crowd.forget(3)
        self.processes[2] = Process(self, 3)
        for _ in range(18):
            self.come()
        self.assertGreaterEqual(self.processes[2].clients, 16)

    def test_many_clients(self) -> None:
        """A difference that means little is none."""
        for _ in range(600):
            self.come()
        clients = [process.clients for process in self.processes]
        self.assertLess(max(clients) - min(clients), 200 // 8 + 3)


class TwoTests(FairShareTestCase):
    """Of 40 clients neither has more than 24, which is what is promised."""

    size = 2

    def test_clients_that_stay(self) -> None:
        for _ in range(40):
            self.come()
        self.assertLessEqual(max(self.accepted()), 24)

    def test_one_at_a_time(self) -> None:
        for _ in range(40):
            self.come()
            for process in self.processes:
                process.lose_all()
        self.assertLessEqual(max(self.accepted()), 24)


class OneOfManyHangsTests(FairShareTestCase):
    """All the others go on, and in turns."""

    size = 4

    def setUp(self) -> None:
        super().setUp()
        self.processes[1].hangs = True
        self.others = [process for process in self.processes if not process.hangs]

    def assert_fair(self, waits: list[float]) -> None:
        accepted = [process.accepted for process in self.others]
        self.assertLessEqual(max(accepted) - min(accepted), 10)
        self.assertLess(sum(waits), 0.01 * len(waits))

    def test_clients_that_stay(self) -> None:
        self.assert_fair([self.come() for _ in range(100)])

    def test_one_at_a_time(self) -> None:
        waits = []
        for _ in range(100):
            waits.append(self.come())
            for process in self.others:
                process.lose_all()
        self.assert_fair(waits)

    def test_with_pauses_in_between(self) -> None:
        waits = []
        for _ in range(100):
            waits.append(self.come())
            self.clock.advance(PATIENCE / 2)
        self.assert_fair(waits)


class OneThatDoesNotComeTests(FairShareTestCase):
    size = 2

    def test_hangs(self) -> None:
        """One client waits for a moment, and the others not at all."""
        self.processes[1].hangs = True
        waits = [self.come() for _ in range(1000)]
        self.assertLess(max(waits), 2 * PATIENCE)
        self.assertEqual(len([wait for wait in waits if wait > 0]), 1)

    def test_comes_to_no_client(self) -> None:
        """It hears its bell, and may have no more descriptors: it costs a few clients a moment."""
        self.processes[1].share.leave(self.processes[1])
        self.processes[1].pause()
        self.members[1].tell_listening(True)
        waits = [self.come() for _ in range(1000)]
        self.assertLess(max(waits), 2 * PATIENCE)
        self.assertLess(len([wait for wait in waits if wait > 0]), 12)

    def test_comes_back(self) -> None:
        self.processes[1].hangs = True
        for _ in range(20):
            self.come()
        self.processes[1].hangs = False
        for _ in range(20):
            self.come()
        self.assertLess(abs(self.processes[0].clients - self.processes[1].clients), 6)

    def test_does_not_listen(self) -> None:
        """It is about to end, or not there yet: nobody waits for it."""
        self.processes[1].hangs = True
        self.processes[1].share.leave(self.processes[1])
        self.assertEqual([self.come() for _ in range(100)], [0] * 100)

    def test_is_no_more(self) -> None:
        self.processes[1].hangs = True
        self.crowd.forget(2)
        self.assertEqual([self.come() for _ in range(100)], [0] * 100)

    def test_two_ports(self) -> None:
        """Which have clients at once."""
        self.processes[1].hangs = True
        process = self.processes[0]
        while process.reads:
            process.accepts()
        waiting = len(self.clock.getDelayedCalls())
        self.assertFalse(process.share.is_ours())
        self.assertEqual(len(self.clock.getDelayedCalls()), waiting)

    def test_port_that_joins_meanwhile(self) -> None:
        """It waits as well, and is not forgotten."""
        self.processes[1].hangs = True
        while self.processes[0].reads:
            self.processes[0].accepts()
        port = Process(self, 1)
        port.reads = False
        self.processes[0].share.join(port)
        self.assertFalse(port.reads)
        self.clock.advance(PATIENCE)
        self.assertTrue(port.reads)

"""What processes know of each other."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.processes.crowd import Crowd, Member


class CrowdTestCase(SynchronousTestCase):
    """Several members of a crowd, in the test's own process."""

    size = 3

    def setUp(self) -> None:
        self.crowd = Crowd(self.size)
        self.addCleanup(self.crowd.close)
        self.members = [self.member(number) for number in range(1, self.size + 1)]

    def member(self, number: int) -> Member:
        return Member(number, [*self.crowd.descriptors_for(number).values()])


class TallyTests(CrowdTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.tallies = [member.tally(7) for member in self.members]

    def test_all_processes(self) -> None:
        first, second, third = self.tallies
        self.assertEqual(first.count(2), 2)
        self.assertEqual(second.count(3), 5)
        self.assertEqual(third.count(0), 5)
        self.assertEqual(first.count(1), 4)
        self.assertEqual(self.crowd.client_count, 4)

    def test_another_server(self) -> None:
        """Its clients are not the server's, and yet the process's."""
        self.tallies[0].count(2)
        self.assertEqual(self.members[0].tally(8).count(1), 1)
        self.assertEqual(self.members[0].clients, 3)
        self.assertEqual(self.crowd.client_count, 3)

    def test_closed(self) -> None:
        """A server that is not there any more, and has clients."""
        first, second, _ = self.tallies
        first.count(5)
        first.close()
        self.assertEqual(second.count(1), 1)
        first.count(4)
        self.assertEqual(second.count(1), 1)
        self.assertEqual(self.crowd.client_count, 5)

    def test_process_that_is_no_more(self) -> None:
        first, second, _ = self.tallies
        first.count(5)
        second.count(1)
        self.crowd.forget(1)
        self.assertEqual(second.count(1), 1)
        self.assertEqual(self.crowd.client_count, 1)
        self.assertEqual(self.member(1).tally(7).count(1), 2)


class BellTests(CrowdTestCase):
    def test_rung(self) -> None:
        self.members[0].others[1].ring()
        self.assertTrue(os.read(self.members[2].bell, 100))
        self.assertRaises(BlockingIOError, os.read, self.members[1].bell, 100)

    def test_nobody_looks(self) -> None:
        """Nobody waits for who hangs."""
        for _ in range(100_000):
            self.members[0].others[0].ring()


class DescriptorTests(SynchronousTestCase):
    def test_closed(self) -> None:
        before = os.listdir("/proc/self/fd")
        crowd = Crowd(4)
        crowd.close()
        self.assertEqual(len(os.listdir("/proc/self/fd")), len(before))

"""A worker, and a reactor of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from typing import Any

from twisted.internet.testing import StringTransport
from twisted.python import threadable
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.processes.worker import Worker


class FakeReactor:
    """Does what threads ask for when the test says so."""

    def __init__(self) -> None:
        self.asked: list[Callable[[], object]] = []

    def addSystemEventTrigger(self, *arguments: object) -> None:
        """As of the real one."""

    def callFromThread(self, function: Callable[..., object], *arguments: object) -> None:
        """As of the real one."""
        self.asked.append(lambda: function(*arguments))


class LogTests(SynchronousTestCase):
    def setUp(self) -> None:
        # As a reactor that runs has it.
        self.patch(threadable, "ioThread", threadable.getThreadID())
        self.reactor = FakeReactor()
        unused: Any = None
        self.worker = Worker(self.reactor, unused, unused)
        self.transport = StringTransport()
        self.worker.makeConnection(self.transport)

    def test_at_once(self) -> None:
        self.worker.log(b"event")
        self.assertIn(b"event", self.transport.value())

    def test_by_a_thread(self) -> None:
        """A connection is the reactor's."""
        thread = Thread(target=self.worker.log, args=(b"event",))
        thread.start()
        thread.join()
        self.assertEqual(self.transport.value(), b"")
        for asked in self.reactor.asked:
            asked()
        self.assertIn(b"event", self.transport.value())

"""A worker that takes its time, and one that hangs."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import LogEvent
from twisted.protocols.amp import AMP
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.logs import Logs
from guerrilla_tw.logs.elsewhere import pack
from guerrilla_tw.processes.control import Log, Ping, Prepare
from guerrilla_tw.processes.remote import Remote

PATIENCE = 30


class FakeWorker(AMP):
    """Answers what it is asked when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.prepared: Deferred[dict[str, Any]] = Deferred()

    @Ping.responder
    def ping(self) -> dict[str, Any]:
        """As of the real one."""
        return {}

    @Prepare.responder
    def prepare(self) -> Deferred[dict[str, Any]]:
        """As of the real one."""
        return self.prepared


class RemoteTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.events: list[LogEvent] = []
        self.times_it_hung = 0
        observer: Any = self.events.append
        self.remote = Remote(Logs.for_observer(observer), self.clock, self.hangs)
        self.worker = FakeWorker()
        self.ends = [(self.remote, StringTransport()), (self.worker, StringTransport())]
        for protocol, transport in self.ends:
            protocol.makeConnection(transport)

    def hangs(self) -> None:
        self.times_it_hung += 1

    def pump(self) -> None:
        """Bring what was sent to the other end."""
        (near, near_end), (far, far_end) = self.ends
        while near_end.value() or far_end.value():
            for end, protocol in ((near_end, far), (far_end, near)):
                sent = end.value()
                end.clear()
                protocol.dataReceived(sent)

    def wait(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.advance(1)
            self.pump()

    def test_takes_its_time(self) -> None:
        asked = self.remote.ask(Prepare)
        self.wait(100 * PATIENCE)
        self.assertNoResult(asked)
        self.worker.prepared.callback({"servers": ["a"], "backend": True})
        self.pump()
        self.assertEqual(self.successResultOf(asked)["servers"], ["a"])
        self.assertEqual((self.times_it_hung, self.clock.getDelayedCalls()), (0, []))

    def test_hangs(self) -> None:
        asked = self.remote.ask(Prepare)
        self.clock.advance(PATIENCE - 1)
        self.assertEqual(self.times_it_hung, 0)
        self.clock.advance(1)
        self.assertEqual(self.times_it_hung, 1)
        # Since it is killed then.
        self.remote.connectionLost(Failure(ConnectionDone()))
        self.failureResultOf(asked, ConnectionDone)
        self.remote.is_gone()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_hangs_after_a_while(self) -> None:
        self.remote.ask(Prepare).addErrback(lambda _: None)
        self.wait(2 * PATIENCE)
        self.clock.advance(PATIENCE)
        self.clock.advance(PATIENCE)
        self.assertEqual(self.times_it_hung, 1)

    def test_ended(self) -> None:
        self.remote.connectionLost(Failure(ConnectionDone()))
        self.failureResultOf(self.remote.ask(Prepare), ConnectionDone)
        self.remote.is_gone()
        self.clock.advance(2 * PATIENCE)
        self.assertEqual(self.times_it_hung, 0)

    def test_gone_before_its_connection(self) -> None:
        self.remote.is_gone()
        self.remote.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_takes_leave_and_does_not_end(self) -> None:
        """A thread of a processor's can keep a process."""
        self.remote.connectionLost(Failure(ConnectionDone()))
        self.clock.advance(PATIENCE)
        self.assertEqual(self.times_it_hung, 1)

    def test_log(self) -> None:
        self.worker.callRemote(Log, event=pack({"log_format": "{a} {b}", "a": 1, "b": "x"}))
        self.pump()
        (event,) = self.events
        self.assertEqual((event["log_text"], event["a"]), ("1 x", 1))

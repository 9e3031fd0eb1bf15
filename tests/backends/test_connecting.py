"""A connection that is made quietly."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from guerrilla_tw.backends.connecting import connect_quietly
from tests.integration.daemon_process import free_port

HOST = "127.0.0.1"


class Ending(Protocol):
    """Tells of its end."""

    def __init__(self) -> None:
        self.ended: Deferred[None] = Deferred()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended.callback(None)


class ConnectTests(TestCase):
    def setUp(self) -> None:
        self.events: list[LogEvent] = []
        # A function is an observer, though mypy-zope does not know it.
        observer: Any = self.events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def lines(self) -> int:
        """:returns: how many there are of what makes connections."""
        return sum("ing factory" in formatEvent(event) for event in self.events)

    async def test_logs_nothing(self) -> None:
        listening: Any = reactor
        factory = Factory.forProtocol(Protocol)
        factory.noisy = False
        port = listening.listenTCP(0, factory, interface=HOST)
        self.addCleanup(port.stopListening)
        endpoint = TCP4ClientEndpoint(reactor, HOST, port.getHost().port)
        self.events.clear()
        for connect, noisy in ((connect_quietly, False), (connectProtocol, True)):
            protocol = Ending()
            self.assertIs(await connect(endpoint, protocol), protocol)
            assert protocol.transport is not None
            protocol.transport.loseConnection()
            await protocol.ended
            self.assertEqual(self.lines() > 0, noisy)

    async def test_nobody_there(self) -> None:
        endpoint = TCP4ClientEndpoint(reactor, HOST, free_port())
        await self.assertFailure(connect_quietly(endpoint, Ending()), ConnectionRefusedError)
        self.assertEqual(self.lines(), 0)

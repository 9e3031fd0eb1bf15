"""What the kernel tells of connections, told to them without a reactor in between."""

from __future__ import annotations

import select
import socket
from typing import Any
from unittest import skipUnless

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.internet.main import CONNECTION_LOST
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from guerrilla_tw.listening.poller import IS_SUPPORTED, Poller
from tests.listening.test_connections import Reactor


class Connection:
    """Does what a test says, and remembers what it was told."""

    def __init__(self) -> None:
        self.socket, self.client = socket.socketpair()
        self.socket.setblocking(False)
        self.told: list[str] = []
        self.on_read: Any = lambda: self.socket.recv(100) and None
        self.on_write: Any = lambda: None
        self.reason: Failure | None = None

    def fileno(self) -> int:
        return self.socket.fileno()

    def doRead(self) -> Any:
        self.told.append("read")
        return self.on_read()

    def doWrite(self) -> Any:
        self.told.append("write")
        return self.on_write()

    def readConnectionLost(self, reason: Failure) -> None:
        self.told.append("read lost")
        self.reason = reason

    def connectionLost(self, reason: Failure) -> None:
        self.told.append("lost")
        self.reason = reason

    def close(self) -> None:
        self.socket.close()
        self.client.close()


@skipUnless(IS_SUPPORTED, "there is no epoll")
class PollerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = Reactor()
        self.poller = Poller(self.reactor)

    def connect(self) -> Connection:
        connection = Connection()
        self.addCleanup(connection.close)
        return connection

    def has_events(self) -> bool:
        """:returns: whether the reactor would be told."""
        ready, _, _ = select.select([self.poller], [], [], 0)
        return bool(ready)

    def reading(self) -> Connection:
        """:returns: a connection that reads."""
        connection = self.connect()
        self.poller.addReader(connection)
        return connection

    def test_interfaces(self) -> None:
        verifyObject(IReactorFDSet, self.poller)
        verifyObject(IReadDescriptor, self.poller)
        self.assertEqual(self.reactor.readers, {self.poller})

    def test_reads(self) -> None:
        """Whoever has something to read is told, and nobody else."""
        first, second = self.reading(), self.reading()
        self.assertFalse(self.has_events())
        second.client.send(b"x")
        self.assertTrue(self.has_events())
        self.poller.doRead()
        self.assertEqual((first.told, second.told), ([], ["read"]))
        self.assertFalse(self.has_events())

    def test_writes(self) -> None:
        connection = self.connect()
        self.poller.addWriter(connection)
        self.poller.doRead()
        self.poller.removeWriter(connection)
        self.poller.doRead()
        self.assertEqual(connection.told, ["write"])

    def test_both(self) -> None:
        """Reading comes first; it may end the waiting for room, and the connection."""
        connection = self.reading()
        self.poller.addWriter(connection)
        connection.client.send(b"x")
        self.poller.doRead()
        self.assertEqual(connection.told, ["read", "write"])
        self.assertEqual(self.poller.getReaders(), [connection])
        self.assertEqual(self.poller.getWriters(), [connection])
        connection.on_read = lambda: self.poller.removeWriter(connection)
        connection.client.send(b"x")
        self.poller.doRead()
        self.assertEqual(connection.told, ["read", "write", "read"])

    def test_paused(self) -> None:
        """Nothing is told to who is not watched, an end neither."""
        connection = self.reading()
        self.poller.removeReader(connection)
        self.poller.removeReader(connection)
        connection.client.send(b"x")
        connection.client.close()
        self.assertFalse(self.has_events())
        self.poller.addReader(connection)
        self.poller.doRead()
        self.assertEqual(connection.told, ["read"])

    def test_ends(self) -> None:
        """Who has said all may still listen; who has nothing left to say is gone."""
        for on_read, told in ((ConnectionDone(), "read lost"), (ConnectionLost(), "lost")):
            connection = self.reading()
            connection.on_read = lambda why=on_read: why
            connection.client.send(b"x")
            self.poller.doRead()
            self.assertEqual(connection.told, ["read", told])
            assert connection.reason is not None
            self.assertIs(connection.reason.value, on_read)
            self.assertEqual(self.poller.getReaders(), [])

    def test_end_of_writing(self) -> None:
        """All is sent, and it is to be closed."""
        connection = self.reading()
        self.poller.addWriter(connection)
        connection.on_write = ConnectionDone
        self.poller.doRead()
        self.assertEqual(connection.told, ["write", "lost"])
        self.assertEqual((self.poller.getReaders(), self.poller.getWriters()), ([], []))

    def test_end_that_only_the_kernel_tells(self) -> None:
        """A connection that only waits for room is broken."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            client = socket.create_connection(server.getsockname())
            ours, _ = server.accept()
        connection = self.connect()
        connection.close()
        connection.socket = ours
        self.addCleanup(ours.close)
        self.poller.addWriter(connection)
        # A reset.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        client.close()
        connection.on_write = ConnectionLost
        self.poller.doRead()
        self.assertEqual(connection.told[-1], "lost")
        self.assertEqual(self.poller.getWriters(), [])

    def test_failure(self) -> None:
        """It is logged, and costs that connection and no other."""
        first, second = self.reading(), self.reading()
        first.on_read = lambda: 1 // 0
        for connection in (first, second):
            connection.client.send(b"x")
        self.poller.doRead()
        self.assertEqual((first.told, second.told), (["read", "lost"], ["read"]))
        (failure,) = self.flushLoggedErrors(ZeroDivisionError)
        assert first.reason is not None
        self.assertIs(first.reason.value, failure.value)

    def test_failure_at_the_end(self) -> None:
        """It costs nobody else anything either, and the reactor hears nothing of it."""
        for name, why in (
            ("connectionLost", ConnectionLost()),
            ("readConnectionLost", ConnectionDone()),
        ):
            first, second = self.reading(), self.reading()
            first.on_read = lambda why=why: why
            setattr(first, name, lambda _: 1 // 0)
            for connection in (first, second):
                connection.client.send(b"x")
            self.poller.doRead()
            self.assertEqual((first.told, second.told), (["read"], ["read"]))
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
            self.poller.removeReader(second)

    def test_one_ends_another(self) -> None:
        """Within one turn; the other is not told any more."""
        both = [self.reading(), self.reading()]

        def end_both() -> None:
            for each in both:
                self.poller.removeReader(each)
                each.socket.close()

        for connection in both:
            connection.on_read = end_both
            connection.client.send(b"x")
        self.poller.doRead()
        self.assertEqual(sorted(len(connection.told) for connection in both), [0, 1])

    def test_number_again(self) -> None:
        """A new connection has the number of one that was closed."""
        old = self.reading()
        number = old.fileno()
        self.poller.removeReader(old)
        old.close()
        new = self.reading()
        self.assertIn(number, (new.fileno(), new.client.fileno()))
        new.client.send(b"x")
        self.poller.doRead()
        self.assertEqual((old.told, new.told), ([], ["read"]))

    def test_end(self) -> None:
        """Those who are here are watched on, and those who pause may go on."""
        connection = self.reading()
        self.poller.end()
        self.assertEqual(self.reactor.readers, {self.poller})
        self.poller.removeReader(connection)
        self.assertEqual(self.reactor.readers, set())
        self.poller.addReader(connection)
        self.assertEqual(self.reactor.readers, {self.poller})
        connection.client.send(b"x")
        self.poller.doRead()
        self.assertEqual(connection.told, ["read"])
        self.poller.removeReader(connection)
        self.assertEqual(self.reactor.readers, set())

    def test_end_without_connections(self) -> None:
        self.poller.end()
        self.assertEqual(self.reactor.readers, set())

    def test_reactor_stops(self) -> None:
        """Its connections are told, as the reactor's own are."""
        connection = self.reading()
        self.poller.connectionLost(Failure(CONNECTION_LOST))
        self.assertEqual(connection.told, ["lost"])
        self.assertEqual(self.poller.removeAll(), [])

    def test_reactor_stops_and_one_fails(self) -> None:
        """The others are told all the same."""
        first, second = self.reading(), self.reading()
        first.connectionLost = lambda _: 1 // 0  # type: ignore[method-assign,assignment]
        self.poller.connectionLost(Failure(CONNECTION_LOST))
        self.assertEqual(second.told, ["lost"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_timer(self) -> None:
        """It is the reactor's."""
        told: list[object] = []
        self.poller.callLater(1, told.append, "now")
        self.reactor.advance(1)
        self.assertEqual(told, ["now"])

"""Connections that send at once."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.listening.connections import TCPConnection, UNIXConnection


class Reactor(Clock):
    """Says what it was asked to watch."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[object] = set()
        self.writers: set[object] = set()
        self.addReader = self.readers.add
        self.addWriter = self.writers.add
        self.removeReader = self.readers.discard
        self.removeWriter = self.writers.discard


class Recorder(Protocol):
    """Does what it is told when something comes."""

    reaction: Any = None
    lost: Failure | None = None
    received = b""

    def dataReceived(self, data: bytes) -> None:
        """React."""
        self.received += data
        if self.reaction:
            self.reaction()

    def connectionLost(self, reason: Failure = None) -> None:  # type: ignore[assignment]
        """Remember it."""
        assert self.lost is None
        self.lost = reason


class ConnectionTests(SynchronousTestCase):
    """A client's connection by TCP."""

    kind: Any = TCPConnection

    def setUp(self) -> None:
        ours, self.client = socket.socketpair()
        self.addCleanup(self.client.close)
        self.addCleanup(ours.close)
        self.reactor = Reactor()
        self.protocol = Recorder()
        self.connection = self.kind(ours, self.protocol, ("192.0.2.1", 1), None, 0, self.reactor)
        self.protocol.makeConnection(self.connection)

    def fill(self) -> bytes:
        """Have more written than the kernel takes."""
        sent = b"x" * 2_000_000
        self.connection.write(sent)
        return sent

    def receive(self, count: int) -> bytes:
        """Be a client that reads, and have the reactor see that there is room."""
        received = b""
        while len(received) < count:
            received += self.client.recv(65536)
            if self.connection in self.reactor.writers:
                self.connection.doWrite()
        return received

    def react(self, reaction: Any) -> Any:
        """Have the client say something."""
        self.protocol.reaction = reaction
        self.client.send(b"QUIT")
        return self.connection.doRead()

    def is_open(self) -> bool:
        """Ask the client."""
        self.client.setblocking(False)
        try:
            return self.client.recv(1) != b""
        except BlockingIOError:
            return True

    def test_sends_at_once(self) -> None:
        """The reactor has nothing to do with it."""
        self.connection.write(b"250 OK\r\n")
        self.assertEqual(self.client.recv(100), b"250 OK\r\n")
        self.assertEqual(self.reactor.writers, set())

    def test_order(self) -> None:
        """What is written while something waits comes after it, and then it is prompt again."""
        sent = self.fill()
        self.connection.write(b"end")
        self.assertEqual(self.receive(len(sent) + 3), sent + b"end")
        self.assertEqual(self.reactor.writers, set())
        self.connection.write(b"again")
        self.assertEqual(self.client.recv(100), b"again")

    def test_producer(self) -> None:
        """A producer is paused while much waits, and goes on after it."""
        told: list[str] = []
        producer: Any = type(
            "Producer",
            (),
            {
                "pauseProducing": lambda _: told.append("pause"),
                "resumeProducing": lambda _: told.append("resume"),
            },
        )()
        self.connection.registerProducer(producer, True)
        sent = self.fill()
        self.assertEqual(told, ["pause"])
        self.receive(len(sent))
        self.assertEqual(told, ["pause", "resume"])

    def test_receives(self) -> None:
        """The protocol has what came; nothing for a false alarm."""
        self.assertIsNone(self.connection.doRead())
        self.assertIsNone(self.react(None))
        self.assertEqual(self.protocol.received, b"QUIT")

    def test_end_of_client(self) -> None:
        """The reactor is told, and tells the protocol."""
        self.client.close()
        self.assertIsInstance(self.connection.doRead(), ConnectionDone)

    def test_broken(self) -> None:
        """A connection that breaks is told of when it is read, and not when it is written to."""
        self.client.close()
        self.connection.write(b"nobody is there")
        self.connection.write(b"nobody is there")
        self.assertIsNone(self.protocol.lost)
        self.assertIn(self.connection, self.reactor.writers)
        self.assertIsInstance(self.connection.doWrite(), ConnectionLost)

    def test_reset(self) -> None:
        """A reset is the end of the connection."""
        self.connection.socket.close()
        self.assertIsInstance(self.connection.doRead(), ConnectionLost)

    def test_closes_at_once(self) -> None:
        """Who says goodbye is let go in the same turn, with our last words, and only once."""

        def leave() -> None:
            self.connection.write(b"221 bye\r\n")
            self.connection.loseConnection()
            self.assertIsNone(self.protocol.lost)
            self.connection.loseConnection()

        self.assertIsNone(self.react(leave))
        assert self.protocol.lost is not None
        self.protocol.lost.trap(ConnectionDone)
        self.assertEqual(self.client.recv(100), b"221 bye\r\n")
        self.assertFalse(self.is_open())
        self.assertEqual(self.reactor.readers, set())

    def test_closes_when_all_is_sent(self) -> None:
        """Whatever waits is sent before."""
        sent = b""

        def leave() -> None:
            nonlocal sent
            sent = self.fill()
            self.connection.loseConnection()

        self.assertIsNone(self.react(leave))
        self.assertIsNone(self.protocol.lost)
        received, end = b"", None
        while len(received) < len(sent):
            received += self.client.recv(65536)
            end = end or self.connection.doWrite()
        self.assertEqual(received, sent)
        self.assertIsInstance(end, ConnectionDone)

    def test_written_after_close(self) -> None:
        """As Twisted has it: what is written after loseConnection is sent, too."""

        def leave() -> None:
            self.connection.loseConnection()
            self.connection.write(b"one thing more")

        self.assertIsNone(self.react(leave))
        self.assertIsNone(self.protocol.lost)
        self.assertIsInstance(self.connection.doWrite(), ConnectionDone)
        self.assertEqual(self.client.recv(100), b"one thing more")

    def test_closes_between_turns(self) -> None:
        """Out of a timer, nobody is told of the end within the call."""
        self.connection.loseConnection()
        self.assertIsNone(self.protocol.lost)
        self.assertIsInstance(self.connection.doWrite(), ConnectionDone)

    def test_abort(self) -> None:
        """An abort is one also where it comes with what is read; nothing is sent after it."""

        def abort() -> None:
            self.connection.abortConnection()
            self.connection.write(b"too late")

        self.assertIsNone(self.react(abort))
        self.assertIsNone(self.protocol.lost)
        self.reactor.advance(0)
        assert self.protocol.lost is not None
        self.protocol.lost.trap(ConnectionAborted)

    def test_abort_after_close(self) -> None:
        """Who closes and then aborts is told once."""

        def leave() -> None:
            self.connection.loseConnection()
            self.connection.abortConnection()

        self.assertIsNone(self.react(leave))
        self.reactor.advance(0)
        self.assertIsNotNone(self.protocol.lost)

    def test_half_close(self) -> None:
        """After our half is closed, the client is read on, and then let go."""

        def close_half() -> None:
            self.connection.write(b"421 go\r\n")
            self.connection.loseWriteConnection()

        self.assertIsNone(self.react(close_half))
        self.assertIsNone(self.connection.doWrite())
        self.assertEqual(self.client.recv(100), b"421 go\r\n")
        self.assertEqual(self.client.recv(100), b"")
        self.assertIsNone(self.react(self.connection.loseConnection))
        self.assertIsNotNone(self.protocol.lost)


class UNIXConnectionTests(ConnectionTests):
    """A client's connection by a UNIX socket."""

    kind = UNIXConnection

    def test_descriptors(self) -> None:
        """Descriptors that a client sends with its octets are not kept."""
        descriptor, other = socket.socketpair()
        socket.send_fds(self.client, [b"NOOP"], [descriptor.fileno()])
        descriptor.close()
        self.assertIsNone(self.connection.doRead())
        self.assertEqual(self.protocol.received, b"NOOP")
        # The one that was sent is closed, and so is all of it.
        self.assertEqual(other.recv(1), b"")
        other.close()

"""A request and its answer on a connection, on a transport that takes what it is asked to."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from itertools import repeat

from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPullProducer
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from guerrilla_tw.mail.body import BodyStorage
from guerrilla_tw.processors.fastcgi.protocol import Exchange, Output
from guerrilla_tw.processors.fastcgi.records import FastCGIError
from guerrilla_tw.processors.fastcgi.request import message_size, save_request
from tests.processors.fastcgi.test_records import padded
from tests.processors.support import make_envelope

END = padded(3, bytes(8))


class ExchangeTests(SynchronousTestCase):
    def connect(self, request: Iterator[bytes]) -> None:
        self.transport = StringTransport()
        self.output = Output()
        self.exchange = Exchange(request, self.output)
        self.exchange.makeConnection(self.transport)

    def connect_and_send(self, *request: bytes) -> None:
        self.connect(iter(request))
        while self.transport.producer is not None:
            self.flush()

    def flush(self) -> None:
        """The kernel has taken all that was written."""
        producer = self.transport.producer
        assert producer is not None
        producer.resumeProducing()

    def assert_fails(self, cause: str) -> None:
        """The connection is aborted as well, not closed when the server has read everything."""
        failure = self.failureResultOf(self.exchange.ended, FastCGIError)
        self.assertEqual(failure.getErrorMessage(), cause)
        self.assertTrue(self.transport.disconnected)
        # The reactor says so, later; and the server may have said more before.
        self.exchange.dataReceived(padded(6, b"late") + END)
        self.exchange.connectionLost(Failure(ConnectionDone()))

    def test_request_is_sent_when_the_transport_asks(self) -> None:
        self.connect(iter([b"one", b"two"]))
        verifyObject(IPullProducer, self.transport.producer)
        self.assertFalse(self.transport.streaming)
        self.assertEqual(self.transport.value(), b"")
        self.flush()
        self.assertEqual(self.transport.value(), b"one")
        self.flush()
        self.assertEqual(self.transport.value(), b"onetwo")
        self.flush()
        self.assertIs(self.transport.producer, None)
        self.assertEqual(self.transport.value(), b"onetwo" + padded(5, b""))

    def test_answer(self) -> None:
        self.connect_and_send(b"request")
        self.exchange.dataReceived(padded(6, b"an", 3) + padded(7, b"com"))
        self.exchange.dataReceived(padded(6, b"swer") + padded(7, b"plaint") + padded(6, b""))
        self.assertNoResult(self.exchange.ended)
        self.exchange.dataReceived(END)
        self.successResultOf(self.exchange.ended)
        self.assertEqual(bytes(self.output.stdout), b"answer")
        self.assertEqual(bytes(self.output.stderr), b"complaint")
        self.assertTrue(self.transport.disconnecting)
        self.assertFalse(self.transport.disconnected)
        self.exchange.connectionLost(Failure(ConnectionDone()))

    def test_nothing_counts_after_the_end(self) -> None:
        self.connect_and_send(b"request")
        self.exchange.dataReceived(padded(6, b"answer") + END + padded(6, b"more") + b"garbage!")
        self.successResultOf(self.exchange.ended)
        self.assertEqual(bytes(self.output.stdout), b"answer")

    def test_end_before_the_whole_request(self) -> None:
        """A script that says yes to half of a message has not stored it."""
        self.connect(iter([b"one", b"two"]))
        self.flush()
        self.exchange.dataReceived(padded(6, b"SAVED") + END)
        self.assert_fails("the script ended before it had the whole request")

    def test_connection_lost(self) -> None:
        for received in (b"", padded(6, b"SAVED"), END[:-1]):
            self.connect_and_send(b"request")
            self.exchange.dataReceived(received)
            self.exchange.connectionLost(Failure(ConnectionDone()))
            failure = self.failureResultOf(self.exchange.ended, FastCGIError)
            self.assertEqual(
                failure.getErrorMessage(), "the connection was closed before the answer ended"
            )

    def test_connection_lost_while_the_request_is_sent(self) -> None:
        self.connect(repeat(b"more"))
        self.flush()
        self.exchange.stopProducing()
        self.exchange.connectionLost(Failure(ConnectionDone()))
        self.failureResultOf(self.exchange.ended, FastCGIError)

    def test_script_failed(self) -> None:
        self.connect_and_send(b"request")
        self.exchange.dataReceived(padded(3, b"\x00\x00\x00\x01" + bytes(4)))
        self.assert_fails("the script ended with status 1")

    def test_not_fastcgi(self) -> None:
        self.connect_and_send(b"request")
        self.exchange.dataReceived(b"SSH-2.0-OpenSSH_9.2\r\n")
        self.assert_fails("what came is not FastCGI, or no answer to the request")

    def test_endless_answers(self) -> None:
        """Of whatever octets: each of these never ends, and none of it is kept."""
        for endless in (
            padded(6, b"x" * 65535),
            padded(7, b"x" * 65535),
            padded(6, b"", 255),
            padded(7, b""),
        ):
            self.connect_and_send(b"request")
            for _ in range(2**20 // len(endless)):
                self.exchange.dataReceived(endless)
            self.assertNoResult(self.exchange.ended)
            self.exchange.dataReceived(endless)
            self.assert_fails("the answer is longer than 1048576 octets")
            self.assertLessEqual(len(bytes(self.output.stdout)), 4096)
            self.assertLessEqual(len(bytes(self.output.stderr)), 4096)

    def test_cancelled(self) -> None:
        self.connect(repeat(b"more"))
        self.flush()
        self.exchange.ended.cancel()
        self.assertTrue(self.transport.disconnected)
        self.exchange.connectionLost(Failure(ConnectionDone()))
        self.failureResultOf(self.exchange.ended, CancelledError)

    def test_request_cannot_be_read(self) -> None:
        def failing() -> Iterator[bytes]:
            yield b"one"
            raise OSError(5, "Input/output error")

        self.connect(failing())
        self.flush()
        self.flush()
        self.failureResultOf(self.exchange.ended, OSError)
        self.assertTrue(self.transport.disconnected)


class LargeMessageTests(SynchronousTestCase):
    def test_message_in_a_file_is_not_loaded(self) -> None:
        """Whatever its size, and whatever the server takes, a piece of it is in memory."""
        size = 2**24
        envelope = make_envelope(b"")
        envelope.body = BodyStorage(spill_size=1000).new_body()
        for _ in range(size // 2**16):
            envelope.body.write(b"\xff" * 2**16)
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        request = save_request("save.php", envelope, message_size(envelope))
        transport = StringTransport()
        exchange = Exchange(request, Output())
        exchange.makeConnection(transport)
        sent = 0
        while transport.producer is not None:
            transport.producer.resumeProducing()
            sent += len(transport.value())
            transport.clear()
        self.assertGreater(sent, 3 * size)
        _, peak = tracemalloc.get_traced_memory()
        self.assertLess(peak, 2**21)

"""Sessions at their edges: closing, pausing, refusals between commands, the end."""

from __future__ import annotations

from functools import partial
from socket import socketpair
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.backends.results import queued
from guerrilla_tw.config import TLSConfig
from guerrilla_tw.interfaces import IResult
from guerrilla_tw.mail.envelope import Envelope
from guerrilla_tw.smtp.framing import LineBuffer, LineTooLong
from tests.smtp.session import Session, Transport, codes
from tests.smtp.test_esmtp import HELLO, MESSAGE, OPENING, TO_DATA


def give(answer: Deferred[IResult], envelope: Envelope) -> Deferred[IResult]:
    return answer


class EdgeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.session = Session(timeout=60)
        self.session.heard()

    def test_is_a_streaming_producer_until_the_close(self) -> None:
        self.assertTrue(self.session.transport.streaming)
        self.session.send(b"QUIT\r\n")
        self.assertIsNone(self.session.transport.producer)

    def test_slow_reader_that_closed_its_half_is_answered_in_full(self) -> None:
        transport = self.session.transport

        def write(data: bytes) -> None:
            StringTransport.write(transport, data)
            self.session.protocol.pauseProducing()

        self.patch(transport, "write", write)
        self.session.send(b"NOOP\r\n" * 640)
        self.session.protocol.readConnectionLost()
        self.assertFalse(self.session.closed)
        for _ in range(20):
            if not self.session.closed:
                self.session.protocol.resumeProducing()
        self.assertEqual(transport.value().count(b"250 2.0.0 OK\r\n"), 640 - 64)
        self.assertTrue(self.session.closed)

    def test_nothing_is_done_after_quit_in_the_same_piece(self) -> None:
        said = self.session.send(b"QUIT\r\n" + TO_DATA + MESSAGE)
        self.assertEqual(codes(said), ["221 2.0.0"])
        self.assertEqual(self.session.backend.saved, [])

    def test_what_is_closed_stays_paused(self) -> None:
        answer: Deferred[IResult] = Deferred()
        self.session.backend.save = lambda envelope: answer
        self.session.send(TO_DATA + MESSAGE)
        self.session.send(b"QUIT\r\n")
        answer.callback(queued("q1"))
        self.assertEqual(codes(self.session.heard()), ["250 2.0.0", "221 2.0.0"])
        self.assertEqual(self.session.transport.producerState, "paused")

    def test_quit_and_then_shutdown(self) -> None:
        self.session.send(b"QUIT\r\n")
        self.session.server.shut_down(30)
        self.assertEqual(self.session.heard(), b"")

    def test_answer_cancelled_by_the_backend_is_logged(self) -> None:
        answer: Deferred[IResult] = Deferred()
        self.session.backend.save = lambda envelope: answer
        self.session.send(TO_DATA + MESSAGE)
        answer.errback(CancelledError())
        self.assertEqual(codes(self.session.heard()), ["451 4.3.0"])
        self.assertEqual(sum("log_failure" in event for event in self.session.events), 1)

    def test_longest_line(self) -> None:
        for length, reply in ((2048, "250 2.0.0"), (2049, "500 5.5.2")):
            line = b"NOOP " + b"x" * (length - 7) + b"\r\n"
            self.assertEqual(codes(self.session.send(line)), [reply])

    def test_data_after_the_close_gains_no_time(self) -> None:
        self.session.send(b"QUIT\r\n")
        self.session.clock.advance(59)
        self.session.send(b"NOOP\r\n")
        self.session.clock.advance(1)
        self.assertTrue(self.session.transport.aborted)

    def test_paused_each_time(self) -> None:
        for _ in range(2):
            answer: Deferred[IResult] = Deferred()
            self.session.backend.save = partial(give, answer)
            self.session.send(TO_DATA + MESSAGE)
            self.session.send(b"NOOP\r\n")
            self.assertEqual(self.session.transport.producerState, "paused")
            answer.callback(queued("q1"))
            self.assertEqual(self.session.transport.producerState, "producing")

    def test_refused_after_accepted(self) -> None:
        self.session.send(
            OPENING + b"RCPT TO:<b@example.com>\r\nRCPT TO:<nobody@example.com>\r\nDATA\r\n.\r\n"
        )
        (envelope,) = self.session.backend.saved
        self.assertEqual([str(rcpt) for rcpt in envelope.rcpt_to], ["b@example.com"])

    def test_refused_hello_changes_nothing(self) -> None:
        said = self.session.send(OPENING + b"RCPT TO:<c@example.com>\r\nEHLO\r\nDATA\r\n")
        self.assertEqual(codes(said)[3:], ["501 5.5.4", "354 end"])

    def test_refused_mail_opens_nothing(self) -> None:
        said = self.session.send(HELLO + b"MAIL FROM:<a@\r\nRCPT TO:<c@example.com>\r\n")
        self.assertEqual(codes(said)[1:], ["501 5.1.7", "503 5.5.1"])

    def test_helo_after_ehlo(self) -> None:
        self.session.send(
            HELLO + b"HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<c@example.com>\r\nDATA\r\n.\r\n"
        )
        self.assertFalse(self.session.backend.saved[0].esmtp)

    def test_too_long_is_known_at_the_limit(self) -> None:
        lines = LineBuffer(8)
        lines.feed(b"x" * 8)
        self.assertRaises(LineTooLong, lines.line)

    def test_cr_of_a_long_line_at_the_end_of_a_piece(self) -> None:
        said = self.session.send(b"NOOP\r\n" + b"x" * 3000 + b"\r")
        said += self.session.send(b"\nRSET x\r\n")
        self.assertEqual(codes(said), ["250 2.0.0", "500 5.5.2", "501 5.5.4"])


class UntakenGoodbyeTests(SynchronousTestCase):
    """A client that does not read must not hold up the end."""

    def setUp(self) -> None:
        self.session = Session(timeout=600)
        self.session.heard()

    def test_goodbye_not_taken_does_not_hold_up_the_end(self) -> None:
        self.session.send(b"QUIT\r\n")
        self.session.server.shut_down(30)
        self.session.clock.advance(5)
        self.assertTrue(self.session.transport.aborted)

    def test_answer_not_taken_does_not_hold_up_the_end(self) -> None:
        answer: Deferred[IResult] = Deferred()
        self.session.backend.save = lambda envelope: answer
        self.session.send(TO_DATA + MESSAGE)
        self.session.server.shut_down(30)
        self.session.protocol.pauseProducing()
        answer.callback(queued("q1"))
        self.assertEqual(codes(self.session.heard()), ["250 2.0.0", "421 4.3.2"])
        self.session.clock.advance(5)
        self.assertTrue(self.session.transport.aborted)

    def test_no_timer_is_brought_forward(self) -> None:
        (timer,) = self.session.clock.getDelayedCalls()
        self.session.server.shut_down(30)
        self.assertFalse(timer.active())


class LingeringTests(SynchronousTestCase):
    """Closing while the client may be talking: our last words must not be lost."""

    def setUp(self) -> None:
        self.session = Session(timeout=60, max_errors=1)
        self.session.heard()
        self.session.send(b"X\r\nX\r\n")
        self.assertTrue(self.session.transport.closed_half)

    def test_what_still_comes_is_read_and_forgotten(self) -> None:
        self.session.heard()
        self.assertEqual(self.session.send(HELLO * 100), b"")
        self.assertFalse(self.session.transport.disconnecting)

    def test_ends_when_the_client_has_closed_too(self) -> None:
        self.session.protocol.readConnectionLost()
        self.assertTrue(self.session.transport.disconnecting)
        self.assertFalse(self.session.transport.aborted)

    def test_ends_after_some_seconds(self) -> None:
        self.session.clock.advance(4)
        self.session.send(b"x")
        self.assertFalse(self.session.transport.aborted)
        self.session.clock.advance(1)
        self.assertTrue(self.session.transport.aborted)

    def test_ends_after_a_megabyte(self) -> None:
        for _ in range(16):
            self.assertFalse(self.session.transport.aborted)
            self.session.send(b"x" * 65536)
        self.assertTrue(self.session.transport.aborted)

    def test_quit_with_more_behind_it(self) -> None:
        session = Session()
        session.send(b"QUIT\r\nNOOP\r\n")
        self.assertTrue(session.transport.closed_half)

    def test_end_of_the_daemon_changes_nothing(self) -> None:
        self.session.heard()
        self.session.server.shut_down(30)
        self.assertEqual(self.session.heard(), b"")

    def test_paused_client_is_read_on(self) -> None:
        session = Session(timeout=60, max_errors=1)
        answer: Deferred[IResult] = Deferred()
        session.backend.save = lambda envelope: answer
        session.send(TO_DATA + MESSAGE)
        session.send(b"X\r\nX\r\n")
        self.assertEqual(session.transport.producerState, "paused")
        answer.callback(queued("q1"))
        self.assertTrue(session.transport.closed_half)
        self.assertEqual(session.transport.producerState, "producing")


class FirstWordsTests(SynchronousTestCase):
    """Who speaks before the greeting is known by what the kernel has of it."""

    def connect(self, first_words: bytes) -> Session:
        client, server = socketpair()
        self.addCleanup(client.close)
        self.addCleanup(server.close)
        client.sendall(first_words)
        self.patch(Transport, "getHandle", lambda transport: server)
        return Session()

    def test_early_talker_is_logged_and_served(self) -> None:
        session = self.connect(HELLO)
        self.assertEqual(codes(session.heard()), ["220 mx.example.com"])
        session.disconnect()
        (event,) = session.events
        self.assertTrue(event["spoke_early"])

    def test_patient_client_is_not(self) -> None:
        session = self.connect(b"")
        session.disconnect()
        (event,) = session.events
        self.assertFalse(event["spoke_early"])


class TurnTests(SynchronousTestCase):
    """A client that sends much at once leaves others their turn."""

    def setUp(self) -> None:
        self.session = Session()
        self.session.heard()

    def replies_in_a_turn(self, sent: bytes) -> int:
        self.session.protocol.dataReceived(sent)
        return len(codes(self.session.heard()))

    def test_commands(self) -> None:
        self.assertEqual(self.replies_in_a_turn(b"NOOP\r\n" * 65), 64)
        self.assertEqual(self.session.transport.producerState, "paused")
        self.session.settle()
        self.assertEqual(codes(self.session.heard()), ["250 2.0.0"])
        self.assertEqual(self.session.transport.producerState, "producing")

    def test_commands_in_many_records_of_tls(self) -> None:
        self.session.protocol.secret = True
        for _ in range(70):
            self.session.protocol.dataReceived(b"NOOP\r\n")
        self.assertEqual(len(codes(self.session.heard())), 64)
        self.session.settle()
        self.assertEqual(len(codes(self.session.heard())), 6)

    def test_addresses_that_cost_more(self) -> None:
        self.session.send(HELLO + b"MAIL FROM:<> SMTPUTF8\r\n")
        recipient = "RCPT TO:<a@\u0645\u062b\u0627\u0644.example>\r\n".encode()
        self.assertEqual(self.replies_in_a_turn(recipient * 50), 4)

    def test_order_is_kept(self) -> None:
        self.session.protocol.dataReceived(b"NOOP\r\n" * 65)
        self.session.protocol.dataReceived(b"QUIT\r\n")
        self.session.heard()
        self.session.settle()
        self.assertEqual(codes(self.session.heard()), ["250 2.0.0", "221 2.0.0"])

    def test_client_that_has_gone(self) -> None:
        self.session.protocol.dataReceived(b"NOOP\r\n" * 65)
        self.session.disconnect()
        self.assertEqual(self.session.clock.getDelayedCalls(), [])

    def test_half_closed(self) -> None:
        self.session.protocol.dataReceived(b"NOOP\r\n" * 65)
        self.session.protocol.readConnectionLost()
        self.assertFalse(self.session.closed)
        self.session.settle()
        self.assertEqual(len(codes(self.session.heard())), 65)
        self.assertTrue(self.session.closed)

    def test_end_of_the_daemon(self) -> None:
        self.session.protocol.dataReceived(b"NOOP\r\n" * 65)
        self.session.server.shut_down(30)
        self.session.settle()
        self.assertEqual(codes(self.session.heard())[-1], "421 4.3.2")
        self.assertTrue(self.session.closed)


class TurnedAwayTests(SynchronousTestCase):
    def test_a_hundred_may_linger(self) -> None:
        session = Session(max_clients=1)
        for _ in range(100):
            session.connect()
            self.assertTrue(session.transport.closed_half)
        first = session.protocol
        session.connect()
        self.assertTrue(session.transport.disconnecting)
        session.disconnect()
        first.connectionLost()
        session.connect()
        self.assertTrue(session.transport.closed_half)

    def test_may_be_talking(self) -> None:
        session = Session(max_clients=1)
        session.connect()
        self.assertEqual(codes(session.heard()), ["421 4.7.0"])
        self.assertEqual(session.send(HELLO + TO_DATA), b"")
        self.assertFalse(session.transport.aborted)

    def test_one_line_in_the_log_until_there_is_a_place(self) -> None:
        session = Session(max_clients=1)
        client = session.protocol

        def one_too_many() -> None:
            session.connect()
            session.disconnect()

        for _ in range(3):
            one_too_many()
        self.assertEqual([event["ended"] for event in session.events], ["too-many-clients"])
        client.connectionLost()
        session.connect()
        session.events.clear()
        one_too_many()
        self.assertEqual([event["ended"] for event in session.events], ["too-many-clients"])


class Layer:
    """In place of TLS: a transport of its own, and no handshake before the test says so."""

    def start(self, transport: Transport, protocol: Any) -> Transport:
        return Transport()

    def version(self, transport: Transport) -> str:
        return "TLSv1.3"


class SecretTests(SynchronousTestCase):
    def setUp(self) -> None:
        tls = TLSConfig(start_tls_on=True, private_key_file="key", public_key_file="certificate")
        self.session = Session(layer=Layer(), tls=tls, timeout=60)
        self.session.heard()

    def start_tls(self) -> Transport:
        """:returns: the transport that the session has in TLS."""
        self.session.send(b"STARTTLS\r\n")
        assert isinstance(self.session.protocol.transport, Transport)
        return self.session.protocol.transport

    def test_client_that_is_slow_to_read_may_start_tls(self) -> None:
        raw = self.session.transport

        def write(data: bytes) -> None:
            StringTransport.write(raw, data)
            self.session.protocol.pauseProducing()

        self.patch(raw, "write", write)
        self.start_tls()
        self.assertEqual(raw.producerState, "producing")

    def test_end_of_the_daemon_in_a_handshake(self) -> None:
        transport = self.start_tls()
        self.session.server.shut_down(30)
        self.assertTrue(transport.aborted)

    def test_client_that_does_not_say_goodbye_in_tls(self) -> None:
        transport = self.start_tls()
        self.session.protocol.handshakeCompleted()
        self.session.send(b"QUIT\r\n")
        self.assertTrue(transport.disconnecting)
        self.session.clock.advance(60)
        self.assertTrue(transport.aborted)

    def test_client_that_is_let_go_has_little_time_to_say_goodbye(self) -> None:
        transport = self.start_tls()
        self.session.protocol.handshakeCompleted()
        self.session.send(b"X\r\n" * 6)
        self.assertTrue(transport.disconnecting)
        self.session.clock.advance(5)
        self.assertTrue(transport.aborted)

    def test_connection_that_ended_below_tls_while_it_was_full(self) -> None:
        transport: Any = self.start_tls()
        self.session.protocol.handshakeCompleted()
        self.session.protocol.pauseProducing()
        transport.transport = Transport()
        transport.transport.loseConnection()
        self.session.protocol.resumeProducing()
        self.assertIsNone(transport.producer)
        self.assertTrue(transport.disconnecting)

    def test_goodbye_of_the_client_is_read_after_a_pause(self) -> None:
        transport = self.start_tls()
        self.session.protocol.handshakeCompleted()
        answer: Deferred[IResult] = Deferred()
        self.session.backend.save = lambda envelope: answer
        self.session.send(TO_DATA + MESSAGE)
        self.session.send(b"QUIT\r\n")
        self.assertEqual(transport.producerState, "paused")
        answer.callback(queued("q1"))
        self.assertTrue(transport.disconnecting)
        self.assertEqual(transport.producerState, "producing")

    def test_handshake_that_takes_too_long_is_one_line_in_the_log(self) -> None:
        transport = self.start_tls()
        self.session.clock.advance(60)
        self.assertTrue(transport.aborted)
        self.session.disconnect()
        self.assertEqual(len(self.session.events), 1)

"""Sessions: state, order of replies, limits."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from guerrilla_tw.backends.results import (
    NO_SUCH_USER,
    RECIPIENT_OK,
    STORE_UNAVAILABLE,
    Result,
    queued,
)
from guerrilla_tw.interfaces import IResult
from guerrilla_tw.mail.envelope import Envelope
from tests.smtp.session import FakeBackend, Session, codes

HELLO = b"EHLO client.example\r\n"
OPENING = HELLO + b"MAIL FROM:<a@b.example>\r\n"
TO_DATA = OPENING + b"RCPT TO:<c@example.com>\r\nDATA\r\n"
MESSAGE = b"Subject: x\r\n\r\nhello\r\n.\r\n"


class DialogTests(SynchronousTestCase):
    """Whole conversations; each under every kind of split of what the client sends."""

    def converse(self, sent: bytes, **settings: Any) -> tuple[Session, list[str]]:
        """:returns: the session, and the reply codes after the greeting; the same for any split."""
        outcomes = []
        cuts = random.Random(sent).sample(range(len(sent)), min(len(sent), 9))
        places = sorted({0, *cuts})
        for pieces in (
            [sent],
            [sent[at : at + 1] for at in range(len(sent))],
            [sent[a:b] for a, b in zip(places, [*places[1:], len(sent)], strict=True)],
        ):
            session = Session(**settings)
            session.heard()
            said = b"".join(session.send(piece) for piece in pieces)
            outcomes.append((codes(said), [saved.data for saved in session.backend.saved]))
        self.assertEqual(outcomes[1:], outcomes[:1] * 2)
        return session, outcomes[0][0]

    def assert_replies(self, sent: bytes, *expected: str, **settings: Any) -> Session:
        session, replies = self.converse(sent, **settings)
        self.assertEqual(replies, list(expected))
        return session

    def test_a_message(self) -> None:
        session = self.assert_replies(
            TO_DATA + MESSAGE + b"QUIT\r\n",
            *("250 HELP", "250 2.1.0", "250 2.1.5", "354 end", "250 2.0.0", "221 2.0.0"),
        )
        self.assertTrue(session.closed)
        (envelope,) = session.backend.saved
        self.assertEqual(envelope.data, b"Subject: x\r\n\r\nhello\r\n")
        self.assertEqual(str(envelope.mail_from), "a@b.example")
        self.assertEqual([str(rcpt) for rcpt in envelope.rcpt_to], ["c@example.com"])
        self.assertEqual(envelope.remote_ip, "192.0.2.1")
        self.assertEqual(envelope.helo, "client.example")
        self.assertTrue(envelope.esmtp)
        self.assertFalse(envelope.tls)

    def test_helo_is_not_extended(self) -> None:
        session = self.assert_replies(
            b"HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<c@example.com>\r\nDATA\r\n.\r\n",
            *("250 mx.example.com", "250 2.1.0", "250 2.1.5", "354 end", "250 2.0.0"),
        )
        (envelope,) = session.backend.saved
        self.assertFalse(envelope.esmtp)
        self.assertTrue(envelope.mail_from.null_path)

    def test_two_messages_have_nothing_in_common(self) -> None:
        again = b"MAIL FROM:<x@b.example>\r\nRCPT TO:<d@example.com>\r\nDATA\r\n.\r\n"
        session, _ = self.converse(TO_DATA + MESSAGE + again)
        one, other = session.backend.saved
        self.assertEqual([str(rcpt) for rcpt in other.rcpt_to], ["d@example.com"])
        self.assertEqual((str(other.mail_from), other.data), ("x@b.example", b""))
        self.assertNotEqual(one.queued_id, other.queued_id)

    def test_order_of_commands(self) -> None:
        self.assert_replies(
            b"MAIL FROM:<a@b>\r\nRCPT TO:<c@example.com>\r\nDATA\r\n",
            *("503 5.5.1", "503 5.5.1", "503 5.5.1"),
        )
        self.assert_replies(
            OPENING + b"MAIL FROM:<a@b>\r\nDATA\r\n",
            *("250 HELP", "250 2.1.0", "503 5.5.1", "503 5.5.1"),
        )

    def test_data_needs_an_accepted_recipient(self) -> None:
        self.assert_replies(
            OPENING + b"RCPT TO:<nobody@example.com>\r\nDATA\r\nNOOP\r\n",
            *("250 HELP", "250 2.1.0", "550 5.1.1", "554 5.5.1", "250 2.0.0"),
        )

    def test_refused_recipients_are_not_in_the_envelope(self) -> None:
        session, _ = self.converse(
            OPENING
            + b"RCPT TO:<nobody@example.com>\r\nRCPT TO:<b@example.com>\r\n"
            + b"RCPT TO:<c@elsewhere.example>\r\nDATA\r\n.\r\n"
        )
        (envelope,) = session.backend.saved
        self.assertEqual([str(rcpt) for rcpt in envelope.rcpt_to], ["b@example.com"])

    def test_hosts(self) -> None:
        self.assert_replies(
            OPENING
            + b"RCPT TO:<c@elsewhere.example>\r\nRCPT TO:<c@a.example.org>\r\n"
            + b"RCPT TO:<c@[192.0.2.9]>\r\n",
            *("250 HELP", "250 2.1.0", "550 5.7.1", "250 2.1.5", "550 5.7.1"),
        )

    def test_postmaster_without_a_host_is_the_servers(self) -> None:
        session, _ = self.converse(OPENING + b"RCPT TO:<PostMaster>\r\nDATA\r\n.\r\n")
        (envelope,) = session.backend.saved
        self.assertEqual(str(envelope.rcpt_to[0]), "PostMaster@mx.example.com")

    def test_rset_hello_and_a_new_mail(self) -> None:
        for command, reply in ((b"RSET\r\n", "250 2.0.0"), (HELLO, "250 HELP")):
            self.assert_replies(
                OPENING + b"RCPT TO:<c@example.com>\r\n" + command + b"DATA\r\nMAIL FROM:<>\r\n",
                *("250 HELP", "250 2.1.0", "250 2.1.5", reply, "503 5.5.1", "250 2.1.0"),
            )

    def test_other_commands(self) -> None:
        self.assert_replies(
            b"noop x\r\nVRFY a\r\nHELP\r\nRSET\r\nFOO\r\n\r\n \r\nSTARTTLS\r\nAUTH\r\nEXPN a\r\n",
            *("250 2.0.0", "252 2.5.0", "214 2.0.0", "250 2.0.0", "500 5.5.2", "500 5.5.2"),
            *("500 5.5.2", "502 5.5.1", "502 5.5.1", "502 5.5.1"),
            max_errors=6,
        )

    def test_names_of_methods_are_no_commands(self) -> None:
        self.assert_replies(
            b"UNKNOWN\r\n_HELLO x\r\nEXT_STARTTLS\r\n", "500 5.5.2", "500 5.5.2", "500 5.5.2"
        )

    def test_bad_lines_cost_their_reply_alone(self) -> None:
        self.assert_replies(
            HELLO + b"MAIL FROM:<a@b>\n\r\nNO\0OP\r\n" + b"x" * 5000 + b"\r\nNOOP\r\n",
            *("250 HELP", "500 5.5.2", "500 5.5.2", "500 5.5.2", "250 2.0.0"),
        )

    def test_a_line_is_one_command_at_most(self) -> None:
        self.assert_replies(
            OPENING + b"NOOP x\nRSET\r\nMAIL FROM:<>\r\n",
            *("250 HELP", "250 2.1.0", "500 5.5.2", "503 5.5.1"),
        )

    def test_white_space_is_blanks_and_tabs(self) -> None:
        self.assert_replies(
            OPENING + b"RCPT TO:<c@example.com> \x0b\r\n\x0bRSET\r\nRSET\x0c\r\nNOOP\r\n",
            *("250 HELP", "250 2.1.0", "501 5.5.4", "500 5.5.2", "500 5.5.2", "250 2.0.0"),
        )

    def test_commands_without_parameters(self) -> None:
        self.assert_replies(b"RSET x\r\nQUIT x\r\nNOOP x\r\n", *("501 5.5.4",) * 2, "250 2.0.0")

    def test_bad_arguments(self) -> None:
        self.assert_replies(
            b"EHLO\r\nHELO \xff\r\n" + OPENING + b"RCPT TO:\r\nDATA now\r\nNOOP\r\n",
            *("501 5.5.4", "501 5.5.4", "250 HELP", "250 2.1.0", "501 5.1.3", "501 5.5.4"),
            "250 2.0.0",
        )

    def test_a_message_that_is_too_large(self) -> None:
        session = self.assert_replies(
            TO_DATA + b"x" * 101 + b"\r\n.\r\nNOOP\r\n" + b"MAIL FROM:<a@b> SIZE=102\r\n",
            *("250 HELP", "250 2.1.0", "250 2.1.5", "354 end", "552 5.3.4", "250 2.0.0"),
            "552 5.3.4",
            max_size=100,
        )
        self.assertEqual(session.backend.saved, [])

    def test_a_message_as_large_as_it_may_be(self) -> None:
        session, _ = self.converse(TO_DATA + b"x" * 98 + b"\r\n.\r\n", max_size=100)
        self.assertEqual(session.backend.saved[0].size, 100)

    def test_smuggling(self) -> None:
        """A second message behind a lone dot stays data, and the message is refused."""
        smuggled = b"MAIL FROM:<evil@b>\r\nRCPT TO:<c@example.com>\r\nDATA\r\nboo\r\n"
        for end in (b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\r.\r\n", b"\n.\r"):
            session = self.assert_replies(
                TO_DATA + b"hello" + end + smuggled + b".\r\nNOOP\r\n",
                *("250 HELP", "250 2.1.0", "250 2.1.5", "354 end", "550 5.6.0", "250 2.0.0"),
            )
            self.assertEqual(session.backend.saved, [])

    def test_a_hundred_recipients(self) -> None:
        recipients = b"".join(b"RCPT TO:<r%d@example.com>\r\n" % n for n in range(101))
        session = Session()
        session.heard()
        replies = codes(session.send(OPENING + recipients + b"DATA\r\n.\r\n"))
        self.assertEqual(replies[2:102], ["250 2.1.5"] * 100)
        self.assertEqual(replies[102:], ["452 4.5.3", "354 end", "250 2.0.0"])
        self.assertEqual(len(session.backend.saved[0].rcpt_to), 100)


class ReplyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.session = Session()

    def test_greeting(self) -> None:
        self.assertEqual(self.session.heard(), b"220 mx.example.com ESMTP ready\r\n")

    def test_extensions(self) -> None:
        self.session.heard()
        self.assertEqual(
            self.session.send(HELLO).decode("ascii").split("\r\n"),
            [
                "250-mx.example.com",
                "250-SIZE 10485760",
                "250-PIPELINING",
                "250-8BITMIME",
                "250-SMTPUTF8",
                "250-CHUNKING",
                "250-BINARYMIME",
                "250-ENHANCEDSTATUSCODES",
                "250-LIMITS RCPTMAX=100",
                "250 HELP",
                "",
            ],
        )

    def test_replies_to_pipelined_commands_leave_together(self) -> None:
        writes: list[bytes] = []
        self.session.transport.write = writes.append  # type: ignore[method-assign]
        self.session.send(TO_DATA)
        self.assertEqual(len(writes), 1)

    def test_queue_id(self) -> None:
        self.assertTrue(
            self.session.send(TO_DATA + MESSAGE).endswith(b"250 2.0.0 OK: queued as id\r\n")
        )


class PendingTests(SynchronousTestCase):
    """While the backend thinks."""

    def setUp(self) -> None:
        self.answers: list[Deferred[IResult]] = []
        self.session = Session()
        self.session.backend.save = self.later
        self.session.heard()

    def later(self, envelope: Envelope) -> Deferred[IResult]:
        self.answers.append(Deferred())
        return self.answers[-1]

    def test_commands_wait_their_turn(self) -> None:
        self.session.send(TO_DATA)
        self.assertEqual(self.session.send(MESSAGE + b"NOOP\r\nFOO\r\nQUIT\r\n"), b"")
        self.assertFalse(self.session.closed)
        self.answers[0].callback(queued("q1"))
        self.assertEqual(
            codes(self.session.heard()), ["250 2.0.0", "250 2.0.0", "500 5.5.2", "221 2.0.0"]
        )
        self.assertTrue(self.session.closed)

    def test_the_transport_is_paused_rather_than_the_buffer_grown(self) -> None:
        self.session.send(TO_DATA + MESSAGE)
        self.assertEqual(self.session.transport.producerState, "producing")
        self.session.send(b"NOOP\r\n")
        self.assertEqual(self.session.transport.producerState, "paused")
        # TLS delivers what it has decrypted even then.
        self.session.send(b"NOOP\r\n")
        self.answers[0].callback(queued("q1"))
        self.assertEqual(codes(self.session.heard()), ["250 2.0.0"] * 3)
        self.assertEqual(self.session.transport.producerState, "producing")

    def test_recipients_wait_too(self) -> None:
        self.session.backend.check_recipient = self.later
        said = self.session.send(
            OPENING + b"RCPT TO:<a@example.com>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n"
        )
        self.assertEqual(codes(said), ["250 HELP", "250 2.1.0"])
        self.answers[0].callback(NO_SUCH_USER)
        self.assertEqual(codes(self.session.heard()), ["550 5.1.1"])
        self.answers[1].callback(RECIPIENT_OK)
        self.assertEqual(codes(self.session.heard()), ["250 2.1.5", "354 end"])
        self.session.send(b".\r\n")
        (envelope,) = self.session.backend.saved
        self.assertEqual([str(rcpt) for rcpt in envelope.rcpt_to], ["b@example.com"])

    def test_an_answer_that_is_there_already(self) -> None:
        """However many, they do not pile up on the stack."""
        self.session.backend.check_recipient = lambda envelope: succeed(NO_SUCH_USER)
        said = self.session.send(OPENING + b"RCPT TO:<a@example.com>\r\n" * 2000)
        self.assertEqual(codes(said)[2:], ["550 5.1.1"] * 2000)

    def test_refusals_of_the_backend(self) -> None:
        self.session.send(TO_DATA + MESSAGE)
        self.answers[0].callback(STORE_UNAVAILABLE)
        self.assertEqual(codes(self.session.heard()), ["451 4.3.0"])
        self.session.send(TO_DATA + MESSAGE)
        self.answers[1].callback(Result(554, "5.7.1", "spam\r\n250 2.0.0 OK"))
        self.assertEqual(self.session.heard(), b"554 5.7.1 spam??250 2.0.0 OK\r\n")

    def test_a_client_that_goes_takes_its_question_back(self) -> None:
        cancelled: list[object] = []
        answer: Deferred[IResult] = Deferred(cancelled.append)
        self.session.backend.save = lambda envelope: answer
        self.session.send(TO_DATA + MESSAGE)
        self.session.disconnect()
        self.assertEqual(cancelled, [answer])
        self.assertFalse(any("log_failure" in event for event in self.session.events))
        self.assertEqual(self.session.heard(), b"")

    def test_a_message_counts_as_in_memory_until_it_is_answered(self) -> None:
        """Or until nobody waits for an answer; and it is not left to the garbage collector."""
        endings: tuple[tuple[str, Callable[[], object]], ...] = (
            ("stored", lambda: self.answers[-1].callback(queued("q1"))),
            ("refused", lambda: self.answers[-1].callback(STORE_UNAVAILABLE)),
            ("failed", lambda: self.answers[-1].errback(_raised())),
            ("the client has gone", self.session.disconnect),
        )
        storage = self.session.server.shared.storage
        gc.disable()
        self.addCleanup(gc.enable)
        for name, end in endings:
            self.session.send(TO_DATA + MESSAGE)
            self.session.backend.saved.clear()
            self.assertEqual(storage.in_memory, len(MESSAGE) - len(b".\r\n"), name)
            end()
            # Of a failure it has the traceback.
            self.session.events.clear()
            self.assertEqual(storage.in_memory, 0, name)

    def test_idle_time_does_not_count_while_the_client_waits_for_us(self) -> None:
        self.session.send(TO_DATA + MESSAGE)
        for _ in range(5):
            self.session.clock.advance(29)
        self.assertFalse(self.session.closed)
        self.answers[0].callback(queued("q1"))
        self.assertEqual(codes(self.session.heard()), ["250 2.0.0"])
        self.session.clock.advance(29)
        self.assertFalse(self.session.closed)
        self.session.clock.advance(1)
        self.assertEqual(codes(self.session.heard()), ["421 4.4.2"])


def _raised() -> Failure:
    try:
        raise RuntimeError("as a store may")
    except RuntimeError:
        return Failure()


class BrokenBackendTests(SynchronousTestCase):
    """A backend of somebody's own does not bring a session down."""

    def setUp(self) -> None:
        self.session = Session()
        self.session.heard()

    def assert_local_error(self) -> None:
        said = self.session.send(TO_DATA + MESSAGE + b"NOOP\r\n")
        self.assertEqual(codes(said)[-2:], ["451 4.3.0", "250 2.0.0"])

    def test_raises(self) -> None:
        def fail(envelope: Envelope) -> IResult:
            raise ValueError("broken")

        self.session.backend.save = fail
        self.assert_local_error()
        self.assertIn("broken", str(self.session.events[0]["log_failure"]))

    def test_raises_what_is_no_exception(self) -> None:
        """As in a Deferred."""

        def fail(envelope: Envelope) -> IResult:
            raise SystemExit("broken")

        self.session.backend.save = fail
        self.assert_local_error()
        self.assertIn("broken", str(self.session.events[0]["log_failure"]))

    def test_fails(self) -> None:
        def fail(envelope: Envelope) -> Deferred[IResult]:
            answer: Deferred[IResult] = Deferred()
            answer.errback(ValueError("broken"))
            return answer

        self.session.backend.save = fail
        self.assert_local_error()
        self.assertIn("broken", str(self.session.events[0]["log_failure"]))

    def test_answers_nonsense(self) -> None:
        self.session.backend.save = lambda envelope: "yes"  # type: ignore[assignment,return-value]
        self.assert_local_error()

    def test_refuses_a_recipient_by_failing(self) -> None:
        def fail(envelope: Envelope) -> IResult:
            raise ValueError("broken")

        self.session.backend.check_recipient = fail
        said = self.session.send(TO_DATA)
        self.assertEqual(codes(said)[2:], ["451 4.3.0", "451 4.5.1"])


class LifeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.session = Session(timeout=60, max_clients=2)
        self.session.heard()

    def test_interface(self) -> None:
        verifyObject(IPushProducer, self.session.protocol)

    def test_idle(self) -> None:
        self.session.clock.advance(59)
        self.session.send(b"NOOP\r\n")
        self.session.clock.advance(59)
        self.assertEqual(codes(self.session.heard()), [])
        self.session.clock.advance(1)
        self.assertEqual(codes(self.session.heard()), ["421 4.4.2"])
        self.assertTrue(self.session.closed)

    def test_idle_in_data(self) -> None:
        self.session.send(TO_DATA + b"half a mess")
        self.session.clock.advance(60)
        self.assertEqual(codes(self.session.heard()), ["421 4.4.2"])
        self.assertEqual(self.session.backend.saved, [])

    def test_nothing_is_done_after_the_close(self) -> None:
        self.session.send(b"QUIT\r\n")
        self.assertEqual(self.session.send(TO_DATA + MESSAGE), b"")
        self.assertEqual(self.session.backend.saved, [])

    def test_a_client_that_does_not_take_its_goodbye_is_cut(self) -> None:
        self.session.send(b"QUIT\r\n")
        self.session.clock.advance(59)
        self.assertFalse(self.session.transport.aborted)
        self.session.clock.advance(1)
        self.assertTrue(self.session.transport.aborted)

    def test_a_client_that_does_not_read_is_not_read(self) -> None:
        self.session.protocol.pauseProducing()
        self.assertEqual(self.session.transport.producerState, "paused")
        self.assertEqual(self.session.send(b"NOOP\r\n"), b"")
        self.session.protocol.resumeProducing()
        self.assertEqual(codes(self.session.heard()), ["250 2.0.0"])
        self.assertEqual(self.session.transport.producerState, "producing")

    def test_a_client_that_never_reads_runs_out_of_time(self) -> None:
        self.session.protocol.pauseProducing()
        self.session.clock.advance(60)
        self.assertTrue(self.session.closed)
        self.session.clock.advance(5)
        self.assertTrue(self.session.transport.aborted)

    def test_a_client_that_reads_slowly_is_not_idle(self) -> None:
        for _ in range(5):
            self.session.protocol.pauseProducing()
            self.session.clock.advance(59)
            self.session.protocol.resumeProducing()
        self.assertFalse(self.session.closed)

    def test_replies_do_not_pile_up_for_a_client_that_does_not_read(self) -> None:
        """Thousands of commands in one piece: the transport gets its chance to say stop."""
        transport = self.session.transport

        def write(data: bytes) -> None:
            StringTransport.write(transport, data)
            self.session.protocol.pauseProducing()

        self.patch(transport, "write", write)
        self.assertLess(len(self.session.send(b"NOOP\r\n" * 5000)), 5000)
        for _ in range(100):
            self.session.protocol.resumeProducing()
        self.assertEqual(self.session.heard().count(b"250 2.0.0 OK\r\n"), 5000 - 64)

    def test_no_timer_is_left(self) -> None:
        self.session.send(TO_DATA)
        self.session.disconnect()
        self.assertEqual(self.session.clock.getDelayedCalls(), [])

    def test_a_client_too_many(self) -> None:
        self.session.connect()
        self.session.connect()
        self.assertEqual(codes(self.session.heard()), ["421 4.7.0"])
        self.assertTrue(self.session.closed)
        self.assertEqual(len(self.session.server.clients), 2)

    def test_a_place_becomes_free(self) -> None:
        self.session.connect()
        self.session.disconnect()
        self.session.connect()
        self.assertEqual(codes(self.session.heard()), ["220 mx.example.com"])


class HalfClosedTests(SynchronousTestCase):
    """A client may say all it has to say, close its half, and listen."""

    def setUp(self) -> None:
        self.session = Session()
        self.session.heard()

    def test_interface(self) -> None:
        verifyObject(IHalfCloseableProtocol, self.session.protocol)

    def test_between_commands(self) -> None:
        self.session.send(OPENING)
        self.session.protocol.readConnectionLost()
        self.assertTrue(self.session.closed)

    def test_half_a_message_is_none(self) -> None:
        self.session.send(TO_DATA + b"half a mess")
        self.session.protocol.readConnectionLost()
        self.assertTrue(self.session.closed)
        self.assertEqual(self.session.backend.saved, [])

    def test_what_was_sent_before_is_answered(self) -> None:
        answer: Deferred[IResult] = Deferred()
        self.session.backend.save = lambda envelope: answer
        self.session.send(TO_DATA + MESSAGE + b"NOOP\r\nNO")
        self.session.protocol.readConnectionLost()
        self.assertFalse(self.session.closed)
        answer.callback(queued("q1"))
        self.assertEqual(codes(self.session.heard()), ["250 2.0.0", "250 2.0.0"])
        self.assertTrue(self.session.closed)

    def test_nothing_is_read_again(self) -> None:
        answer: Deferred[IResult] = Deferred()
        self.session.backend.save = lambda envelope: answer
        self.session.send(TO_DATA + MESSAGE)
        self.session.send(b"NOOP\r\n")
        self.session.protocol.readConnectionLost()
        answer.callback(queued("q1"))
        self.assertEqual(self.session.transport.producerState, "paused")


class ShutdownTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.session = Session()
        self.session.heard()

    def test_without_clients(self) -> None:
        self.session.disconnect()
        self.successResultOf(self.session.server.shut_down(30))
        self.assertEqual(self.session.clock.getDelayedCalls(), [])

    def test_between_commands(self) -> None:
        self.session.send(OPENING)
        done = self.session.server.shut_down(30)
        self.assertEqual(codes(self.session.heard()), ["421 4.3.2"])
        self.assertTrue(self.session.closed)
        self.assertNoResult(done)
        self.session.disconnect()
        self.successResultOf(done)
        self.assertEqual(self.session.clock.getDelayedCalls(), [])

    def test_a_client_that_does_not_read_is_not_waited_for(self) -> None:
        self.session.protocol.pauseProducing()
        self.session.server.shut_down(30)
        self.assertTrue(self.session.closed)
        self.session.clock.advance(5)
        self.assertTrue(self.session.transport.aborted)

    def test_data_on_its_way_comes_in(self) -> None:
        self.session.send(TO_DATA + b"first half\r\n")
        self.session.server.shut_down(30)
        self.assertEqual(self.session.heard(), b"")
        said = self.session.send(b"second half\r\n.\r\nNOOP\r\n")
        self.assertEqual(codes(said), ["250 2.0.0", "421 4.3.2"])
        self.assertEqual(self.session.backend.saved[0].data, b"first half\r\nsecond half\r\n")
        self.assertTrue(self.session.closed)

    def test_a_pending_answer_is_told_first(self) -> None:
        answer: Deferred[IResult] = Deferred()
        self.session.backend.save = lambda envelope: answer
        self.session.send(TO_DATA + MESSAGE + b"MAIL FROM:<a@b>\r\n")
        self.session.server.shut_down(30)
        self.assertEqual(self.session.heard(), b"")
        answer.callback(queued("q1"))
        self.assertEqual(codes(self.session.heard()), ["250 2.0.0", "421 4.3.2"])

    def test_who_comes_now_is_told(self) -> None:
        self.session.server.shut_down(30)
        self.session.connect()
        self.assertEqual(codes(self.session.heard()), ["421 4.3.2"])
        self.assertTrue(self.session.closed)

    def test_who_does_not_finish_is_cut(self) -> None:
        self.session.send(TO_DATA)
        done = self.session.server.shut_down(10)
        self.session.clock.advance(10)
        self.assertTrue(self.session.transport.aborted)
        self.assertNoResult(done)
        self.session.disconnect()
        self.successResultOf(done)


class BackendTests(SynchronousTestCase):
    def test_the_fake_is_a_backend(self) -> None:
        from guerrilla_tw.interfaces import IBackend

        verifyObject(IBackend, FakeBackend())

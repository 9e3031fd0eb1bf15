"""The lines of the journal: their fields, when there is one, and what a client can do to them."""

from __future__ import annotations

import json
import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from twisted.logger import LogEvent, LogLevel, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.backends.results import (
    NO_SUCH_USER,
    STORE_UNAVAILABLE,
    RecipientResults,
    Result,
    queued,
)
from guerrilla_tw.config import TLSConfig
from guerrilla_tw.interfaces import IResult
from guerrilla_tw.mail.body import BodyStorage
from guerrilla_tw.mail.envelope import Envelope
from guerrilla_tw.smtp import journal
from guerrilla_tw.smtp.journal import Journal
from tests.docs.blocks import ROOT, find_blocks
from tests.smtp.session import Session
from tests.smtp.test_edges import Layer
from tests.smtp.test_esmtp import HELLO, MESSAGE, OPENING, TO_DATA

CLIENT = {
    "client_ip": "192.0.2.1",
    "proxy_ip": "",
    "host_name": "mx.example.com",
    "listen_interface": "127.0.0.1:2525",
    "tls": None,
    "helo": "client.example",
}
TO_CHUNKS = OPENING + b"RCPT TO:<c@example.com>\r\n"
STARTTLS = TLSConfig(start_tls_on=True, private_key_file="key", public_key_file="certificate")
IMPLICIT = TLSConfig(tls_always_on=True, private_key_file="key", public_key_file="certificate")


def fields(event: LogEvent) -> dict[str, Any]:
    """:returns: what is ours of an event."""
    return {name: value for name, value in event.items() if not name.startswith("log_")}


class JournalTestCase(SynchronousTestCase):
    session: Session

    def start(self, *, enabled: bool = True, **settings: Any) -> Session:
        self.session = Session(**settings)
        self.session.server.journal = Journal(self.session.server.log, enabled)
        self.session.heard()
        return self.session

    def lines(self, kind: str) -> list[LogEvent]:
        return [event for event in self.session.events if event.get("event") == kind]

    def line(self, kind: str) -> LogEvent:
        (line,) = self.lines(kind)
        return line

    def assert_ended(self, ended: str, cause: str = "", *, leave: bool = True) -> LogEvent:
        if leave:
            self.session.disconnect()
        line = self.line("connection")
        self.assertEqual((line["ended"], line["cause"]), (ended, cause))
        self.assertEqual(self.session.events[-1], line)
        for_operators = ended in ("too-many-clients", "no-proxy-header")
        self.assertIs(line["log_level"], LogLevel.warn if for_operators else LogLevel.info)
        return line


class ConnectionTests(JournalTestCase):
    def test_all_fields(self) -> None:
        session = self.start()
        session.send(TO_DATA + MESSAGE)
        session.clock.advance(1.5)
        session.send(b"FOO\r\nQUIT\r\n")
        self.assertEqual(
            fields(self.assert_ended("quit")),
            {
                "event": "connection",
                **CLIENT,
                "ended": "quit",
                "cause": "",
                "seconds": 1.5,
                "messages": 1,
                "refusals": 1,
                "spoke_early": False,
            },
        )

    def test_client_that_says_nothing(self) -> None:
        self.start()
        self.assertEqual(self.assert_ended("left")["helo"], "")

    def test_client_that_closed_its_half(self) -> None:
        self.start().protocol.readConnectionLost()
        self.assert_ended("left")

    def test_idle(self) -> None:
        self.start(timeout=60).clock.advance(60)
        self.assert_ended("idle")

    def test_client_that_does_not_take_the_last_words(self) -> None:
        session = self.start(timeout=60)
        session.clock.pump([60, 5])
        self.assertTrue(session.transport.aborted)
        self.assert_ended("idle")

    def test_quit_counts_though_the_daemon_ends_then(self) -> None:
        session = self.start()
        session.send(b"QUIT\r\n")
        session.server.shut_down(30)
        self.assert_ended("quit")

    def test_too_slow(self) -> None:
        session = self.start(message_timeout=60, timeout=50)
        session.send(OPENING)
        session.clock.advance(40)
        session.send(b"NOOP\r\n")
        session.clock.advance(40)
        session.send(b"RCPT TO:<a@example.com>\r\n")
        self.assert_ended("too-slow")
        self.assertEqual(self.lines("refusal"), [])

    def test_too_slow_in_data(self) -> None:
        session = self.start(message_timeout=60, timeout=50)
        session.send(TO_DATA)
        for _ in range(3):
            session.clock.advance(30)
            session.send(b"x")
        self.assert_ended("too-slow")
        self.assertEqual(self.lines("message"), [])

    def test_too_many_errors(self) -> None:
        self.start(max_errors=1).send(b"FOO\r\n" * 3)
        self.assertEqual(self.assert_ended("too-many-errors")["refusals"], 2)

    def test_too_many_messages(self) -> None:
        self.start(max_messages=1).send(TO_DATA + MESSAGE + b"MAIL FROM:<>\r\n")
        self.assertEqual(self.assert_ended("too-many-messages")["refusals"], 0)

    def test_malformed_chunk(self) -> None:
        self.start().send(TO_CHUNKS + b"BDAT many\r\n")
        self.assertEqual(self.assert_ended("malformed-bdat")["refusals"], 1)

    def test_no_mail_client(self) -> None:
        for said, cause in (
            (b"GET / HTTP/1.1\r\n", "it sends HTTP or a message in place of commands"),
            (b"\x16\x03\x01", "it speaks TLS to a port without"),
            (HELLO + b"DATA\r\nhello\r\n", "it sends a message after DATA was refused"),
        ):
            self.start().send(said)
            self.assert_ended("not-mail", cause)

    def test_early_talker(self) -> None:
        self.start(reject_early_talkers=2).send(b"EHLO x\r\n")
        self.assertTrue(self.assert_ended("early-talker")["spoke_early"])

    def test_shutdown(self) -> None:
        self.start().server.shut_down(30)
        self.assert_ended("shutdown")

    def test_cut_at_shutdown(self) -> None:
        session = self.start(timeout=60)
        session.send(TO_DATA)
        session.server.shut_down(30)
        session.clock.advance(30)
        self.assertTrue(session.transport.aborted)
        self.assert_ended("shutdown")

    def test_came_at_shutdown(self) -> None:
        session = self.start()
        session.disconnect()
        session.events.clear()
        session.server.shut_down(30)
        session.connect()
        self.assert_ended("shutdown")

    def test_too_many_clients(self) -> None:
        session = self.start(max_clients=1)
        for _ in range(2):
            session.connect("192.0.2.9")
            session.disconnect()
        line = self.assert_ended("too-many-clients", "there are 1 (max_clients)", leave=False)
        self.assertEqual(line["client_ip"], "192.0.2.9")

    def test_no_proxy_header(self) -> None:
        settings: dict[str, Any] = {"proxyon": True, "trusted_proxies": ["192.0.2.1"]}
        self.start(**settings).send(b"EHLO x\r\n")
        self.assert_ended("no-proxy-header", "no PROXY header")
        self.start(**settings).clock.advance(5)
        self.assert_ended("no-proxy-header", "it did not come in time")
        self.start(proxyon=True, trusted_proxies=["192.0.2.2"])
        self.assert_ended("no-proxy-header", "it is none of trusted_proxies")

    def test_behind_a_proxy(self) -> None:
        session = self.start(proxyon=True, trusted_proxies=["192.0.2.1"])
        session.send(b"PROXY TCP4 203.0.113.9 192.0.2.5 1 25\r\nFOO\r\n")
        line = self.assert_ended("left")
        self.assertEqual((line["client_ip"], line["proxy_ip"]), ("203.0.113.9", "192.0.2.1"))
        line = self.line("refusal")
        self.assertEqual((line["client_ip"], line["proxy_ip"]), ("203.0.113.9", "192.0.2.1"))

    def test_proxy_that_speaks_for_itself(self) -> None:
        session = self.start(proxyon=True, trusted_proxies=["192.0.2.1"])
        session.send(b"PROXY UNKNOWN\r\n")
        line = self.assert_ended("left")
        self.assertEqual((line["client_ip"], line["proxy_ip"]), ("192.0.2.1", ""))

    def test_after_xclient(self) -> None:
        session = self.start(xclient_on=True, trusted_proxies=["192.0.2.1"])
        session.send(HELLO + b"XCLIENT ADDR=203.0.113.9 HELO=said\r\n")
        line = self.assert_ended("left")
        self.assertEqual(
            (line["client_ip"], line["proxy_ip"], line["helo"]),
            ("203.0.113.9", "192.0.2.1", "said"),
        )

    def test_after_xclient_without_an_address(self) -> None:
        session = self.start(xclient_on=True, trusted_proxies=["192.0.2.1"])
        session.send(HELLO + b"XCLIENT NAME=a.example\r\n")
        self.assertEqual(self.assert_ended("left")["proxy_ip"], "")

    def test_text(self) -> None:
        session = self.start()
        session.send(HELLO + b"QUIT\r\n")
        self.assertEqual(
            formatEvent(self.assert_ended("quit")),
            "connection client_ip=192.0.2.1 proxy_ip= host_name=mx.example.com "
            "listen_interface=127.0.0.1:2525 tls=None ended=quit cause='' seconds=0.0 messages=0 "
            "refusals=0 spoke_early=False helo='client.example'",
        )


class TLSTests(JournalTestCase):
    def start_tls(self) -> None:
        self.start(layer=Layer(), tls=STARTTLS, timeout=60).send(HELLO + b"STARTTLS\r\n")

    def test_in_tls(self) -> None:
        self.start_tls()
        self.session.protocol.handshakeCompleted()
        self.session.send(TO_DATA + MESSAGE + b"FOO\r\n")
        self.assertEqual(self.assert_ended("left")["tls"], "TLSv1.3")
        self.assertEqual(self.line("message")["tls"], "TLSv1.3")
        self.assertEqual(self.line("refusal")["tls"], "TLSv1.3")

    def test_handshake_that_fails(self) -> None:
        self.start_tls()
        openssl: Any = [("SSL routines", "", "no shared cipher")]
        self.session.protocol.connectionLost(Failure(Exception(openssl)))
        self.assertIsNone(self.assert_ended("tls-failed", "no shared cipher", leave=False)["tls"])

    def test_client_that_goes_in_the_handshake(self) -> None:
        self.start_tls()
        self.assert_ended("tls-failed", "Connection was closed cleanly.")

    def test_handshake_that_takes_too_long(self) -> None:
        self.start_tls()
        self.session.clock.advance(60)
        self.assert_ended("tls-failed", "the handshake was not finished in time")

    def test_end_of_the_daemon_in_the_handshake(self) -> None:
        self.start_tls()
        self.session.server.shut_down(30)
        self.assert_ended("shutdown")

    def test_one_too_many_before_tls(self) -> None:
        session = self.start(layer=Layer(), tls=IMPLICIT, max_clients=1)
        session.connect()
        self.assert_ended("too-many-clients", "there are 1 (max_clients)")


class MessageTests(JournalTestCase):
    def test_all_fields(self) -> None:
        session = self.start()
        answer: Deferred[IResult] = Deferred()
        session.backend.save = lambda envelope: answer
        session.send(TO_DATA + MESSAGE)
        (envelope,) = session.backend.saved
        # What a chain does to an envelope is not what the client has sent.
        envelope.rcpt_to.clear()
        envelope.stored_as = "hash"
        session.clock.advance(0.25)
        self.assertEqual(self.lines("message"), [])
        answer.callback(queued("hash"))
        line = self.line("message")
        self.assertIs(line["log_level"], LogLevel.info)
        self.assertEqual(
            fields(line),
            {
                "event": "message",
                **CLIENT,
                "queued_id": envelope.queued_id,
                "stored_as": "hash",
                "told": True,
                "code": 250,
                "enhanced": "2.0.0",
                "text": "OK: queued as hash",
                "cause": "",
                "results": [],
                "seconds": 0.25,
                "size": envelope.size,
                "recipients": 1,
                "mail_from": "a@b.example",
                "rcpt_to": ["c@example.com"],
            },
        )
        self.assertEqual(
            formatEvent(line),
            "message client_ip=192.0.2.1 proxy_ip= host_name=mx.example.com "
            "listen_interface=127.0.0.1:2525 tls=None "
            f"queued_id={envelope.queued_id} stored_as='hash' told=True code=250 enhanced=2.0.0 "
            "text='OK: queued as hash' cause='' results=[] seconds=0.25 "
            f"size={envelope.size} recipients=1 helo='client.example' "
            "mail_from='a@b.example' rcpt_to=['c@example.com']",
        )

    def assert_said(self, code: int, enhanced: str, *, taken: int, cause: str = "") -> LogEvent:
        self.session.disconnect()
        line = self.line("message")
        self.assertEqual((line["code"], line["enhanced"]), (code, enhanced))
        self.assertEqual(line["cause"], cause)
        self.assertIs(line["log_level"], LogLevel.warn if cause else LogLevel.info)
        self.assertEqual(self.line("connection")["messages"], taken)
        self.assertEqual(self.lines("refusal"), [])
        return line

    def test_refused_by_the_backend(self) -> None:
        self.start().backend.save = lambda envelope: STORE_UNAVAILABLE
        self.session.send(TO_DATA + MESSAGE)
        self.assert_said(451, "4.3.0", taken=0)

    def test_refused_at_the_end_of_data(self) -> None:
        self.start(max_size=1024).send(TO_DATA + b"x" * 2000 + b"\r\n.\r\n")
        self.assert_said(552, "5.3.4", taken=0)

    def test_bare_newline(self) -> None:
        self.start().send(TO_DATA + b"a\nb\r\n.\r\n")
        self.assertEqual(self.assert_said(550, "5.6.0", taken=0)["size"], 5)

    def test_backend_that_fails(self) -> None:
        def fail(envelope: Envelope) -> IResult:
            raise ValueError("broken")

        self.start().backend.save = fail
        self.session.send(TO_DATA + MESSAGE)
        self.assert_said(451, "4.3.0", taken=0)
        self.flushLoggedErrors()

    def test_backend_that_answers_without_words(self) -> None:
        class Wordless:
            code = 550
            enhanced = ""
            text = ""

        self.start().backend.save = lambda envelope: Wordless()  # type: ignore[assignment,return-value]
        self.session.send(TO_DATA + MESSAGE)
        self.assert_said(550, "", taken=0)

    def test_backend_that_answers_nonsense(self) -> None:
        class Odd:
            enhanced = "2.0.0"
            text = "OK"

            @property
            def code(self) -> int:
                raise ValueError("broken")

        cause = "no reply can be made of what the backend answered: "
        for answer, name in (("250 OK", "str"), (250, "int"), (Odd(), "Odd")):
            for result in (answer, succeed(answer)):
                self.start().backend.save = lambda envelope, result=result: result  # type: ignore[misc]
                self.session.send(TO_DATA + MESSAGE)
                self.assert_said(451, "4.3.0", taken=0, cause=cause + name)

    def test_backend_whose_answers_for_recipients_fail(self) -> None:
        results = RecipientResults([queued("q")])
        results.recipients = None  # type: ignore[assignment]
        for result in (results, succeed(results)):
            self.start().backend.save = lambda envelope, result=result: result  # type: ignore[misc]
            self.session.send(TO_DATA + MESSAGE)
            self.assertEqual(self.session.events[0]["log_level"], LogLevel.critical)
            self.assert_said(451, "4.3.0", taken=0)

    def test_disk_that_is_full(self) -> None:
        storage = BodyStorage(1, "/dev/null/none", 1)
        self.patch(storage, "has_room", lambda size: True)
        self.start(storage=storage).send(TO_DATA + MESSAGE)
        self.session.disconnect()
        line = self.line("message")
        self.assertEqual((line["code"], line["enhanced"]), (452, "4.3.1"))
        self.assertIn("(spill_dir)", line["cause"])
        self.assertIs(line["log_level"], LogLevel.warn)

    def test_client_that_leaves_before_the_answer(self) -> None:
        session = self.start()
        session.backend.save = lambda envelope: Deferred()
        session.send(TO_DATA + MESSAGE)
        session.clock.advance(2)
        session.disconnect()
        line = self.line("message")
        self.assertFalse(line["told"])
        self.assertEqual((line["code"], line["enhanced"], line["text"]), (None, None, None))
        self.assertEqual(line["seconds"], 2.0)
        self.assertIs(line["log_level"], LogLevel.info)
        # The connection's is the last.
        self.assertEqual([event["event"] for event in session.events], ["message", "connection"])

    def test_answer_that_is_known_though_nobody_hears_it(self) -> None:
        answer: Deferred[IResult] = Deferred(lambda answer: answer.callback(queued("q")))
        self.start().backend.save = lambda envelope: answer
        self.session.send(TO_DATA + MESSAGE)
        self.assertFalse(self.assert_said(250, "2.0.0", taken=1)["told"])

    def test_message_that_does_not_come_to_its_end(self) -> None:
        self.start().send(TO_DATA + b"half a mess")
        self.session.disconnect()
        self.assertEqual(self.lines("message"), [])

    def test_many_recipients(self) -> None:
        self.start(max_recipients=100).send(
            OPENING
            + b"".join(b"RCPT TO:<u%d@example.com>\r\n" % number for number in range(100))
            + b"DATA\r\n"
        )
        self.session.settle()
        self.session.send(MESSAGE)
        line = self.assert_said(250, "2.0.0", taken=1)
        self.assertEqual(line["recipients"], 100)
        self.assertEqual(line["rcpt_to"], [f"u{number}@example.com" for number in range(20)])

    def test_different_for_recipients(self) -> None:
        results = RecipientResults([queued("q"), NO_SUCH_USER])
        for protocol, hello in (("smtp", b"EHLO"), ("lmtp", b"LHLO")):
            self.start(protocol=protocol).backend.save = lambda envelope: results
            self.session.send(
                hello + b" x\r\nMAIL FROM:<>\r\nRCPT TO:<a@example.com>\r\n"
                b"RCPT TO:<b@example.com>\r\nDATA\r\n" + MESSAGE
            )
            line = self.assert_said(550, "5.1.1", taken=1)
            self.assertEqual(
                line["results"], ["250 2.0.0 OK: queued as q", "550 5.1.1 no such user"]
            )
            self.assertEqual(line["rcpt_to"], ["a@example.com", "b@example.com"])

    def test_wrong_number_of_results(self) -> None:
        self.start().backend.save = lambda envelope: RecipientResults([queued("q"), queued("q")])
        self.session.send(TO_DATA + MESSAGE)
        line = self.assert_said(451, "4.3.0", taken=0, cause="2 results for 1 recipients")
        self.assertEqual(line["results"], [])

    def test_lmtp_has_one_line_for_all(self) -> None:
        self.start(protocol="lmtp", max_size=1024).send(
            b"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@example.com>\r\n"
            b"RCPT TO:<b@example.com>\r\nDATA\r\n" + b"x" * 2000 + b"\r\n.\r\n"
        )
        self.assertEqual(self.assert_said(552, "5.3.4", taken=0)["recipients"], 2)

    def test_chunks(self) -> None:
        self.start().send(TO_CHUNKS + b"BDAT 3\r\na\r\nBDAT 3 LAST\r\nb\r\n")
        self.assertEqual(self.assert_said(250, "2.0.0", taken=1)["size"], 6)

    def test_chunk_that_is_refused(self) -> None:
        self.start(max_size=1024).send(
            TO_CHUNKS + b"BDAT 2000\r\n" + b"x" * 2000 + b"BDAT 1\r\nxBDAT 1 LAST\r\nx"
        )
        self.session.disconnect()
        kinds = [(line["event"], line.get("code")) for line in self.session.events]
        self.assertEqual(
            kinds, [("refusal", 552), ("refusal", 552), ("message", 552), ("connection", None)]
        )
        self.assertEqual(self.lines("message")[0]["size"], 2000)

    def test_no_room_for_chunks(self) -> None:
        storage = BodyStorage(1, "/dev/null/none", 0)
        self.start(storage=storage).send(TO_CHUNKS + b"BDAT 1\r\nxBDAT 1 LAST\r\nx")
        self.session.disconnect()
        kinds = [(line["event"], line.get("code")) for line in self.session.events]
        self.assertEqual(kinds, [("refusal", 452), ("message", 452), ("connection", None)])
        self.assertEqual(self.lines("message")[0]["size"], 0)


class RefusalTests(JournalTestCase):
    def test_all_fields(self) -> None:
        self.start().send(OPENING + b"RCPT TO:<nobody@example.com>\r\n")
        line = self.line("refusal")
        self.assertIs(line["log_level"], LogLevel.info)
        self.assertEqual(
            fields(line),
            {
                "event": "refusal",
                **CLIENT,
                "code": 550,
                "enhanced": "5.1.1",
                "text": "no such user",
                "cause": "",
                "mail_from": "a@b.example",
                "rcpt_to": ["nobody@example.com"],
                "command": "RCPT",
                "argument": "TO:<nobody@example.com>",
            },
        )
        self.assertEqual(
            formatEvent(line),
            "refusal client_ip=192.0.2.1 proxy_ip= host_name=mx.example.com "
            "listen_interface=127.0.0.1:2525 tls=None code=550 enhanced=5.1.1 "
            "text='no such user' cause='' helo='client.example' mail_from='a@b.example' "
            "rcpt_to=['nobody@example.com'] command='RCPT' argument='TO:<nobody@example.com>'",
        )

    def refused(self, said: bytes, **settings: Any) -> tuple[str, str, int]:
        self.start(**settings).send(said)
        self.session.settle()
        line = self.line("refusal")
        return line["command"], line["argument"], line["code"]

    def test_each_kind(self) -> None:
        mail = HELLO + b"MAIL FROM:<>\r\n"
        for said, expected in (
            (b"FOO bar\r\n", ("(unknown)", "", 500)),
            (b"etrn #queue\r\n", ("ETRN", "#queue", 502)),
            (b"rcpt to:<x>\r\n", ("RCPT", "to:<x>", 503)),
            (b"MAIL FROM:<a@b>\r\n", ("MAIL", "FROM:<a@b>", 503)),
            (b"EHLO\r\n", ("EHLO", "", 501)),
            (b"STARTTLS\r\n", ("STARTTLS", "", 502)),
            (b"NOOP\r\0\n", ("", "", 500)),
            (b"NOOP " + b"x" * 3000 + b"\r\n", ("", "", 500)),
            (
                mail + b"RCPT TO:<a@elsewhere.example>\r\n",
                ("RCPT", "TO:<a@elsewhere.example>", 550),
            ),
            (mail + b"RCPT TO:<@>\r\n", ("RCPT", "TO:<@>", 501)),
            (mail + b"DATA\r\n", ("DATA", "", 503)),
            (mail + b"BDAT 1\r\nx", ("BDAT", "1", 503)),
            (mail + b"BDAT 1 last\r\nx", ("BDAT", "1 last", 503)),
            (b"BDAT 0\r\n", ("BDAT", "0", 503)),
        ):
            self.assertEqual(self.refused(said), expected, said)

    def test_too_many_recipients(self) -> None:
        said = OPENING + b"RCPT TO:<c@example.com>\r\n" * 101
        refused = self.refused(said, max_recipients=100)
        self.assertEqual(refused, ("RCPT", "TO:<c@example.com>", 452))
        self.assertEqual(self.line("refusal")["rcpt_to"], [])

    def test_outside_of_a_transaction(self) -> None:
        self.refused(b"FOO\r\n")
        self.assertIsNone(self.line("refusal")["mail_from"])
        self.refused(HELLO + b"MAIL FROM:<>\r\nFOO\r\n")
        self.assertEqual(self.line("refusal")["mail_from"], "")

    def test_recipient_whose_client_leaves_before_the_answer(self) -> None:
        self.start().backend.check_recipient = lambda envelope: Deferred()
        self.session.send(OPENING)
        self.session.disconnect()
        self.assertEqual([event["event"] for event in self.session.events], ["connection"])

    def test_no_room_is_for_an_operator(self) -> None:
        self.refused(TO_DATA, storage=BodyStorage(1, "/dev/null/none", 0))
        line = self.line("refusal")
        self.assertEqual((line["command"], line["code"]), ("DATA", 452))
        self.assertIn("max_inflight_bytes", line["cause"])
        self.assertIs(line["log_level"], LogLevel.warn)

    def assert_hidden(self, said: bytes, *, times: int, **settings: Any) -> None:
        """The word ``hidden``, in any case, is in no line of that many refusals and the end."""
        self.start(**settings).send(said)
        self.session.disconnect()
        self.assertEqual(len(self.lines("refusal")), times, said)
        for event in self.session.events:
            self.assertNotIn("hidden", repr(fields(event)).lower(), said)

    def test_no_password_is_kept(self) -> None:
        self.assertEqual(self.refused(b"AUTH PLAIN AGpvaG4Ac2VjcmV0\r\n"), ("AUTH", "", 502))
        for said in (
            b"AUTH HIDDEN",
            b"AUTH PLAIN\tHIDDEN",
            b"AUTH\tPLAIN HIDDEN",
            b" AUTH PLAIN HIDDEN",
            b"\tauth plain HIDDEN",
            b"AUTH LOGIN\r\nHIDDEN\r\nHIDDEN=",
            b"AUTHHIDDEN",
        ):
            self.assert_hidden(said + b"\r\n", times=said.count(b"\n") + 1)

    def test_no_name_of_a_login_is_kept(self) -> None:
        for said in (b"ADDR=192.0.2.9 login=HIDDEN HELO=x", b"LOGIN=HIDDEN", b"LOGIN=\tHIDDEN"):
            self.assert_hidden(b"XCLIENT " + said + b"\r\n", times=1)
        self.refused(b"XCLIENT NAME=a login=HIDDEN ADDR=b\r\n")
        self.assertEqual(self.line("refusal")["argument"], "NAME=a login= ADDR=b")

    def test_no_text_is_kept_of_a_message_that_follows_a_refused_command(self) -> None:
        """Lines of it may look like commands."""
        text = b"Hidden words\r\nMail me hidden words\r\nAnother hidden one\r\n.\r\n"
        for said, times in (
            (TO_DATA.replace(b"DATA", b"DATA hidden"), 1),
            (HELLO + b"DATA hidden\r\nMail hidden\r\nHelp\r\nBdat hidden\r\n", 3),
            (HELLO + b"DATA\r\nRcpt hidden\r\n", 2),
        ):
            self.assert_hidden(said + text, times=times)

    def test_recipients_after_a_refused_message_are_named(self) -> None:
        self.start().send(HELLO + b"MAIL FROM:<>\r\nDATA\r\nRCPT TO:<nobody@example.com>\r\n")
        self.assertEqual(self.lines("refusal")[1]["rcpt_to"], ["nobody@example.com"])


class ManyRefusalsTests(JournalTestCase):
    MOST = 50
    GUESS = b"RCPT TO:<nobody@example.com>\r\n"

    def test_enough_is_enough(self) -> None:
        self.start().send(OPENING + self.GUESS * self.MOST)
        self.assertEqual(len(self.session.events), self.MOST)
        self.session.send(self.GUESS * 100)
        *refusals, last = self.session.events
        self.assertEqual([line["event"] for line in refusals], ["refusal"] * self.MOST)
        self.assertIs(last["log_level"], LogLevel.info)
        self.assertEqual(
            formatEvent(last),
            "no further refusals of this connection are logged: client_ip=192.0.2.1 proxy_ip= "
            "host_name=mx.example.com listen_interface=127.0.0.1:2525 tls=None "
            "helo='client.example'",
        )
        self.session.disconnect()
        self.assertEqual(self.assert_ended("left", leave=False)["refusals"], self.MOST + 100)

    def test_each_connection_has_as_many(self) -> None:
        session = self.start()
        for _ in range(2):
            session.send(OPENING + self.GUESS * (self.MOST + 1))
            session.connect()
        self.assertEqual(len(self.lines("refusal")), 2 * self.MOST)

    def test_those_that_nobody_sees_do_not_count(self) -> None:
        """Else the cause why no mail comes in would not be told."""
        storage = BodyStorage(1, "/dev/null/none", 0)
        session = self.start(enabled=False, storage=storage)
        session.send(OPENING + self.GUESS * self.MOST + b"RCPT TO:<c@example.com>\r\n")
        session.send(b"DATA\r\n" * (self.MOST + 9))
        *refusals, last = session.events
        self.assertEqual([line["command"] for line in refusals], ["DATA"] * self.MOST)
        self.assertTrue(formatEvent(last).startswith("no further refusals "))
        self.assertIs(last["log_level"], LogLevel.warn)


class HostileTests(JournalTestCase):
    def test_long_argument(self) -> None:
        self.start().send(b"RCPT TO:<" + b"x" * 2000 + b"@example.com>\r\n")
        argument = self.line("refusal")["argument"]
        self.assertEqual(argument, "TO:<" + "x" * 252 + "...")

    def test_octets_that_a_terminal_or_a_file_minds(self) -> None:
        self.start().send("MAIL \x1b[2J\t\x07\u2028\u202e".encode() + b"\xff\xed\xa0\x80\r\n")
        text = formatEvent(self.line("refusal"))
        self.assertTrue(text.isprintable(), ascii(text))
        self.assertIn(r"\x1b[2J\t\x07\u2028\u202e\\xff\\xed\\xa0\\x80", text)

    def test_braces_are_text(self) -> None:
        self.start().send(b"MAIL {client_ip} {log_logger.observer} %s {}\r\n")
        self.assertIn(
            "argument='{client_ip} {log_logger.observer} %s {}'",
            formatEvent(self.line("refusal")),
        )

    def test_fields_of_ours_come_first(self) -> None:
        """A pattern that is anchored at the beginning finds the address of who did it."""
        self.start().send(b"MAIL ' client_ip=203.0.113.9 code=250\r\n")
        text = formatEvent(self.line("refusal"))
        self.assertTrue(text.startswith("refusal client_ip=192.0.2.1 proxy_ip= "), text)
        self.assertLess(text.index("code=503"), text.index("203.0.113.9"))

    @given(st.lists(st.binary(max_size=300).filter(lambda line: b"\n" not in line), max_size=20))
    def test_any_commands(self, commands: list[bytes]) -> None:
        """However odd they are: one line of text each, no more, and JSON can hold it."""
        self.start()
        for command in commands:
            self.session.send(command + b"\r\n")
        self.session.disconnect()
        kinds = [event["event"] for event in self.session.events]
        self.assertEqual(kinds.count("connection"), 1)
        self.assertLessEqual(len(kinds), len(commands) + 1)
        for event in self.session.events:
            text = formatEvent(event)
            self.assertTrue(text.isprintable(), ascii(text))
            self.assertTrue(text.startswith(event["event"] + " client_ip=192.0.2.1 "))
            json.dumps(fields(event), ensure_ascii=False).encode()


class LevelTests(JournalTestCase):
    def test_nothing_is_written_that_nobody_sees(self) -> None:
        session = self.start(enabled=False)
        session.send(TO_DATA + MESSAGE + b"FOO\r\nQUIT\r\n")
        session.disconnect()
        self.assertEqual(session.events, [])

    def test_what_an_operator_should_know_is(self) -> None:
        session = self.start(enabled=False, max_clients=1)
        session.connect()
        session.disconnect()
        session = self.session
        self.assertEqual([event["ended"] for event in session.events], ["too-many-clients"])
        self.start(enabled=False, storage=BodyStorage(1, "/dev/null/none", 0)).send(TO_DATA)
        self.assertEqual([event["event"] for event in self.session.events], ["refusal"])
        self.start(enabled=False).backend.save = lambda envelope: RecipientResults(
            [Result(250, "2.0.0", "OK")] * 2
        )
        self.session.send(TO_DATA + MESSAGE)
        self.assertEqual([event["event"] for event in self.session.events], ["message"])

    def test_another_journal_is_for_who_is_there_already(self) -> None:
        session = self.start()
        others: list[LogEvent] = []
        log = type(session.server.log)("other", observer=others.append)  # type: ignore[arg-type]
        session.server.journal = Journal(log, True)
        session.send(b"FOO\r\n")
        session.disconnect()
        self.assertEqual([event["event"] for event in others], ["refusal", "connection"])
        self.assertEqual(session.events, [])

    def test_last_line_precedes_the_end_of_the_server(self) -> None:
        session = self.start()
        seen: list[int] = []
        session.server.shut_down(30).addCallback(lambda _: seen.append(len(session.events)))
        session.disconnect()
        self.assertEqual(seen, [1])


class DocumentedTests(JournalTestCase):
    """What ``docs/logging.rst`` says of the lines."""

    def setUp(self) -> None:
        page = (ROOT / "docs" / "logging.rst").read_text(encoding="utf-8")
        section = re.search(r"\nLines\n-----\n(.*?)\n\n\n", page, re.DOTALL)
        assert section is not None
        self.text = section[1]
        (samples, self.filter) = (
            block
            for block in find_blocks(ROOT / "docs" / "logging.rst")
            if block.text.startswith(("connection ", "[Definition]"))
        )
        self.samples = [" ".join(sample.split()) for sample in samples.text.split("\n\n")]

    def documented(self, beginning: str) -> set[str]:
        """:returns: the terms of the list behind a line that begins so."""
        following = self.text[self.text.index(f"\n{beginning}") :].split("\n\n", 1)[1]
        following = re.split(r"\n\n(?!``)", following)[0]
        terms = re.findall(r"(?m)^(``.*``)$", following)
        return set(re.findall(r"``(\w+)``", " ".join(terms)))

    def emitted(self) -> list[LogEvent]:
        """:returns: a refusal, a message, a connection."""
        self.start().send(TO_CHUNKS + b"RCPT TO:<nobody@example.com>\r\n")
        self.session.send(b"DATA\r\n" + MESSAGE + b"QUIT\r\n")
        self.session.disconnect()
        self.assertEqual(len(self.session.events), 3)
        return self.session.events

    def test_fields(self) -> None:
        common = self.documented("The names are the same")
        for line in self.emitted():
            article = "An" if line["event"][0] in "aeiou" else "A"
            own = self.documented(f"{article} ``{line['event']}``:")
            self.assertEqual(set(fields(line)), common | own | {"event"}, line["event"])

    def test_samples(self) -> None:
        """They have the names of real lines, in their order."""
        name = re.compile(r"(?:^| )(\w+)=")
        samples = {sample.split()[0]: sample for sample in self.samples}
        for line in self.emitted():
            sample = samples.pop(line["event"])
            self.assertEqual(name.findall(sample), name.findall(formatEvent(line)))
        self.assertEqual(samples, {})

    def test_endings(self) -> None:
        known = {
            value
            for name, value in vars(journal).items()
            if name.isupper() and name[0] != "_" and isinstance(value, str)
        }
        described = self.text[self.text.index("\n``ended``") : self.text.index("\n``seconds``")]
        self.assertEqual(known - set(re.findall(r"``([a-z-]+)``", described)), set())

    def test_filter(self) -> None:
        address = r"(?P<host>[0-9.]+)"
        patterns = [
            re.compile(line.strip().replace("<HOST>", address))
            for line in self.filter.text.partition("failregex = ")[2].splitlines()
        ]
        self.assertEqual(len(patterns), 2)

        def found(said: bytes) -> list[str]:
            self.start(max_errors=1).send(said)
            self.session.disconnect()
            # What is left of a line when its time was taken out.
            lines = [f" [test#info] {formatEvent(event)}" for event in self.session.events]
            matches = [pattern.search(line) for pattern in patterns for line in lines]
            return [match["host"] for match in matches if match]

        self.assertEqual(found(TO_CHUNKS + b"RCPT TO:<nobody@example.com>\r\n"), ["192.0.2.1"])
        self.assertEqual(found(OPENING + b"RCPT TO:<a@elsewhere.example>\r\n"), ["192.0.2.1"])
        self.assertEqual(found(b"GET / HTTP/1.1\r\n"), ["192.0.2.1"])
        self.assertEqual(found(b"FOO\r\n" * 3), ["192.0.2.1"])
        self.assertEqual(found(TO_DATA + MESSAGE + b"QUIT\r\n"), [])
        self.assertEqual(found(b"MAIL refusal client_ip=192.0.2.9 code=550 enhanced=5.1.1\r\n"), [])

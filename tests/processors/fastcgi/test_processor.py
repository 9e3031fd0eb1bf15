"""What a script is asked, and what its answers mean; the server is played by the test."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, BinaryIO
from urllib.parse import parse_qsl, quote_from_bytes

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, ConnectionDone, UserError
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.logger import LogEvent, Logger, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from guerrilla_tw.backends.chain import DefaultProcessor
from guerrilla_tw.backends.gateway import Gateway
from guerrilla_tw.backends.registry import Registry
from guerrilla_tw.backends.service import BackendService
from guerrilla_tw.config import ConfigError
from guerrilla_tw.interfaces import IProcessor, IResult, Task
from guerrilla_tw.mail.body import Body, BodyStorage
from guerrilla_tw.mail.envelope import Envelope
from guerrilla_tw.processors import BUILTIN
from guerrilla_tw.processors.fastcgi.processor import fastcgi
from guerrilla_tw.testing.processor import InlinePool
from tests.processors.fastcgi.test_protocol import END
from tests.processors.fastcgi.test_records import padded
from tests.processors.support import make_envelope

SETTINGS = {
    "fcgi_connection_type": "unix",
    "fcgi_connection_address": "/run/php.sock",
    "fcgi_script_filename_save": "/scripts/save.php",
    "fcgi_script_filename_validate": "/scripts/validate.php",
}
HEADER = b"Content-type: text/html; charset=UTF-8\r\n\r\n"


def parse_request(octets: bytes) -> tuple[dict[str, str], bytes]:
    """
    Read a request as a server does.

    :returns: the variables, and the input.
    """
    streams = {1: b"", 4: b"", 5: b""}
    ended = []
    while octets:
        version, kind, request_id, size, padding, _ = struct.unpack(">BBHHBB", octets[:8])
        assert (version, request_id, kind in ended) == (1, 1, False)
        streams[kind] += octets[8 : 8 + size]
        if not size:
            ended.append(kind)
        octets = octets[8 + size + padding :]
    assert ended == [4, 5]
    assert streams[1] == b"\x00\x01\x00" + bytes(5)
    return _parse_pairs(streams[4]), streams[5]


def _parse_pairs(params: bytes) -> dict[str, str]:
    pairs = {}
    while params:
        sizes = []
        for _ in range(2):
            long = params[0] > 0x7F
            sizes.append(struct.unpack(">I", params[:4])[0] & 0x7FFFFFFF if long else params[0])
            params = params[4 if long else 1 :]
        name, value = params[: sizes[0]], params[sizes[0] : sum(sizes)]
        pairs[name.decode()] = value.decode()
        params = params[sum(sizes) :]
    return pairs


class FastCGITestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.events: list[LogEvent] = []
        observer: Any = self.events.append
        self.svc = BackendService(
            "FastCGI",
            SETTINGS,
            30.0,
            InlinePool(),
            Logger("test", observer=observer),
            self.reactor,
            set(),
        )
        self.processor = fastcgi(self.svc)(DefaultProcessor())

    def begin(self, envelope: Envelope, task: Task = Task.SAVE_MAIL) -> Deferred[IResult]:
        result = self.processor.process(envelope, task)
        assert isinstance(result, Deferred)
        return result

    def connect(self) -> None:
        """Accept the connection that was asked for last, and read the request."""
        self.transport = StringTransport()
        path, factory, _, _ = self.reactor.unixClients[-1]
        self.assertEqual(path, "/run/php.sock")
        self.protocol = factory.buildProtocol(None)
        self.protocol.makeConnection(self.transport)
        while self.transport.producer is not None:
            self.transport.producer.resumeProducing()

    def ask(self, envelope: Envelope, task: Task = Task.SAVE_MAIL) -> Deferred[IResult]:
        """Begin, and have the request in ``variables`` and ``input``."""
        result = self.begin(envelope, task)
        self.connect()
        self.variables, self.input = parse_request(self.transport.value())
        return result

    def answered(self, records: bytes, task: Task = Task.SAVE_MAIL) -> tuple[int, str]:
        """:returns: code and enhanced code after the server sent so much and closed."""
        result = self.ask(make_envelope(), task)
        self.protocol.dataReceived(records)
        self.protocol.connectionLost(Failure(ConnectionDone()))
        outcome = self.successResultOf(result)
        return outcome.code, outcome.enhanced

    def said(self, text: bytes, task: Task = Task.SAVE_MAIL) -> tuple[int, str]:
        """:returns: code and enhanced code after the script wrote this, header included."""
        return self.answered(padded(6, text) + END, task)

    def lines(self) -> list[str]:
        """:returns: what was logged since the last call."""
        lines = [formatEvent(event) for event in self.events]
        self.events.clear()
        return lines


class RequestTests(FastCGITestCase):
    def test_interface(self) -> None:
        verifyObject(IProcessor, self.processor)

    def test_variables_to_validate(self) -> None:
        recipients = (b"<alice@example.org>", b'<"a&b+c=%"@example.org>')
        self.ask(make_envelope(recipients=recipients), Task.VALIDATE_RCPT)
        expected = {
            "GATEWAY_INTERFACE": "CGI/1.1",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "SERVER_SOFTWARE": "guerrilla_tw",
            "REMOTE_ADDR": "127.0.0.1",
            "SCRIPT_FILENAME": "/scripts/validate.php",
            "REQUEST_METHOD": "GET",
            "QUERY_STRING": "rcpt_to=a%26b%2Bc%3D%25%40example.org",
            "CONTENT_LENGTH": "0",
        }
        self.assertEqual(self.variables, expected)
        self.assertEqual(self.input, b"")

    def test_variables_to_save(self) -> None:
        self.ask(make_envelope())
        expected = {
            "GATEWAY_INTERFACE": "CGI/1.1",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "SERVER_SOFTWARE": "guerrilla_tw",
            "REMOTE_ADDR": "127.0.0.1",
            "SCRIPT_FILENAME": "/scripts/save.php",
            "REQUEST_METHOD": "POST",
            "QUERY_STRING": "",
            "CONTENT_TYPE": "application/x-www-form-urlencoded",
            "CONTENT_LENGTH": str(len(self.input)),
        }
        self.assertEqual(self.variables, expected)

    def form(self, envelope: Envelope) -> dict[str, str]:
        self.ask(envelope)
        self.assertEqual(self.variables["CONTENT_LENGTH"], str(len(self.input)))
        text = self.input.decode("ascii")
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=True, encoding="latin-1")
        # The message is last, where PHP drops what is too much.
        self.assertEqual(pairs[-1][0], "body")
        form = dict(pairs)
        self.assertEqual(len(form), len(pairs))
        return form

    def test_form(self) -> None:
        body = b"Subject: 100%\r\n\r\n" + bytes(range(256)) + b"&body=1+1%20;\r\n"
        recipients = (b"<bob@example.org>", "<jürgen@example.org>".encode())
        envelope = make_envelope(body, recipients, remote_ip="2001:db8::1", tls=True)
        envelope.delivery_header = "Delivered-To: jürgen@example.org\r\n"
        envelope.subject = "a & b = \u20ac\r\n \ud800"
        expected = {
            "remote_ip": "2001:db8::1",
            # UTF-8, read as Latin-1 here; what it does not have is a question mark.
            "subject": "a & b = \xe2\x82\xac\r\n ?",
            "tls_on": "true",
            "helo": "client.example",
            "mail_from": "alice@example.com",
            "rcpt_to_0": "bob@example.org",
            "rcpt_to_1": "j\xc3\xbcrgen@example.org",
            "body": "Delivered-To: j\xc3\xbcrgen@example.org\r\n" + body.decode("latin-1"),
        }
        self.assertEqual(self.form(envelope), expected)

    def test_bounce_without_anything(self) -> None:
        expected = {
            "remote_ip": "192.0.2.1",
            "subject": "",
            "tls_on": "false",
            "helo": "client.example",
            "mail_from": "",
            "rcpt_to_0": "bob@example.org",
            "body": "",
        }
        self.assertEqual(self.form(make_envelope(b"", sender=b"<>")), expected)

    def test_as_everybody_encodes_it(self) -> None:
        """Few octets that need it are encoded another way than many."""
        for body in (b"", b"plain", b"100%25 & a\r\n=2B", bytes(range(256)), b"\xff%\0" * 1000):
            self.ask(make_envelope(body))
            encoded = quote_from_bytes(body, safe="").encode()
            self.assertTrue(self.input.endswith(b"&body=" + encoded))

    def test_pieces(self) -> None:
        """A message that is read in pieces arrives as the same."""
        body = bytes(range(256)) * 1000
        envelope = make_envelope(b"")
        envelope.body = BodyStorage(spill_size=1000).new_body()
        envelope.body.write(body)
        self.assertTrue(self.form(envelope)["body"].encode("latin-1") == body)

    def test_each_has_a_connection_of_its_own(self) -> None:
        first = self.ask(make_envelope())
        protocol = self.protocol
        second = self.ask(make_envelope())
        protocol.dataReceived(padded(6, HEADER + b"SAVED") + END)
        self.assertEqual(self.successResultOf(first).code, 250)
        self.assertNoResult(second)


class AnswerTests(FastCGITestCase):
    def test_saved(self) -> None:
        for answer in (b"SAVED", b"SAVED\n", b"SAVED as 123"):
            self.assertEqual(self.said(HEADER + answer), (250, "2.0.0"))
        self.assertEqual(self.said(b"Status: 201 Created\r\n\r\nSAVED"), (250, "2.0.0"))
        self.assertEqual(self.lines(), [])

    def test_passed(self) -> None:
        self.assertEqual(self.said(HEADER + b"PASSED", Task.VALIDATE_RCPT), (250, "2.1.5"))
        self.assertEqual(self.lines(), [])

    def test_no(self) -> None:
        for answer in (HEADER + b"FAILED", b"Status: 403 Forbidden\r\n\r\nFAILED, it is spam"):
            self.assertEqual(self.said(answer), (550, "5.7.1"))
            self.assertEqual(self.said(answer, Task.VALIDATE_RCPT), (550, "5.1.1"))
        self.assertEqual(self.lines(), [])

    def test_neither_yes_nor_no(self) -> None:
        for answer in (
            HEADER,
            HEADER + b"\nSAVED",
            HEADER + b"not SAVED",
            HEADER + b"SAVE",
            HEADER + b"PASSED",
            b"Status: 500 Internal Server Error\r\n\r\nSAVED",
            b"Status: 302 Found\r\n\r\nSAVED",
            b"Status: 500 Internal Server Error\r\n\r\nFAILED",
            b"Status: fine\r\n\r\nSAVED",
            b"SAVED",
            b"",
        ):
            self.assertEqual(self.said(answer), (451, "4.3.0"), repr(answer))
            self.assertEqual(len(self.lines()), 1)

    def test_yes_to_another_question(self) -> None:
        self.assertEqual(self.said(HEADER + b"SAVED", Task.VALIDATE_RCPT), (451, "4.3.0"))

    def test_yes_without_an_end(self) -> None:
        yes = padded(6, HEADER + b"SAVED") + padded(6, b"")
        for records in (b"", yes, yes + END[:-1], yes + padded(3, b"\x00\x00\x00\x01" + bytes(4))):
            self.assertEqual(self.answered(records), (451, "4.3.0"))

    def test_log_says_what_the_script_said(self) -> None:
        result = self.ask(envelope := make_envelope())
        text = b"Status: 500\r\n\r\noh {no}\r\n\x1b[31m\xff" + b"x" * 500
        self.protocol.dataReceived(padded(6, text) + END)
        self.assertEqual(
            self.successResultOf(result).text, "storage not available, try again later"
        )
        shown = r"oh {no}\r\n\x1b[31m\\xff" + "x" * 185
        self.assertEqual(
            self.lines(),
            [
                f"{envelope.queued_id}: /scripts/save.php: neither yes nor no (status 500); "
                f"the script said '{shown}'"
            ],
        )

    def test_log_shows_what_has_no_header(self) -> None:
        self.said(b"PHP is not here")
        (line,) = self.lines()
        self.assertTrue(
            line.endswith("with an empty line; the script said 'PHP is not here'"), line
        )

    def test_complaints_are_logged(self) -> None:
        """They change nothing."""
        complaints = b"PHP Warning:  {x}\x00 in a\r\nPHP Notice:  " + b"y" * 300 + b"\n"
        result = self.ask(envelope := make_envelope())
        self.protocol.dataReceived(padded(7, complaints) + padded(6, HEADER + b"SAVED") + END)
        self.assertEqual(self.successResultOf(result).code, 250)
        start = f"{envelope.queued_id}: /scripts/save.php complains: "
        expected = [r"'PHP Warning:  {x}\x00 in a'", "'PHP Notice:  " + "y" * 187 + "'"]
        self.assertEqual(self.lines(), [start + line for line in expected])

    def test_many_complaints(self) -> None:
        self.answered(padded(7, b"no\n" * 2000) + padded(6, HEADER + b"SAVED") + END)
        self.assertEqual(len(self.lines()), 10)


class BrokenBody(Body):
    """A body on a disk that fails."""

    def open(self) -> BinaryIO:
        raise OSError(5, "Input/output error")


class TroubleTests(FastCGITestCase):
    def test_no_connection(self) -> None:
        for error, cause in (
            (ConnectError(2), "no such file or directory"),
            (ConnectError(string=Failure(ConnectionDone())), "takes no connection now"),
        ):
            result = self.begin(envelope := make_envelope())
            self.reactor.unixClients[-1][1].clientConnectionFailed(None, Failure(error))
            self.assertEqual(self.successResultOf(result).code, 451)
            where = f"{envelope.queued_id}: /scripts/save.php: /run/php.sock"
            self.assertEqual(self.lines(), [f"{where}: {cause}"])

    def test_no_answer_in_time(self) -> None:
        for task in Task:
            result = self.ask(make_envelope(), task)
            self.protocol.dataReceived(padded(6, HEADER + b"SAVED"))
            self.reactor.advance(23.9)
            self.assertNoResult(result)
            self.reactor.advance(0.1)
            self.assertEqual(self.successResultOf(result).code, 451)
            self.assertTrue(self.transport.disconnected)
            (line,) = self.lines()
            self.assertIn("no answer after 24.0 seconds; the script said 'SAVED'", line)
            self.protocol.connectionLost(Failure(ConnectionDone()))

    def test_less_time_for_what_has_waited(self) -> None:
        envelope = make_envelope()
        envelope.answer_by = self.reactor.seconds() + 10
        result = self.ask(envelope)
        self.reactor.advance(7.9)
        self.assertNoResult(result)
        self.reactor.advance(0.1)
        self.assertEqual(self.successResultOf(result).code, 451)
        self.protocol.connectionLost(Failure(ConnectionDone()))

    def test_no_time_left(self) -> None:
        """Nothing is sent: the client was told to try again."""
        for task in Task:
            envelope = make_envelope()
            envelope.answer_by = self.reactor.seconds()
            self.assertEqual(self.successResultOf(self.begin(envelope, task)).code, 451)
            (line,) = self.lines()
            self.assertIn("no time is left", line)
        self.assertEqual(self.reactor.unixClients, [])

    def test_no_connection_in_time(self) -> None:
        """The deadline is for all of it, not for each part."""
        result = self.begin(make_envelope())
        self.reactor.advance(24)
        self.assertEqual(self.successResultOf(result).code, 451)
        self.assertTrue(self.reactor.connectors[-1].stoppedConnecting)
        # As the reactor says then.
        self.reactor.unixClients[-1][1].clientConnectionFailed(None, Failure(UserError()))

    def test_cancelled(self) -> None:
        result = self.ask(make_envelope())
        result.cancel()
        self.failureResultOf(result)
        self.assertTrue(self.transport.disconnected)
        self.protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_nothing_is_left_to_do(self) -> None:
        self.said(HEADER + b"SAVED")
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_message_cannot_be_read(self) -> None:
        envelope = make_envelope()
        envelope.body = BrokenBody()
        result = self.begin(envelope)
        self.assertEqual(self.successResultOf(result).code, 451)
        self.assertEqual(self.reactor.unixClients, [])
        (line,) = self.lines()
        self.assertIn("/scripts/save.php: [Errno 5] Input/output error", line)


class StartTests(FastCGITestCase):
    def initialize(self) -> Deferred[None]:
        (initializer,) = self.svc.initializers
        opened = initializer.initialize(SETTINGS)
        assert opened is not None
        return opened

    def test_somebody_listens(self) -> None:
        opened = self.initialize()
        self.connect()
        self.successResultOf(opened)
        self.assertEqual(self.transport.value(), b"")
        self.assertTrue(self.transport.disconnecting)

    def test_nobody_listens(self) -> None:
        opened = self.initialize()
        self.reactor.unixClients[-1][1].clientConnectionFailed(None, Failure(ConnectError(111)))
        self.assertEqual(
            self.failureResultOf(opened).getErrorMessage(),
            "fcgi_connection_address: /run/php.sock: connection refused",
        )

    def test_nobody_answers(self) -> None:
        opened = self.initialize()
        self.reactor.advance(30)
        self.assertEqual(
            self.failureResultOf(opened).getErrorMessage(),
            "fcgi_connection_address: no answer after 30.0 seconds",
        )

    def test_stores(self) -> None:
        self.assertTrue(self.svc.stores)


class SettingsTests(SynchronousTestCase):
    def check(self, save: str, validate: str, **changes: object) -> list[str]:
        settings: Mapping[str, object] = {
            name: value for name, value in {**SETTINGS, **changes}.items() if value is not None
        }
        gateway = Gateway(Registry(BUILTIN), MemoryReactorClock(), Logger("test"))  # type: ignore[arg-type]
        chains = {"save_process": save, "validate_process": validate}
        return list(gateway.check({**settings, **chains}))

    def assert_refused(self, setting: str, cause: str, **changes: object) -> None:
        with self.assertRaises(ConfigError) as caught:
            self.check("HeadersParser | fastcgi", "FastCGI", **changes)
        self.assertEqual(str(caught.exception), f"backend_config.{setting}: {cause}")

    def test_good(self) -> None:
        for changes in (
            {},
            {"fcgi_connection_type": "tcp", "fcgi_connection_address": "127.0.0.1:9000"},
            {"fcgi_connection_type": "tcp", "fcgi_connection_address": "[::1]:9000"},
            {"fcgi_connection_type": "tcp", "fcgi_connection_address": ":9000"},
        ):
            self.assertEqual(self.check("HeadersParser|FastCGI", "fastcgi", **changes), [])

    def test_script_is_needed_where_it_is_used_only(self) -> None:
        self.assertEqual(self.check("FastCGI", "", fcgi_script_filename_validate=None), [])
        (warning,) = self.check("Debugger", " FASTCGI ", fcgi_script_filename_save=None)
        self.assertIn("NO PROCESSOR STORES MAIL", warning)

    def test_script_is_missing(self) -> None:
        self.assert_refused(
            "fcgi_script_filename_save",
            "is missing, and save_process has fastcgi",
            fcgi_script_filename_save="",
        )
        self.assert_refused(
            "fcgi_script_filename_validate",
            "is missing, and validate_process has fastcgi",
            fcgi_script_filename_validate=None,
        )

    def test_bad_values(self) -> None:
        kind, address = "fcgi_connection_type", "fcgi_connection_address"
        self.assert_refused(kind, 'is neither "unix" nor "tcp"', fcgi_connection_type="udp")
        self.assert_refused(kind, "is missing", fcgi_connection_type=None)
        self.assert_refused(address, "is missing", fcgi_connection_address=None)
        for wrong in ("", "/a\0b", "/" + "x" * 107):
            refusal = "is not the path of a UNIX socket"
            self.assert_refused(address, refusal, fcgi_connection_address=wrong)
        for wrong in ("127.0.0.1", "127.0.0.1:0", "a b:9000", "unix:/run/php.sock"):
            changes = {"fcgi_connection_type": "tcp", "fcgi_connection_address": wrong}
            self.assert_refused(address, "is not host:port", **changes)
        script = "fcgi_script_filename_save"
        self.assert_refused(script, "holds a control character", **{script: "/a\nb"})

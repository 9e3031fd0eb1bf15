"""
A whole session, its octets in pieces, with much going on between them.

An input: the server's settings, what happens, four lengths of pieces, then the octets.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.logger import formatEvent
from twisted.python.failure import Failure

from guerrilla_tw.backends.results import (
    NO_SUCH_USER,
    PROCESSING_FAILED,
    RECIPIENT_OK,
    RecipientResults,
    queued,
)
from guerrilla_tw.config import TLSConfig
from guerrilla_tw.interfaces import IResult
from guerrilla_tw.mail.body import BodyStorage
from guerrilla_tw.mail.envelope import Envelope
from tests.fuzz.targets import check_replies, pieces
from tests.smtp.dialog_client import FakeTLS, Wire
from tests.smtp.session import Session

_HEADER: Final = 6
_PROXY: Final = "127.0.0.1"
_STARTTLS: Final = TLSConfig(
    start_tls_on=True, private_key_file="key", public_key_file="certificate"
)


class Setting:
    """How the server is set. Numbers, since an enum's operators are slow."""

    LMTP = 1
    NORMALIZE = 2
    PROXY = 4
    XCLIENT = 8
    STARTTLS = 16
    SMALL = 32
    NO_DISK = 64
    EARLY_TALKERS = 128


class Event:
    """What happens while the client talks. Numbers too."""

    LATE = 1
    REFUSED = 2
    RAISED = 4
    PAUSED = 8
    TIME = 16
    SHUTDOWN = 32
    HALF_CLOSE = 64
    LOST = 128


_SHUTDOWN_TIMEOUT: Final = 30
# Under these the same octets need not mean the same in other pieces.
_TIMED: Final = Event.PAUSED | Event.TIME | Event.SHUTDOWN | Event.LOST

MAX_LENGTH: Final = 1000
TOKENS: Final = (
    b"EHLO x\r\n",
    b"HELO x\r\n",
    b"LHLO x\r\n",
    b"MAIL FROM:<a@b.example>",
    b" BODY=BINARYMIME\r\n",
    b" SIZE=100\r\n",
    b" SMTPUTF8\r\n",
    b"RCPT TO:<a@example.com>\r\n",
    b"RCPT TO:<no@example.com>\r\n",
    b"RCPT TO:<\xc3\xa9@example.com>\r\n",
    b"DATA\r\n",
    b"\r\n.\r\n",
    b"BDAT 3\r\nabc",
    b"BDAT 0 LAST\r\n",
    b"BDAT 90 LAST\r\n",
    b"RSET\r\n",
    b"NOOP\r\n",
    b"HELP\r\n",
    b"VRFY a\r\n",
    b"QUIT\r\n",
    b"STARTTLS\r\n",
    b"XCLIENT ADDR=192.0.2.9 NAME=x\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1 25\r\n",
    b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0",
    b"GET / HTTP/1.1\r\n",
    b"\x16\3\1",
    b"\n.\n",
)
_TO_RCPT: Final = b"EHLO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<a@example.com>\r\n"
_STREAMS: Final = (
    _TO_RCPT + b"DATA\r\nSubject: x\r\n\r\n..x\r\n.\r\nQUIT\r\n",
    _TO_RCPT + b"RCPT TO:<no@example.com>\r\nBDAT 5\r\nab\r\ncBDAT 2 LAST\r\n\r\nQUIT\r\n",
    _TO_RCPT + b"BDAT 0 LAST\r\nRSET\r\nRCPT TO:<x@a>\r\nDATA\r\nBDAT 6\r\nQUIT\r\nNOOP\r\n",
    _TO_RCPT + b"DATA\r\na\n.\r\nb\r\n" + b"x" * 600 + b"\r\n.\r\n" + _TO_RCPT,
    b"LHLO x\r\n" + _TO_RCPT[8:] + b"RCPT TO:<b@example.com>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n",
    b"EHLO x\r\nSTARTTLS\r\nNOOP\r\n" + _TO_RCPT + b"DATA\r\n.\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1 25\r\n" + _TO_RCPT + b"DATA\r\n\r\n.\r\n",
    b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0EHLO x\r\nQUIT\r\n",
    b"XCLIENT ADDR=192.0.2.9 NAME=x HELO=y PROTO=SMTP\r\n" + _TO_RCPT + b"DATA\r\n.\r\n",
    b"EHLO x\r\nMAIL FROM:<> BODY=BINARYMIME SMTPUTF8\r\nRCPT TO:<\xc3\xa9@example.com>\r\n"
    b"BDAT 4 LAST\r\n\n\r\0\nMAIL FROM:<a@b> SIZE=99999999\r\nHELP\r\nNOOP\r\nVRFY a\r\n",
    b"EHLO\r\nEHLO x\r\nRCPT\r\nDATA\r\nMAIL\r\nFOO\r\nBAR\r\nAUTH PLAIN\r\nNOOP x\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x16\3\1\2\0",
    b"NOOP " + b"x" * 700 + b"\r\nQUIT\n\r\nQUIT\r\n",
)
SEEDS: Final = [
    bytes([setting, event, *cuts]) + stream
    for setting, event, cuts in (
        (0, 0, (0, 6, 40, 200)),
        (Setting.LMTP | Setting.NORMALIZE, Event.LATE, (30, 6, 40, 200)),
        (Setting.PROXY | Setting.XCLIENT | Setting.SMALL, Event.PAUSED, (100, 9, 3, 0)),
        (Setting.STARTTLS | Setting.XCLIENT, Event.TIME | Event.LATE, (17, 17, 17, 17)),
        (Setting.NO_DISK | Setting.SMALL, Event.REFUSED | Event.HALF_CLOSE, (50, 50, 5, 0)),
        (Setting.EARLY_TALKERS, Event.RAISED | Event.SHUTDOWN, (60, 60, 60, 60)),
    )
    for stream in _STREAMS
]


def check(data: bytes) -> None:
    """Hold the conversation. Where time plays no part, it must be the same in one piece."""
    if len(data) < _HEADER:
        return
    setting, event = data[0], data[1]
    cuts, stream = data[2:_HEADER], data[_HEADER:]
    in_pieces = Conversation(setting, event).hold(stream, cuts)
    if not (event & _TIMED or setting & (Setting.STARTTLS | Setting.EARLY_TALKERS)):
        whole = Conversation(setting, event).hold(stream, b"")
        assert whole == in_pieces, (whole, in_pieces)


@cache
def _session(setting: int) -> Session:
    """:returns: one that others had before; it must be as they found it."""
    storage = BodyStorage()
    if setting & Setting.NO_DISK:
        storage = BodyStorage(spill_size=40, spill_dir="/nowhere", max_in_memory=100)
    session = Session(storage=storage, **_settings(setting))
    session.disconnect()
    session.clock.advance(2)
    session.events.clear()
    return session


def _settings(setting: int) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "protocol": "lmtp" if setting & Setting.LMTP else "smtp",
        "bare_newline": "normalize" if setting & Setting.NORMALIZE else "reject",
        "proxyon": bool(setting & Setting.PROXY),
        "xclient_on": bool(setting & Setting.XCLIENT),
        "reject_early_talkers": 2.0 if setting & Setting.EARLY_TALKERS else 0.0,
    }
    if setting & Setting.STARTTLS:
        settings["tls"] = _STARTTLS
    if setting & Setting.SMALL:
        settings |= {
            "max_size": 500,
            "max_errors": 1,
            "max_messages": 2,
            "max_command_line": 512,
            "max_text_line": 1000,
        }
    return settings


class Conversation:
    """
    One session and what was said in it.

    :param setting: of the server.
    :param event: what happens.
    """

    def __init__(self, setting: int, event: int) -> None:
        self._event = event
        self._wires: list[Wire] = []
        self._answers: list[Deferred[IResult]] = []
        self._tls = FakeTLS(self._wires)
        self._said = b""
        self._session = _session(setting)
        self._session.server.settings.tls = self._tls
        self._session.backend.save = self._save
        self._session.backend.check_recipient = self._check_recipient
        self._session.connect(_PROXY)

    def _save(self, envelope: Envelope) -> IResult | Deferred[IResult]:
        _check_envelope(envelope)
        if self._event & Event.RAISED:
            raise RuntimeError("as the input says")
        if self._event & Event.REFUSED:
            return self._give(RecipientResults([NO_SUCH_USER] * len(envelope.rcpt_to)))
        return self._give(queued("id"))

    def _check_recipient(self, envelope: Envelope) -> IResult | Deferred[IResult]:
        return self._give(NO_SUCH_USER if envelope.rcpt_to[-1].user == "no" else RECIPIENT_OK)

    def _give(self, result: IResult) -> IResult | Deferred[IResult]:
        if not self._event & Event.LATE:
            return result
        answer: Deferred[IResult] = Deferred()
        self._answers.append(answer)
        return answer.addCallback(lambda _: result)

    def hold(self, stream: bytes, cuts: bytes) -> tuple[bytes, Sequence[object]]:
        """
        Let the client say something, and leave.

        :returns: what the server said, and the messages that it stored.
        """
        for number, piece in enumerate(pieces(stream, cuts)):
            if self._tls.shaking:
                self._tls.shaking = False
                self._session.protocol.handshakeCompleted()
            if self._transport.aborted:
                break
            said = self._heard() if self._is_closed else None
            self._session.protocol.dataReceived(piece)
            self._session.settle()
            self._pass(number)
            assert said is None or self._heard() == said, "it spoke after the end"
        self._end()
        said = self._heard()
        check_replies(said)
        messages = [_described(envelope) for envelope in self._session.backend.saved]
        self._check_nothing_is_left()
        return said, messages

    @property
    def _transport(self) -> Any:
        return self._wires[-1] if self._wires else self._session.transport

    @property
    def _is_closed(self) -> bool:
        transport = self._transport
        return bool(transport.disconnecting or transport.aborted or transport.closed_half)

    def _heard(self) -> bytes:
        return b"".join(wire.value() for wire in (self._session.transport, *self._wires))

    def _pass(self, number: int) -> None:
        """Let happen what does after a piece."""
        if self._answers and number % 3 != 1:
            self._answer()
        producer = self._transport.producer
        if self._event & Event.PAUSED and producer is not None:
            if number % 3 == 0:
                producer.pauseProducing()
            elif number % 3 == 1:
                producer.resumeProducing()
        if self._event & Event.TIME:
            self._session.clock.advance(number % 4 * 3)
        if self._event & Event.SHUTDOWN and number == 5:
            self._session.server.shut_down(_SHUTDOWN_TIMEOUT)

    def _answer(self) -> None:
        answer = self._answers.pop()
        if not answer.called:
            answer.callback(PROCESSING_FAILED)

    def _answer_all(self) -> None:
        """Answer what is asked, and what is asked in a later turn because of that."""
        self._session.settle()
        while self._answers:
            self._answer()
            self._session.settle()

    def _end(self) -> None:
        """Have it end in one of several ways."""
        if self._event & Event.LOST:
            self._lose()
            return
        self._answer_all()
        if self._event & Event.PAUSED and self._transport.producer is not None:
            self._transport.producer.resumeProducing()
            self._answer_all()
        if self._event & Event.HALF_CLOSE and not (self._tls.shaking or self._transport.aborted):
            self._session.protocol.readConnectionLost()
            self._answer_all()
        # The greeting's delay, the timeout, the time to take our last words.
        self._session.clock.pump([2, 30, 5])
        assert self._transport.disconnecting or self._transport.aborted, "it goes on for ever"
        self._lose()

    def _lose(self) -> None:
        said = self._heard()
        for wire in (self._session.transport, *self._wires):
            if wire.producer is not None:
                wire.producer.stopProducing()
                wire.producer = None
        self._session.protocol.connectionLost(Failure(ConnectionDone()))
        for answer in self._answers:
            if not answer.called:
                answer.callback(PROCESSING_FAILED)
        assert self._heard() == said, "it spoke to nobody"

    def _check_log(self) -> None:
        for log in self._session.events:
            formatEvent(log)
            if "log_failure" in log:
                assert log["log_failure"].check(RuntimeError), log["log_failure"].getTraceback()

    def _check_nothing_is_left(self) -> None:
        session = self._session
        assert session.server.clients == set()
        session.server.shutting_down = False
        delayed = session.clock.getDelayedCalls()
        assert delayed == [], delayed
        self._check_log()
        session.backend.saved.clear()
        session.events.clear()
        del session.protocol
        assert session.server.shared.storage.in_memory == 0


def _check_envelope(envelope: Envelope) -> None:
    assert envelope.rcpt_to
    assert len(envelope.data) == envelope.size
    texts = [envelope.helo, envelope.remote_ip, str(envelope.mail_from)]
    for text in texts + [str(recipient) for recipient in envelope.rcpt_to]:
        assert text.isprintable() or not text.isascii()
        assert not set(text) & {"\r", "\n", "\0"}


def _described(envelope: Envelope) -> object:
    return (
        envelope.remote_ip,
        envelope.helo,
        envelope.protocol,
        str(envelope.mail_from),
        [str(recipient) for recipient in envelope.rcpt_to],
        envelope.data,
    )

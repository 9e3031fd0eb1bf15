"""One client: the state of its session and the order of the replies, nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar

import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import (
    IConsumer,
    IDelayedCall,
    IPushProducer,
    ITCPTransport,
)
from twisted.mail.smtp import ESMTP
from twisted.python.failure import Failure
from zope.interface import implementer

from guerrilla_tw.interfaces import IResult, Task
from guerrilla_tw.mail.envelope import Envelope
from guerrilla_tw.smtp import replies
from guerrilla_tw.smtp.commands import (
    CommandError,
    parse_host_name,
    parse_mail,
    parse_rcpt,
    split_command,
)
from guerrilla_tw.smtp.framing import BadLine, DataReader, LineBuffer, LineTooLong

if TYPE_CHECKING:
    from guerrilla_tw.smtp.factory import GuerrillaESMTPFactory

MAX_LINE = 2048
# RFC 5321 section 4.5.3.1.8: at least 100.
MAX_RECIPIENTS = 100
# How long a client may take to read our last words, in seconds.
CLOSING_TIMEOUT = 5.0


class _ITransport(ITCPTransport, IConsumer, IPushProducer):
    """What Twisted's connections are; it has no one name for it."""


@implementer(IPushProducer)
class GuerrillaESMTP(ESMTP):
    """
    An ESMTP session.

    Twisted's class gives the timer and its place in the family. Everything that touches bytes,
    replies or state is replaced: input is cut by :mod:`guerrilla_tw.smtp.framing`, commands wait
    while an answer of the backend is pending, and replies to pipelined commands leave together.
    The IMessageDelivery hooks and AUTH of the parent are switched off: no verb leads there.

    To its transport it is the producer of replies: a client that does not read them is not read.

    :param factory: gives the settings, the backend, the clock.
    :param remote_ip: the client's address; empty if it has none.
    """

    transport: _ITransport
    factory: GuerrillaESMTPFactory

    def __init__(self, factory: GuerrillaESMTPFactory, remote_ip: str) -> None:
        super().__init__()
        self.factory = factory
        self.remote_ip = remote_ip
        self._lines = LineBuffer(MAX_LINE)
        self._helo = ""
        self._extended = False
        # The transaction: None until MAIL, then handed over whole to the backend.
        self._envelope: Envelope | None = None
        self._reader: DataReader | None = None
        # The backend's answer that everything else has to wait for.
        self._pending: Deferred[IResult] | None = None
        self._replies: list[bytes] = []
        self._advancing = False
        self._reading = True
        self._congested = False
        self._closing = False

    # The life of the connection

    def connectionMade(self) -> None:
        """Greet the client."""
        self.factory.clients.add(self)
        self.transport.registerProducer(self, True)
        self.setTimeout(self.factory.timeout)
        self.transport.write(self.factory.greeting)

    def connectionLost(self, reason: Failure | None = None) -> None:
        """Forget the client; an envelope that still waits for a worker is taken back."""
        self._closing = True
        self.setTimeout(None)
        self.factory.client_lost(self)
        self._envelope = self._reader = None
        if self._pending is not None:
            self._pending.cancel()

    def callLater(self, period: float, func: Callable[[], None]) -> IDelayedCall:
        """For TimeoutMixin: the factory's clock, not the global one."""
        return self.factory.clock.callLater(period, func)

    def timeoutConnection(self) -> None:
        """The client was silent for too long, unless it is waiting for us."""
        if self._closing:
            self.transport.abortConnection()
        elif self._pending is not None:
            self.setTimeout(self.factory.timeout)
        else:
            self._replies.append(replies.IDLE_TOO_LONG)
            self.close()

    def shut_down(self) -> None:
        """The factory shuts down: say goodbye, once the command in hand is done."""
        self._advance()

    def close(self) -> None:
        """Send what is left to say, read no more, close."""
        self._closing = True
        self._flush()
        self.transport.unregisterProducer()
        self.transport.loseConnection()
        self.setTimeout(CLOSING_TIMEOUT)

    # Producing replies

    def pauseProducing(self) -> None:
        """The client does not read: stop listening to it."""
        self._congested = True
        self._stop_reading()

    def resumeProducing(self) -> None:
        """The client has read."""
        self._congested = False
        self._advance()

    def stopProducing(self) -> None:
        """The connection is gone; connectionLost follows."""

    def _flush(self) -> None:
        if self._replies:
            self.transport.write(b"".join(self._replies))
            self._replies.clear()

    def _stop_reading(self) -> None:
        if self._reading:
            self._reading = False
            self.transport.pauseProducing()

    # Taking in bytes

    def dataReceived(self, data: bytes) -> None:
        """Take what came; while an answer is pending, keep it and read no more."""
        if self._closing:
            return
        self.resetTimeout()
        self._lines.feed(data)
        if self._pending is not None or self._congested:
            self._stop_reading()
        else:
            self._advance()

    def _advance(self) -> None:
        """Do all that can be done with what is buffered, then send the replies."""
        if self._advancing:
            return
        self._advancing = True
        while not (self._pending or self._congested or self._closing):
            if self._reader is not None:
                if not self._read_data(self._reader):
                    break
            elif self.factory.shutting_down:
                self._replies.append(replies.SHUTTING_DOWN)
                self.close()
            elif not self._read_command():
                break
        self._advancing = False
        if self._closing:
            return
        self._flush()
        if not self._reading and not (self._pending or self._congested):
            self._reading = True
            self.transport.resumeProducing()

    def _read_command(self) -> bool:
        """:returns: whether there was a whole line."""
        try:
            line = self._lines.line()
            if line is None:
                return False
            verb, argument = split_command(line)
            command = self._commands.get(verb)
            if command is None:
                raise CommandError(
                    replies.NOT_IMPLEMENTED if verb in _KNOWN_ELSEWHERE else replies.UNKNOWN_COMMAND
                )
            command(self, argument)
        except CommandError as error:
            self._replies.append(error.reply)
        except LineTooLong:
            self._replies.append(replies.LINE_TOO_LONG)
        except BadLine:
            self._replies.append(replies.BAD_LINE)
        return True

    def _read_data(self, reader: DataReader) -> bool:
        """:returns: whether the message is complete."""
        rest = reader.feed(self._lines.take())
        if rest is None:
            return False
        self._lines.feed(rest)
        self._end_data(reader)
        return True

    # Commands

    def do_HELO(self, argument: bytes) -> None:
        """RFC 5321 section 4.1.1.1, old form."""
        self._hello(argument, extended=False)
        self._replies.append(self.factory.hello)

    def do_EHLO(self, argument: bytes) -> None:
        """RFC 5321 section 4.1.1.1."""
        self._hello(argument, extended=True)
        self._replies.append(self.factory.extended_hello)

    def _hello(self, argument: bytes, extended: bool) -> None:
        self._helo = parse_host_name(argument)
        self._extended = extended
        self._envelope = None

    def do_MAIL(self, argument: bytes) -> None:
        """RFC 5321 section 4.1.1.2."""
        if not self._helo:
            raise CommandError(replies.NO_HELLO)
        if self._envelope is not None:
            raise CommandError(replies.NESTED_MAIL)
        mail_from = parse_mail(argument, self.factory.max_size)
        envelope = Envelope(self.remote_ip, self._helo, esmtp=self._extended)
        envelope.mail_from = mail_from
        self._envelope = envelope
        self._replies.append(replies.SENDER_OK)

    def do_RCPT(self, argument: bytes) -> None:
        """RFC 5321 section 4.1.1.3."""
        envelope = self._envelope
        if envelope is None:
            raise CommandError(replies.NO_MAIL)
        if len(envelope.rcpt_to) >= MAX_RECIPIENTS:
            raise CommandError(replies.TOO_MANY_RECIPIENTS)
        address = parse_rcpt(argument)
        if not address.host:
            address = msgspec.structs.replace(address, host=self.factory.host_name)
        elif not self.factory.allowed_hosts.allows(address):
            raise CommandError(replies.NOT_OUR_HOST)
        envelope.rcpt_to.append(address)
        self._ask(self._recipient_checked, self.factory.backend.validate_rcpt, envelope)

    def _recipient_checked(self, reply: bytes) -> None:
        assert self._envelope is not None
        if not replies.accepts(reply):
            self._envelope.rcpt_to.pop()
        self._replies.append(reply)

    def do_DATA(self, argument: bytes) -> None:
        """RFC 5321 section 4.1.1.4."""
        envelope = self._envelope
        if argument:
            raise CommandError(replies.NEEDS_NO_PARAMETER)
        if envelope is None:
            raise CommandError(replies.NO_MAIL)
        if not envelope.rcpt_to:
            raise CommandError(replies.NO_RECIPIENTS)
        self._reader = DataReader(envelope.body, self.factory.max_size)
        self._replies.append(replies.START_DATA)

    def _end_data(self, reader: DataReader) -> None:
        envelope = self._envelope
        assert envelope is not None
        # The transaction is over whatever comes of it, and the envelope is the backend's.
        self._envelope = self._reader = None
        if reader.too_large:
            self._replies.append(replies.TOO_LARGE)
        elif reader.bare_newline:
            self._replies.append(replies.BARE_NEWLINE)
        else:
            self._ask(self._saved, self.factory.backend.process, envelope, Task.SAVE_MAIL)

    def _saved(self, reply: bytes) -> None:
        self._replies.append(reply)

    def do_RSET(self, argument: bytes) -> None:
        """RFC 5321 section 4.1.1.5."""
        self._envelope = None
        self._replies.append(replies.OK)

    def do_NOOP(self, argument: bytes) -> None:
        """RFC 5321 section 4.1.1.9."""
        self._replies.append(replies.OK)

    def do_VRFY(self, argument: bytes) -> None:
        """RFC 5321 section 4.1.1.6, without telling who has a mailbox here."""
        self._replies.append(replies.CANNOT_VERIFY)

    def do_HELP(self, argument: bytes) -> None:
        """RFC 5321 section 4.1.1.8."""
        self._replies.append(_HELP)

    def do_QUIT(self, argument: bytes) -> None:
        """RFC 5321 section 4.1.1.10."""
        self._replies.append(replies.GOODBYE)
        self.close()

    # What is not in here is not reachable by a client, whatever the parent class offers.
    _commands: ClassVar[Mapping[bytes, Callable[[GuerrillaESMTP, bytes], None]]] = {
        b"HELO": do_HELO,
        b"EHLO": do_EHLO,
        b"MAIL": do_MAIL,
        b"RCPT": do_RCPT,
        b"DATA": do_DATA,
        b"RSET": do_RSET,
        b"NOOP": do_NOOP,
        b"VRFY": do_VRFY,
        b"HELP": do_HELP,
        b"QUIT": do_QUIT,
    }

    # The backend's answers

    def _ask(
        self,
        then: Callable[[bytes], None],
        question: Callable[..., IResult | Deferred[IResult]],
        *args: object,
    ) -> None:
        """
        Ask the backend; nothing else is done before it answers.

        :param then: is given the answer as a reply.
        """
        try:
            answer = question(*args)
        except Exception:
            self._failed(Failure())
            then(replies.LOCAL_ERROR)
            return
        if isinstance(answer, Deferred):
            self._pending = answer
            answer.addErrback(self._failed).addCallback(self._answered, then)
        else:
            then(replies.from_result(answer))

    def _failed(self, failure: Failure) -> None:
        """A backend is not to fail, but this may be somebody's own."""
        if not (self._closing and failure.check(CancelledError)):
            self.factory.log.failure("the backend failed", failure)

    def _answered(self, result: IResult | None, then: Callable[[bytes], None]) -> None:
        self._pending = None
        if self._closing:
            return
        self.resetTimeout()
        then(replies.LOCAL_ERROR if result is None else replies.from_result(result))
        self._advance()


_KNOWN_ELSEWHERE = frozenset(
    [b"AUTH", b"BDAT", b"ETRN", b"EXPN", b"SAML", b"SEND", b"SOML", b"STARTTLS", b"TURN"]
)
_HELP = replies.reply(214, "2.0.0 commands: HELO EHLO MAIL RCPT DATA RSET NOOP VRFY HELP QUIT")

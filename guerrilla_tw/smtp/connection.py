"""One connection: bytes in and replies out, in order, at the pace of both sides."""

from __future__ import annotations

import re
from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import (
    IConsumer,
    IDelayedCall,
    IHalfCloseableProtocol,
    IPushProducer,
    ITCPTransport,
)
from twisted.mail.smtp import ESMTP
from twisted.python.failure import Failure
from zope.interface import implementer

from guerrilla_tw.interfaces import IResult
from guerrilla_tw.smtp import replies
from guerrilla_tw.smtp.framing import BadLine, LineBuffer, LineTooLong
from guerrilla_tw.smtp.server import Server

# How many commands of one client are carried out before it is others' turn.
_EFFORT_AT_ONCE = 64
# How long a client may take to read our last words where it has had its time, in seconds.
CLOSING_TIMEOUT = 5.0
# How much of what a client still sends is read after our last words, in octets.
_LINGERING = 2**20
# Syntax, sequence, parameters: RFC 3463 section 3.6, "mail delivery protocol status".
_IS_PROTOCOL_ERROR = re.compile(rb"(?:50[0-4]|555) 5\.5\.").match


class ITransport(ITCPTransport, IConsumer, IPushProducer):
    """What Twisted's connections are; it has no one name for it."""


@implementer(IHalfCloseableProtocol, IPushProducer)
class SMTPConnection(ESMTP):
    """
    The flow of a connection; what is said on it is a subclass's.

    Twisted's class gives the timer and its place in the family. Everything that touches bytes or
    replies is replaced: input is cut by :mod:`guerrilla_tw.smtp.framing`, commands wait while an
    answer of the backend is pending, and replies to pipelined commands leave together.

    To its transport it is the producer of replies: a client that does not read them is not read.

    :param server: whose client this is.
    """

    transport: ITransport

    # Class attributes are what most connections never change: CPython keeps objects with few
    # attributes of their own small, and there may be thousands of idle clients.
    #: Whether TLS is on, whose own closing handshake reads what comes.
    secret = False
    _errors = 0
    _congested = False
    _ended = False
    # The rest of what is buffered, while it is others' turn.
    _later: IDelayedCall | None = None
    #: What was done in this turn, in simple commands.
    effort = 0
    # How many octets more are read, and thrown away, before the connection is cut.
    _lingering = 0

    def __init__(self, server: Server) -> None:
        # Not super().__init__(): it sets up what is replaced here.
        self.server = server
        self._lines = LineBuffer(server.config.max_command_line)
        # Takes what is no command line: data, chunks, a PROXY header; and what to do after it.
        self._feed: Callable[[bytes], bytes | None] | None = None
        self._then: Callable[[], None] | None = None
        # The backend's answer that everything else has to wait for.
        self._pending: Deferred[IResult] | None = None
        self._replies: list[bytes] = []
        self._advancing = False
        # Whether anything came that is to be taken for a command.
        self._has_begun = False
        self._reading = True
        self._closing = False

    # For the subclass to override

    def command_received(self, line: bytes) -> None:
        """Do what a command line says. It has no CR, LF or NUL in it."""

    def first_octet_received(self, octet: int) -> None:
        """Look at what a client begins with, before it is taken for a command."""

    def piece_received(self) -> None:
        """See whether what is read with :meth:`read` comes fast enough."""

    # For the subclass to use

    def reply(self, reply: bytes) -> None:
        """Answer, in the order of the calls."""
        self._replies.append(reply)

    def refuse(self, reply: bytes) -> None:
        """Answer no. After too many errors of protocol the client is let go."""
        self.reply(reply)
        if _IS_PROTOCOL_ERROR(reply):
            self._errors += 1
            if self._errors > self.server.config.max_errors:
                self.dismiss(replies.TOO_MANY_ERRORS)

    def dismiss(self, reply: bytes) -> None:
        """Say why, and close, though the client may be talking."""
        self.reply(reply)
        self.close(linger=True)

    def read(self, feed: Callable[[bytes], bytes | None], then: Callable[[], None]) -> None:
        """
        Take what comes next as something else than command lines.

        :param feed: is given octets, one at least; returns None while it wants more, then what came
            after its end.
        :param then: is called at its end.
        """
        self._feed = feed
        self._then = then

    def ask(
        self,
        then: Callable[[IResult | None], None],
        question: Callable[..., IResult | Deferred[IResult]],
        *args: object,
    ) -> None:
        """
        Ask the backend; nothing else is done before it answers.

        :param then: is given the answer; None if the backend failed.
        """
        try:
            answer = question(*args)
        except Exception:
            self._failed(Failure())
            then(None)
            return
        if isinstance(answer, Deferred):
            self._pending = answer
            answer.addErrback(self._failed).addCallback(self._answered, then)
        else:
            then(answer)

    def close(self, *, linger: bool = False) -> None:
        """
        Send what is left to say, close.

        The timer goes on: a client that does not take our last words is cut when it ends.

        :param linger: read on for a little, and throw it away. Where octets are still to come, the
            kernel would reset the connection otherwise, and our last words may be lost with it.
        """
        if self._closing:
            return
        self._closing = True
        self._feed = self._then = None
        self._flush()
        self.transport.unregisterProducer()
        if self.secret:
            # The client is to say goodbye in TLS, too, and may leave that out.
            if not self._reading:
                self._resume_reading()
            self.transport.loseConnection()
            self._hurry()
            return
        if not linger or self._ended:
            self.transport.loseConnection()
            return
        self._lines.take()
        self._lingering = _LINGERING
        self.transport.loseWriteConnection()
        if not self._reading:
            self._resume_reading()
        self._hurry()

    def take_input(self) -> bytes:
        """:returns: what was received and not looked at; it is the caller's from now on."""
        return self._lines.take()

    @property
    def has_input(self) -> bool:
        """Whether something was received that was not looked at."""
        return self._lines.pending

    # The life of the connection

    def connectionMade(self) -> None:
        """Take the client in."""
        self.server.clients.add(self)
        self.transport.registerProducer(self, True)
        self.setTimeout(self.server.config.timeout)

    def connectionLost(self, reason: Failure | None = None) -> None:
        """Forget the client; an envelope that still waits for a worker is taken back."""
        self._closing = True
        self._feed = self._then = None
        self.setTimeout(None)
        self.server.client_lost(self)
        if self._later is not None:
            self._later.cancel()
        if self._pending is not None:
            self._pending.cancel()

    def readConnectionLost(self) -> None:
        """The client has said all that it wanted to; it may still listen to the answers."""
        self._ended = True
        if self._lingering:
            self.transport.loseConnection()
        else:
            self._advance()

    def writeConnectionLost(self) -> None:
        """Our last words are out."""

    def callLater(self, period: float, func: Callable[[], None]) -> IDelayedCall:
        """For TimeoutMixin: the server's clock, not the global one."""
        return self.server.clock.callLater(period, func)

    def timeoutConnection(self) -> None:
        """The client was silent for too long, unless it is waiting for us."""
        if self._closing:
            self.transport.abortConnection()
        elif self._pending is not None:
            self.setTimeout(self.server.config.timeout)
        else:
            self.reply(replies.IDLE_TOO_LONG)
            self.close(linger=self._lines.pending)
            self.setTimeout(CLOSING_TIMEOUT)

    def shut_down(self) -> None:
        """The server shuts down: say goodbye, now or when the command in hand is done."""
        if not self._closing:
            if self._pending or (self.is_receiving() and not self._congested):
                return
            self.reply(replies.SHUTTING_DOWN)
            self.close(linger=self._lines.pending)
        self._hurry()

    def is_receiving(self) -> bool:
        """:returns: whether the client is in the middle of a message."""
        return self._feed is not None and self._has_begun

    def _hurry(self) -> None:
        """Let the client have little time. Not reset: bringing a timer forward is a search."""
        self.setTimeout(None)
        self.setTimeout(CLOSING_TIMEOUT)

    # Producing replies

    def pauseProducing(self) -> None:
        """The client does not read: stop listening to it."""
        self._congested = True
        self._stop_reading()

    def resumeProducing(self) -> None:
        """The client has read."""
        self._congested = False
        self.resetTimeout()
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

    def _resume_reading(self) -> None:
        self._reading = True
        self.transport.resumeProducing()

    # Taking in bytes

    def dataReceived(self, data: bytes) -> None:
        """Take what came; while an answer is pending, keep it and read no more."""
        if self._closing:
            self._linger(len(data))
            return
        if not self._has_begun:
            self._begin(data[0])
        self._lines.feed(data)
        if self._pending is not None or self._congested or self._later is not None:
            self._stop_reading()
        else:
            self._advance()

    def _begin(self, octet: int | None) -> None:
        if self._feed is None and octet is not None:
            self._has_begun = True
            self.first_octet_received(octet)

    def _linger(self, octets: int) -> None:
        if self._lingering:
            self._lingering = max(self._lingering - octets, 0)
            if not self._lingering:
                self.transport.abortConnection()

    def _advance(self) -> None:
        """Do what can be done with what is buffered, in one turn, then send the replies."""
        if self._advancing or self._later is not None:
            return
        self._advancing = True
        advanced = self._take_turn()
        self._advancing = False
        if self._closing:
            return
        if advanced:
            # Only now: a command that comes octet by octet gains no time with each.
            self.resetTimeout()
        self._flush()
        if self._congested and self.server.shutting_down:
            self.shut_down()
        if not (self._pending or self._congested):
            self._await_more()

    def _take_turn(self) -> bool:
        """:returns: whether anything was done."""
        advanced = False
        self.effort = 0
        while not (self._pending or self._congested or self._closing) and self._step():
            advanced = True
            self.effort += 1
            is_done = not (self._lines.pending or self.server.shutting_down)
            if is_done or self.effort >= _EFFORT_AT_ONCE:
                break
        return advanced

    def _await_more(self) -> None:
        if self.effort >= _EFFORT_AT_ONCE:
            self._stop_reading()
            self._later = self.server.clock.callLater(0, self._go_on)
        elif self._ended:
            self.close()
        elif not self._reading:
            self._resume_reading()

    def _go_on(self) -> None:
        self._later = None
        if not self._closing:
            self._advance()

    def _step(self) -> bool:
        """:returns: whether there may be more to do."""
        if self._feed is not None:
            return self._read(self._feed)
        if self.server.shutting_down:
            self.shut_down()
            return False
        return self._read_command()

    def _read_command(self) -> bool:
        """:returns: whether there was a whole line."""
        try:
            line = self._lines.line()
        except LineTooLong:
            self.refuse(replies.LINE_TOO_LONG)
        except BadLine:
            self.refuse(replies.BAD_LINE)
        else:
            if line is None:
                return False
            self.command_received(line)
        return True

    def _read(self, feed: Callable[[bytes], bytes | None]) -> bool:
        """:returns: whether what is read has come to its end."""
        data = self._lines.take()
        if not data:
            return False
        rest = feed(data)
        if rest is None:
            self.piece_received()
            return False
        then = self._then
        self._feed = self._then = None
        self._lines.feed(rest)
        assert then is not None
        then()
        if not self._has_begun:
            self._begin(self._lines.first())
        return True

    # The backend's answers

    def _failed(self, failure: Failure) -> None:
        """A backend is not to fail, but this may be somebody's own."""
        if not (self._closing and failure.check(CancelledError)):
            self.server.log.failure("the backend failed", failure)

    def _answered(self, result: IResult | None, then: Callable[[IResult | None], None]) -> None:
        self._pending = None
        if self._closing:
            return
        then(result)
        self.resetTimeout()
        self._advance()

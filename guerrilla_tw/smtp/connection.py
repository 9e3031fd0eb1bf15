"""One connection: bytes in and replies out, in order, at the pace of both sides."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

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
from guerrilla_tw.smtp.framing import BadLine, DataReader, LineBuffer, LineTooLong

if TYPE_CHECKING:
    from guerrilla_tw.smtp.factory import GuerrillaESMTPFactory

# Octets. RFC 5321 section 4.5.3.1.4 has 512, and extensions add to it.
MAX_LINE = 2048
# How many replies may wait to leave together.
_REPLIES_AT_ONCE = 64
# How long a client may take to read our last words where it has had its time, in seconds.
CLOSING_TIMEOUT = 5.0


class _ITransport(ITCPTransport, IConsumer, IPushProducer):
    """What Twisted's connections are; it has no one name for it."""


@implementer(IHalfCloseableProtocol, IPushProducer)
class SMTPConnection(ESMTP):
    """
    The flow of a connection; what is said on it is a subclass's.

    Twisted's class gives the timer and its place in the family. Everything that touches bytes or
    replies is replaced: input is cut by :mod:`guerrilla_tw.smtp.framing`, commands wait while an
    answer of the backend is pending, and replies to pipelined commands leave together.

    To its transport it is the producer of replies: a client that does not read them is not read.

    :param factory: gives the settings, the backend, the clock.
    """

    transport: _ITransport
    factory: GuerrillaESMTPFactory

    def __init__(self, factory: GuerrillaESMTPFactory) -> None:
        super().__init__()
        self.factory = factory
        self._lines = LineBuffer(MAX_LINE)
        self._reader: DataReader | None = None
        # The backend's answer that everything else has to wait for.
        self._pending: Deferred[IResult] | None = None
        self._replies: list[bytes] = []
        self._advancing = False
        self._reading = True
        self._congested = False
        self._ended = False
        self._closing = False

    # For the subclass to override

    def command_received(self, line: bytes) -> None:
        """Do what a command line says. It has no CR, LF or NUL in it."""

    def data_ended(self, reader: DataReader) -> None:
        """Do what is to be done with a message that has come in."""

    # For the subclass to use

    def reply(self, reply: bytes) -> None:
        """Answer, in the order of the calls."""
        self._replies.append(reply)

    def read_data(self, reader: DataReader) -> None:
        """Take what comes next as message data, up to its end."""
        self._reader = reader

    def ask(
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

    def close(self) -> None:
        """
        Send what is left to say, read no more, close.

        The timer goes on: a client that does not take our last words is cut when it ends.
        """
        self._closing = True
        self._flush()
        self.transport.unregisterProducer()
        self.transport.loseConnection()

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
        self._reader = None
        self.setTimeout(None)
        self.factory.client_lost(self)
        if self._pending is not None:
            self._pending.cancel()

    def readConnectionLost(self) -> None:
        """The client has said all that it wanted to; it may still listen to the answers."""
        self._ended = True
        self._advance()

    def writeConnectionLost(self) -> None:
        """We never close one half of a connection, so this does not come."""

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
            self.reply(replies.IDLE_TOO_LONG)
            self.close()
            self.setTimeout(CLOSING_TIMEOUT)

    def shut_down(self) -> None:
        """The factory shuts down: say goodbye, now or when the command in hand is done."""
        if not self._closing:
            if self._pending or (self._reader and not self._congested):
                return
            self.reply(replies.SHUTTING_DOWN)
            self.close()
        self._hurry()

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
            if not self._step():
                break
        self._advancing = False
        if self._closing:
            return
        self._flush()
        if self._congested and self.factory.shutting_down:
            self.shut_down()
        if self._pending or self._congested:
            return
        if self._ended:
            self.close()
        elif not self._reading:
            self._reading = True
            self.transport.resumeProducing()

    def _step(self) -> bool:
        """:returns: whether there may be more to do."""
        if len(self._replies) >= _REPLIES_AT_ONCE:
            # The transport says when it has enough of them.
            self._flush()
            return True
        if self._reader is not None:
            return self._read_data(self._reader)
        if self.factory.shutting_down:
            self.shut_down()
            return False
        return self._read_command()

    def _read_command(self) -> bool:
        """:returns: whether there was a whole line."""
        try:
            line = self._lines.line()
        except LineTooLong:
            self.reply(replies.LINE_TOO_LONG)
        except BadLine:
            self.reply(replies.BAD_LINE)
        else:
            if line is None:
                return False
            self.command_received(line)
        return True

    def _read_data(self, reader: DataReader) -> bool:
        """:returns: whether the message is complete."""
        rest = reader.feed(self._lines.take())
        if rest is None:
            return False
        self._lines.feed(rest)
        self._reader = None
        self.data_ended(reader)
        return True

    # The backend's answers

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

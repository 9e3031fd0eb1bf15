"""What a connection is to its transport: replies go out, reading goes on and off, it ends."""

from __future__ import annotations

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

from guerrilla_tw.smtp import journal, replies
from guerrilla_tw.smtp.recorded import Recorded
from guerrilla_tw.smtp.server import Server

# How long a client may take to read our last words where it has had its time, in seconds.
CLOSING_TIMEOUT = 5.0
# What may be lost by adding seconds.
_CLOCK_ERROR = 1e-6
# How much of what a client still sends is read after our last words, in octets.
_LINGERING = 2**20


class ITransport(ITCPTransport, IConsumer, IPushProducer):
    """What Twisted's connections are; it has no one name for it."""


@implementer(IHalfCloseableProtocol, IPushProducer)
class SMTPFlow(Recorded, ESMTP):
    """
    The flow of a connection; what is done with what comes in is a subclass's.

    Twisted's class gives the timer and its place in the family. Everything that touches bytes or
    replies is replaced. To its transport it is the producer of replies: a client that does not
    read them is not read.

    :param server: whose client this is.
    :param remote_ip: as the parent's.
    """

    transport: ITransport
    timeOut: float | None  # type: ignore[assignment]

    #: Whether TLS is on, whose own closing handshake reads what comes.
    secret = False
    _congested = False
    _ended = False
    _timer: IDelayedCall | None = None
    # When the client did something last, in seconds.
    _heard_at = 0.0
    # How many octets more are read, and thrown away, before the connection is cut.
    _lingering = 0

    def __init__(self, server: Server, remote_ip: str) -> None:
        # Not ESMTP.__init__(): it sets up what is replaced here.
        Recorded.__init__(self, server, remote_ip)
        self._replies: list[bytes] = []
        self._reading = True

    # For the subclass to override

    def advance(self) -> None:
        """Do what can be done with what came in."""

    @property
    def has_input(self) -> bool:
        """Whether something was received that was not looked at."""
        return False

    def forget_input(self) -> None:
        """Nothing more will be done with what came in."""

    def is_waited_for(self) -> bool:
        """:returns: whether it is the client's turn, and not ours."""
        return True

    def has_command_in_hand(self) -> bool:
        """:returns: whether the client would lose something by an end just now."""
        return False

    # For the subclass to use

    def reply(self, reply: bytes) -> None:
        """Answer, in the order of the calls."""
        self._replies.append(reply)

    def dismiss(self, reply: bytes, ending: str, cause: str = "") -> None:
        """Say why, and close, though the client may be talking."""
        self.reply(reply)
        self.close(ending, cause, linger=True)

    def close(self, ending: str, cause: str = "", *, linger: bool = False) -> None:
        """
        Send what is left to say, close.

        The timer goes on: a client that does not take our last words is cut when it ends.

        :param ending: why, one of the names in :mod:`.journal`.
        :param cause: more of it in words.
        :param linger: read on for a little, and throw it away. Where octets are still to come, the
            kernel would reset the connection otherwise, and our last words may be lost with it.
        """
        if self._closing:
            return
        self._closing = True
        self.end_as(ending, cause)
        self.forget_input()
        self.flush()
        self.transport.unregisterProducer()
        if self.secret:
            # The client is to say goodbye in TLS, too, and may leave that out.
            self.resume_reading()
            self.transport.loseConnection()
            if linger:
                self._hurry()
            return
        if not linger or self._ended:
            self.transport.loseConnection()
            return
        self._lingering = _LINGERING
        self.transport.loseWriteConnection()
        self.resume_reading()
        self._hurry()

    # The life of the connection

    def connectionMade(self) -> None:
        """Take the client in."""
        self.server.client_came(self)
        self.transport.registerProducer(self, True)
        self.setTimeout(self.settings.config.timeout)

    def connectionLost(self, reason: Failure | None = None) -> None:
        """Forget the client."""
        self._closing = True
        self.forget_input()
        self.setTimeout(None)
        # First, since the log may be closed when the last client has gone.
        self.log_end()
        self.server.client_lost(self)

    def readConnectionLost(self) -> None:
        """The client has said all that it wanted to; it may still listen to the answers."""
        self._ended = True
        if self._lingering:
            self.transport.loseConnection()
        else:
            self.advance()

    def writeConnectionLost(self) -> None:
        """Our last words are out."""

    # The timer. Twisted's is set anew for each command; this one is only looked at when it fires.

    def setTimeout(self, period: float | None) -> float | None:
        """Begin to wait for the client, or no longer."""
        clock = self.server.clock
        previous, self.timeOut = self.timeOut, period
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if period is not None:
            self._heard_at = clock.seconds()
            self._timer = clock.callLater(period, self._look_at_the_clock)
        return previous

    def resetTimeout(self) -> None:
        """The client has done something."""
        self._heard_at = self.server.clock.seconds()

    def _look_at_the_clock(self) -> None:
        self._timer = None
        assert self.timeOut is not None
        clock = self.server.clock
        left = self._heard_at + self.timeOut - clock.seconds()
        if left > _CLOCK_ERROR:
            self._timer = clock.callLater(left, self._look_at_the_clock)
        else:
            self.timeoutConnection()

    def timeoutConnection(self) -> None:
        """The client was silent for too long, unless it is waiting for us."""
        if self._closing:
            self.transport.abortConnection()
        elif not self.is_waited_for():
            self.setTimeout(self.settings.config.timeout)
        else:
            self.reply(replies.IDLE_TOO_LONG)
            self.close(journal.IDLE, linger=self.has_input)
            self.setTimeout(CLOSING_TIMEOUT)

    def shut_down(self) -> None:
        """The server shuts down: say goodbye, now or when the command in hand is done."""
        if not self._closing:
            if self.has_command_in_hand():
                return
            self.reply(replies.SHUTTING_DOWN)
            self.close(journal.SHUTDOWN, linger=self.has_input)
        self._hurry()

    def cut(self) -> None:
        """The server has no more time."""
        self.end_as(journal.SHUTDOWN)
        self.transport.abortConnection()

    def _hurry(self) -> None:
        """Let the client have little time."""
        self.setTimeout(CLOSING_TIMEOUT)

    def dataReceived(self, data: bytes) -> None:
        """Throw away what comes after the end; at some point it is enough."""
        if self._lingering:
            self._lingering = max(self._lingering - len(data), 0)
            if not self._lingering:
                self.transport.abortConnection()

    # Producing replies

    def pauseProducing(self) -> None:
        """The client does not read: stop listening to it."""
        self._congested = True
        self.stop_reading()

    def resumeProducing(self) -> None:
        """The client has read."""
        self._congested = False
        if self._is_ending_below():
            self.close(journal.LEFT)
            return
        self.resetTimeout()
        self.advance()

    def _is_ending_below(self) -> bool:
        """
        :returns: whether TLS has ended, by the client's goodbye or by an error. Its connection
            does not close while we are registered as a producer.
        """
        below = getattr(self.transport, "transport", None) if self.secret else None
        return below is not None and bool(below.disconnecting)

    def stopProducing(self) -> None:
        """The connection is gone; connectionLost follows."""

    def flush(self) -> None:
        """Send what was answered so far."""
        if self._replies:
            self.transport.write(b"".join(self._replies))
            self._replies.clear()

    def stop_reading(self) -> None:
        """Have the transport keep what comes."""
        if self._reading:
            self._reading = False
            self.transport.pauseProducing()

    def resume_reading(self) -> None:
        """Have the transport hand over what comes."""
        if not self._reading:
            self._reading = True
            self.transport.resumeProducing()

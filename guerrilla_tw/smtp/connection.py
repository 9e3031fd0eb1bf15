"""One connection: its input in turns, command by command, and the answers of the backend."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from guerrilla_tw.interfaces import IResult
from guerrilla_tw.smtp import journal, replies
from guerrilla_tw.smtp.flow import SMTPFlow
from guerrilla_tw.smtp.framing import BadLine, LineBuffer, LineTooLong
from guerrilla_tw.smtp.server import Server

# How many commands of one client are carried out before it is others' turn.
_EFFORT_AT_ONCE = 64
# Syntax, sequence, parameters: RFC 3463 section 3.6, "mail delivery protocol status".
_IS_PROTOCOL_ERROR = re.compile(rb"(?:50[0-4]|555) 5\.5\.").match


class SMTPConnection(SMTPFlow):
    """
    What comes in, one thing after the other; what is said is a subclass's.

    Input is cut by :mod:`guerrilla_tw.smtp.framing`, commands wait while an answer of the backend
    is pending, and replies to pipelined commands leave together.

    :param server: whose client this is.
    :param remote_ip: as the parent's.
    """

    _errors = 0
    # The rest of what is buffered, while it is others' turn.
    _later: IDelayedCall | None = None
    #: What was done in this turn, in simple commands. A turn may be many calls of dataReceived:
    #: TLS makes one for each record.
    effort = 0

    def __init__(self, server: Server, remote_ip: str) -> None:
        super().__init__(server, remote_ip)
        self._lines = LineBuffer(self.settings.config.max_command_line)
        # Takes what is no command line: data, chunks, a PROXY header; and what to do after it.
        self._feed: Callable[[bytes], bytes | None] | None = None
        self._then: Callable[[], None] | None = None
        # The backend's answer that everything else has to wait for.
        self._pending: Deferred[IResult] | None = None
        self._advancing = False
        # Whether anything came that is to be taken for a command.
        self._has_begun = False

    # For the subclass to override

    def command_received(self, line: bytes) -> None:
        """Do what a command line says. It has no CR, LF or NUL in it."""

    def first_octet_received(self, octet: int) -> None:
        """Look at what a client begins with, before it is taken for a command."""

    def piece_received(self) -> None:
        """See whether what is read with :meth:`read` comes fast enough."""

    # For the subclass to use

    def refuse(self, reply: bytes) -> None:
        """Answer no. After too many errors of protocol the client is let go."""
        self.reply(reply)
        if _IS_PROTOCOL_ERROR(reply):
            self._errors += 1
            if self._errors > self.settings.config.max_errors:
                self.dismiss(replies.TOO_MANY_ERRORS, journal.TOO_MANY_ERRORS)

    def refuse_command(self, verb: bytes, argument: bytes, reply: bytes, cause: str = "") -> None:
        """
        Answer no to a command, and log it.

        :param cause: what an operator should know of it.
        """
        self.log_refusal(verb, argument, reply, cause=cause)
        self.refuse(reply)

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

        :param then: is given the answer; None if the backend failed, or if the client has left
            and so nobody waits for it.
        """
        try:
            answer = question(*args)
        except BaseException:  # As in a Deferred.
            self._failed(Failure())
            then(None)
            return
        # To ask whether it is an instance takes ten times as long, because Deferred is an ABC.
        if hasattr(answer, "addErrback"):
            self._pending = answer = cast("Deferred[IResult]", answer)
            answer.addBoth(self._answered, then)
        else:
            then(answer)

    def take_input(self) -> bytes:
        """:returns: what was received and not looked at; it is the caller's from now on."""
        return self._lines.take()

    @property
    def has_input(self) -> bool:
        """Whether something was received that was not looked at."""
        return self._lines.pending

    def forget_input(self) -> None:
        """As the parent."""
        self._feed = self._then = None
        self._lines.take()

    def is_waited_for(self) -> bool:
        """As the parent; it is ours while the backend works."""
        return self._pending is None

    def has_command_in_hand(self) -> bool:
        """As the parent: a message comes in, or the backend works."""
        if self._pending is not None:
            return True
        return self._feed is not None and self._has_begun and not self._congested

    def connectionLost(self, reason: Failure | None = None) -> None:
        """As the parent; an envelope that still waits for a worker is taken back."""
        self._closing = True
        if self._later is not None:
            self._later.cancel()
        # First what becomes of the message is logged, then the connection.
        if self._pending is not None:
            self._pending.cancel()
        super().connectionLost(reason)

    def resumeProducing(self) -> None:
        """As the parent; others have had their turn."""
        self.effort = 0
        super().resumeProducing()

    # Taking in bytes

    def dataReceived(self, data: bytes) -> None:
        """Take what came; while an answer is pending, keep it and read no more."""
        if self._closing:
            super().dataReceived(data)
            return
        if not self._has_begun:
            self._begin(data[0])
        self._lines.feed(data)
        if self._pending is not None or self._congested or self._later is not None:
            self.stop_reading()
        else:
            self.advance()

    def _begin(self, octet: int | None) -> None:
        if self._feed is None and octet is not None:
            self._has_begun = True
            self.first_octet_received(octet)

    def advance(self) -> None:
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
            self._heard_at = self.server.clock.seconds()
        if self._replies:
            self.flush()
        if self._congested:
            if self.server.shutting_down:
                self.shut_down()
        elif self._pending is None and (
            self.effort >= _EFFORT_AT_ONCE or self._ended or not self._reading
        ):
            self._await_more()

    def _take_turn(self) -> bool:
        """:returns: whether anything was done."""
        advanced = False
        lines, server = self._lines, self.server
        while not (self._closing or self._congested or self._pending is not None):
            if self._feed is not None:
                if not self._read(self._feed):
                    break
            elif server.shutting_down:
                self.shut_down()
                break
            elif not self._read_command():
                break
            advanced = True
            self.effort += 1
            is_done = not (lines.pending or server.shutting_down)
            if is_done or self.effort >= _EFFORT_AT_ONCE:
                break
        return advanced

    def _await_more(self) -> None:
        if self.effort >= _EFFORT_AT_ONCE:
            self.effort = 0
            # Only TLS calls again and again without letting others have their turn.
            if self._lines.pending or self.secret:
                self.stop_reading()
                self._later = self.server.clock.callLater(0, self._go_on)
                return
        if self._ended:
            self.close(journal.LEFT)
        else:
            self.resume_reading()

    def _go_on(self) -> None:
        self._later = None
        if not self._closing:
            self.advance()

    def _read_command(self) -> bool:
        """:returns: whether there was a whole line."""
        try:
            line = self._lines.line()
        except LineTooLong:
            self.refuse_command(b"", b"", replies.LINE_TOO_LONG)
        except BadLine:
            self.refuse_command(b"", b"", replies.BAD_LINE)
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
        if rest:
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

    def _answered(self, answer: IResult | Failure, then: Callable[[IResult | None], None]) -> None:
        self._pending = None
        if isinstance(answer, Failure):
            self._failed(answer)
            then(None)
        else:
            then(answer)
        if self._closing:
            return
        self.resetTimeout()
        self.advance()

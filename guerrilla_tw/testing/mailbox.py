"""What an inbox has got, and what it is to answer. Nothing here needs a reactor."""

from __future__ import annotations

import email
import email.policy
from collections import deque
from dataclasses import dataclass
from email.message import EmailMessage
from functools import cached_property

from guerrilla_tw.backends.results import NO_SUCH_USER, STORE_UNAVAILABLE
from guerrilla_tw.interfaces import IResult
from guerrilla_tw.mail.envelope import Envelope


@dataclass(frozen=True)
class ReceivedMail:
    """
    A message that came.

    :param envelope: all that is known of it: the client, whether it came over TLS, the octets.
    """

    envelope: Envelope

    @property
    def sender(self) -> str:
        """The reverse-path of MAIL, without brackets; empty for the null path."""
        return str(self.envelope.mail_from)

    @property
    def recipients(self) -> list[str]:
        """The forward-paths of RCPT in order, without brackets: also those of a Bcc."""
        return [str(recipient) for recipient in self.envelope.rcpt_to]

    @cached_property
    def message(self) -> EmailMessage:
        """
        The message as the standard library reads it: decoded header fields, bodies, attachments.

        For example ``mail.message["Subject"]``, ``mail.message.get_content()``. Lines end with
        ``\\n``, as where the program wrote them; ``mail.envelope.data`` is what came.
        """
        text = self.envelope.data.replace(b"\r\n", b"\n")
        return email.message_from_bytes(text, policy=email.policy.default)


@dataclass(frozen=True)
class Answer:
    """
    What becomes of one message.

    :param refusal: what is answered, and the message is not kept; None keeps it.
    :param delay: seconds that the answer takes.
    :param hang_up: whether connections are cut in place of an answer.
    """

    refusal: IResult | None = None
    delay: float = 0.0
    hang_up: bool = False


class Mailbox:
    """
    What the two kinds of inbox have in common. Everything here may be used on any thread.

    .. attribute:: host

        Where the inbox listens: ``127.0.0.1``.

    .. attribute:: port

        The port number, while the inbox runs.

    .. attribute:: certificate

        With TLS, the inbox's own certificate in PEM, for the program under test to trust. A new one
        is made at each start, for ``127.0.0.1`` and ``localhost``.
    """

    host = "127.0.0.1"

    def __init__(self) -> None:
        self.port = 0
        self.certificate = ""
        # What threads do to these is a single step each.
        self._messages: list[ReceivedMail] = []
        self._log: list[str] = []
        self._answers: deque[Answer] = deque()
        self._refused: dict[str, IResult] = {}

    @property
    def messages(self) -> list[ReceivedMail]:
        """The messages that were accepted, in order. Who has had his 250 finds his message here."""
        return list(self._messages)

    @property
    def log(self) -> list[str]:
        """What the server had to say, for a test that does not do what it should."""
        return list(self._log)

    def clear(self) -> None:
        """Forget all messages, log lines, and what was to be refused, delayed or cut."""
        self._messages.clear()
        self._log.clear()
        self._answers.clear()
        self._refused.clear()

    # Each of these three is about one message, the next that nothing was said about yet.

    def refuse_next(self, result: IResult = STORE_UNAVAILABLE) -> None:
        """
        Refuse the next message, when its sender has sent it all.

        Called twice, it refuses the next two. So this lets a second try succeed::

            inbox.refuse_next()
            inbox.refuse_next(Result(452, "4.3.1", "no room"))

        :param result: the answer; by default 451, which asks the sender to try again.
        """
        self._answers.append(Answer(refusal=result))

    def delay_next(self, seconds: float) -> None:
        """
        Let the sender of the next message wait for the answer.

        The message is accepted when the time is over, even if the sender has not waited for it.
        Messages of others are answered meanwhile. Who still waits when the inbox ends gets a 451.
        """
        self._answers.append(Answer(delay=seconds))

    def hang_up_next(self) -> None:
        """Cut every connection when the next message is complete, without an answer to it."""
        self._answers.append(Answer(hang_up=True))

    def refuse_recipient(self, address: str, result: IResult = NO_SUCH_USER) -> None:
        """
        Refuse a recipient from now on.

        :param address: as in RCPT, without brackets, in any case.
        :param result: the answer; by default 550, which is for good.
        """
        self._refused[address.lower()] = result

    # For the server

    def note(self, line: str) -> None:
        """Keep a line of the log."""
        self._log.append(line)

    def refusal_of(self, address: str) -> IResult | None:
        """:returns: what to answer to RCPT; None to accept the recipient."""
        return self._refused.get(address.lower())

    def take_answer(self) -> Answer:
        """:returns: what becomes of the message that is there now."""
        try:
            return self._answers.popleft()
        except IndexError:
            return Answer()

    def keep(self, envelope: Envelope) -> None:
        """Keep a message, and tell who waits for it."""
        self._messages.append(ReceivedMail(envelope))
        self.arrived()

    def arrived(self) -> None:
        """A message was kept. For a subclass to override."""

    def _too_few(self, count: int, timeout: float) -> TimeoutError:
        """:returns: what a test that waited in vain is told."""
        came = len(self._messages)
        return TimeoutError(f"{came} of {count} messages came in {timeout:g} seconds")

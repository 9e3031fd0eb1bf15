"""What clients have sent, and what they were told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Condition

from tests.integration.programs import DEADLINE

NO_REPLY = "no reply"


@dataclass
class Attempt:
    """
    A message that was sent once. A sender that is not told 250 sends the same letter again.

    :ivar letter: what is to arrive.
    :ivar token: of the message, which has the number of the attempt.
    :ivar recipients: local parts of their addresses.
    :ivar is_whole: whether all octets of it were sent.
    :ivar is_aborted: whether the client itself has cut it off.
    :ivar reply: to the message, or the first that was not a yes; empty if the connection broke
        before that.
    """

    letter: str
    token: str
    recipients: Sequence[str]
    is_whole: bool = False
    is_aborted: bool = False
    reply: str = ""

    @property
    def is_acknowledged(self) -> bool:
        """Whether the daemon has taken it over."""
        return self.is_whole and self.reply.startswith("250 2.0.0 OK: queued as ")

    @property
    def outcome(self) -> str:
        """The reply, without what is another in each."""
        return self.reply.replace("\r\n", " / ") or NO_REPLY


class Record:
    """All attempts of all clients. Every thread may use it."""

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []
        #: Connections that ended, or could not be made, without a reply.
        self.broken = 0
        self._acknowledged = 0
        self._failures: list[BaseException] = []
        self._changed = Condition()

    def add(self, attempt: Attempt) -> None:
        """It is over."""
        with self._changed:
            self.attempts.append(attempt)
            self._acknowledged += attempt.is_acknowledged
            self._changed.notify_all()

    def lost_connection(self) -> None:
        """A daemon is not there, or is gone."""
        with self._changed:
            self.broken += 1

    def failed(self, failure: BaseException) -> None:
        """A client cannot go on: that is a fault of ours, or a reply that is none."""
        with self._changed:
            self._failures.append(failure)
            self._changed.notify_all()

    def wait_for_more(self, count: int, deadline: float = DEADLINE) -> None:
        """
        Wait until so many more are acknowledged.

        :param deadline: in seconds.
        :raises AssertionError: they are not.
        """
        with self._changed:
            enough = self._acknowledged + count
            came = self._changed.wait_for(
                lambda: self._failures or self._acknowledged >= enough, deadline
            )
            assert not self._failures, self._failures
            last = [attempt.outcome for attempt in self.attempts[-5:]]
        assert came, f"no mail is accepted any more: {self.broken} connections broken, {last}"

    def look_on(self, count: int, seconds: float) -> None:
        """Wait until so many more are over, for some seconds at most."""
        with self._changed:
            enough = len(self.attempts) + count
            self._changed.wait_for(lambda: len(self.attempts) >= enough, seconds)

"""When a message is tried again, and how many are tried at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

# Seconds: of the first wait of a message, and of the longest.
_FIRST: Final = 1.0
LONGEST: Final = 300.0
# The same between two messages while the store is away.
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 30.0
# Seconds after a processor has raised. It may be for its store, which is spared so, or for a
# message that somebody sends again and again: those behind it must not wait for long.
_SHORT_PAUSE: Final = 0.1
# One failure may be that message's own fault.
_AWAY: Final = 2


def backoff(attempts: int, random: Callable[[], float]) -> float:
    """
    Say how long a message waits.

    :param attempts: how often it has failed, 1 at least.
    :param random: from 0 to 1.
    :returns: seconds: twice as many after each failure, up to :data:`LONGEST`; of these between
        a half and all, so that what failed together is not tried together.
    """
    longest = min(_FIRST * 2.0 ** min(attempts - 1, 16), LONGEST)
    return longest * (0.5 + 0.5 * random())


class Pace:
    """
    How many messages go to the store at once: one, now and then, while it does not take them, and
    twice as many after each that it has taken when it is back.

    :param slots: how many at most.
    :param random: from 0 to 1.
    """

    def __init__(self, slots: int, random: Callable[[], float]) -> None:
        self._slots = slots
        self._random = random
        self._limit = slots
        self._failures = 0
        #: Until when nothing is tried, in seconds of the clock.
        self.pause_end = 0.0

    @property
    def is_away(self) -> bool:
        """Whether the store is taken for away: it has failed with more than one attempt."""
        return self._failures >= _AWAY

    def limit(self, now: float) -> int:
        """:returns: how many may be tried at once."""
        return 0 if now < self.pause_end else self._limit

    def failed(self, now: float) -> bool:
        """
        Take it that the store has failed.

        :returns: whether it is away since now.
        """
        # What was begun together fails together, and is no more than one sign.
        if now < self.pause_end:
            return False
        self._failures += 1
        self._limit = 1
        pause = min(_FIRST_PAUSE * 2.0 ** min(self._failures - 1, 16), _LONGEST_PAUSE)
        self.pause_end = now + pause * (0.5 + 0.5 * self._random())
        return self._failures == _AWAY

    def raised(self, now: float) -> None:
        """Take it that a processor has raised, which tells nothing of the store."""
        if now >= self.pause_end:
            self._limit = 1
            self.pause_end = now + _SHORT_PAUSE

    def succeeded(self) -> bool:
        """
        Take it that the store has taken a message.

        :returns: whether it was away until now.
        """
        was_away = self.is_away
        self._failures = 0
        self.pause_end = 0.0
        self._limit = min(2 * self._limit, self._slots)
        return was_away

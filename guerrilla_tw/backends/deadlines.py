"""Many deadlines, of which hardly one is ever missed, with one timer."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from twisted.internet.interfaces import IDelayedCall, IReactorTime

Item = TypeVar("Item", bound=Hashable)

# Seconds between two looks at all that there is, at least: where thousands are late, each look
# takes longer than it takes to give one up.
_PAUSE = 0.02


class Deadlines(Generic[Item]):
    """
    What has to be done in time. A timer of the reactor for each message would cost more than the
    rest of its way through a chain that waits for something.

    :param clock: of the timer.
    :param give_up: is told what was not done in time, once. Where much is late, that may be some
        hundredths of a second after its end.
    """

    def __init__(self, clock: IReactorTime, give_up: Callable[[Item], object]) -> None:
        self._clock = clock
        self._give_up = give_up
        # In the order of their beginning.
        self._ends: dict[Item, float] = {}
        # For none that is later than the first end, while there is one.
        self._timer: IDelayedCall | None = None
        self._timer_end = 0.0
        self._is_closed = False

    def begin(self, item: Item, seconds: float) -> None:
        """
        Give something time.

        :param item: which is not among them yet.
        """
        end = self._ends[item] = self._clock.seconds() + seconds
        if self._timer is None or end < self._timer_end:
            self._set_timer(end)

    def end(self, item: Item) -> bool:
        """:returns: whether it was done in time; if not, it was given up already."""
        in_time = self._ends.pop(item, None) is not None
        # The timer stays for what is to come: one for each message would cost what this saves.
        if self._is_closed and not self._ends:
            self._stop_timer()
        return in_time

    def close(self) -> None:
        """Have no timer any more when nothing is left to be done."""
        self._is_closed = True
        if not self._ends:
            self._stop_timer()

    def _time_out(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        for item in [item for item, end in self._ends.items() if end <= now]:
            # Whoever is told of one may end another.
            if self._ends.pop(item, None) is not None:
                self._give_up(item)
        if self._ends:
            self._set_timer(max(min(self._ends.values()), now + _PAUSE))

    def _set_timer(self, end: float) -> None:
        self._stop_timer()
        self._timer_end = end
        self._timer = self._clock.callLater(max(0.0, end - self._clock.seconds()), self._time_out)

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

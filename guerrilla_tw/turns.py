"""One thing after the other, each of which takes a while."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock, succeed


class Turns:
    """
    Starts, reloads and the end of a daemon: each begins when what is under way is done.

    :param cancel: has what is under way given up; it is undone then.
    """

    def __init__(self, cancel: Callable[[], None]) -> None:
        self._cancel = cancel
        self._lock = DeferredLock()
        self._under_way: Deferred[None] | None = None

    def take(self, function: Callable[..., Deferred[None]], *args: object) -> Deferred[None]:
        """
        Do something when it is its turn.

        :param function: is called with the arguments, and not at all if it is cancelled before.
        :returns: a Deferred of its own: what the caller goes on to do with it holds up nobody.
        """

        def begin() -> Deferred[None]:
            if outcome.called:
                return succeed(None)
            self._under_way = outcome
            return function(*args)

        def cancel(_: Deferred[None]) -> None:
            if self._under_way is outcome:
                self._cancel()

        def tell(result: Any) -> None:
            if not outcome.called:
                outcome.callback(result)

        outcome: Deferred[None] = Deferred(cancel)
        self._lock.run(begin).addBoth(tell)
        return outcome

    def take_now(self, function: Callable[[], Deferred[None]]) -> Deferred[None]:
        """
        Have what is under way given up, and then do something.

        :param function: is called when that is undone.
        :returns: a Deferred of what it comes to.
        """
        self._cancel()
        return self._lock.run(function)

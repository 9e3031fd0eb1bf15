"""What has been begun and has not ended."""

from __future__ import annotations

from typing import TypeVar

from twisted.internet.defer import Deferred, succeed

T = TypeVar("T")


class Outstanding:
    """Counts Deferreds that have not fired."""

    def __init__(self) -> None:
        self._count = 0
        self._waiting: list[Deferred[None]] = []

    def add(self, deferred: Deferred[T]) -> Deferred[T]:
        """:returns: the same; it counts from now on until it fires."""
        self._count += 1
        return deferred.addBoth(self._ended)

    def none(self) -> Deferred[None]:
        """:returns: a Deferred that fires when there is none."""
        if not self._count:
            return succeed(None)
        waiting: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(waiting)
        return waiting

    def _ended(self, result: T) -> T:
        self._count -= 1
        if not self._count:
            waiting, self._waiting = self._waiting, []
            for each in waiting:
                each.callback(None)
        return result

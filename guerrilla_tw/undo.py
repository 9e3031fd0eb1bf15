"""What has been done, and is undone if what follows fails."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.logger import Logger
from twisted.python.failure import Failure

T = TypeVar("T")


class Undo:
    """
    Steps back, the last first.

    :param log: where it is told if one fails.
    """

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._steps: list[Callable[[], Any]] = []

    def add(self, step: Callable[[], Any]) -> None:
        """
        Remember how to undo something.

        :param step: may return a Deferred, for which the next one waits.
        """
        self._steps.append(step)

    def forget(self) -> None:
        """What has been done stays done."""
        self._steps.clear()

    @inlineCallbacks
    def after(self, failure: Failure) -> Generator[Deferred[Any], Any, Any]:
        """
        Undo everything: an errback.

        :param failure: why.
        :returns: the same, by a Deferred that fires when all is done. No step keeps another back.
        """
        while self._steps:
            step = self._steps.pop()
            try:
                yield step()
            except Exception:
                self._log.failure("could not be undone in full")
        return failure

    def unless_done(self, doing: Deferred[T]) -> Deferred[T]:
        """
        Undo everything if something fails.

        :param doing: it.
        :returns: a Deferred of what it comes to, when all is undone. It is one of its own: who
            cancels what is done does not cancel the undoing.
        """
        outcome: Deferred[T] = Deferred()

        def undo_all(failure: Failure) -> None:
            self.after(failure).addErrback(outcome.errback)

        doing.addCallbacks(outcome.callback, undo_all)
        return outcome

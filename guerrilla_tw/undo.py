"""What has been done, and is undone if what follows fails."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.logger import Logger
from twisted.python.failure import Failure


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

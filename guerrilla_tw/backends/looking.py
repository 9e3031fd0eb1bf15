"""When the directory of the spool is looked at for what is due."""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Set as AbstractSet

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from guerrilla_tw.backends.workers import WorkerPool
from guerrilla_tw.spool.errors import SpoolError
from guerrilla_tw.spool.scanning import Scan
from guerrilla_tw.spool.schedule import LONGEST
from guerrilla_tw.spool.spool import Spool

# Seconds between two looks, for what other processes have left there.
INTERVAL = 5.0
# How many times as long as a look takes there is none, whatever is due.
_LOOKS_SHARE = 20
# Seconds at least, where not all names could be given.
_PAUSE = 0.1


class Looking:
    """
    Looks at the directory.

    :param spool: where messages are.
    :param pool: threads for the disk.
    :param limit: how many names a look gives, and how many of those that come last.
    :param clock: for pauses.
    :param log: is told what cannot be read.
    :param now: seconds of the epoch.

    .. attribute:: is_under_way

        Whether a look has not ended.

    .. attribute:: next_at

        When the next one is, in seconds of the clock, if there is nothing else to do.
    """

    def __init__(
        self,
        spool: Spool,
        pool: WorkerPool,
        limit: int,
        clock: IReactorTime,
        log: Logger,
        now: Callable[[], float],
    ) -> None:
        self._spool = spool
        self._pool = pool
        self._limit = limit
        self._clock = clock
        self._log = log
        self._now = now
        self.is_under_way = False
        self._began = 0.0
        self.next_at = 0.0
        # The same, if there is much to do.
        self._latest = 0.0
        # When there may be one, whatever is due.
        self._earliest = 0.0

    def is_due(self, *, is_idle: bool) -> bool:
        """
        Ask for a look.

        :param is_idle: whether there is nothing else to do.
        """
        at = self.next_at if is_idle else self._latest
        return not self.is_under_way and self._clock.seconds() >= at

    def look_in(self, seconds: float) -> None:
        """Look soon: in so many seconds, or when that does not take too much of the processor."""
        at = max(self._earliest, self._clock.seconds() + max(0.0, seconds))
        self.next_at = min(self.next_at, at)

    def look(self, last: AbstractSet[str]) -> Deferred[Scan | None]:
        """
        Look.

        :param last: see :func:`.scanning.scan`.
        :returns: a Deferred of what is there; of None if the disk fails.
        """
        self.is_under_way = True
        self.next_at = math.inf
        self._began = self._clock.seconds()
        now = self._now()
        latest = now + 2 * LONGEST
        looking = self._pool.defer(self._spool.scan, now, latest, self._limit, last)
        return looking.addCallbacks(self._found, self._found_nothing)

    def _found(self, scan: Scan) -> Scan:
        took = self._rest()
        if scan.more:
            # They are looked for when these have been tried.
            self._earliest = self._clock.seconds() + max(_PAUSE, took)
            self.look_in(0.0)
        if scan.next_due is not None:
            self.look_in(scan.next_due - self._now())
        return scan

    def _found_nothing(self, failure: Failure) -> None:
        self._rest()
        if failure.check(SpoolError) is None:
            self._log.failure("the spool cannot be read", failure)
        else:
            self._log.error("the spool cannot be read: {cause}", cause=str(failure.value))

    def _rest(self) -> float:
        """:returns: how many seconds a look has taken, that has ended."""
        self.is_under_way = False
        ended = self._clock.seconds()
        took = ended - self._began
        self._earliest = ended + _LOOKS_SHARE * took
        self._latest = ended + max(INTERVAL, _LOOKS_SHARE * took)
        # Something may have asked for a look meanwhile.
        self.next_at = max(self._earliest, min(self.next_at, self._latest))
        return took

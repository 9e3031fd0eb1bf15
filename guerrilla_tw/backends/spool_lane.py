"""All that a Gateway with a spool has more than one without."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from guerrilla_tw.backends.conveyor import Conveyor
from guerrilla_tw.backends.delivery import Delivery
from guerrilla_tw.backends.settling import Settling
from guerrilla_tw.backends.spooling import Always, Answer, Fallback, Keeper, Mode
from guerrilla_tw.backends.workers import WorkerPool
from guerrilla_tw.config import ConfigError
from guerrilla_tw.mail.envelope import Envelope
from guerrilla_tw.spool.errors import SpoolError
from guerrilla_tw.spool.names import age_of
from guerrilla_tw.spool.places import PlaceError, Places
from guerrilla_tw.spool.scanning import Scan
from guerrilla_tw.spool.settings import SpoolConfig
from guerrilla_tw.spool.spool import Spool
from guerrilla_tw.users import User

InlineCallbacks = Generator[Deferred[Any], Any, None]

_SETTING = "backend_config.spool_dir"
#: Threads that write. More of them share the disk's syncs, and cost little while they wait.
WRITERS = 8


def check_spool(settings: SpoolConfig, user: User) -> None:
    """
    See whether a spool can be where it is said to be, without making anything.

    :param user: whom the process is about to become.
    :raises ConfigError: it cannot.
    """
    if not settings.spool_dir:
        return
    # Root becomes that user, who makes it, or has it from before.
    owner = user.uid if user.uid > 0 and os.geteuid() == 0 else os.geteuid()
    try:
        Places(os.path.abspath(settings.spool_dir)).check(owner)
    except PlaceError as error:
        raise ConfigError(str(error), _SETTING) from None


class SpoolLane:
    """
    A spool, its threads, and its way through the chain.

    :param settings: of the spool.
    :param pool: threads for the disk.
    :param live: the conveyor of clients' messages.
    :param conveyor: of the same chain, for messages of the spool.
    :param slots: of it.
    :param clock: for pauses and timeouts.
    :param log: of the Gateway.
    :param now: seconds of the epoch.
    """

    def __init__(
        self,
        settings: SpoolConfig,
        pool: WorkerPool,
        live: Conveyor,
        conveyor: Conveyor,
        slots: int,
        clock: IReactorTime,
        log: Logger,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._now = now
        self.pool = pool
        self.conveyor = conveyor
        self._log = log
        self._spool = Spool(settings.spool_dir, settings.spool_max_bytes, settings.spool_min_free)
        settling = Settling(self._spool, pool, settings.spool_lifetime, log, now)
        self._delivery = Delivery(self._spool, pool, conveyor, slots, settling, clock, log, now)
        self._keeper = Keeper(self._spool, pool, clock, log)
        self._mode: Mode
        if settings.always:
            self._mode = Always(self._keeper, self._delivery, log, now)
        else:
            self._mode = Fallback(live, self._keeper, settling, self._delivery, log, now)

    @property
    def root(self) -> str:
        """The directory's absolute path."""
        return self._spool.places.root

    def process(self, envelope: Envelope) -> Answer:
        """As :meth:`.IBackend.process`, to save a message."""
        return self._mode.process(envelope)

    @inlineCallbacks
    def open(self) -> InlineCallbacks:
        """
        Make what is not there, and tell what is.

        :raises ConfigError: there can be no spool.
        """
        try:
            yield self.pool.defer(self._spool.open)
            scan = yield self.scan()
        except (PlaceError, SpoolError) as error:
            raise ConfigError(str(error), _SETTING) from None
        except OSError as error:
            raise ConfigError(f"{self.root}: {error.strerror}", _SETTING) from None
        self._tell(scan)

    def scan(self) -> Deferred[Scan]:
        """:returns: a Deferred of what is in the spool."""
        now = self._now()
        return self.pool.defer(self._spool.scan, now, now, 1)

    def start(self) -> None:
        """Deliver from now on."""
        self._delivery.start()

    def stop(self) -> Deferred[None]:
        """
        Begin to deliver nothing more.

        :returns: a Deferred that fires when the chain has nothing of it any more.
        """
        return self._delivery.stop()

    def settled(self) -> Deferred[None]:
        """:returns: a Deferred that fires when nothing is written. The chain has ended before."""
        return self._keeper.outstanding.none()

    def _tell(self, scan: Scan) -> None:
        age = age_of(scan.oldest, self._now()) if scan.oldest else 0.0
        self._log.info(
            "spool {directory}: {count} messages to deliver, the oldest {age:.0f} seconds old; "
            "{dead} dead, {damaged} damaged; {octets} octets",
            directory=self.root,
            count=scan.count,
            age=age,
            dead=scan.dead,
            damaged=scan.damaged,
            octets=scan.octets,
        )

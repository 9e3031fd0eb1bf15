"""What is in the spool goes through the chain: in the background, the oldest first."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from guerrilla_tw.backends.conveyor import Conveyor
from guerrilla_tw.backends.due_names import DueNames
from guerrilla_tw.backends.looking import INTERVAL, Looking
from guerrilla_tw.backends.outstanding import Outstanding
from guerrilla_tw.backends.results import NOT_RUNNING, TIMED_OUT
from guerrilla_tw.backends.settling import Settling
from guerrilla_tw.backends.workers import WorkerPool
from guerrilla_tw.interfaces import IResult
from guerrilla_tw.mail.envelope import Envelope
from guerrilla_tw.spool.claims import Claim
from guerrilla_tw.spool.errors import SpoolError
from guerrilla_tw.spool.names import queue_id_of
from guerrilla_tw.spool.records import RecordError
from guerrilla_tw.spool.scanning import Scan
from guerrilla_tw.spool.schedule import Pace
from guerrilla_tw.spool.spool import Spool

T = TypeVar("T")
InlineCallbacks = Generator[Deferred[Any], Any, T]

# How many names are remembered of what this process has written, and as many that were found; the
# directory has the others.
_REMEMBERED = 1000


class Delivery:
    """
    Brings messages of the spool to the chain.

    :param spool: where they are.
    :param pool: threads for the disk.
    :param conveyor: of the chain, with slots of its own.
    :param slots: how many messages are in the chain at once, at most.
    :param settling: does what follows from a result.
    :param clock: for pauses.
    :param log: is told when the store is away, and when it is back.
    :param now: seconds of the epoch.
    """

    def __init__(
        self,
        spool: Spool,
        pool: WorkerPool,
        conveyor: Conveyor,
        slots: int,
        settling: Settling,
        clock: IReactorTime,
        log: Logger,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._spool = spool
        self._pool = pool
        self._conveyor = conveyor
        self._settling = settling
        self._clock = clock
        self._log = log
        self._now = now
        self._pace = Pace(slots, random.random)
        self._runs = False
        self._outstanding = Outstanding()
        self._looking = Looking(spool, pool, _REMEMBERED, clock, log, now)
        self._due = DueNames()
        # Names of those that are being delivered.
        self._in_hand: set[str] = set()
        # Of those that this process has written and not tried.
        self._untried: set[str] = set()
        self._timer: IDelayedCall | None = None

    def start(self) -> None:
        """Deliver from now on."""
        self._runs = True
        self._advance()

    def stop(self) -> Deferred[None]:
        """
        Begin nothing more.

        :returns: a Deferred that fires when what was begun has ended.
        """
        self._runs = False
        self._stop_timer()
        return self._outstanding.none()

    def bring(self, claim: Claim, envelope: Envelope) -> None:
        """
        Deliver a message that was just written and never tried: at once, if nobody waits.

        :param claim: of it.
        :param envelope: as it came; the chain's from now on.
        """
        if self._runs and self._has_slot() and not self._due:
            self._begin(claim.name, self._bring(claim, envelope))
            return
        claim.release()
        name = claim.name
        if self._due.first < _REMEMBERED:
            self._untried.add(name)
            self._remember(name)
        else:
            self._looking.look_in(INTERVAL)
        self._advance()

    def wake_at(self, due: float) -> None:
        """
        Look for what is due then.

        :param due: seconds of the epoch.
        """
        self._looking.look_in(due - self._now())
        self._advance()

    def has_failed(self) -> None:
        """Take it that the store has failed with a client's message, or one of ours."""
        if self._pace.failed(self._clock.seconds()):
            self._log.warn("the store does not take messages; the spool tries one now and then")

    def has_succeeded(self) -> None:
        """Take it that the store has taken a message."""
        was_paused = self._pace.pause_end > self._clock.seconds()
        is_back = self._pace.succeeded()
        if is_back:
            self._log.warn("the store takes messages again; the spool is delivered")
        self._due.succeeded(is_back=is_back)
        if was_paused:
            self._advance()

    # In turns

    def _remember(self, name: str) -> None:
        if name not in self._in_hand:
            self._due.add(name)

    def _advance(self) -> None:
        while self._runs and self._has_slot() and self._due:
            # The oldest may be there because nobody can take them: then they do not show whether
            # the store is there.
            name = self._due.pop(youngest=self._pace.is_away)
            self._begin(name, self._deliver(name))
        if not self._runs:
            return
        # Also where there is always something to do: others may have left what is older. But there
        # is nothing to look for while the store is away.
        is_idle = not self._due and self._has_slot()
        if (is_idle or not self._pace.is_away) and self._looking.is_due(is_idle=is_idle):
            self._look()
        self._set_timer()

    def _look(self) -> None:
        looking = self._outstanding.add(self._looking.look(self._due.last))
        looking.addCallback(self._found)

    def _found(self, scan: Scan | None) -> None:
        if scan is not None:
            for name in scan.gone:
                self._due.forget(name)
            # What comes last takes no room from the others.
            for name in scan.due[: max(0, 2 * _REMEMBERED - self._due.first)]:
                self._remember(name)
            for name in scan.last[: max(0, 2 * _REMEMBERED - len(self._due))]:
                self._remember(name)
        self._advance()

    def _begin(self, name: str, delivering: Deferred[None]) -> None:
        self._in_hand.add(name)
        self._outstanding.add(delivering)
        delivering.addErrback(self._failed, name).addBoth(self._ended, name)

    def _has_slot(self) -> bool:
        return len(self._in_hand) < self._pace.limit(self._clock.seconds())

    def _failed(self, failure: Any, name: str) -> None:
        self._log.failure(
            "{queued_id}: cannot be delivered from the spool", failure, queued_id=queue_id_of(name)
        )

    def _ended(self, _: object, name: str) -> None:
        self._in_hand.discard(name)
        self._advance()

    def _set_timer(self) -> None:
        self._stop_timer()
        now = self._clock.seconds()
        at = self._looking.next_at
        if self._due or self._looking.is_under_way:
            at = self._pace.pause_end
        at = max(at, self._pace.pause_end)
        if at > now:
            self._timer = self._clock.callLater(at - now, self._time_out)

    def _time_out(self) -> None:
        self._timer = None
        self._advance()

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    # One message

    @inlineCallbacks
    def _deliver(self, name: str) -> InlineCallbacks[None]:
        is_untried = name in self._untried
        self._untried.discard(name)
        opened = yield self._pool.defer(self._open, name)
        if opened is None:
            self._due.forget(name)
            return
        if isinstance(opened, SpoolError):
            self._log.error("the spool cannot be read: {cause}", cause=str(opened))
            return
        if isinstance(opened, RecordError):
            yield self._set_aside(name, opened)
            return
        claim, envelope = opened
        if self._settling.is_delivered(claim):
            yield self._settling.remove_delivered(claim)
            return
        if not is_untried:
            # Whoever was here before may have been killed, or lost its power.
            envelope.may_be_stored = True
        yield self._bring(claim, envelope)

    @inlineCallbacks
    def _bring(self, claim: Claim, envelope: Envelope) -> InlineCallbacks[None]:
        try:
            result = yield self._process(envelope, claim.name)
            if result == NOT_RUNNING:
                claim.release()
            else:
                yield self._settle(claim, result)
        except Exception:
            # The log may keep the failure, and with it the claim.
            claim.release()
            raise

    def _open(self, name: str) -> tuple[Claim, Envelope] | SpoolError | RecordError | None:
        """In a thread."""
        try:
            claim = self._spool.claim(name)
            return None if claim is None else (claim, self._spool.envelope(claim, self._now()))
        except (SpoolError, RecordError) as error:
            # Without the frames, which would keep the claim.
            return error.with_traceback(None)

    @inlineCallbacks
    def _process(self, envelope: Envelope, name: str) -> InlineCallbacks[IResult]:
        outcome = self._conveyor.submit(envelope)
        result: IResult = (yield outcome) if isinstance(outcome, Deferred) else outcome
        late = self._conveyor.late_end(envelope) if result is TIMED_OUT else None
        if late is not None:
            # It may be stored yet: then it must not be tried again.
            self._failed_with(name)
            result = yield late
        return result

    @inlineCallbacks
    def _settle(self, claim: Claim, result: IResult) -> InlineCallbacks[None]:
        name = claim.name
        verdict, due = yield self._settling.settle(claim, result)
        if verdict.is_trouble:
            self._failed_with(name)
        elif verdict.has_raised:
            self._due.raised(name)
            self._pace.raised(self._clock.seconds())
        else:
            self._due.forget(name)
            if verdict.done:
                self.has_succeeded()
        if due is None:
            self._due.forget(name)
        elif verdict.again:
            self._looking.look_in(due - self._now())

    def _failed_with(self, name: str) -> None:
        if self._due.failed(name):
            self.has_failed()

    @inlineCallbacks
    def _set_aside(self, name: str, why: RecordError) -> InlineCallbacks[None]:
        try:
            where = yield self._pool.defer(self._spool.set_aside, name)
        except SpoolError as error:
            where = str(error)
        self._log.error(
            "{queued_id}: damaged in the spool, set aside: {where}: {cause}",
            queued_id=queue_id_of(name),
            where=where,
            cause=str(why),
        )

"""The spool as the Gateway has it: between a client's message and the chain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from guerrilla_tw.backends.conveyor import Conveyor
from guerrilla_tw.backends.delivery import Delivery
from guerrilla_tw.backends.outstanding import Outstanding
from guerrilla_tw.backends.results import (
    SPOOL_FULL,
    SPOOL_UNAVAILABLE,
    TIMED_OUT,
    RecipientResults,
    queued,
)
from guerrilla_tw.backends.settling import Settling
from guerrilla_tw.backends.verdicts import is_away, is_trouble, reason_of, results_of
from guerrilla_tw.backends.workers import WorkerPool
from guerrilla_tw.interfaces import IResult
from guerrilla_tw.mail.envelope import Envelope
from guerrilla_tw.spool.claims import UNTRIED, Claim
from guerrilla_tw.spool.errors import SpoolError, SpoolFull
from guerrilla_tw.spool.records import Original
from guerrilla_tw.spool.spool import Spool

# Seconds that a client waits for the disk.
_WRITE_TIMEOUT = 30.0

Answer = IResult | Deferred[IResult]


class _Wish:
    """
    A message that waits for the disk, as long as its client waits.

    :param original: of the message.
    :param then: is given what was written, after the answer.
    """

    def __init__(self, original: Original, then: Callable[[Claim], object]) -> None:
        # One thing: it is taken by a thread, or dropped by the reactor's.
        self._original = [original]
        self.then = then

    def write(self, spool: Spool, reason: str, due: float) -> Claim | None:
        """
        Write it, in a thread.

        :returns: what was written; None if nobody waits any more.
        """
        try:
            original = self._original.pop()
        except IndexError:
            return None
        return spool.write(original, reason, due)

    def forget(self, _: object) -> None:
        """Hold on to nothing: clients that leave come faster than a disk writes."""
        self._original.clear()
        self.then = _nothing


def _nothing(claim: Claim) -> None:
    """Nobody wants to know."""


class Keeper:
    """
    Writes messages into the spool, and answers their clients.

    :param spool: to write into.
    :param pool: threads for the disk.
    :param clock: for the timeout.
    :param log: is told what cannot be written.
    """

    def __init__(self, spool: Spool, pool: WorkerPool, clock: IReactorTime, log: Logger) -> None:
        self._spool = spool
        self._pool = pool
        self._clock = clock
        self._log = log
        self.outstanding = Outstanding()

    def keep(
        self, original: Original, reason: str, due: float, then: Callable[[Claim], object]
    ) -> Deferred[IResult]:
        """
        Write a message.

        :param original: of it.
        :param reason: why the chain does not have it; empty if it was not asked.
        :param due: when it is to be tried, in seconds of the epoch.
        :param then: is given the message, which is claimed, after the answer.
        :returns: a Deferred of what the client is told. Where he does not wait for it, or not so
            long, the message is not kept: he will send it again.
        """
        wish = _Wish(original, then)
        answer: Deferred[IResult] = Deferred(wish.forget)
        writing = self.outstanding.add(self._pool.defer(wish.write, self._spool, reason, due))
        queued_id = original.header.queued_id

        def written(claim: Claim | None) -> None:
            if claim is None:
                return
            if answer.called:
                self._discard(claim)
                return
            answer.callback(queued(queued_id))
            wish.then(claim)

        def not_written(failure: Failure) -> None:
            self._log_failure(failure, queued_id)
            if not answer.called:
                answer.callback(SPOOL_FULL if failure.check(SpoolFull) else SPOOL_UNAVAILABLE)

        writing.addCallback(written).addErrback(not_written)
        return answer.addTimeout(_WRITE_TIMEOUT, self._clock).addErrback(self._late, queued_id)

    def _late(self, failure: Failure, queued_id: str) -> IResult:
        failure.trap(TimeoutError)
        self._log.error("{queued_id}: the spool is not written in time", queued_id=queued_id)
        return SPOOL_UNAVAILABLE

    def _discard(self, claim: Claim) -> None:
        removing = self.outstanding.add(self._pool.defer(self._spool.remove, claim))
        removing.addErrback(self._log_failure, claim.queued_id)

    def _log_failure(self, failure: Failure, queued_id: str) -> None:
        if failure.check(SpoolError) is None:
            self._log.failure("{queued_id}: not spooled", failure, queued_id=queued_id)
            return
        self._log.error(
            "{queued_id}: not spooled: {cause}", queued_id=queued_id, cause=str(failure.value)
        )


class Mode(Protocol):
    """When a message is written."""

    def process(self, envelope: Envelope) -> Answer:
        """As :meth:`.IBackend.process`, to save a message."""


class Always:
    """
    Every message is written first, and its client answered; the chain has it after that.

    :param keeper: writes it.
    :param delivery: brings it to the chain.
    :param log: is told of each, for who wants to know.
    :param now: seconds of the epoch.
    """

    def __init__(
        self, keeper: Keeper, delivery: Delivery, log: Logger, now: Callable[[], float]
    ) -> None:
        self._now = now
        self._keeper = keeper
        self._delivery = delivery
        self._log = log

    def process(self, envelope: Envelope) -> Answer:
        """See :meth:`Mode.process`."""
        received_at = self._now()
        envelope.received_at = received_at

        def kept(claim: Claim) -> None:
            self._log.debug("{queued_id}: spooled", queued_id=claim.queued_id)
            self._delivery.bring(claim, envelope)

        return self._keeper.keep(Original(envelope, received_at), "", UNTRIED, kept)


class Fallback:
    """
    The chain has each message first; what it fails to store for a reason of the system's is
    written, and its client answered.

    :param conveyor: of the chain.
    :param keeper: writes what fails.
    :param settling: does what follows from a late end.
    :param delivery: brings what was written to the chain again.
    :param log: is told of each.
    :param now: seconds of the epoch.
    """

    def __init__(
        self,
        conveyor: Conveyor,
        keeper: Keeper,
        settling: Settling,
        delivery: Delivery,
        log: Logger,
        now: Callable[[], float],
    ) -> None:
        self._now = now
        self._conveyor = conveyor
        self._keeper = keeper
        self._settling = settling
        self._delivery = delivery
        self._log = log

    def process(self, envelope: Envelope) -> Answer:
        """See :meth:`Mode.process`."""
        received_at = self._now()
        original = Original(envelope, received_at)
        # So that a second run makes the same of it.
        envelope.received_at = received_at
        outcome = self._conveyor.submit(envelope)
        if isinstance(outcome, Deferred):
            return outcome.addCallback(self._answer, envelope, original)
        return self._answer(outcome, envelope, original)

    def _answer(self, result: IResult, envelope: Envelope, original: Original) -> Answer:
        if result.code == 250:
            self._delivery.has_succeeded()
            return result
        results = results_of(result, len(original.header.rcpt_to))
        failed = [place for place, each in enumerate(results) if is_trouble(each)]
        if not failed:
            return result
        if any(map(is_away, results)):
            self._delivery.has_failed()
        rest = [each for place, each in enumerate(results) if place not in failed]
        # Who speaks SMTP hears one answer: what is no yes has him send it to all again, or tell
        # the sender that nobody has it.
        if not envelope.lmtp and any(each.code != 250 for each in rest):
            return result
        envelope.stored_as = ""
        answer = self._keep(results[failed[0]], envelope, original.for_some(failed), result)
        if not rest:
            return answer
        return answer.addCallback(_merged, results, failed)

    def _keep(
        self, trouble: IResult, envelope: Envelope, original: Original, result: IResult
    ) -> Deferred[IResult]:
        late = self._conveyor.late_end(envelope) if result is TIMED_OUT else None
        reason = reason_of(trouble)
        due = self._settling.next_attempt(1, original.header.received_at)

        def kept(claim: Claim) -> None:
            self._log.info(
                "{queued_id}: spooled: {reason}", queued_id=claim.queued_id, reason=reason
            )
            if late is None:
                claim.release()
                self._delivery.wake_at(due)
            else:
                # Nobody may try it meanwhile: it may be stored yet.
                late.addCallback(self._end, claim)

        return self._keeper.keep(original, reason, due, kept)

    def _end(self, result: IResult, claim: Claim) -> None:
        settled = self._keeper.outstanding.add(self._settling.settle(claim, result))
        settled.addErrback(self._tell, claim)

    def _tell(self, failure: Failure, claim: Claim) -> None:
        self._log.failure("{queued_id}: not settled", failure, queued_id=claim.queued_id)


def _merged(kept: IResult, results: Any, failed: list[int]) -> IResult:
    """:returns: the answers of all, where those who failed are answered otherwise."""
    return RecipientResults(kept if place in failed else each for place, each in enumerate(results))

"""What becomes of a message of the spool when the chain has had it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator
from typing import Any, TypeVar

import msgspec
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.logger import Logger

from guerrilla_tw.backends.verdicts import Verdict, judge
from guerrilla_tw.backends.workers import WorkerPool
from guerrilla_tw.interfaces import IResult
from guerrilla_tw.spool.claims import Claim
from guerrilla_tw.spool.errors import SpoolError
from guerrilla_tw.spool.names import age_of
from guerrilla_tw.spool.schedule import backoff
from guerrilla_tw.spool.spool import Spool

T = TypeVar("T")
InlineCallbacks = Generator[Deferred[Any], Any, T]


class Settling:
    """
    Removes what is delivered, has the rest tried again, and gives up what is refused or too old.

    :param spool: where messages are.
    :param pool: threads for the disk.
    :param lifetime: seconds that delivery is tried.
    :param log: is told of each message.
    :param now: seconds of the epoch.
    """

    def __init__(
        self,
        spool: Spool,
        pool: WorkerPool,
        lifetime: float,
        log: Logger,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._spool = spool
        self._pool = pool
        self._lifetime = lifetime
        self._log = log
        self._now = now
        # Names of those that are delivered, and could not be removed.
        self._delivered: set[str] = set()

    def is_delivered(self, claim: Claim) -> bool:
        """:returns: whether there is nothing to do any more but to remove it."""
        return claim.name in self._delivered

    def next_attempt(self, attempts: int, since: float) -> float:
        """
        Say when a message is tried again.

        :param attempts: how often it has failed.
        :param since: when it is as old as its lifetime has begun.
        :returns: seconds of the epoch; not after the end of its lifetime, when it has a last try.
        """
        now = self._now()
        due = now + backoff(attempts, random.random)
        return min(due, max(now, since + self._lifetime))

    @inlineCallbacks
    def settle(
        self, claim: Claim, result: IResult
    ) -> InlineCallbacks[tuple[Verdict, float | None]]:
        """
        Do what follows from a result.

        :param claim: of the message; it is released.
        :param result: of the chain.
        :returns: a Deferred of what was made of the result, and when the message is tried again, in
            seconds of the epoch, None if it is not; it never fails for the disk's sake.
        """
        due: float | None = None
        verdict = judge(result, len(claim.header.rcpt_to))
        try:
            if not verdict.again and not verdict.never:
                self._tell_delivered(claim)
                yield self._remove(claim)
            else:
                due = yield self._go_on(claim, verdict)
        except SpoolError as error:
            self._tell_error(claim, error)
            due = self._now()
            verdict = msgspec.structs.replace(verdict, is_trouble=True)
        return verdict, due

    def _tell_delivered(self, claim: Claim) -> None:
        self._log.info(
            "{queued_id}: delivered from the spool after {seconds:.1f} seconds, "
            "{attempts} attempts had failed",
            queued_id=claim.queued_id,
            seconds=age_of(claim.name, self._now()),
            attempts=claim.progress.attempts,
        )

    @inlineCallbacks
    def remove_delivered(self, claim: Claim) -> InlineCallbacks[None]:
        """Remove what is delivered and could not be removed before."""
        try:
            yield self._remove(claim)
        except SpoolError as error:
            self._tell_error(claim, error)

    @inlineCallbacks
    def _remove(self, claim: Claim) -> InlineCallbacks[None]:
        # As long as it cannot be removed it is not delivered again by this process.
        self._delivered.add(claim.name)
        yield self._pool.defer(self._spool.remove, claim)
        self._delivered.discard(claim.name)

    def _tell_error(self, claim: Claim, error: SpoolError) -> None:
        claim.release()
        self._log.error(
            "{queued_id}: the spool cannot be written: {cause}",
            queued_id=claim.queued_id,
            cause=str(error),
        )

    @inlineCallbacks
    def _go_on(self, claim: Claim, verdict: Verdict) -> InlineCallbacks[float | None]:
        claim = yield self._divide(claim, verdict)
        if not verdict.again:
            yield self._bury(claim, verdict.refusal)
            return None
        progress = claim.progress
        if self._now() - progress.since >= self._lifetime:
            yield self._bury(claim, f"too old; {verdict.reason}")
            return None
        due: float = yield self._retry(claim, verdict.reason)
        self._log.debug(
            "{queued_id}: not delivered from the spool, tried again in {seconds:.1f} seconds: "
            "{reason}",
            queued_id=claim.queued_id,
            seconds=due - self._now(),
            reason=verdict.reason,
        )
        return due

    @inlineCallbacks
    def _divide(self, claim: Claim, verdict: Verdict) -> InlineCallbacks[Claim]:
        """:returns: the claim for those who are tried again, or, if there is none, are refused."""
        spool = self._spool
        try:
            if verdict.again and verdict.never:
                yield self._pool.defer(spool.bury_some, claim, verdict.never, verdict.refusal)
                self._tell_dead(claim, len(verdict.never), verdict.refusal)
            rest = verdict.again or verdict.never
            kept: Claim = yield self._pool.defer(spool.keep_some, claim, rest)
        except SpoolError as error:
            # Those who have the message will be given it again: not soon.
            yield self._retry(claim, str(error))
            raise
        return kept

    @inlineCallbacks
    def _retry(self, claim: Claim, reason: str) -> InlineCallbacks[float]:
        due = self.next_attempt(claim.progress.attempts + 1, claim.progress.since)
        yield self._pool.defer(self._spool.retry, claim, reason, due)
        return due

    @inlineCallbacks
    def _bury(self, claim: Claim, reason: str) -> InlineCallbacks[None]:
        yield self._pool.defer(self._spool.bury, claim, reason)
        self._tell_dead(claim, len(claim.header.rcpt_to), reason)

    def _tell_dead(self, claim: Claim, recipients: int, reason: str) -> None:
        self._log.error(
            "{queued_id}: given up for {recipients} recipients, and moved to dead/ in the spool: "
            "{reason}",
            queued_id=claim.queued_id,
            recipients=recipients,
            reason=reason,
        )

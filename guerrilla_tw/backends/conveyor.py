"""
The conveyor: envelopes wait, take a slot, go through the chain, free the slot.

Those that came first go first. But where more come than can be done, that would have each of them
wait until its time is nearly up, and then begun too late: done for nobody, since the client was
told to try again, and stored twice when he does. So whoever came last goes first as long as the
first has waited for long: what is done is done in time, and the others are told to try again.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from guerrilla_tw.backends.deadlines import Deadlines
from guerrilla_tw.backends.results import (
    FULL,
    NOT_RUNNING,
    PROCESSING_FAILED,
    TIMED_OUT,
    Result,
)
from guerrilla_tw.interfaces import IProcessor, IResult, Task
from guerrilla_tw.mail.envelope import Envelope

# Each client has one message in flight, so a server's max_clients bounds the conveyor long
# before this does. It is for embedders that feed a Gateway without clients.
_CAPACITY = 10_000
# Of the timeout: who has waited longer shows that more come than can be done.
_LONG_WAIT = 0.1

_TRY_AGAIN = "the client is told to try again"
_SPOOLED = "it is left to the spool"
_LATE_END = "{queued_id}: late end of work of which the client was told to try again: "
_LATE_END_OF_SPOOLED = "{queued_id}: late end of work on a message that is in the spool: "
_END_FOR_NOBODY = "{queued_id}: end of work whose client has left: "


class _Job:
    """One envelope whose answer was not known at once."""

    __slots__ = ("envelope", "has_timed_out", "reply")

    def __init__(self, envelope: Envelope, reply: Deferred[IResult]) -> None:
        self.envelope = envelope
        # Answers the client, once; None from then on, while the work may still go on.
        self.reply: Deferred[IResult] | None = reply
        # Whether the client was told to try again.
        self.has_timed_out = False


class Conveyor:
    """
    Brings envelopes to a chain, a bounded number at a time.

    :param processor: the chain.
    :param task: what the chain is asked to do.
    :param slots: how many envelopes are in the chain at once.
    :param timeout: seconds from :meth:`submit` to the answer, waiting included.
    :param clock: for the timeout.
    :param log: where failures and late ends go.
    :param spooled: whether the spool gets what fails.
    """

    def __init__(
        self,
        processor: IProcessor,
        task: Task,
        *,
        slots: int,
        timeout: float,
        clock: IReactorTime,
        log: Logger,
        spooled: bool = False,
    ) -> None:
        self._processor = processor
        self._task = task
        self._slots = slots
        self._timeout = timeout
        self._clock = clock
        self._log = log
        self._spooled = spooled
        self._fate = _SPOOLED if spooled else _TRY_AGAIN
        self._busy = 0
        self._advancing = False
        self._waiting: deque[_Job] = deque()
        # Those whose client waits.
        self._in_time = Deadlines(clock, self._time_out)
        # By queue id, what is in the chain still and was given up.
        self._late: dict[str, Deferred[IResult]] = {}
        self._drained: Deferred[None] | None = None

    def submit(self, envelope: Envelope) -> IResult | Deferred[IResult]:
        """
        Have an envelope processed.

        :returns: the result, at once if the chain knew it at once. A Deferred that is cancelled
            takes an envelope that still waits off the conveyor; work that has begun goes on.
        """
        envelope.answer_by = self._clock.seconds() + self._timeout
        if self._busy >= self._slots:
            if len(self._waiting) >= _CAPACITY:
                return FULL
            job = self._job(envelope)
            self._waiting.append(job)
            assert job.reply is not None
            return job.reply
        outcome = self._process(envelope)
        # The kind of most first, for Deferred is an ABC: to ask for that takes ten times as long.
        if type(outcome) is Result or not isinstance(outcome, Deferred):
            self._release()
            return outcome
        job = self._job(envelope)
        reply = job.reply
        assert reply is not None
        outcome.addBoth(self._finish, job)
        return reply

    def late_end(self, envelope: Envelope) -> Deferred[IResult] | None:
        """
        Ask about an envelope whose time was up. At once when that is told: later it may be over.

        :returns: a Deferred of what comes of it; None if it was not begun, and never will be.
        """
        return self._late.get(envelope.queued_id)

    def drain(self) -> Deferred[None]:
        """:returns: a Deferred that fires when nothing waits and nothing is in the chain."""
        # Nothing more is to come.
        self._in_time.close()
        if not self._busy and not self._waiting:
            return succeed(None)
        assert self._drained is None, "one drain at a time"
        self._drained = Deferred()
        return self._drained

    def refuse_waiting(self) -> None:
        """Answer whoever still waits that there is no work now; what is in the chain goes on."""
        while self._waiting:
            self._answer(NOT_RUNNING, self._waiting.popleft())

    def unfinished(self) -> int:
        """:returns: how many envelopes wait or are in the chain."""
        return self._busy + len(self._waiting)

    def _job(self, envelope: Envelope) -> _Job:
        reply: Deferred[IResult] = Deferred(lambda _: self._cancelled(job))
        job = _Job(envelope, reply)
        self._in_time.begin(job, self._timeout)
        return job

    def _process(self, envelope: Envelope) -> IResult | Deferred[IResult]:
        """Take a slot and run the chain. What its Deferred comes to is still to be judged."""
        self._busy += 1
        try:
            outcome = self._processor.process(envelope, self._task)
            if type(outcome) is Result or isinstance(outcome, Deferred):
                return outcome
            return _result(outcome)
        except BaseException:  # As in a Deferred: sys.exit() in a processor keeps no slot.
            return self._failed(Failure(), envelope)

    def _judge(self, outcome: object, envelope: Envelope) -> IResult:
        """:returns: the result of a chain; where it is none, that the client is to try again."""
        try:
            if isinstance(outcome, Failure):
                return self._failed(outcome, envelope)
            return _result(outcome)
        except BaseException:  # Even to be asked what it is may be too much for it.
            # No frame that a failure knows may hold it: the two would keep the message in memory.
            return self._failed(Failure(), envelope)

    def _failed(self, failure: Failure, envelope: Envelope) -> IResult:
        self._log.failure(
            "{queued_id}: a processor failed to {task}; {fate}",
            failure,
            queued_id=envelope.queued_id,
            task=self._task.value,
            fate=self._fate,
        )
        return PROCESSING_FAILED

    def _finish(self, outcome: object, job: _Job) -> None:
        # One callback for all that is to be done: each costs as much as all that is done in it.
        try:
            result = outcome if type(outcome) is Result else self._judge(outcome, job.envelope)
            self._answer(result, job)
        finally:
            self._release()

    def _answer(self, result: IResult, job: _Job) -> None:
        if job.reply is not None:
            self._untimed(job).callback(result)
            return
        # What is stored after all will be stored twice, which an operator can prevent. Clients
        # that do not wait for an answer are no concern of his.
        is_late = job.has_timed_out
        late_end = _LATE_END_OF_SPOOLED if self._spooled else _LATE_END
        self._log.emit(
            LogLevel.warn if is_late and not self._spooled else LogLevel.info,
            (late_end if is_late else _END_FOR_NOBODY) + "{code} {enhanced!r} {text!r}",
            queued_id=job.envelope.queued_id,
            code=result.code,
            enhanced=result.enhanced,
            text=result.text,
        )
        late = self._late.pop(job.envelope.queued_id, None)
        if late is not None:
            late.callback(result)

    def _release(self) -> None:
        self._busy -= 1
        if self._waiting and not self._advancing:
            self._advance()
        if self._drained is not None and not self._busy and not self._waiting:
            drained, self._drained = self._drained, None
            drained.callback(None)

    def _advance(self) -> None:
        # One loop for all: one for each answer, the one within the other, would overflow the stack.
        self._advancing = True
        try:
            while self._waiting and self._busy < self._slots:
                job = self._next()
                outcome = self._process(job.envelope)
                if isinstance(outcome, Deferred):
                    outcome.addBoth(self._finish, job)
                else:
                    self._finish(outcome, job)
        finally:
            self._advancing = False

    def _next(self) -> _Job:
        left = self._waiting[0].envelope.answer_by - self._clock.seconds()
        is_long = left < (1 - _LONG_WAIT) * self._timeout
        return self._waiting.pop() if is_long else self._waiting.popleft()

    def _time_out(self, job: _Job) -> None:
        has_begun = job not in self._waiting
        reply = self._abandon(job)
        job.has_timed_out = True
        if has_begun:
            self._late[job.envelope.queued_id] = Deferred()
        self._log.warn(
            "{queued_id}: no result after {timeout} seconds; {fate}",
            queued_id=job.envelope.queued_id,
            timeout=self._timeout,
            fate=self._fate,
        )
        reply.callback(TIMED_OUT)

    def _cancelled(self, job: _Job) -> None:
        self._abandon(job).errback(CancelledError())

    def _abandon(self, job: _Job) -> Deferred[IResult]:
        """Nobody waits for this job any more: it goes off the conveyor if it has not begun."""
        with suppress(ValueError):  # It has begun then, and ends by itself.
            self._waiting.remove(job)
        return self._untimed(job)

    def _untimed(self, job: _Job) -> Deferred[IResult]:
        """:returns: what answers the client of a job; nothing else ever will."""
        reply, job.reply = job.reply, None
        assert reply is not None
        self._in_time.end(job)
        return reply


def _result(outcome: object) -> IResult:
    """:raises TypeError: it is none."""
    if not (isinstance(outcome, Result) or IResult.providedBy(outcome)):
        # Not its repr, which may be the whole message.
        raise TypeError(f"a processor answered with {type(outcome).__name__}, not a result")
    result: IResult = outcome
    return result

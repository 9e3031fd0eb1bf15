"""Batches: messages of several workers that one step takes together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from guerrilla_tw.backends.chain import process_with_deferred, shutdown_with
from guerrilla_tw.backends.registry import Decorator
from guerrilla_tw.backends.results import NOT_RUNNING
from guerrilla_tw.interfaces import IBackendService, IResult, Task
from guerrilla_tw.mail.envelope import Envelope

T = TypeVar("T")
# A list of its own for each batch, so that a step may have either type.
BatchStep = Callable[[list[Envelope]], Sequence["IResult | None"]]


def process_batches_with(
    svc: IBackendService, step: BatchStep, *, size: int, wait: float
) -> Decorator:
    """
    Make a decorator of a function that takes several messages at once, as
    :func:`.process_with` does of one that takes one.

    What the workers bring at the same time is gathered. A batch goes to the thread pool

    - when it is full. Since a worker has one message at a time, a batch is full with as many
      messages as there are workers, however large ``size`` is;
    - when there are as many messages in it as were here at once lately, in the pool and waiting:
      then no more are to be expected. What is expected grows when more come;
    - ``wait`` after its first message. Then no more are expected than have come.

    So a message that comes alone does not wait, a few clients are not kept waiting for more that do
    not exist, and under load batches are as large as they can be. Of the simpler rules, always to
    wait until a batch is full takes several times as long with few clients; to send a batch
    whenever none is in the pool makes small batches with many. Several batches may be in the pool
    at once. ``python -m bench batching`` measures what it all brings.

    A message has its answer when the step has returned, and not before. Each counts for itself: a
    batch has no result of its own. Only if the step raises, or does not return a result for each
    message, all of the batch are told to try again.

    Call it after ``svc.add_shutdowner`` for what the step needs, so that no batch is begun when
    that is closed.

    :param svc: what the processor's constructor was given.
    :param step: ``step(envelopes)`` is given a list, and returns for each message, in order, None
        to go on with the chain or a result to end it. It runs in the thread pool, several times at
        once, so it keeps no state but what is safe for that. It is asked for ``Task.SAVE_MAIL``
        only.
    :param size: messages of a batch at most.
    :param wait: seconds that a message waits for others at most.
    """
    batcher = _Batcher(svc, step, min(size, svc.workers), wait)
    svc.add_shutdowner(shutdown_with(batcher.close))

    def submit(envelope: Envelope, task: Task) -> Deferred[IResult | None] | None:
        return batcher.submit(envelope) if task is Task.SAVE_MAIL else None

    return process_with_deferred(submit)


class _Batcher:
    """
    Gathers messages, and hands them to the pool batch by batch. Lives on the reactor's thread.

    :param svc: of the processor.
    :param step: see :func:`process_batches_with`.
    :param full: how many messages are not kept waiting any more.
    :param wait: seconds that fewer than these are kept waiting.
    """

    def __init__(self, svc: IBackendService, step: BatchStep, full: int, wait: float) -> None:
        self._svc = svc
        self._step = step
        self._full = full
        self._wait = wait
        # In the order in which they came.
        self._waiting: dict[Deferred[IResult | None], Envelope] = {}
        self._timer: IDelayedCall | None = None
        # How many messages, beside those that wait.
        self._in_pool = 0
        self._expected = 1
        self._closed = False

    def submit(self, envelope: Envelope) -> Deferred[IResult | None]:
        """
        Have a message in the next batch.

        :returns: what the step returns for it. If it is cancelled while the message waits, the
            message is in no batch; what the step has begun goes on.
        """
        if self._closed:
            return succeed(NOT_RUNNING)
        answer: Deferred[IResult | None] = Deferred(self._withdraw)
        self._waiting[answer] = envelope
        self._expected = max(self._expected, len(self._waiting) + self._in_pool)
        if len(self._waiting) >= min(self._full, self._expected):
            self._send()
        elif self._timer is None:
            self._timer = self._svc.reactor.callLater(self._wait, self._time_out)
        return answer

    def close(self) -> None:
        """
        Refuse what waits, and what still comes.

        The Gateway lets work end before it closes processors, so there is something only if that
        took too long. The threads are about to end, and would silently drop what they are given.
        """
        self._closed = True
        for answer in self._take():
            answer.callback(NOT_RUNNING)

    def _time_out(self) -> None:
        self._timer = None
        self._expected = len(self._waiting)
        self._send()

    def _send(self) -> None:
        batch = self._take()
        self._in_pool += len(batch)
        work = self._svc.defer_to_worker(_run, self._step, list(batch.values()))
        # First, since others may come while the answers are given.
        work.addBoth(self._come_back, len(batch))
        work.addCallbacks(_answer, _fail, (tuple(batch),), errbackArgs=(tuple(batch),))

    def _come_back(self, outcome: T, count: int) -> T:
        self._in_pool -= count
        return outcome

    def _take(self) -> dict[Deferred[IResult | None], Envelope]:
        batch, self._waiting = self._waiting, {}
        self._stop_timer()
        return batch

    def _withdraw(self, answer: Deferred[IResult | None]) -> None:
        self._waiting.pop(answer, None)
        if not self._waiting:
            self._stop_timer()

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()


def _run(step: BatchStep, envelopes: list[Envelope]) -> Sequence[IResult | None]:
    results = step(envelopes)
    if len(results) != len(envelopes):
        raise ValueError(f"{len(results)} results for {len(envelopes)} messages")
    return results


def _answer(results: Sequence[IResult | None], answers: Sequence[Deferred[IResult | None]]) -> None:
    for answer, result in zip(answers, results, strict=True):
        if not answer.called:  # Else it was cancelled.
            answer.callback(result)


def _fail(failure: Failure, answers: Sequence[Deferred[IResult | None]]) -> None:
    for answer in answers:
        if not answer.called:
            answer.errback(failure)

"""Batches: who is in which, when it goes to the pool, and who gets which answer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from guerrilla_tw.backends.batching import process_batches_with
from guerrilla_tw.backends.chain import DefaultProcessor, shutdown_with
from guerrilla_tw.backends.gateway import WORK_TIMEOUT, Gateway
from guerrilla_tw.backends.registry import Registry
from guerrilla_tw.backends.results import (
    NOT_RUNNING,
    PROCESSING_FAILED,
    RECIPIENT_OK,
    TIMED_OUT,
    queued,
)
from guerrilla_tw.backends.service import BackendService
from guerrilla_tw.backends.workers import WorkerPool
from guerrilla_tw.interfaces import IBackendService, IProcessor, IResult, Task
from guerrilla_tw.mail.envelope import Envelope
from tests.backends.fakes import REFUSED, Events, FakeReactor, SteppedPool, make_envelope

# Seconds; a power of two, so that its quarters add up.
WAIT = 2**-8


class Store:
    """A step that writes down its batches. By default it says yes to all."""

    def __init__(self) -> None:
        self.batches: list[list[Envelope]] = []
        self.refused: list[Envelope] = []
        # What to return or to raise instead.
        self.returns: Any = None
        self.raises: BaseException | None = None

    def save(self, envelopes: Sequence[Envelope]) -> Sequence[IResult | None]:
        self.batches.append(list(envelopes))
        if self.raises is not None:
            raise self.raises
        if self.returns is not None:
            results: Sequence[IResult | None] = self.returns
            return results
        return [REFUSED if envelope in self.refused else None for envelope in envelopes]


class BatchTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.store = Store()
        self.start()
        self.expect_others(3)

    def start(self, *, workers: int = 8, size: int = 3) -> None:
        self.pool = SteppedPool(self.reactor, workers, "save_process")
        self.svc = BackendService(
            "store", {}, 30.0, self.pool, Events().logger(), self.reactor, set()
        )
        decorate = process_batches_with(self.svc, self.store.save, size=size, wait=WAIT)
        self.chain = decorate(DefaultProcessor())

    def expect_others(self, full: int) -> None:
        """Let it know of a full batch and one message more; they are done then."""
        _, answers = self.submit_all(1 + full)
        self.pool.step()
        self.pool.step()
        for answer in answers:
            self.assertEqual(self.successResultOf(answer).code, 250)
        self.pool.entered = 0
        self.store.batches.clear()

    def submit(self, envelope: Envelope) -> Deferred[IResult]:
        answer = self.chain.process(envelope, Task.SAVE_MAIL)
        assert isinstance(answer, Deferred)
        return answer

    def submit_all(self, count: int) -> tuple[list[Envelope], list[Deferred[IResult]]]:
        envelopes = [make_envelope() for _ in range(count)]
        return envelopes, [self.submit(envelope) for envelope in envelopes]

    def submit_after(self, envelope: Envelope, _: IResult) -> Deferred[IResult]:
        return self.submit(envelope)

    def assert_queued(
        self, envelopes: Sequence[Envelope], answers: Sequence[Deferred[IResult]]
    ) -> None:
        for envelope, answer in zip(envelopes, answers, strict=True):
            self.assertEqual(self.successResultOf(answer), queued(envelope.queued_id))

    def assert_quiet(self) -> None:
        """No timer is left."""
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class GatheringTests(BatchTestCase):
    def test_full_batch_goes_to_the_pool_at_once_and_in_order(self) -> None:
        envelopes, answers = self.submit_all(3)
        self.assertEqual(self.pool.entered, 1)
        self.assert_quiet()
        for answer in answers:
            self.assertNoResult(answer)
        self.pool.step()
        self.assertEqual(self.store.batches, [envelopes])
        self.assert_queued(envelopes, answers)

    def test_others_go_when_the_first_of_them_has_waited_long_enough(self) -> None:
        first = self.submit(make_envelope())
        self.reactor.advance(WAIT * 0.75)
        second = self.submit(make_envelope())
        self.assertEqual(self.pool.entered, 0)
        self.reactor.advance(WAIT * 0.25)
        self.assertEqual(self.pool.entered, 1)
        self.assert_quiet()
        self.pool.step()
        self.assertEqual([len(batch) for batch in self.store.batches], [2])
        self.assertEqual(self.successResultOf(first).code, 250)
        self.assertEqual(self.successResultOf(second).code, 250)

    def test_wait_begins_anew_with_each_batch(self) -> None:
        self.submit_all(2)
        self.reactor.advance(WAIT * 0.75)
        self.submit_all(2)
        self.assertEqual(self.pool.entered, 1)
        self.reactor.advance(WAIT * 0.75)
        self.assertEqual(self.pool.entered, 1)
        self.reactor.advance(WAIT * 0.25)
        self.assertEqual(self.pool.entered, 2)

    def test_batch_that_all_workers_are_in_is_full(self) -> None:
        self.start(workers=2, size=50)
        self.expect_others(2)
        self.submit_all(2)
        self.assertEqual(self.pool.entered, 1)
        self.assert_quiet()

    def test_message_of_the_only_worker_does_not_wait(self) -> None:
        self.start(workers=1, size=50)
        for entered in (1, 2):
            self.submit_all(1)
            self.assertEqual(self.pool.entered, entered)
            self.assert_quiet()

    def test_batch_does_not_wait_for_the_one_before(self) -> None:
        earlier, earlier_answers = self.submit_all(3)
        later, later_answers = self.submit_all(3)
        self.assertEqual(self.pool.entered, 2)
        self.pool.step()
        self.assert_queued(earlier, earlier_answers)
        for answer in later_answers:
            self.assertNoResult(answer)
        self.pool.step()
        self.assert_queued(later, later_answers)
        self.assertEqual(self.store.batches, [earlier, later])

    def test_messages_that_come_while_a_batch_is_answered_are_in_the_next(self) -> None:
        # As clients do, which send the next message at the answer to the one before.
        _, answers = self.submit_all(3)
        later = [make_envelope() for _ in range(3)]
        for answer, envelope in zip(answers, later, strict=True):
            answer.addCallback(partial(self.submit_after, envelope))
        self.pool.step()
        self.pool.step()
        self.assertEqual(self.store.batches[1], later)
        self.assert_queued(later, answers)

    def test_recipient_checks_pass_by(self) -> None:
        verifyObject(IProcessor, self.chain)
        answer = self.chain.process(make_envelope(), Task.VALIDATE_RCPT)
        self.assertEqual(answer, RECIPIENT_OK)
        self.assertEqual(self.pool.entered, 0)
        self.assert_quiet()


class ExpectationTests(BatchTestCase):
    """Of a batch that is not full, it is found out whether to wait for more makes sense."""

    def setUp(self) -> None:
        super().setUp()
        self.start(size=50)

    def submit_one(self, *, waits: bool) -> None:
        entered = self.pool.entered
        self.submit_all(1)
        self.assertEqual(self.pool.entered, entered + (not waits))
        self.assertEqual(len(self.reactor.getDelayedCalls()), waits)

    def test_message_that_comes_alone_does_not_wait(self) -> None:
        for _ in range(3):
            self.submit_one(waits=False)
            self.pool.step()

    def test_as_many_as_were_there_before_are_waited_for_and_no_more(self) -> None:
        # One is in the pool, and another waits: so there are two clients.
        self.submit_one(waits=False)
        self.submit_one(waits=True)
        self.pool.step()
        self.submit_one(waits=False)
        self.pool.step()
        for _ in range(3):
            self.submit_one(waits=True)
            self.submit_one(waits=False)
            self.pool.step()
        self.assertEqual([len(batch) for batch in self.store.batches], [1, 2, 2, 2, 2])

    def test_who_does_not_come_is_waited_for_once(self) -> None:
        self.submit_one(waits=False)
        self.submit_one(waits=True)
        self.pool.step()
        self.reactor.advance(WAIT)
        self.pool.step()
        self.submit_one(waits=False)
        self.pool.step()
        self.assertEqual([len(batch) for batch in self.store.batches], [1, 1, 1])

    def test_batch_that_failed_is_in_the_pool_no_more(self) -> None:
        self.store.raises = OSError("no disk")
        for _ in range(3):
            _, (answer,) = self.submit_all(1)
            self.pool.step()
            self.failureResultOf(answer, OSError)
            self.assert_quiet()


class AnswerTests(BatchTestCase):
    def test_no_to_one_message_is_no_other_ones(self) -> None:
        envelopes, answers = self.submit_all(3)
        self.store.refused = [envelopes[1]]
        self.pool.step()
        self.assertEqual(self.successResultOf(answers[1]), REFUSED)
        self.assert_queued(envelopes[::2], answers[::2])

    def test_step_that_raises_fails_its_batch_and_no_other(self) -> None:
        self.store.raises = OSError("no disk")
        _, answers = self.submit_all(3)
        self.pool.step()
        for answer in answers:
            self.assertEqual(str(self.failureResultOf(answer, OSError).value), "no disk")
        self.store.raises = None
        envelopes, answers = self.submit_all(3)
        self.pool.step()
        self.assert_queued(envelopes, answers)

    def test_wrong_number_of_results_fails_the_batch(self) -> None:
        for results in ([], [None, None], [None] * 4):
            self.store.returns = results
            _, answers = self.submit_all(3)
            self.pool.step()
            for answer in answers:
                error = self.failureResultOf(answer, ValueError)
                self.assertEqual(str(error.value), f"{len(results)} results for 3 messages")

    def test_cancelled_message_that_waits_is_in_no_batch(self) -> None:
        envelopes, answers = self.submit_all(2)
        answers[0].cancel()
        self.failureResultOf(answers[0], CancelledError)
        self.reactor.advance(WAIT)
        self.pool.step()
        self.assertEqual(self.store.batches, [envelopes[1:]])
        self.assert_queued(envelopes[1:], answers[1:])

    def test_batch_that_only_cancelled_messages_were_in_is_none(self) -> None:
        _, answers = self.submit_all(2)
        for answer in answers:
            answer.cancel()
            self.failureResultOf(answer, CancelledError)
        self.assert_quiet()
        self.submit_all(3)
        self.pool.step()
        self.assertEqual([len(batch) for batch in self.store.batches], [3])

    def test_cancelled_message_in_the_pool_hinders_no_other(self) -> None:
        for failing in (None, OSError("no disk")):
            self.store.raises = failing
            _, answers = self.submit_all(3)
            answers[0].cancel()
            self.failureResultOf(answers[0], CancelledError)
            self.pool.step()
            for answer in answers[1:]:
                if failing:
                    self.failureResultOf(answer, OSError)
                else:
                    self.assertEqual(self.successResultOf(answer).code, 250)


class ShutdownTests(BatchTestCase):
    def test_what_waits_at_the_end_is_told_so_and_not_begun(self) -> None:
        _, answers = self.submit_all(2)
        self.svc.shutdowners[0].shutdown()
        for answer in answers:
            self.assertEqual(self.successResultOf(answer), NOT_RUNNING)
        self.assert_quiet()
        self.assertEqual(self.pool.entered, 0)

    def test_what_comes_after_the_end_is_told_so(self) -> None:
        self.svc.shutdowners[0].shutdown()
        _, answers = self.submit_all(3)
        for answer in answers:
            self.assertEqual(self.successResultOf(answer), NOT_RUNNING)
        self.assert_quiet()
        self.assertEqual(self.pool.entered, 0)

    def test_batch_in_the_pool_ends_after_the_end(self) -> None:
        envelopes, answers = self.submit_all(3)
        self.svc.shutdowners[0].shutdown()
        self.pool.step()
        self.assert_queued(envelopes, answers)


class GatewayTests(SynchronousTestCase):
    """The same in a Gateway, whose slots, timeouts and shutdown it has to get on with."""

    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.store = Store()
        self.events = Events()
        self.closed: list[int] = []
        self.pools: dict[str, SteppedPool] = {}
        registry = Registry({})
        registry.add("store", self.construct)
        self.gateway = Gateway(registry, self.reactor, self.events.logger(), self.make_pool)

    def construct(self, svc: IBackendService) -> Any:
        # Notes how many batches there had been when the store was closed.
        svc.add_shutdowner(shutdown_with(lambda: self.closed.append(len(self.store.batches))))
        return process_batches_with(svc, self.store.save, size=50, wait=WAIT)

    def make_pool(self, reactor: Any, size: int, name: str) -> WorkerPool:
        self.pools[name] = SteppedPool(reactor, size, name)
        return self.pools[name]

    def start(self, **settings: object) -> SteppedPool:
        config = {"save_process": "Store", "save_workers_size": 4, **settings}
        self.successResultOf(self.gateway.initialize(config))
        self.gateway.start()
        return self.pools["save_process"]

    def submit_all(self, count: int) -> list[Deferred[IResult]]:
        answers = []
        for _ in range(count):
            answer = self.gateway.process(make_envelope(), Task.SAVE_MAIL)
            assert isinstance(answer, Deferred)
            answers.append(answer)
        return answers

    def test_more_messages_than_workers_go_in_batches_of_as_many(self) -> None:
        pool = self.start()
        answers = self.submit_all(10)
        for _ in range(3):
            pool.step()
        self.reactor.advance(WAIT)
        pool.step()
        # The first comes alone; then each slot that is free is taken again at once.
        self.assertEqual([len(batch) for batch in self.store.batches], [1, 4, 4, 1])
        self.assertEqual([self.successResultOf(answer).code for answer in answers], [250] * 10)

    def test_step_that_raises_is_told_451_and_logged_for_each_message(self) -> None:
        pool = self.start()
        self.store.raises = OSError("no disk")
        answers = self.submit_all(4)
        self.reactor.advance(WAIT)
        pool.step()
        pool.step()
        for answer in answers:
            self.assertEqual(self.successResultOf(answer), PROCESSING_FAILED)
        self.assertEqual([len(batch) for batch in self.store.batches], [1, 3])
        self.assertEqual(len(self.events.failures()), 4)

    def test_batch_that_takes_too_long(self) -> None:
        pool = self.start(gw_save_timeout="1s")
        answers = self.submit_all(4)
        self.reactor.advance(WAIT)
        self.reactor.advance(1)
        for answer in answers:
            self.assertEqual(self.successResultOf(answer), TIMED_OUT)
        # The slots are those of the hanging batches until they end.
        (later,) = self.submit_all(1)
        self.assertEqual(pool.entered, 2)
        pool.step()
        self.reactor.advance(WAIT)
        pool.step()
        pool.step()
        self.assertEqual(self.successResultOf(later).code, 250)

    def test_shutdown_waits_for_what_waits(self) -> None:
        pool = self.start()
        answers = self.submit_all(2)
        pool.step()
        done = self.gateway.shutdown()
        self.assertNoResult(done)
        self.reactor.advance(WAIT)
        pool.step()
        self.assertEqual([self.successResultOf(answer).code for answer in answers], [250] * 2)
        self.successResultOf(done)
        self.assertEqual(self.closed, [2])

    def test_shutdown_that_waited_too_long(self) -> None:
        pool = self.start(gw_save_timeout="1h")
        (hanging,) = self.submit_all(1)
        done = self.gateway.shutdown()
        self.reactor.advance(WORK_TIMEOUT)
        self.successResultOf(done)
        self.assertEqual(self.closed, [0])
        pool.step()
        self.assertEqual(self.successResultOf(hanging).code, 250)

"""The conveyor: order, slots, time limits, and what becomes of a processor that misbehaves."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.logger import LogLevel
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from guerrilla_tw.backends import conveyor
from guerrilla_tw.backends.conveyor import Conveyor
from guerrilla_tw.backends.results import FULL, NOT_RUNNING, PROCESSING_FAILED, TIMED_OUT
from guerrilla_tw.interfaces import IResult, Task
from guerrilla_tw.mail.body import BodyStorage
from guerrilla_tw.mail.envelope import Envelope
from tests.backends.fakes import (
    REFUSED,
    SAVED,
    Events,
    FakeReactor,
    FunctionProcessor,
    make_envelope,
)

TIMEOUT = 30.0


def _return(value: object, envelope: Envelope, task: Task) -> object:
    return value


class ConveyorTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = FakeReactor()
        self.events = Events()
        # What went into the chain, in order, and the work that the test is to end.
        self.begun: list[Envelope] = []
        self.works: list[Deferred[IResult]] = []
        self.conveyor = self.make_conveyor()

    def assert_no_timer(self) -> None:
        """Nothing is left to be done in time, nor will be."""
        self.conveyor.drain()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def make_conveyor(
        self, slots: int = 1, answer: Callable[[Envelope, Task], Any] | None = None
    ) -> Conveyor:
        """:param answer: of the chain; by default a Deferred that is kept in ``works``."""

        def process(envelope: Envelope, task: Task) -> Any:
            self.begun.append(envelope)
            if answer is not None:
                return answer(envelope, task)
            self.works.append(Deferred())
            return self.works[-1]

        return Conveyor(
            FunctionProcessor(process),
            Task.SAVE_MAIL,
            slots=slots,
            timeout=TIMEOUT,
            clock=self.clock,
            log=self.events.logger(),
        )

    def submit(self, envelope: Envelope | None = None) -> Deferred[IResult]:
        """Submit what is not answered at once."""
        reply = self.conveyor.submit(envelope or make_envelope())
        assert isinstance(reply, Deferred)
        return reply

    def submit_many(self, count: int) -> tuple[list[Envelope], list[Deferred[IResult]]]:
        envelopes = [make_envelope() for _ in range(count)]
        return envelopes, [self.submit(envelope) for envelope in envelopes]


class Answers(ConveyorTestCase):
    def test_answer_known_at_once_is_given_at_once(self) -> None:
        self.conveyor = self.make_conveyor(answer=lambda envelope, task: REFUSED)
        for _ in range(3):
            self.assertIs(self.conveyor.submit(make_envelope()), REFUSED)
        self.assert_no_timer()

    def test_answer_comes_when_the_work_ends(self) -> None:
        reply = self.submit()
        self.assertNoResult(reply)
        self.works[0].callback(SAVED)
        self.assertIs(self.successResultOf(reply), SAVED)
        self.assert_no_timer()
        self.assertEqual(self.events, [])

    def test_answer_of_a_deferred_that_has_fired(self) -> None:
        self.conveyor = self.make_conveyor(answer=lambda envelope, task: succeed(SAVED))
        self.assertIs(self.successResultOf(self.submit()), SAVED)
        self.assert_no_timer()
        self.assertEqual(self.conveyor.unfinished(), 0)

    def test_chain_is_given_envelope_and_task(self) -> None:
        given: list[tuple[Envelope, Task]] = []

        def answer(envelope: Envelope, task: Task) -> IResult:
            given.append((envelope, task))
            return SAVED

        self.conveyor = self.make_conveyor(answer=answer)
        envelope = make_envelope()
        self.conveyor.submit(envelope)
        self.assertEqual(given, [(envelope, Task.SAVE_MAIL)])


class Slots(ConveyorTestCase):
    def test_slots_bound_what_is_in_the_chain(self) -> None:
        self.conveyor = self.make_conveyor(slots=2)
        envelopes, replies = self.submit_many(4)
        self.assertEqual(self.begun, envelopes[:2])
        self.assertEqual(self.conveyor.unfinished(), 4)
        self.works[1].callback(SAVED)
        self.assertEqual(self.begun, envelopes[:3])
        self.assertNoResult(replies[2])
        self.works[2].callback(REFUSED)
        self.assertIs(self.successResultOf(replies[2]), REFUSED)
        self.assertEqual(self.begun, envelopes)

    def test_first_come_first_served(self) -> None:
        envelopes, replies = self.submit_many(5)
        for index, reply in enumerate(replies):
            self.assertEqual(self.begun, envelopes[: index + 1])
            self.works[index].callback(SAVED)
            self.assertIs(self.successResultOf(reply), SAVED)
        self.assertEqual(self.conveyor.unfinished(), 0)

    def test_last_come_first_served_where_more_come_than_can_be_done(self) -> None:
        """What is begun is done in time, and not for a client who was told to try again."""
        (in_chain, _), (_, waiting) = self.submit_many(2)
        self.clock.advance(TIMEOUT - 0.01)
        (newcomer,), (reply,) = self.submit_many(1)
        self.works[0].callback(SAVED)
        self.assertEqual(self.begun, [in_chain, newcomer])
        self.clock.advance(0.01)
        self.assertIs(self.successResultOf(waiting), TIMED_OUT)
        self.works[1].callback(SAVED)
        self.assertIs(self.successResultOf(reply), SAVED)
        self.assertEqual(self.begun, [in_chain, newcomer])

    def test_answers_at_once_to_those_that_waited(self) -> None:
        first: Deferred[IResult] = Deferred()
        answers: list[Any] = [first, SAVED, succeed(SAVED), REFUSED]
        self.conveyor = self.make_conveyor(answer=lambda envelope, task: answers.pop(0))
        envelopes, replies = self.submit_many(4)
        self.assertEqual(self.begun, envelopes[:1])
        first.callback(SAVED)
        self.assertEqual(self.begun, envelopes)
        results = [self.successResultOf(reply) for reply in replies]
        self.assertEqual(results, [SAVED, SAVED, SAVED, REFUSED])
        self.assert_no_timer()

    def assert_any_number_can_have_waited(self, answer: Callable[[], Any]) -> None:
        first: Deferred[IResult] = Deferred()
        self.conveyor = self.make_conveyor(
            answer=lambda envelope, task: answer() if len(self.begun) > 1 else first
        )
        _, replies = self.submit_many(3000)
        first.callback(SAVED)
        self.assertEqual({self.successResultOf(reply) for reply in replies}, {SAVED})
        self.assertEqual(self.conveyor.unfinished(), 0)

    def test_answering_many_at_once_does_not_deepen_the_stack(self) -> None:
        self.assert_any_number_can_have_waited(lambda: SAVED)

    def test_answering_many_by_deferreds_does_not_deepen_the_stack(self) -> None:
        self.assert_any_number_can_have_waited(lambda: succeed(SAVED))

    def test_client_that_goes_on_at_once_waits_behind_the_others(self) -> None:
        """A pipelining client sends its next recipient from within the answer to the last."""
        first: Deferred[IResult] = Deferred()
        self.conveyor = self.make_conveyor(
            answer=lambda envelope, task: SAVED if len(self.begun) > 1 else first
        )
        envelopes, replies = self.submit_many(4)
        follow_up = make_envelope()
        answers: list[Any] = []
        replies[1].addCallback(lambda _: answers.append(self.conveyor.submit(follow_up)))
        first.callback(SAVED)
        self.assertEqual(self.begun, [*envelopes, follow_up])
        self.assertIs(self.successResultOf(answers[0]), SAVED)

    def test_clients_that_go_on_at_once_do_not_deepen_the_stack(self) -> None:
        first: Deferred[IResult] = Deferred()
        self.conveyor = self.make_conveyor(
            answer=lambda envelope, task: SAVED if len(self.begun) > 1 else first
        )
        _, replies = self.submit_many(2000)
        for reply in replies:
            reply.addCallback(lambda _: self.conveyor.submit(make_envelope()))
        first.callback(SAVED)
        self.assertEqual({self.successResultOf(reply) for reply in replies}, {SAVED})
        self.assertEqual(len(self.begun), 4000)

    def test_full(self) -> None:
        self.patch(conveyor, "_CAPACITY", 2)
        self.submit_many(3)
        self.assertIs(self.conveyor.submit(make_envelope()), FULL)
        self.assertEqual(self.conveyor.unfinished(), 3)
        self.works[0].callback(SAVED)
        late = self.submit()
        for work in range(1, 4):
            self.works[work].callback(SAVED)
        self.assertIs(self.successResultOf(late), SAVED)
        self.assertEqual(len(self.begun), 4)


class Timeouts(ConveyorTestCase):
    def test_slow_work_is_answered_in_time_and_keeps_its_slot(self) -> None:
        envelope = make_envelope()
        reply = self.submit(envelope)
        self.clock.advance(TIMEOUT - 1)
        self.assertNoResult(reply)
        self.clock.advance(1)
        self.assertIs(self.successResultOf(reply), TIMED_OUT)
        self.assertEqual(
            self.events.texts(),
            [
                f"{envelope.queued_id}: no result after 30.0 seconds; "
                "the client is told to try again"
            ],
        )
        waiting = self.submit()
        self.assertEqual(self.begun, [envelope])
        self.works[0].callback(SAVED)
        self.assertEqual(len(self.begun), 2)
        self.assertNoResult(waiting)

    def test_late_end_is_logged_and_goes_to_nobody(self) -> None:
        envelope = make_envelope()
        reply = self.submit(envelope)
        self.clock.advance(TIMEOUT)
        self.assertIs(self.successResultOf(reply), TIMED_OUT)
        self.works[0].callback(REFUSED)
        self.assertEqual(
            self.events.texts()[1:],
            [
                f"{envelope.queued_id}: late end of work of which the client was told to try "
                "again: 554 '5.7.1' 'refused'"
            ],
        )
        self.assertEqual(self.events[1]["log_level"], LogLevel.warn)

    def test_late_failure_is_logged_with_its_traceback(self) -> None:
        envelope = make_envelope()
        self.submit(envelope)
        self.clock.advance(TIMEOUT)
        self.works[0].errback(ZeroDivisionError("late"))
        self.assertEqual(self.events.failures()[0].type, ZeroDivisionError)
        self.assertTrue(all(envelope.queued_id in text for text in self.events.texts()))
        self.assertEqual(self.conveyor.unfinished(), 0)

    def test_waiting_counts(self) -> None:
        self.submit()
        self.clock.advance(TIMEOUT - 10)
        second = self.submit()
        self.clock.advance(9)
        self.works[0].callback(SAVED)
        self.assertEqual(len(self.begun), 2)
        self.clock.advance(TIMEOUT - 9 - 1)
        self.assertNoResult(second)
        self.clock.advance(1)
        self.assertIs(self.successResultOf(second), TIMED_OUT)

    def test_work_not_begun_when_its_time_is_up_never_begins(self) -> None:
        first, second, third = (make_envelope() for _ in range(3))
        self.submit(first)
        self.clock.advance(1)
        timed_out = self.submit(second)
        self.clock.advance(TIMEOUT - 1)
        waiting = self.submit(third)
        self.clock.advance(1)
        self.assertIs(self.successResultOf(timed_out), TIMED_OUT)
        self.assertEqual(self.conveyor.unfinished(), 2)
        self.works[0].callback(SAVED)
        self.assertEqual(self.begun, [first, third])
        self.works[1].callback(SAVED)
        self.assertIs(self.successResultOf(waiting), SAVED)


class Cancelling(ConveyorTestCase):
    def test_work_that_has_begun_goes_on(self) -> None:
        envelope = make_envelope()
        reply = self.submit(envelope)
        reply.cancel()
        self.failureResultOf(reply, CancelledError)
        self.assert_no_timer()
        self.assertEqual(self.conveyor.unfinished(), 1)
        self.works[0].callback(SAVED)
        self.assertEqual(self.conveyor.unfinished(), 0)
        self.assertEqual(
            self.events.texts(),
            [f"{envelope.queued_id}: end of work whose client has left: 250 '2.0.0' 'saved'"],
        )
        self.assertEqual(self.events[0]["log_level"], LogLevel.info)

    def test_work_that_has_not_begun_never_begins(self) -> None:
        envelopes, replies = self.submit_many(3)
        replies[1].cancel()
        self.failureResultOf(replies[1], CancelledError)
        self.works[0].callback(SAVED)
        self.assertEqual(self.begun, [envelopes[0], envelopes[2]])
        self.works[1].callback(SAVED)
        self.assert_no_timer()
        self.assertEqual(self.events, [])

    def test_cancelling_what_was_answered_changes_nothing(self) -> None:
        reply = self.submit()
        self.works[0].callback(SAVED)
        reply.cancel()
        self.assertIs(self.successResultOf(reply), SAVED)


class Misbehaviour(ConveyorTestCase):
    def assert_failed(self, answer: Callable[[Envelope, Task], Any], *error: type[Any]) -> str:
        """What ``answer`` does is a 451 and in the log, and the next one has the slot."""
        answers = [answer, lambda envelope, task: SAVED]
        self.conveyor = self.make_conveyor(
            answer=lambda envelope, task: answers.pop(0)(envelope, task)
        )
        self.events.clear()
        envelope = make_envelope()
        result = self.conveyor.submit(envelope)
        if isinstance(result, Deferred):
            result = self.successResultOf(result)
        self.assertIs(result, PROCESSING_FAILED)
        [text], [failure] = self.events.texts(), self.events.failures()
        self.assertEqual(
            text,
            f"{envelope.queued_id}: a processor failed to save mail; "
            "the client is told to try again",
        )
        failure.trap(*error)
        self.assertIn("Traceback", failure.getTraceback())
        self.assertIs(self.conveyor.submit(make_envelope()), SAVED)
        return failure.getErrorMessage()

    def test_raises(self) -> None:
        def divide(envelope: Envelope, task: Task) -> float:
            return 1 / 0

        self.assert_failed(divide, ZeroDivisionError)
        self.assertIn("divide", self.events.failures()[0].getTraceback())

    def test_exits(self) -> None:
        def leave(envelope: Envelope, task: Task) -> None:
            raise SystemExit(1)

        self.assert_failed(leave, SystemExit)

    def test_fails(self) -> None:
        self.assert_failed(lambda envelope, task: fail(OSError("disk")), OSError)
        self.assert_failed(lambda envelope, task: fail(CancelledError()), CancelledError)

    def test_answers_nonsense(self) -> None:
        nonsense: list[tuple[object, str]] = [
            (None, "NoneType"),
            ("250 OK", "str"),
            (250, "int"),
            ([], "list"),
        ]
        for value, name in nonsense:
            message = self.assert_failed(partial(_return, value), TypeError)
            self.assertEqual(message, f"a processor answered with {name}, not a result")
            self.assert_failed(partial(_return, succeed(value)), TypeError)

    def test_nonsense_that_cannot_even_be_shown(self) -> None:
        class Mean:
            def __repr__(self) -> str:
                raise RuntimeError("no")

        self.assert_failed(lambda envelope, task: Mean(), TypeError)

    def test_nonsense_that_cannot_even_be_asked_what_it_is(self) -> None:
        gone = weakref.proxy(FakeReactor())
        self.assert_failed(partial(_return, gone), ReferenceError)
        # And where it had to wait for its turn.
        first: Deferred[IResult] = Deferred()
        answers = [first, gone, gone]
        self.conveyor = self.make_conveyor(answer=lambda *_: answers.pop(0))
        _, replies = self.submit_many(3)
        first.callback(SAVED)
        results = [self.successResultOf(reply) for reply in replies]
        self.assertEqual(results, [SAVED, PROCESSING_FAILED, PROCESSING_FAILED])
        self.assertEqual(self.conveyor.unfinished(), 0)

    def test_late_result_that_cannot_be_told_keeps_no_slot(self) -> None:
        @implementer(IResult)
        class Mute:  # type: ignore[misc]
            """Has not even a code."""

        self.submit()
        self.clock.advance(TIMEOUT)
        work: Deferred[Any] = self.works[0]
        work.callback(Mute())
        self.failureResultOf(work, AttributeError)
        self.assertEqual(self.conveyor.unfinished(), 0)

    def test_nothing_is_kept_of_a_message_that_fails(self) -> None:
        """Not even until garbage is collected: its body may be large."""
        gc.disable()
        self.addCleanup(gc.enable)
        answers: list[Callable[[], object]] = [
            lambda: 1 / 0,
            lambda: None,
            lambda: succeed(None),
            lambda: fail(OSError("disk")),
        ]
        storage = BodyStorage()
        for answer in answers:
            self.conveyor = self.make_conveyor(answer=lambda *_, answer=answer: answer())
            envelope = Envelope("", "", body=storage.new_body())
            envelope.body.write(b"message")
            self.conveyor.submit(envelope)
            del envelope
            self.begun.clear()
            self.events.clear()
            self.assertEqual(storage.in_memory, 0)

    def test_deferred_that_was_used_up(self) -> None:
        used = succeed(SAVED).addCallback(lambda _: None)
        self.assert_failed(lambda envelope, task: used, TypeError)

    def test_failing_work_gives_its_slot_to_the_next(self) -> None:
        _, replies = self.submit_many(2)
        self.works[0].errback(OSError("disk"))
        self.assertIs(self.successResultOf(replies[0]), PROCESSING_FAILED)
        self.works[1].callback(SAVED)
        self.assertIs(self.successResultOf(replies[1]), SAVED)


class Draining(ConveyorTestCase):
    def test_nothing_to_wait_for(self) -> None:
        self.successResultOf(self.conveyor.drain())

    def test_waits_for_what_is_in_the_chain_and_what_waits(self) -> None:
        _, replies = self.submit_many(2)
        drained = self.conveyor.drain()
        self.works[0].callback(SAVED)
        self.assertNoResult(drained)
        self.works[1].callback(SAVED)
        self.successResultOf(drained)
        for reply in replies:
            self.assertIs(self.successResultOf(reply), SAVED)

    def test_waits_for_work_that_nobody_else_waits_for(self) -> None:
        self.submit()
        self.clock.advance(TIMEOUT)
        drained = self.conveyor.drain()
        self.assertNoResult(drained)
        self.works[0].callback(SAVED)
        self.successResultOf(drained)

    def test_the_last_is_answered_before(self) -> None:
        order: list[str] = []
        self.submit().addCallback(lambda _: order.append("answered"))
        self.conveyor.drain().addCallback(lambda _: order.append("drained"))
        self.works[0].callback(SAVED)
        self.assertEqual(order, ["answered", "drained"])

    def test_does_not_wait_for_what_was_taken_off(self) -> None:
        _, replies = self.submit_many(2)
        drained = self.conveyor.drain()
        replies[1].cancel()
        self.failureResultOf(replies[1], CancelledError)
        self.works[0].callback(SAVED)
        self.successResultOf(drained)

    def test_refusing_those_that_wait(self) -> None:
        envelopes, replies = self.submit_many(3)
        self.conveyor.refuse_waiting()
        self.assertNoResult(replies[0])
        for reply in replies[1:]:
            self.assertIs(self.successResultOf(reply), NOT_RUNNING)
        self.works[0].callback(SAVED)
        self.assertIs(self.successResultOf(replies[0]), SAVED)
        self.assertEqual(self.begun, envelopes[:1])
        self.assert_no_timer()

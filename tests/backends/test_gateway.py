"""The Gateway: its states, its two lanes, its beginning and its end."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyClass, verifyObject

from guerrilla_tw.backends.chain import initialize_with, process_with
from guerrilla_tw.backends.gateway import WORK_TIMEOUT, Gateway, InitializationError, State
from guerrilla_tw.backends.lanes import GatewayConfig, IReactor
from guerrilla_tw.backends.registry import Constructor, Decorator, Registry
from guerrilla_tw.backends.results import (
    NO_SUCH_USER,
    NOT_RUNNING,
    PROCESSING_FAILED,
    RECIPIENT_OK,
    TIMED_OUT,
    Result,
    queued,
)
from guerrilla_tw.config import ConfigError, convert_settings
from guerrilla_tw.interfaces import IBackend, IBackendService, IResult, Task
from guerrilla_tw.mail.envelope import Envelope
from tests.backends.fakes import (
    SAVED,
    Events,
    FakeReactor,
    Lifecycle,
    SteppedPool,
    ending,
    make_envelope,
)


class GatewayTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.events = Events()
        self.registry = Registry({})
        self.pools: dict[str, SteppedPool] = {}
        self.gateway = Gateway(self.registry, self.reactor, self.events.logger(), self.make_pool)

    def make_pool(self, reactor: IReactor, size: int, name: str) -> SteppedPool:
        self.pools[name] = SteppedPool(reactor, size, name)
        return self.pools[name]

    def add(self, **constructors: Constructor) -> None:
        for name, constructor in constructors.items():
            self.registry.add(name, constructor)

    def run_with(self, save_process: str, **settings: object) -> None:
        config = {"save_process": save_process, **settings}
        self.successResultOf(self.gateway.initialize(config))
        self.gateway.start()

    def save(self, envelope: Envelope | None = None) -> Deferred[IResult]:
        """Have a message saved that is not answered at once."""
        reply = self.gateway.process(envelope or make_envelope(), Task.SAVE_MAIL)
        assert isinstance(reply, Deferred)
        return reply


def blocking(svc: IBackendService) -> Decorator:
    """A processor with a step for the pool that lets everything pass."""
    return process_with(svc, lambda envelope, task: None)


class Interfaces(GatewayTestCase):
    def test_backend(self) -> None:
        verifyClass(IBackend, Gateway)
        verifyObject(IBackend, self.gateway)


class Settings(GatewayTestCase):
    """``check`` and ``initialize`` refuse the same things, with the same line."""

    def assert_refused(self, config: Mapping[str, object], line: str) -> None:
        self.add(blocking=blocking)
        error = self.assertRaises(ConfigError, self.gateway.check, config)
        self.assertEqual(str(error), f"backend_config.{line}")
        failure = self.failureResultOf(self.gateway.initialize(config), ConfigError)
        self.assertEqual(str(failure.value), f"backend_config.{line}")
        self.assertIs(self.gateway.state, State.NEW)

    def test_save_process(self) -> None:
        nothing = "save_process: no processor is named, so all mail would be lost"
        self.assert_refused({}, nothing)
        self.assert_refused({"save_process": ""}, nothing)
        self.assert_refused({"save_process": "  "}, nothing)
        self.assert_refused(
            {"save_process": 7}, "save_process: expected a string, got a whole number"
        )
        self.assert_refused(
            {"save_process": "Bloking"},
            "save_process: unknown processor 'Bloking' (did you mean blocking?)",
        )

    def test_validate_process(self) -> None:
        self.assert_refused(
            {"save_process": "blocking", "validate_process": "blocking|"},
            "validate_process: unknown processor ''",
        )

    def test_save_workers_size(self) -> None:
        for size in (-1, 1001):
            self.assert_refused(
                {"save_process": "blocking", "save_workers_size": size},
                "save_workers_size: is not from 1 to 1000",
            )
        self.assert_refused(
            {"save_process": "blocking", "save_workers_size": "2"},
            "save_workers_size: expected a whole number, got a string",
        )

    def test_empty_means_the_default(self) -> None:
        empty = {"save_workers_size": 0, "gw_save_timeout": "", "gw_val_rcpt_timeout": "0s"}
        settings = convert_settings({"save_process": "x", **empty}, GatewayConfig)
        self.assertEqual(settings, convert_settings({"save_process": "x"}, GatewayConfig))
        self.assertEqual(
            (settings.save_workers_size, settings.gw_save_timeout, settings.gw_val_rcpt_timeout),
            (1, 30, 5),
        )

    def test_timeouts(self) -> None:
        for name in ("gw_save_timeout", "gw_val_rcpt_timeout"):
            for value, cause in [
                ("soon", 'not a duration, such as "30s", "250ms" or "1m30s"'),
                ("-1s", "a duration must not be negative"),
                (30, 'expected a duration with its unit, such as "30s", in quotes'),
            ]:
                self.assert_refused({"save_process": "blocking", name: value}, f"{name}: {cause}")

    def test_processor_that_cannot_be_made(self) -> None:
        def construct(svc: IBackendService) -> Decorator:
            raise ImportError("No module named 'spam'")

        self.add(MyFoo=construct)
        self.assert_refused(
            {"save_process": "MyFoo"},
            "save_process: MyFoo cannot be made: ImportError: No module named 'spam'",
        )

    def test_corrected_configuration_is_taken(self) -> None:
        self.assert_refused({"save_process": "x"}, "save_process: unknown processor 'x'")
        self.run_with("blocking")
        self.assertIs(self.gateway.state, State.RUNNING)

    def test_defaults(self) -> None:
        timeouts: list[float] = []

        def construct(svc: IBackendService) -> Decorator:
            timeouts.append(svc.timeout)
            return blocking(svc)

        self.add(x=construct)
        self.run_with("x", validate_process="x")
        self.assertEqual(timeouts, [30.0, 5.0])
        self.assertEqual(
            {name: pool.size for name, pool in self.pools.items()},
            {"save_process": 1, "validate_process": 1},
        )


class Warnings(GatewayTestCase):
    def check(self, config: Mapping[str, object]) -> Sequence[str]:
        class MyFooConfig(msgspec.Struct):
            foo_color: str = "red"

        def construct(svc: IBackendService) -> Decorator:
            svc.extract_config(svc.config, MyFooConfig)
            return blocking(svc)

        def store(svc: IBackendService) -> Decorator:
            svc.declare_store()
            return blocking(svc)

        self.add(MyFoo=construct, Store=store, Pass=blocking)
        return self.gateway.check(config)

    def test_nothing_to_say(self) -> None:
        warnings = self.check(
            {
                "save_process": "MyFoo|Store",
                "validate_process": "Pass",
                "save_workers_size": 2,
                "gw_save_timeout": "1m30s",
                "gw_val_rcpt_timeout": "250ms",
                "foo_color": "blue",
            }
        )
        self.assertEqual(warnings, [])

    def test_unknown_settings(self) -> None:
        warnings = self.check(
            {"save_process": "MyFoo|Store", "foo_colour": "blue", "save_worker_size": 2, "zzz": 1}
        )
        self.assertEqual(
            warnings,
            [
                "backend_config.foo_colour: no processor of the chain has this setting "
                "(did you mean foo_color?)",
                "backend_config.save_worker_size: no processor of the chain has this setting "
                "(did you mean save_workers_size?)",
                "backend_config.zzz: no processor of the chain has this setting",
            ],
        )

    def test_setting_of_a_processor_that_only_checks_recipients_is_known(self) -> None:
        config = {"save_process": "Store", "validate_process": "MyFoo", "foo_color": "blue"}
        self.assertEqual(self.check(config), [])

    def test_nothing_that_stores(self) -> None:
        for validate_process in ("", "Store"):
            [warning] = self.check(
                {"save_process": "MyFoo|Pass", "validate_process": validate_process}
            )
            self.assertEqual(
                warning,
                "backend_config.save_process: NO PROCESSOR STORES MAIL: every message is answered "
                "250 and forgotten (a processor of your own says that it stores by "
                "svc.declare_store())",
            )

    def test_check_passes_on_what_a_processor_warns_of(self) -> None:
        def odd(svc: IBackendService) -> Decorator:
            svc.declare_store()
            svc.warn("is odd")
            return process_with(svc, lambda envelope, task: None)

        self.add(Odd=odd)
        warnings = self.gateway.check({"save_process": "Odd"})
        self.assertEqual(list(warnings), ["backend_config.save_process: Odd: is odd"])

    def test_processor_knows_what_is_set_before_it_in_its_own_chain(self) -> None:
        seen: list[tuple[str, bool]] = []

        def asker(svc: IBackendService) -> Decorator:
            seen.append((svc.name, svc.is_set_before("hashes")))
            return process_with(svc, lambda envelope, task: None)

        def setter(svc: IBackendService) -> Decorator:
            svc.declare_set("hashes")
            svc.declare_store()
            return asker(svc)

        self.add(A=asker, B=setter, C=asker)
        self.gateway.check({"save_process": "A|B|C", "validate_process": "C"})
        self.assertEqual(seen, [("A", False), ("B", True), ("C", True), ("C", False)])

    def test_time_for_a_message_counts_its_waiting(self) -> None:
        """Else a store would go on after the client was told to try again."""
        told: list[float] = []

        def store(svc: IBackendService) -> Decorator:
            svc.declare_store()
            return process_with(svc, lambda envelope, task: told.append(svc.time_for(envelope)))

        self.add(Store=store)
        self.run_with("Store", gw_save_timeout="10s")
        self.save()
        self.save()
        pool = self.pools["save_process"]
        pool.step()
        self.reactor.advance(5)
        pool.step()
        self.assertEqual(told, [8.0, 4.0])

    def test_check_opens_nothing(self) -> None:
        diary: list[str] = []
        self.add(life=Lifecycle(diary).construct)
        self.gateway.check({"save_process": "life"})
        self.assertEqual(diary, [])
        self.assertFalse(any(pool.running for pool in self.pools.values()))
        self.assertIs(self.gateway.state, State.NEW)


class States(GatewayTestCase):
    config: Mapping[str, object] = {"save_process": "yes", "validate_process": "yes"}

    def setUp(self) -> None:
        super().setUp()
        self.add(yes=ending(lambda envelope, task: SAVED))

    def assert_refuses_work(self) -> None:
        for task in Task:
            self.assertIs(self.gateway.process(make_envelope(), task), NOT_RUNNING)
        self.assertIs(self.gateway.validate_rcpt(make_envelope()), NOT_RUNNING)

    def test_life(self) -> None:
        self.assertIs(self.gateway.state, State.NEW)
        self.assert_refuses_work()
        self.successResultOf(self.gateway.initialize(self.config))
        self.assertIs(self.gateway.state, State.INITIALIZED)
        self.assert_refuses_work()
        self.gateway.start()
        self.assertIs(self.gateway.state, State.RUNNING)
        self.assertIs(self.gateway.process(make_envelope(), Task.SAVE_MAIL), SAVED)
        self.assertIs(self.gateway.validate_rcpt(make_envelope()), SAVED)
        self.successResultOf(self.gateway.shutdown())
        self.assertIs(self.gateway.state, State.SHUTTERED)
        self.assert_refuses_work()

    def test_error(self) -> None:
        self.add(life=Lifecycle([], {"open life": OSError("no")}).construct)
        self.failureResultOf(self.gateway.initialize({"save_process": "life"}))
        self.assertIs(self.gateway.state, State.ERROR)
        self.assert_refuses_work()
        error = self.assertRaises(RuntimeError, self.gateway.start)
        self.assertEqual(str(error), "cannot start a backend that is error")

    def test_start_needs_what_was_initialized(self) -> None:
        self.assertRaises(RuntimeError, self.gateway.start)
        self.run_with("yes")
        error = self.assertRaises(RuntimeError, self.gateway.start)
        self.assertEqual(str(error), "cannot start a backend that is running")
        self.successResultOf(self.gateway.shutdown())
        self.assertRaises(RuntimeError, self.gateway.start)

    def assert_in_use(self) -> None:
        failure = self.failureResultOf(self.gateway.initialize(self.config), RuntimeError)
        self.assertEqual(failure.getErrorMessage(), "cannot initialize a backend that is in use")

    def test_initialize_only_what_is_not_in_use(self) -> None:
        opening: Deferred[None] = Deferred()
        closing: Deferred[None] = Deferred()
        waits = {"open life": opening, "close life": closing}
        self.add(life=Lifecycle([], waits=waits).construct)
        initialized = self.gateway.initialize({"save_process": "life"})
        self.assert_in_use()
        opening.callback(None)
        self.successResultOf(initialized)
        self.assert_in_use()
        self.gateway.start()
        self.assert_in_use()
        down = self.gateway.shutdown()
        self.assert_in_use()
        closing.callback(None)
        self.successResultOf(down)
        self.successResultOf(self.gateway.initialize(self.config))

    def test_what_failed_can_be_tried_again(self) -> None:
        failures: dict[str, Exception] = {"open life": OSError("no")}
        diary: list[str] = []
        self.add(life=Lifecycle(diary, failures).construct)
        self.failureResultOf(self.gateway.initialize({"save_process": "life"}))
        failures.clear()
        self.run_with("life")
        self.assertEqual(diary, ["open life", "close life", "open life"])

    def test_shutdown_of_what_does_not_run_does_nothing(self) -> None:
        self.successResultOf(self.gateway.shutdown())
        self.assertIs(self.gateway.state, State.NEW)
        self.run_with("yes")
        self.successResultOf(self.gateway.shutdown())
        self.successResultOf(self.gateway.shutdown())
        self.assertIs(self.gateway.state, State.SHUTTERED)

    def test_shutdown_before_the_start(self) -> None:
        diary: list[str] = []
        self.add(life=Lifecycle(diary).construct)
        self.successResultOf(self.gateway.initialize({"save_process": "life"}))
        self.successResultOf(self.gateway.shutdown())
        self.assertEqual(diary, ["open life", "close life"])
        self.assertIs(self.gateway.state, State.SHUTTERED)


class Lanes(GatewayTestCase):
    def test_saved(self) -> None:
        self.add(blocking=blocking)
        self.run_with("blocking")
        envelope = make_envelope()
        reply = self.save(envelope)
        self.pools["save_process"].step()
        self.assertEqual(self.successResultOf(reply), queued(envelope.queued_id))

    def test_each_lane_has_as_many_slots_and_threads_as_workers(self) -> None:
        self.add(blocking=blocking)
        self.run_with("blocking", validate_process="blocking", save_workers_size=3)
        for _ in range(5):
            self.save()
            self.gateway.validate_rcpt(make_envelope())
        for pool in self.pools.values():
            self.assertEqual((pool.size, pool.entered), (3, 3))

    def test_hung_save_does_not_stop_recipient_checks(self) -> None:
        self.add(blocking=blocking)
        self.run_with("blocking", validate_process="blocking")
        saves = [self.save() for _ in range(3)]
        for _ in range(3):
            check = self.gateway.validate_rcpt(make_envelope())
            assert isinstance(check, Deferred)
            self.pools["validate_process"].step()
            self.assertEqual(self.successResultOf(check), RECIPIENT_OK)
        for save in saves:
            self.assertNoResult(save)

    def test_each_task_has_its_own_timeout(self) -> None:
        self.add(blocking=blocking)
        self.run_with(
            "blocking",
            validate_process="blocking",
            gw_save_timeout="1m30s",
            gw_val_rcpt_timeout="250ms",
        )
        save = self.save()
        check = self.gateway.validate_rcpt(make_envelope())
        assert isinstance(check, Deferred)
        self.reactor.advance(0.249)
        self.assertNoResult(check)
        self.reactor.advance(0.001)
        self.assertIs(self.successResultOf(check), TIMED_OUT)
        self.reactor.advance(89.5)
        self.assertNoResult(save)
        self.reactor.advance(0.25)
        self.assertIs(self.successResultOf(save), TIMED_OUT)

    def test_no_validate_process_accepts_everybody_at_once(self) -> None:
        self.add(blocking=blocking)
        self.run_with("blocking")
        self.assertIs(self.gateway.validate_rcpt(make_envelope()), RECIPIENT_OK)

    def test_recipient_check_answers_at_once_when_it_can(self) -> None:
        self.add(blocking=blocking, nobody=ending(lambda envelope, task: NO_SUCH_USER))
        self.run_with("blocking", validate_process="nobody")
        self.assertIs(self.gateway.validate_rcpt(make_envelope()), NO_SUCH_USER)

    def test_recipient_check_has_a_snapshot(self) -> None:
        checked: list[tuple[str, Task]] = []

        def check(envelope: Envelope, task: Task) -> None:
            checked.append((envelope.rcpt_to[-1].user, task))
            envelope.rcpt_to.clear()

        self.add(blocking=blocking, check=lambda svc: process_with(svc, check))
        self.run_with("blocking", validate_process="check")
        envelope = make_envelope("first")
        self.gateway.validate_rcpt(envelope)
        envelope.rcpt_to.extend(make_envelope("second").rcpt_to)
        self.pools["validate_process"].step()
        self.assertEqual(checked, [("first", Task.VALIDATE_RCPT)])
        self.assertEqual([address.user for address in envelope.rcpt_to], ["first", "second"])

    def test_cancelled_reply_leaves_the_work_alone(self) -> None:
        self.add(blocking=blocking)
        self.run_with("blocking")
        reply = self.save()
        reply.cancel()
        self.failureResultOf(reply, CancelledError)
        self.pools["save_process"].step()
        self.assertIn("end of work whose client has left", self.events.texts()[0])


class BadProcessors(GatewayTestCase):
    def assert_failed(self, answer: Any, *, nonblocking: bool, error: type[BaseException]) -> None:
        """A step that does ``answer()`` is a 451 and in the log; the worker takes the next."""
        steps = [answer, lambda: SAVED]
        self.setUp()
        self.add(
            bad=lambda svc: process_with(
                svc, lambda envelope, task: cast("Result", steps.pop(0)()), nonblocking=nonblocking
            )
        )
        self.run_with("bad")
        envelope = make_envelope()
        results = []
        for each in (envelope, make_envelope()):
            reply = self.gateway.process(each, Task.SAVE_MAIL)
            if isinstance(reply, Deferred):
                self.pools["save_process"].step()
                reply = self.successResultOf(reply)
            results.append(reply)
        self.assertEqual(results, [PROCESSING_FAILED, SAVED])
        [failure] = self.events.failures()
        self.assertTrue(failure.check(error))
        self.assertIn(envelope.queued_id, self.events.texts()[0])

    def test_steps_that_raise(self) -> None:
        def divide() -> float:
            return 1 / 0

        for nonblocking in (True, False):
            self.assert_failed(divide, nonblocking=nonblocking, error=ZeroDivisionError)
            self.assertIn("in divide", self.events.failures()[0].getTraceback())

    def test_steps_that_return_nonsense(self) -> None:
        for nonblocking in (True, False):
            for nonsense in ("250 OK", 0, False, b""):
                self.assert_failed(
                    lambda nonsense=nonsense: nonsense, nonblocking=nonblocking, error=TypeError
                )

    def test_steps_whose_result_cannot_be(self) -> None:
        for nonblocking in (True, False):
            self.assert_failed(
                lambda: Result(250, "5.0.0", ""), nonblocking=nonblocking, error=ValueError
            )


class Beginning(GatewayTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.diary: list[str] = []
        self.failures: dict[str, Exception] = {}
        self.waits: dict[str, Deferred[None]] = {}
        life = Lifecycle(self.diary, self.failures, self.waits)
        self.add(a=life.construct, b=life.construct, c=life.construct, d=life.construct)
        self.config = {"save_process": "a|b|c", "validate_process": "d"}

    def test_in_the_order_of_the_chains_one_after_the_other(self) -> None:
        self.waits["open b"] = Deferred()
        initialized = self.gateway.initialize(self.config)
        self.assertEqual(self.diary, ["open a", "open b"])
        self.assertIs(self.gateway.state, State.NEW)
        self.waits["open b"].callback(None)
        self.successResultOf(initialized)
        self.assertEqual(self.diary, ["open a", "open b", "open c", "open d"])

    def test_initializer_is_given_the_configuration_and_may_use_the_pool(self) -> None:
        given: list[object] = []

        class Initializer:
            def __init__(self, svc: IBackendService) -> None:
                self.svc = svc

            def initialize(self, config: Mapping[str, object]) -> Deferred[None]:
                return self.svc.defer_to_worker(given.append, config)

        def construct(svc: IBackendService) -> Decorator:
            svc.add_initializer(cast("Any", Initializer(svc)))
            return blocking(svc)

        self.add(own=construct)
        initialized = self.gateway.initialize({"save_process": "own", "own_setting": 1})
        self.assertNoResult(initialized)
        self.pools["save_process"].step()
        self.successResultOf(initialized)
        self.assertEqual(given, [{"save_process": "own", "own_setting": 1}])

    def assert_fails(self, line: str) -> None:
        failure = self.failureResultOf(self.gateway.initialize(self.config), InitializationError)
        self.assertEqual(str(failure.value), line)
        self.assertIs(self.gateway.state, State.ERROR)
        self.assertFalse(any(pool.running for pool in self.pools.values()))

    def test_failing_one_is_named_and_what_was_opened_is_closed(self) -> None:
        self.failures["open c"] = OSError("no such host")
        self.assert_fails("c: no such host")
        self.assertEqual(
            self.diary, ["open a", "open b", "open c", "close c", "close b", "close a"]
        )

    def test_failing_deferred(self) -> None:
        self.waits["open a"] = fail(OSError("no such host"))
        self.assert_fails("a: no such host")
        self.assertEqual(self.diary, ["open a", "close a"])

    def test_what_a_processor_has_half_opened_is_closed(self) -> None:
        def refuse(config: Mapping[str, object]) -> None:
            raise OSError("no such host")

        def construct(svc: IBackendService) -> Decorator:
            decorator = Lifecycle(self.diary).construct(svc)
            svc.add_initializer(initialize_with(refuse))
            return decorator

        self.add(half=construct)
        self.config["save_process"] = "a|half|b"
        self.assert_fails("half: no such host")
        self.assertEqual(self.diary, ["open a", "open half", "close half", "close a"])

    def test_failing_recipient_check(self) -> None:
        self.failures["open d"] = OSError("no such host")
        self.assert_fails("d: no such host")
        self.assertEqual(self.diary[-3:], ["close c", "close b", "close a"])

    def test_error_without_a_word(self) -> None:
        self.failures["open a"] = ConnectionRefusedError()
        self.assert_fails("a: ConnectionRefusedError")

    def test_cancelled_by_whoever_waits(self) -> None:
        self.waits["open b"] = Deferred()
        initialized = self.gateway.initialize(self.config)
        initialized.cancel()
        self.failureResultOf(initialized, CancelledError)
        self.assertEqual(self.diary, ["open a", "open b", "close b", "close a"])
        self.assertIs(self.gateway.state, State.ERROR)
        self.assertFalse(any(pool.running for pool in self.pools.values()))


class End(GatewayTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.diary: list[str] = []
        self.failures: dict[str, Exception] = {}
        self.waits: dict[str, Deferred[None]] = {}
        life = Lifecycle(self.diary, self.failures, self.waits)
        self.add(a=life.construct, b=life.construct, d=life.construct, blocking=blocking)
        self.run_with("a|b|blocking", validate_process="d|blocking")
        self.diary.clear()

    def assert_closed(self, down: Deferred[None]) -> None:
        self.successResultOf(down)
        self.assertEqual(self.diary, ["close d", "close b", "close a"])
        self.assertFalse(any(pool.running for pool in self.pools.values()))

    def test_in_reverse_order_one_after_the_other(self) -> None:
        self.waits["close b"] = Deferred()
        down = self.gateway.shutdown()
        self.assertEqual(self.diary, ["close d", "close b"])
        self.assertTrue(all(pool.running for pool in self.pools.values()))
        self.waits["close b"].callback(None)
        self.assert_closed(down)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_several_shutdowners_of_one_processor(self) -> None:
        self.successResultOf(self.gateway.shutdown())

        def construct(svc: IBackendService) -> Decorator:
            life = Lifecycle(self.diary)
            life.construct(svc)
            return life.construct(svc)

        self.add(twice=construct)
        self.run_with("twice")
        self.diary.clear()
        self.successResultOf(self.gateway.shutdown())
        self.assertEqual(self.diary, ["close twice", "close twice"])

    def test_accepted_work_is_finished_first_and_new_work_refused(self) -> None:
        envelopes = [make_envelope(), make_envelope()]
        saves = [self.save(envelope) for envelope in envelopes]
        check = self.gateway.validate_rcpt(make_envelope())
        assert isinstance(check, Deferred)
        down = self.gateway.shutdown()
        self.assertIs(self.gateway.process(make_envelope(), Task.SAVE_MAIL), NOT_RUNNING)
        for _ in saves:
            self.assertEqual(self.diary, [])
            self.pools["save_process"].step()
        self.assertNoResult(down)
        self.pools["validate_process"].step()
        self.assert_closed(down)
        for envelope, save in zip(envelopes, saves, strict=True):
            self.assertEqual(self.successResultOf(save), queued(envelope.queued_id))
        self.assertEqual(self.successResultOf(check), RECIPIENT_OK)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.events, [])

    def test_deadline_for_the_work(self) -> None:
        hung, waiting = self.save(), self.save()
        down = self.gateway.shutdown()
        self.reactor.advance(WORK_TIMEOUT - 1)
        self.assertNoResult(down)
        self.reactor.advance(1)
        self.assert_closed(down)
        self.assertEqual(
            self.events.texts(),
            ["shutdown: 2 envelopes not done after 10.0 seconds, left behind"],
        )
        # What never began is not to meet processors that are closed.
        self.assertIs(self.successResultOf(waiting), NOT_RUNNING)
        self.pools["save_process"].step()
        self.assertEqual(self.pools["save_process"].entered, 1)
        self.assertEqual(self.successResultOf(hung).code, 250)

    def test_one_that_fails_does_not_keep_the_others_open(self) -> None:
        self.failures["close d"] = OSError("raises")
        self.waits["close b"] = fail(OSError("fails"))
        self.assert_closed(self.gateway.shutdown())
        self.assertEqual(
            self.events.texts(), ["d did not shut down cleanly", "b did not shut down cleanly"]
        )
        self.assertEqual(
            [failure.getErrorMessage() for failure in self.events.failures()], ["raises", "fails"]
        )

    def test_one_that_hangs_does_not_keep_the_others_open(self) -> None:
        self.waits["close b"] = Deferred()
        down = self.gateway.shutdown()
        self.reactor.advance(WORK_TIMEOUT)
        self.assert_closed(down)
        self.assertEqual(self.events.texts(), ["b did not shut down cleanly"])


class Reinitializing(GatewayTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.diary: list[str] = []
        self.failures: dict[str, Exception] = {}
        life = Lifecycle(self.diary, self.failures)
        self.add(life=life.construct, blocking=blocking)

    def test_runs_again_if_it_ran(self) -> None:
        self.run_with("life|blocking")
        save = self.save()
        again = self.gateway.reinitialize()
        self.assertIs(self.gateway.process(make_envelope(), Task.SAVE_MAIL), NOT_RUNNING)
        self.assertEqual(self.diary, ["open life"])
        self.pools["save_process"].step()
        self.successResultOf(again)
        self.assertEqual(self.successResultOf(save).code, 250)
        self.assertEqual(self.diary, ["open life", "close life", "open life"])
        self.assertIs(self.gateway.state, State.RUNNING)
        save = self.save()
        self.pools["save_process"].step()
        self.assertEqual(self.successResultOf(save).code, 250)

    def test_does_not_run_if_it_did_not(self) -> None:
        self.successResultOf(self.gateway.initialize({"save_process": "life"}))
        self.successResultOf(self.gateway.reinitialize())
        self.assertIs(self.gateway.state, State.INITIALIZED)

    def test_failing(self) -> None:
        self.run_with("life")
        self.failures["open life"] = OSError("gone")
        failure = self.failureResultOf(self.gateway.reinitialize(), InitializationError)
        self.assertEqual(str(failure.value), "life: gone")
        self.assertIs(self.gateway.process(make_envelope(), Task.SAVE_MAIL), NOT_RUNNING)

    def test_second_one_while_the_first_goes_on_is_refused(self) -> None:
        self.run_with("life|blocking")
        save = self.save()
        first = self.gateway.reinitialize()
        self.failureResultOf(self.gateway.reinitialize(), RuntimeError)
        self.pools["save_process"].step()
        self.assertEqual(self.successResultOf(save).code, 250)
        self.successResultOf(first)
        self.assertIs(self.gateway.state, State.RUNNING)


class TwoGateways(GatewayTestCase):
    """Two daemons live in one process, and neither knows of the other."""

    def setUp(self) -> None:
        super().setUp()
        self.add(who=ending(lambda envelope, task: Result(250, "2.0.0", "one")))
        self.other = GatewayTestCase()
        self.other.setUp()
        self.other.add(who=ending(lambda envelope, task: Result(250, "2.0.0", "two")))

    def test_processors_of_one_name(self) -> None:
        for each in (self, self.other):
            each.run_with("who")
        texts = []
        for each in (self, self.other):
            result = each.gateway.process(make_envelope(), Task.SAVE_MAIL)
            assert not isinstance(result, Deferred)
            texts.append(result.text)
        self.assertEqual(texts, ["one", "two"])

    def test_slots(self) -> None:
        for each in (self, self.other):
            each.add(blocking=blocking)
            each.run_with("blocking")
        hung, save = self.save(), self.other.save()
        self.other.pools["save_process"].step()
        self.assertEqual(self.successResultOf(save).code, 250)
        self.assertNoResult(hung)

    def test_states(self) -> None:
        for each in (self, self.other):
            each.run_with("who")
        self.successResultOf(self.gateway.shutdown())
        self.assertIs(self.other.gateway.state, State.RUNNING)
        self.assertNotIsInstance(
            self.other.gateway.process(make_envelope(), Task.SAVE_MAIL), Deferred
        )


class RealThreads(TestCase):
    """Once with the real reactor and real threads."""

    async def test_messages_go_through(self) -> None:
        from twisted.internet import reactor

        threads: set[threading.Thread] = set()

        def store(envelope: Envelope, task: Task) -> None:
            threads.add(threading.current_thread())

        registry = Registry({})
        registry.add("store", lambda svc: process_with(svc, store))
        gateway = Gateway(registry, cast("IReactor", reactor), Events().logger())
        await gateway.initialize(
            {"save_process": "store", "validate_process": "store", "save_workers_size": 2}
        )
        gateway.start()
        envelopes = [make_envelope() for _ in range(50)]
        for envelope in envelopes:
            check = gateway.validate_rcpt(envelope)
            assert isinstance(check, Deferred)
            self.assertEqual(await check, RECIPIENT_OK)
        saves = [gateway.process(envelope, Task.SAVE_MAIL) for envelope in envelopes]
        down = gateway.shutdown()
        for envelope, save in zip(envelopes, saves, strict=True):
            assert isinstance(save, Deferred)
            self.assertEqual(await save, queued(envelope.queued_id))
        await down
        self.assertNotIn(threading.current_thread(), threads)
        self.assertEqual(threads & set(threading.enumerate()), set())

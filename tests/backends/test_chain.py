"""The chain: how processors are linked, and where their steps run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyClass, verifyObject

from guerrilla_tw.backends.chain import (
    DefaultProcessor,
    build_chain,
    initialize_with,
    process_with,
    shutdown_with,
)
from guerrilla_tw.backends.registry import Constructor, Decorator, Registry
from guerrilla_tw.backends.results import RECIPIENT_OK, Result, queued
from guerrilla_tw.backends.service import BackendService
from guerrilla_tw.config import ConfigError
from guerrilla_tw.interfaces import (
    IBackendService,
    IInitializer,
    IProcessor,
    IResult,
    IShutdowner,
    Task,
)
from guerrilla_tw.mail.envelope import Envelope
from tests.backends.fakes import (
    REFUSED,
    SAVED,
    Events,
    FakeReactor,
    FunctionProcessor,
    SteppedPool,
    ending,
    make_envelope,
)


class ChainTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.pool = SteppedPool(FakeReactor(), 1, "save_process")
        self.events = Events()
        self.registry = Registry({})
        self.called: list[str] = []
        self.envelope = make_envelope()

    def service(self, name: str) -> BackendService:
        return BackendService(
            name, {"size": 3}, 30.0, self.pool, self.events.logger(), FakeReactor(), set()
        )

    def step(self, name: str, result: Any = None, *, nonblocking: bool = False) -> None:
        """Add a processor that writes down its name."""

        def run(envelope: Envelope, task: Task) -> Result | None:
            self.called.append(name)
            answer: Result | None = result
            return answer

        self.registry.add(name, lambda svc: process_with(svc, run, nonblocking=nonblocking))

    def build(self, expression: str) -> IProcessor:
        chain, _ = build_chain(
            expression, "backend_config.save_process", self.registry, self.service
        )
        return chain

    def process(self, expression: str) -> IResult | Deferred[IResult]:
        return self.build(expression).process(self.envelope, Task.SAVE_MAIL)


class DefaultProcessorTests(ChainTestCase):
    def test_end_of_every_chain_says_yes(self) -> None:
        chain = self.build("")
        verifyObject(IProcessor, chain)
        saved = chain.process(self.envelope, Task.SAVE_MAIL)
        self.assertEqual(saved, queued(self.envelope.queued_id))
        self.assertEqual(chain.process(self.envelope, Task.VALIDATE_RCPT), RECIPIENT_OK)

    def test_id_in_the_answer_is_the_one_that_a_store_gave(self) -> None:
        def store(envelope: Envelope, task: Task) -> None:
            envelope.queued_id = "the-hash"

        self.registry.add("store", lambda svc: process_with(svc, store, nonblocking=True))
        self.assertEqual(self.process("store"), queued("the-hash"))

    def test_interface(self) -> None:
        verifyClass(IProcessor, DefaultProcessor)


class Steps(ChainTestCase):
    def test_nonblocking_chain_answers_at_once_and_enters_no_pool(self) -> None:
        for name in "abc":
            self.step(name, nonblocking=True)
        self.assertEqual(self.process("a|b|c"), queued(self.envelope.queued_id))
        self.assertEqual(self.called, ["a", "b", "c"])
        self.assertEqual(self.pool.entered, 0)

    def test_neighbouring_blocking_steps_enter_the_pool_once(self) -> None:
        for name in "abc":
            self.step(name)
        answer = self.process("a|b|c")
        assert isinstance(answer, Deferred)
        self.assertEqual(self.called, [])
        self.assertEqual(self.pool.entered, 1)
        self.pool.step()
        self.assertEqual(self.called, ["a", "b", "c"])
        self.assertEqual(self.successResultOf(answer), queued(self.envelope.queued_id))
        self.assertEqual(self.pool.entered, 1)

    def test_nonblocking_steps_around_blocking_ones(self) -> None:
        for name in "adef":
            self.step(name, nonblocking=True)
        for name in "bcg":
            self.step(name)
        answer = self.process("a|b|c|d|e|f|g")
        assert isinstance(answer, Deferred)
        self.assertEqual(self.called, ["a"])
        self.pool.step()
        self.assertEqual(self.called, ["a", "b", "c", "d", "e", "f"])
        self.assertEqual(self.pool.entered, 2)
        self.assertNoResult(answer)
        self.pool.step()
        self.assertEqual(self.called[-1], "g")
        self.assertEqual(self.successResultOf(answer), queued(self.envelope.queued_id))

    def test_decorator_sets_blocking_steps_apart(self) -> None:
        self.step("a")
        self.step("b")
        self.registry.add(
            "between",
            lambda svc: (
                lambda following: FunctionProcessor(
                    lambda envelope, task: following.process(envelope, task)
                )
            ),
        )
        answer = self.process("a|between|b")
        assert isinstance(answer, Deferred)
        self.pool.step()
        self.assertEqual(self.called, ["a"])
        self.pool.step()
        self.assertEqual(self.called, ["a", "b"])
        self.assertEqual(self.successResultOf(answer), queued(self.envelope.queued_id))

    def test_steps_are_given_envelope_and_task(self) -> None:
        given: list[tuple[Envelope, Task]] = []

        def step(envelope: Envelope, task: Task) -> None:
            given.append((envelope, task))

        for nonblocking in (True, False):
            processor = process_with(self.service("x"), step, nonblocking=nonblocking)(
                DefaultProcessor()
            )
            verifyObject(IProcessor, processor)
            processor.process(self.envelope, Task.VALIDATE_RCPT)
        self.pool.step()
        self.assertEqual(given, [(self.envelope, Task.VALIDATE_RCPT)] * 2)

    def test_result_of_a_nonblocking_step_ends_the_chain(self) -> None:
        self.step("a", nonblocking=True)
        self.step("no", REFUSED, nonblocking=True)
        self.step("b", nonblocking=True)
        self.step("c")
        self.assertEqual(self.process("a|no|b|c"), REFUSED)
        self.assertEqual(self.called, ["a", "no"])
        self.assertEqual(self.pool.entered, 0)

    def test_result_of_a_blocking_step_ends_the_chain(self) -> None:
        self.step("a")
        self.step("no", REFUSED)
        self.step("b")
        self.step("c", nonblocking=True)
        answer = self.process("a|no|b|c")
        assert isinstance(answer, Deferred)
        self.pool.step()
        self.assertEqual(self.successResultOf(answer), REFUSED)
        self.assertEqual(self.called, ["a", "no"])

    def test_one_chain_serves_many_at_once(self) -> None:
        self.registry.add(
            "mark",
            lambda svc: process_with(
                svc, lambda envelope, task: Result(250, "2.0.0", envelope.helo)
            ),
        )
        chain = self.build("mark")
        answers = []
        for helo in ("one", "two"):
            answer = chain.process(Envelope(helo=helo), Task.SAVE_MAIL)
            assert isinstance(answer, Deferred)
            answers.append(answer)
        self.pool.step()
        self.pool.step()
        texts = [self.successResultOf(answer).text for answer in answers]
        self.assertEqual(texts, ["one", "two"])


class Decorators(ChainTestCase):
    def add_wrapper(self, name: str, change: Callable[[IResult], IResult]) -> None:
        """Add a processor that asks the rest of the chain, and may change what it says."""

        def construct(svc: IBackendService) -> Decorator:
            def decorate(following: IProcessor) -> IProcessor:
                def process(envelope: Envelope, task: Task) -> Any:
                    self.called.append(name)
                    answer = following.process(envelope, task)
                    if isinstance(answer, Deferred):
                        return answer.addCallback(change)
                    return change(answer)

                return FunctionProcessor(process)

            return decorate

        self.registry.add(name, construct)

    def _quote(self, name: str, result: IResult) -> IResult:
        return Result(250, "2.0.0", f"{name}({result.text})")

    def test_leftmost_is_asked_first_and_has_the_last_word(self) -> None:
        for name in ("left", "right"):
            self.add_wrapper(name, partial(self._quote, name))
        self.registry.add("end", ending(lambda envelope, task: SAVED))
        self.assertEqual(self.process("left|right|end"), Result(250, "2.0.0", "left(right(saved))"))
        self.assertEqual(self.called, ["left", "right"])

    def test_outer_one_may_change_the_answer_of_a_worker(self) -> None:
        self.add_wrapper("softener", lambda result: Result(451, "4.3.0", result.text))
        self.step("no", REFUSED)
        answer = self.process("softener|no")
        assert isinstance(answer, Deferred)
        self.pool.step()
        self.assertEqual(self.successResultOf(answer), Result(451, "4.3.0", REFUSED.text))

    def test_one_that_answers_itself_ends_the_chain(self) -> None:
        self.registry.add("end", ending(lambda envelope, task: REFUSED))
        self.step("a", nonblocking=True)
        self.assertEqual(self.process("end|a"), REFUSED)
        self.assertEqual(self.called, [])


class Expressions(ChainTestCase):
    def test_names_in_any_case_with_spaces_around(self) -> None:
        for name in ("Alpha", "Beta"):
            self.step(name, nonblocking=True)
        chain, services = build_chain(" ALPHA |beta ", "x", self.registry, self.service)
        chain.process(self.envelope, Task.SAVE_MAIL)
        self.assertEqual(self.called, ["Alpha", "Beta"])
        self.assertEqual([service.name for service in services], ["ALPHA", "beta"])

    def test_same_name_twice_is_two_processors(self) -> None:
        self.step("a", nonblocking=True)
        _, services = build_chain("a|a", "x", self.registry, self.service)
        self.assertEqual(len({id(service) for service in services}), 2)
        self.process("a|a")
        self.assertEqual(self.called, ["a", "a"])

    def test_blank_expression_is_an_empty_chain(self) -> None:
        for expression in ("", "  "):
            _, services = build_chain(expression, "x", self.registry, self.service)
            self.assertEqual(services, [])

    def assert_refused(self, expression: str, line: str) -> ConfigError:
        error: ConfigError = self.assertRaises(ConfigError, self.build, expression)
        self.assertEqual(str(error), line)
        return error

    def test_unknown_and_empty_names(self) -> None:
        self.step("Alpha")
        setting = "backend_config.save_process"
        self.assert_refused(
            "Alpha|Alpa", f"{setting}: unknown processor 'Alpa' (did you mean alpha?)"
        )
        for expression in ("Alpha|", "|Alpha", "Alpha||Alpha", "|"):
            self.assert_refused(expression, f"{setting}: unknown processor ''")

    def test_constructor_that_raises(self) -> None:
        def construct(svc: IBackendService) -> Decorator:
            raise OSError("no such\nfile")

        self.registry.add("MyFoo", construct)
        error = self.assert_refused(
            "MyFoo",
            "backend_config.save_process: MyFoo cannot be made: OSError: no such\\nfile",
        )
        self.assertIsInstance(error.__cause__, OSError)

    def test_constructor_that_refuses_its_settings(self) -> None:
        class Settings(msgspec.Struct):
            size: str

        def construct(svc: IBackendService) -> Decorator:
            svc.extract_config(svc.config, Settings)
            raise AssertionError("size is not a string")

        self.registry.add("MyFoo", construct)
        self.assert_refused("MyFoo", "backend_config.size: expected a string, got a whole number")

    def test_what_is_no_decorator(self) -> None:
        def forgets(svc: Any) -> Any:
            return None

        def raises(svc: Any) -> Any:
            def decorate(following: IProcessor) -> IProcessor:
                raise KeyError("size")

            return decorate

        constructors: dict[str, Constructor] = {"forgets": forgets, "raises": raises}
        for name, constructor in constructors.items():
            self.registry.add(name, constructor)
        self.assert_refused(
            "forgets",
            "backend_config.save_process: forgets cannot be made: "
            "TypeError: 'NoneType' object is not callable",
        )
        self.assert_refused(
            "raises",
            "backend_config.save_process: raises cannot be made: KeyError: 'size'",
        )


class Functions(ChainTestCase):
    def test_initialize_with(self) -> None:
        given: list[object] = []
        waiting: Deferred[None] = Deferred()

        def initialize(config: object) -> Deferred[None]:
            given.append(config)
            return waiting

        initializer = initialize_with(initialize)
        verifyObject(IInitializer, initializer)
        self.assertIs(initializer.initialize({"a": 1}), waiting)
        self.assertEqual(given, [{"a": 1}])

    def test_shutdown_with(self) -> None:
        waiting: Deferred[None] = Deferred()
        shutdowner = shutdown_with(lambda: waiting)
        verifyObject(IShutdowner, shutdowner)
        self.assertIs(shutdowner.shutdown(), waiting)


class ServiceTests(ChainTestCase):
    def test_interface(self) -> None:
        verifyObject(IBackendService, self.service("MyFoo"))

    def test_settings(self) -> None:
        class Settings(msgspec.Struct):
            size: int
            color: str = "red"

        service = self.service("MyFoo")
        settings = service.extract_config(service.config, Settings)
        self.assertEqual((settings.size, settings.color), (3, "red"))
        self.assertEqual(service.known_settings, {"size", "color"})

    def test_log_is_the_processors_own_and_goes_where_the_gateways_goes(self) -> None:
        self.service("MyFoo").log.info("hello")
        self.assertEqual(self.events.texts(), ["hello"])
        self.assertEqual(self.events[0]["log_namespace"], "guerrilla_tw.processors.myfoo")

    def test_worker_is_one_of_the_chains_pool(self) -> None:
        work = self.service("MyFoo").defer_to_worker(max, 1, 2)
        self.pool.step()
        self.assertEqual(self.successResultOf(work), 2)

    def test_nobody_stores_who_does_not_say_so(self) -> None:
        service = self.service("MyFoo")
        self.assertFalse(service.stores)
        service.declare_store()
        self.assertTrue(service.stores)

"""A chain of processors: how it is written, linked, and what its links are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from twisted.internet.defer import Deferred
from zope.interface import implementer

from guerrilla_tw.backends.registry import Decorator, Registry, UnknownProcessor
from guerrilla_tw.backends.results import RECIPIENT_OK, queued
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

Step = Callable[[Envelope, Task], "IResult | None"]
DeferredStep = Callable[[Envelope, Task], "Deferred[IResult | None] | None"]


@implementer(IProcessor)
class DefaultProcessor:
    """The end of every chain: nobody refused, so the answer is yes."""

    def process(self, envelope: Envelope, task: Task) -> IResult:
        """See :meth:`.IProcessor.process`."""
        if task is Task.SAVE_MAIL:
            return queued(envelope.stored_as or envelope.queued_id)
        return RECIPIENT_OK


def _run(steps: tuple[Step, ...], envelope: Envelope, task: Task) -> IResult | None:
    for step in steps:
        result = step(envelope, task)
        if result is not None:
            return result
    return None


@implementer(IProcessor)
class _Steps:
    """Neighbouring steps, run one after the other on the reactor's thread."""

    def __init__(self, steps: tuple[Step, ...], following: IProcessor) -> None:
        self.steps = steps
        self.following = following

    def process(self, envelope: Envelope, task: Task) -> IResult | Deferred[IResult]:
        for step in self.steps:
            result = step(envelope, task)
            if result is not None:
                return result
        return self.following.process(envelope, task)


@implementer(IProcessor)
class _DeferredStep:
    """A step whose result comes later."""

    def __init__(self, step: DeferredStep, following: IProcessor) -> None:
        self._step = step
        self.following = following

    def process(self, envelope: Envelope, task: Task) -> IResult | Deferred[IResult]:
        work = self._step(envelope, task)
        if work is None:
            return self.following.process(envelope, task)
        return work.addCallback(self._go_on, envelope, task)

    def _go_on(
        self, result: IResult | None, envelope: Envelope, task: Task
    ) -> IResult | Deferred[IResult]:
        return self.following.process(envelope, task) if result is None else result


class _BlockingSteps(_DeferredStep):
    """Neighbouring steps, run one after the other in one visit to the thread pool."""

    def __init__(
        self, steps: tuple[Step, ...], following: IProcessor, svc: IBackendService
    ) -> None:
        super().__init__(partial(svc.defer_to_worker, _run, steps), following)
        self.steps = steps


def process_with(svc: IBackendService, step: Step, *, nonblocking: bool = False) -> Decorator:
    """
    Make a decorator of a plain function (go-guerrilla: ``ProcessWith``).

    :param svc: what the processor's constructor was given.
    :param step: ``step(envelope, task)`` returns None to go on with the chain, or a
        :class:`.Result` to end it (or :class:`.RecipientResults`). It runs in the thread pool,
        several times at once, so it keeps no state but what is safe for that.
    :param nonblocking: run it on the reactor's thread instead. For steps that never wait for a
        disk, a network or a lock, and do little work.
    """

    def decorate(following: IProcessor) -> IProcessor:
        if nonblocking:
            if isinstance(following, _Steps):
                return _Steps((step, *following.steps), following.following)
            return _Steps((step,), following)
        if isinstance(following, _BlockingSteps):
            return _BlockingSteps((step, *following.steps), following.following, svc)
        return _BlockingSteps((step,), following, svc)

    return decorate


def process_with_deferred(step: DeferredStep) -> Decorator:
    """
    Make a decorator of a function that has its result later, on the reactor's thread.

    :param step: ``step(envelope, task)`` returns a Deferred of what a step of
        :func:`process_with` returns; or None, to go on with the chain at once.
    """
    return lambda following: _DeferredStep(step, following)


@implementer(IInitializer)
class _FunctionInitializer:
    def __init__(self, function: Callable[[Mapping[str, object]], Deferred[None] | None]) -> None:
        self.initialize = function


@implementer(IShutdowner)
class _FunctionShutdowner:
    def __init__(self, function: Callable[[], Deferred[None] | None]) -> None:
        self.shutdown = function


def initialize_with(
    function: Callable[[Mapping[str, object]], Deferred[None] | None],
) -> IInitializer:
    """Make an initializer of a plain function (go-guerrilla: ``InitializeWith``)."""
    return _FunctionInitializer(function)


def shutdown_with(function: Callable[[], Deferred[None] | None]) -> IShutdowner:
    """Make a shutdowner of a plain function (go-guerrilla: ``ShutdownWith``)."""
    return _FunctionShutdowner(function)


def build_chain(
    expression: str,
    setting: str,
    registry: Registry,
    make_service: Callable[[str], BackendService],
) -> tuple[IProcessor, list[BackendService]]:
    """
    Link the processors that an expression names.

    :param expression: names joined by ``|``, in any case; may be empty.
    :param setting: the setting that it is the value of, for errors.
    :param registry: where the names are looked up.
    :param make_service: makes the service for a processor's constructor from its name.
    :returns: the first link of the chain, and the services in the chain's order.
    :raises ConfigError: an unknown or empty name, or a processor that refuses its settings.
    """
    services: list[BackendService] = []
    decorators: list[Decorator] = []
    for name in expression.split("|") if expression.strip() else ():
        service = make_service(name.strip())
        with _blaming(service.name, setting):
            decorators.append(registry.find(service.name)(service))
        services.append(service)
    chain: IProcessor = DefaultProcessor()
    for service, decorator in zip(reversed(services), reversed(decorators), strict=True):
        with _blaming(service.name, setting):
            chain = decorator(chain)
    return chain, services


@contextmanager
def _blaming(name: str, setting: str) -> Iterator[None]:
    """Make whatever a processor's own code raises one line that names the processor."""
    try:
        yield
    except ConfigError as error:
        # Without a setting of its own it is about the place in the chain.
        raise error if error.path else ConfigError(f"{name} {error.cause}", setting) from None
    except UnknownProcessor as error:
        raise ConfigError(str(error), setting) from None
    except Exception as error:
        cause = f"{type(error).__name__}: {error}"
        raise ConfigError(f"{name} cannot be made: {cause}", setting) from error

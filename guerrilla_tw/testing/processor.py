"""One processor on one message, without a server, a thread or a reactor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, execute, maybeDeferred
from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.python.failure import Failure

from guerrilla_tw.backends.chain import DefaultProcessor
from guerrilla_tw.backends.registry import Constructor
from guerrilla_tw.backends.service import BackendService
from guerrilla_tw.backends.workers import WorkerPool
from guerrilla_tw.interfaces import IResult, Task
from guerrilla_tw.mail.envelope import Envelope

T = TypeVar("T")

_TIMEOUT = 30.0


class InlinePool(WorkerPool):
    """No threads: the caller does the work, and it is done when :meth:`defer` returns."""

    def __init__(self) -> None:
        self.size = 1

    def defer(self, function: Callable[..., T], *args: Any) -> Deferred[T]:
        """As the parent."""
        return execute(function, *args)


def run_processor(
    constructor: Constructor,
    envelope: Envelope,
    config: Mapping[str, object] | None = None,
    task: Task = Task.SAVE_MAIL,
) -> IResult:
    """
    Run one processor on one message: make it, open it, have it do a task, close it.

    It needs no reactor, and all is done in the calling thread. So it cannot be used for a processor
    that waits for a network or a clock; that one needs a whole daemon::

        def test_refuses_invoices(self):
            envelope = Envelope()
            envelope.subject = "Your invoice"
            self.assertEqual(run_processor(no_invoices, envelope).code, 550)

    :param constructor: of the processor.
    :param envelope: the message as the processors before this one leave it. What they have set in
        it is what ``svc.is_set_before`` knows of.
    :param config: the ``backend_config``, with the processor's settings.
    :param task: what it is to do.
    :returns: what the client would be told: the processor's result, or 250 if it has none.
    :raises guerrilla_tw.ConfigError: a setting is missing or wrong.
    :raises RuntimeError: the processor waits for something.
    :raises Exception: what the processor raises, where the client would be told 451.
    """
    svc = _make_service(constructor, envelope, config or {})
    processor = constructor(svc)(DefaultProcessor())
    try:
        for initializer in svc.initializers:
            _now(initializer.initialize, svc.config)
        return _now(processor.process, envelope, task)
    finally:
        for shutdowner in reversed(svc.shutdowners):
            _now(shutdowner.shutdown)


def _make_service(
    constructor: Constructor, envelope: Envelope, config: Mapping[str, object]
) -> BackendService:
    return BackendService(
        getattr(constructor, "__name__", "processor"),
        config,
        _TIMEOUT,
        InlinePool(),
        Logger(__name__),
        Clock(),
        {name for name in ("header", "hashes", "delivery_header") if getattr(envelope, name)},
    )


def _now(function: Callable[..., Deferred[T] | T], *args: Any) -> T:
    """:returns: what a function returns, or its Deferred, which has fired."""
    outcome: list[T | Failure] = []
    work: Deferred[Any] = maybeDeferred(function, *args)
    work.addBoth(outcome.append)
    if not outcome:
        work.cancel()
        raise RuntimeError("the processor waits for something, so it needs a whole daemon")
    [result] = outcome
    if isinstance(result, Failure):
        result.raiseException()
    return result

"""What stands in for the world around the backend: a reactor, a thread pool, a log, a client."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from queue import SimpleQueue
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, Logger, formatEvent
from twisted.python.failure import Failure
from zope.interface import implementer

from guerrilla_tw.backends.chain import initialize_with, shutdown_with
from guerrilla_tw.backends.lanes import IReactor
from guerrilla_tw.backends.registry import Constructor, Decorator
from guerrilla_tw.backends.results import Result
from guerrilla_tw.backends.workers import WorkerPool
from guerrilla_tw.interfaces import IBackendService, IProcessor, IResult, Task
from guerrilla_tw.mail.address import Address
from guerrilla_tw.mail.envelope import Envelope

T = TypeVar("T")

# How long a test waits for a real thread before it fails, in seconds.
PATIENCE = 20.0

SAVED = Result(250, "2.0.0", "saved")
REFUSED = Result(554, "5.7.1", "refused")


@implementer(IReactor)
class FakeReactor(Clock):
    """A clock that the test moves; what threads hand back waits for :meth:`run_one`."""

    def __init__(self) -> None:
        super().__init__()
        self._handed_back: SimpleQueue[Callable[[], object]] = SimpleQueue()

    def callFromThread(
        self, callable: Callable[..., object], *args: object, **kwargs: object
    ) -> None:
        self._handed_back.put(lambda: callable(*args, **kwargs))

    def run_one(self) -> None:
        """Wait for a thread to hand something back, and run it here."""
        self._handed_back.get(timeout=PATIENCE)()

    def run_until(self, *works: Deferred[Any]) -> None:
        """Wait until all of these have come back."""
        while not all(work.called for work in works):
            self.run_one()

    @property
    def handed_back(self) -> int:
        """How much waits for :meth:`run_one`."""
        return self._handed_back.qsize()


class SteppedPool(WorkerPool):
    """A pool whose functions run here, one at a time and in order, when the test steps it."""

    def __init__(self, reactor: IReactor, size: int, name: str) -> None:
        super().__init__(reactor, size, name)
        self.size = size
        # How often something was handed to a thread.
        self.entered = 0
        self._queue: deque[Callable[[], None]] = deque()

    def defer(self, function: Callable[..., T], *args: Any) -> Deferred[T]:
        work: Deferred[T] = Deferred()

        def run() -> None:
            result: T | Failure
            try:
                result = function(*args)
            except BaseException:
                result = Failure()
            work.callback(result)

        self.entered += 1
        self._queue.append(run)
        return work

    def step(self) -> None:
        """Run the function that waits longest."""
        self._queue.popleft()()


@implementer(ILogObserver)
class Events(list[LogEvent]):
    """Keeps what was logged."""

    def __call__(self, event: LogEvent) -> None:
        self.append(event)

    def logger(self) -> Logger:
        return Logger("tests", observer=self)

    def texts(self) -> list[str]:
        return [formatEvent(event) for event in self]

    def failures(self) -> list[Failure]:
        return [event["log_failure"] for event in self if "log_failure" in event]


def make_envelope(*recipients: str) -> Envelope:
    """A message from a client, by default for one recipient."""
    envelope = Envelope("192.0.2.1", "client.example", esmtp=True)
    for user in recipients or ("user",):
        envelope.rcpt_to.append(Address(user=user, host="example.com"))
    envelope.body.write(b"Subject: test\r\n\r\nHello\r\n")
    return envelope


@implementer(IProcessor)
class FunctionProcessor:
    """A link that is one function: ``(envelope, task)`` -> what it answers, sense or nonsense."""

    def __init__(self, function: Callable[[Envelope, Task], Any]) -> None:
        self._function = function

    def process(self, envelope: Envelope, task: Task) -> IResult | Deferred[IResult]:
        answer: IResult | Deferred[IResult] = self._function(envelope, task)
        return answer


def ending(function: Callable[[Envelope, Task], Any]) -> Constructor:
    """A processor that answers by itself, whatever comes after it in the chain."""

    def construct(svc: IBackendService) -> Decorator:
        return lambda following: FunctionProcessor(function)

    return construct


class Lifecycle:
    """
    A processor of which only the beginning and the end matter; they are written down in ``diary``.

    :param failures: what to raise, by name of the event, such as ``open a``.
    :param waits: Deferreds to return, by name of the event.
    """

    def __init__(
        self,
        diary: list[str],
        failures: Mapping[str, Exception] | None = None,
        waits: Mapping[str, Deferred[None]] | None = None,
    ) -> None:
        self._diary = diary
        self._failures = {} if failures is None else failures
        self._waits = {} if waits is None else waits

    def construct(self, svc: IBackendService) -> Decorator:
        svc.add_initializer(initialize_with(lambda config: self._note(f"open {svc.name}")))
        svc.add_shutdowner(shutdown_with(lambda: self._note(f"close {svc.name}")))
        return lambda following: following

    def _note(self, event: str) -> Deferred[None] | None:
        self._diary.append(event)
        if event in self._failures:
            raise self._failures[event]
        return self._waits.get(event)

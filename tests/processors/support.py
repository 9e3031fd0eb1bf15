"""What the tests of processors share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, Logger, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.backends.chain import build_chain
from guerrilla_tw.backends.registry import Registry
from guerrilla_tw.backends.service import BackendService
from guerrilla_tw.interfaces import IResult, Task
from guerrilla_tw.mail.address import parse_forward_path, parse_reverse_path
from guerrilla_tw.mail.envelope import Envelope
from guerrilla_tw.processors import BUILTIN
from guerrilla_tw.testing.processor import InlinePool

T = TypeVar("T")


class CountingPool(InlinePool):
    """It knows how often the chain would have entered the pool."""

    def __init__(self) -> None:
        super().__init__()
        self.visits = 0

    def defer(self, function: Callable[..., T], *args: Any) -> Deferred[T]:
        self.visits += 1
        return super().defer(function, *args)


def make_envelope(
    data: bytes = b"Subject: hello\r\n\r\nbody\r\n",
    recipients: tuple[bytes, ...] = (b"<bob@example.org>",),
    sender: bytes = b"<alice@example.com>",
    remote_ip: str = "192.0.2.1",
    helo: str = "client.example",
    tls: bool = False,
    esmtp: bool = True,
) -> Envelope:
    """
    Make an envelope as the front would.

    :param recipients: forward-paths as after ``RCPT TO:``.
    :param sender: reverse-path as after ``MAIL FROM:``.
    """
    envelope = Envelope(remote_ip, helo, tls=tls, esmtp=esmtp)
    envelope.mail_from = parse_reverse_path(sender)[0]
    envelope.rcpt_to = [parse_forward_path(path)[0] for path in recipients]
    envelope.body.write(data)
    return envelope


class Chain:
    """A chain of the built-in processors, made as the Gateway makes it."""

    def __init__(self, test: SynchronousTestCase, expression: str, **settings: object) -> None:
        self.pool = CountingPool()
        self.reactor = Clock()
        self.events: list[LogEvent] = []
        self._test = test
        self._settings = settings
        # A function is an observer, though mypy-zope does not know it.
        observer: Any = self.events.append
        log = Logger("test", observer=observer)
        set_before: set[str] = set()
        self._chain, self.services = build_chain(
            expression,
            "save_process",
            Registry(BUILTIN),
            lambda name: BackendService(
                name, settings, 30.0, self.pool, log, self.reactor, set_before
            ),
        )

    def open(self) -> None:
        """Run the initializers, and the shutdowners when the test is over."""
        for service in self.services:
            for initializer in service.initializers:
                opened = maybeDeferred(initializer.initialize, self._settings)
                self._test.successResultOf(opened)
        self._test.addCleanup(self.close)

    def close(self) -> None:
        """Run the shutdowners."""
        for service in self.services:
            while service.shutdowners:
                service.shutdowners.pop().shutdown()

    def process(self, envelope: Envelope, task: Task = Task.SAVE_MAIL) -> IResult:
        """Run an envelope through the chain."""
        result = self._chain.process(envelope, task)
        return self._test.successResultOf(result) if isinstance(result, Deferred) else result

    def save(self, envelope: Envelope) -> Envelope:
        """Run an envelope through the chain, which must say yes."""
        result = self.process(envelope)
        self._test.assertEqual(result.code, 250, result.text)
        return envelope

    def lines(self) -> list[str]:
        """:returns: what was logged."""
        return [formatEvent(event) for event in self.events]

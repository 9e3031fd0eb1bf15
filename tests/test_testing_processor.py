"""A processor on one message, as the tests of its author run it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import msgspec
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw import (
    NO_SUCH_USER,
    STORE_UNAVAILABLE,
    Address,
    ConfigError,
    Decorator,
    Envelope,
    IBackendService,
    IResult,
    Result,
    Task,
    initialize_with,
    process_batches_with,
    process_with,
    process_with_deferred,
    shutdown_with,
)
from guerrilla_tw.processors.header import header
from guerrilla_tw.processors.sql.processor import sql
from guerrilla_tw.testing import run_processor


class LimiterConfig(msgspec.Struct, frozen=True):
    """:param limiter_size: octets at most."""

    limiter_size: int


def limiter(svc: IBackendService) -> Decorator:
    """Refuse what is too large."""
    config = svc.extract_config(svc.config, LimiterConfig)

    def step(envelope: Envelope, task: Task) -> Result | None:
        if task is Task.VALIDATE_RCPT:
            return NO_SUCH_USER
        return STORE_UNAVAILABLE if envelope.size > config.limiter_size else None

    return process_with(svc, step)


class RunProcessorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.envelope = Envelope()
        self.envelope.body.write(b"Subject: x\r\n\r\n")
        self.done: list[str] = []

    def recorder(self, svc: IBackendService) -> Decorator:
        for name in "ab":
            svc.add_initializer(initialize_with(partial(self.open, svc, name)))
            svc.add_shutdowner(shutdown_with(partial(self.done.append, f"close {name}")))

        return process_with(svc, lambda envelope, task: self.done.append("step"))

    def open(self, svc: IBackendService, name: str, config: Mapping[str, object]) -> Deferred[None]:
        return svc.defer_to_worker(self.done.append, f"open {name}")

    def test_result(self) -> None:
        for size, code in ((1, 451), (100, 250)):
            result = run_processor(limiter, self.envelope, {"limiter_size": size})
            self.assertEqual(result.code, code)
        result = run_processor(limiter, self.envelope, {"limiter_size": 1}, task=Task.VALIDATE_RCPT)
        self.assertEqual(result, NO_SUCH_USER)

    def test_settings_are_checked(self) -> None:
        with self.assertRaises(ConfigError) as caught:
            run_processor(limiter, self.envelope)
        self.assertEqual(caught.exception.path, "backend_config.limiter_size")

    def test_is_opened_and_closed(self) -> None:
        run_processor(self.recorder, self.envelope)
        self.assertEqual(self.done, ["open a", "open b", "step", "close b", "close a"])

    def test_is_closed_when_it_cannot_be_opened(self) -> None:
        missing = Path(self.mktemp())

        def broken(svc: IBackendService) -> Decorator:
            svc.add_initializer(initialize_with(lambda _: svc.defer_to_worker(missing.rmdir)))
            return self.recorder(svc)

        with self.assertRaises(FileNotFoundError):
            run_processor(broken, self.envelope)
        self.assertEqual(self.done, ["close b", "close a"])

    def test_error_of_a_step_is_the_tests(self) -> None:
        def broken(svc: IBackendService) -> Decorator:
            return process_with(svc, lambda envelope, task: [][1], nonblocking=True)

        with self.assertRaises(IndexError):
            run_processor(broken, self.envelope)

    def test_step_with_a_deferred(self) -> None:
        answer: Deferred[IResult | None] = succeed(NO_SUCH_USER)
        result = run_processor(
            lambda svc: process_with_deferred(lambda envelope, task: answer), self.envelope
        )
        self.assertEqual(result, NO_SUCH_USER)

    def test_what_waits_is_told_so(self) -> None:
        """And leaves nothing behind."""

        def slow(svc: IBackendService) -> Decorator:
            self.clock = svc.reactor
            return process_with_deferred(
                lambda envelope, task: deferLater(svc.reactor, 1, lambda: None)
            )

        with self.assertRaises(RuntimeError) as caught:
            run_processor(slow, self.envelope)
        self.assertIn("needs a whole daemon", str(caught.exception))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_batches(self) -> None:
        sizes: list[int] = []

        def ledger(svc: IBackendService) -> Decorator:
            def write(envelopes: list[Envelope]) -> list[Result | None]:
                sizes.append(len(envelopes))
                return [None]

            return process_batches_with(svc, write, size=10, wait=5.0)

        self.assertEqual(run_processor(ledger, self.envelope).code, 250)
        self.assertEqual(sizes, [1])

    def test_processors_of_ours(self) -> None:
        """A store, and what those before it have set is known to it."""
        path = Path(self.mktemp())
        settings = {"sql_dsn": str(path), "mail_table": "new_mail"}
        self.envelope.rcpt_to = [Address("bob", "example.com")]
        self.envelope.hashes = ["0" * 32]
        run_processor(header, self.envelope)
        self.assertIn("Delivered-To: bob@example.com", self.envelope.delivery_header)
        result = run_processor(sql, self.envelope, settings)
        self.assertEqual(result.code, 250)
        self.assertIn(b"bob@example.com", path.read_bytes())

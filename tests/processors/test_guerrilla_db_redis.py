"""GuerrillaDbRedis: what it is composed of, in which order, and its settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.backends.chain import process_with
from guerrilla_tw.backends.gateway import Gateway, InitializationError
from guerrilla_tw.backends.lanes import IReactor
from guerrilla_tw.backends.registry import Decorator, Registry
from guerrilla_tw.backends.results import STORE_UNAVAILABLE, queued
from guerrilla_tw.backends.workers import WorkerPool
from guerrilla_tw.config import ConfigError, convert_settings
from guerrilla_tw.interfaces import IBackendService, IResult, Task
from guerrilla_tw.mail.envelope import Envelope
from guerrilla_tw.processors import BUILTIN, guerrilla_db_redis
from guerrilla_tw.processors.compressor import COMPRESSED
from guerrilla_tw.processors.guerrilla_db_redis import MySqlInBatches
from guerrilla_tw.processors.redis.processor import IN_REDIS
from guerrilla_tw.processors.sql.schema import table_ddl
from guerrilla_tw.processors.sql.settings import TableConfig
from guerrilla_tw.testing.processor import InlinePool
from tests.backends.fakes import FakeReactor, Lifecycle
from tests.integration.daemon_process import free_port
from tests.processors.support import Chain, make_envelope

SETTINGS: Mapping[str, object] = {
    "mysql_db": "mail",
    "mysql_user": "root",
    "mail_table": "new_mail",
}


class SettingsTests(SynchronousTestCase):
    def convert(self, **settings: object) -> MySqlInBatches:
        return convert_settings({**SETTINGS, **settings}, MySqlInBatches)

    def test_batches_are_on_by_default(self) -> None:
        for settings in ({}, {"sql_batch_size": 0, "sql_batch_wait": ""}):
            config = self.convert(**settings)
            self.assertEqual((config.sql_batch_size, config.sql_batch_wait), (50, 0.005))

    def test_other_batches(self) -> None:
        config = self.convert(sql_batch_size=1, sql_batch_wait="2ms")
        self.assertEqual((config.sql_batch_size, config.sql_batch_wait), (1, 0.002))

    def test_place_in_the_form_of_later_years(self) -> None:
        settings = {**SETTINGS, "sql_dsn": "root:ok@tcp(127.0.0.1:3306)/db", "sql_driver": "mysql"}
        for name in ("mysql_host", "mysql_db", "mysql_user"):
            settings.pop(name, None)
        gateway = Gateway(Registry(BUILTIN), Clock(), Logger("test"))  # type: ignore[arg-type]
        config = {**settings, "save_process": "GuerrillaDbRedis", "save_workers_size": 2}
        self.assertEqual(gateway.check(config), [])
        (ddl, *_) = table_ddl(config)
        self.assertIn("ENGINE=InnoDB", ddl)

    def test_settings_of_mysql_are_checked(self) -> None:
        for name, value in (("sql_batch_size", -1), ("mail_table", "a;b"), ("mysql_db", "")):
            with self.assertRaises(ConfigError) as caught:
                self.convert(**{name: value})
            self.assertIn(name, str(caught.exception))

    def test_it_needs_nothing_before_it_and_stores(self) -> None:
        gateway = Gateway(Registry(BUILTIN), Clock(), Logger("test"))  # type: ignore[arg-type]
        for name in ("GuerrillaDbRedis", "GuerrillaRedisDB"):
            warnings = gateway.check(
                {
                    **SETTINGS,
                    "save_process": name,
                    "redis_interface": "127.0.0.1:6379",
                    "primary_mail_host": "example.com",
                }
            )
            self.assertEqual(warnings, [])

    def test_settings_of_redis_are_checked(self) -> None:
        with self.assertRaises(ConfigError) as caught:
            Chain(self, "GuerrillaDbRedis", **SETTINGS, redis_expire_seconds=-1)
        self.assertIn("redis_expire_seconds", str(caught.exception))


class FakeTable:
    """Stands in for SqlStore. Writes down what it is given, and in what state that is."""

    def __init__(self, config: TableConfig, svc: IBackendService) -> None:
        self.result: IResult | None = None
        self.seen: list[dict[str, object]] = []

    def initialize(self, config: Mapping[str, object]) -> None:
        pass

    def shutdown(self) -> None:
        pass

    def save_all(self, envelopes: Sequence[Envelope]) -> Sequence[IResult | None]:
        for envelope in envelopes:
            self.seen.append(
                {
                    "subject": envelope.subject,
                    "hashes": len(envelope.hashes),
                    "delivery_header": envelope.hashes[0] in envelope.delivery_header,
                    "compressed": COMPRESSED in envelope.values,
                    "redis": envelope.values.get(IN_REDIS),
                }
            )
        return [self.result] * len(envelopes)


class CompositionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.tables: list[FakeTable] = []
        self.redis_has_it = True
        self.patch(guerrilla_db_redis, "SqlStore", self.make_table)
        self.patch(guerrilla_db_redis, "redis_if_available", self.fake_redis)

    def make_table(self, config: TableConfig, svc: IBackendService) -> FakeTable:
        self.tables.append(FakeTable(config, svc))
        return self.tables[-1]

    def fake_redis(self, svc: IBackendService) -> Decorator:
        self.assertTrue(svc.is_set_before("hashes"))

        def save(envelope: Envelope, task: Task) -> None:
            if task is Task.SAVE_MAIL and self.redis_has_it:
                self.assertIn(COMPRESSED, envelope.values)
                envelope.values[IN_REDIS] = envelope.hashes[0]

        return process_with(svc, save, nonblocking=True)

    def chain(self, expression: str = "GuerrillaDbRedis") -> Chain:
        return Chain(self, expression, **SETTINGS)

    def test_row_is_written_when_all_else_is_done(self) -> None:
        for self.redis_has_it in (True, False):
            chain = self.chain()
            envelope = make_envelope(recipients=(b"<a@example.org>", b"<b@example.org>"))
            result = chain.process(envelope)
            self.assertEqual(result, queued(envelope.queued_id))
            self.assertEqual(
                self.tables[-1].seen,
                [
                    {
                        "subject": "hello",
                        "hashes": 2,
                        "delivery_header": True,
                        "compressed": True,
                        "redis": envelope.hashes[0] if self.redis_has_it else None,
                    }
                ],
            )

    def test_what_is_done_before_is_harmless(self) -> None:
        chain = self.chain("HeadersParser|Hasher|Header|Compressor|GuerrillaDbRedis")
        self.assertEqual(chain.process(make_envelope()).code, 250)
        self.assertEqual(self.tables[-1].seen[0]["hashes"], 1)

    def test_table_says_no(self) -> None:
        chain = self.chain()
        self.tables[-1].result = STORE_UNAVAILABLE
        self.assertEqual(chain.process(make_envelope()), STORE_UNAVAILABLE)

    def test_recipient_check_touches_nothing(self) -> None:
        chain = self.chain()
        self.assertEqual(chain.process(make_envelope(), Task.VALIDATE_RCPT).code, 250)
        self.assertEqual(self.tables[-1].seen, [])


class InlineThreads(InlinePool):
    """For a Gateway."""

    def __init__(self, reactor: IReactor, size: int, name: str) -> None:
        WorkerPool.__init__(self, reactor, size, name)


class OpeningTests(SynchronousTestCase):
    def test_redis_is_closed_if_mysql_cannot_be_opened(self) -> None:
        """It would keep its connections, and make them anew for ever."""
        diary: list[str] = []
        fake_redis = Lifecycle(diary).construct

        self.patch(guerrilla_db_redis, "redis_if_available", fake_redis)
        gateway = Gateway(Registry(BUILTIN), FakeReactor(), Logger("test"), InlineThreads)
        host = f"127.0.0.1:{free_port()}"
        config = {**SETTINGS, "save_process": "GuerrillaDbRedis", "mysql_host": host}
        self.failureResultOf(gateway.initialize(config), InitializationError)
        self.assertEqual(diary, ["open GuerrillaDbRedis", "close GuerrillaDbRedis"])

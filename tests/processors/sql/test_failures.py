"""Sql: all rows of a message or none, durably; and what the client is told when it cannot be."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from threading import Event, Timer
from typing import Any
from unittest import mock

from sqlalchemy import Engine, event
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThread
from twisted.logger import Logger, LogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase

from guerrilla_tw.backends.gateway import Gateway, InitializationError, State
from guerrilla_tw.backends.registry import Registry
from guerrilla_tw.backends.results import (
    PROCESSING_FAILED,
    STORE_UNAVAILABLE,
    TOO_LARGE_FOR_STORE,
)
from guerrilla_tw.backends.service import BackendService
from guerrilla_tw.backends.workers import WorkerPool
from guerrilla_tw.interfaces import IResult, Task
from guerrilla_tw.processors import BUILTIN
from guerrilla_tw.processors.sql import store as store_module
from guerrilla_tw.processors.sql.settings import SqlConfig
from guerrilla_tw.processors.sql.store import SqlStore
from tests.integration.sql_support import OpenStore
from tests.processors.support import Chain, make_envelope

THREE = (b"<a@example.org>", b"<b@example.org>", b"<c@example.org>")


def query(path: str, statement: str) -> list[Any]:
    """Do what another program may do with the database."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return connection.execute(statement).fetchall()


class FailureTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = self.mktemp()
        self.connections: list[sqlite3.Connection] = []

        def connected(connection: Any, _: object) -> None:
            self.connections.append(connection)

        event.listen(Engine, "connect", connected)
        self.addCleanup(event.remove, Engine, "connect", connected)
        self.chain = Chain(
            self, "HeadersParser|Hasher|Header|Sql", sql_dsn=self.path, mail_table="mail"
        )
        self.chain.open()

    def pragma(self, text: str) -> Any:
        """Ask the connection that the store uses."""
        (connection,) = self.connections
        return connection.execute(f"PRAGMA {text}").fetchone()[0]

    def recipients(self) -> list[str]:
        return [row[0] for row in query(self.path, "SELECT recipient FROM mail ORDER BY mail_id")]

    def test_commits_are_on_the_disk(self) -> None:
        self.chain.save(make_envelope())
        self.assertEqual(self.pragma("journal_mode"), "wal")
        self.assertEqual(self.pragma("synchronous"), 2)

    def test_shutdown_closes_the_connections(self) -> None:
        self.chain.close()
        with self.assertRaises(sqlite3.ProgrammingError):
            self.pragma("synchronous")

    def test_whatever_ends_the_opening_leaves_no_connection(self) -> None:
        """Such as the answer of a server that is none."""
        chain = Chain(self, "Sql", sql_dsn=self.path, mail_table="mail")
        (initializer,) = chain.services[0].initializers
        with mock.patch.object(store_module, "fit_table", side_effect=KeyError):
            opened = initializer.initialize({})
        assert opened is not None
        self.failureResultOf(opened, KeyError)
        with self.assertRaises(sqlite3.ProgrammingError):
            self.connections[-1].execute("SELECT 1")

    def test_file_that_is_removed(self) -> None:
        """Nothing is acknowledged that goes into a file without a name."""
        self.chain.save(make_envelope())
        for file in Path(self.path).parent.glob(Path(self.path).name + "*"):
            file.unlink()
        self.assertEqual(self.chain.process(make_envelope()), STORE_UNAVAILABLE)
        self.assertIn("no such table: mail", self.chain.lines()[-1])

    def test_file_that_is_replaced(self) -> None:
        """As by a restored copy: what comes from then on is in that."""
        self.chain.save(make_envelope())
        copy = f"{self.path}.copy"
        with closing(sqlite3.connect(copy)) as connection:
            with closing(sqlite3.connect(self.path)) as original:
                original.backup(connection)
            connection.execute("DELETE FROM mail")
            connection.commit()
        for beside in ("-wal", "-shm"):
            Path(self.path + beside).unlink(missing_ok=True)
        Path(copy).rename(self.path)
        self.chain.save(make_envelope(recipients=(b"<new@example.org>",)))
        self.assertEqual(self.recipients(), ["new@example.org"])

    def test_all_rows_or_none(self) -> None:
        """A middle row that the table does not admit, for its value or for a rule."""
        self.chain.save(make_envelope(recipients=(b"<b@example.org>",)))
        for make, drop in (
            ("CREATE UNIQUE INDEX once ON mail (recipient)", "DROP INDEX once"),
            (
                "CREATE TRIGGER stop AFTER INSERT ON mail WHEN new.recipient LIKE 'b@%' "
                "BEGIN SELECT RAISE(FAIL, 'not b'); END",
                "DROP TRIGGER stop",
            ),
        ):
            query(self.path, make)
            result = self.chain.process(make_envelope(recipients=THREE))
            self.assertEqual(result, STORE_UNAVAILABLE)
            self.assertEqual(self.recipients(), ["b@example.org"])
            query(self.path, drop)
        self.chain.save(make_envelope(recipients=THREE))
        self.assertEqual(len(self.recipients()), 4)

    def test_failure_is_logged_without_the_message(self) -> None:
        query(
            self.path,
            "CREATE TRIGGER stop BEFORE INSERT ON mail BEGIN SELECT RAISE(ABORT, 'no'); END",
        )
        envelope = make_envelope(b"Subject: secret\r\n\r\nsecret\r\n", (b"<secret@example.org>",))
        self.chain.process(envelope)
        self.assertEqual(self.chain.lines(), [f"{envelope.queued_id}: not stored in mail: no"])
        self.assertNotIn("secret", repr(self.chain.events))

    def test_second_try(self) -> None:
        """Of a message that may be there: each row is there once."""
        envelope = self.chain.save(make_envelope(recipients=THREE))
        envelope.may_be_stored = True
        self.chain.save(envelope)
        self.assertEqual(len(self.recipients()), 3)
        query(self.path, "DELETE FROM mail WHERE recipient = 'b@example.org'")
        self.chain.save(envelope)
        self.assertEqual(self.recipients(), ["a@example.org", "c@example.org", "b@example.org"])

    def test_too_large_for_the_store(self) -> None:
        """zeroblob fails as a value does that is larger than SQLite can hold."""
        query(
            self.path,
            "CREATE TRIGGER large BEFORE INSERT ON mail WHEN length(new.mail) > 100000 "
            "BEGIN SELECT zeroblob(2147483647); END",
        )
        self.assertEqual(self.chain.process(make_envelope(b"x" * 100_001)), TOO_LARGE_FOR_STORE)
        self.assertEqual(self.recipients(), [])
        self.chain.save(make_envelope())

    def test_full_disk(self) -> None:
        self.pragma(f"max_page_count = {self.pragma('page_count') + 5}")
        large = b"x" * 1_000_000
        self.assertEqual(self.chain.process(make_envelope(large)), STORE_UNAVAILABLE)
        self.assertEqual(self.recipients(), [])
        self.assertIn("database or disk is full", self.chain.lines()[0])
        self.pragma("max_page_count = 100000")
        self.chain.save(make_envelope(large))
        self.assertEqual(self.recipients(), ["bob@example.org"])

    def test_table_that_went_away(self) -> None:
        query(self.path, "ALTER TABLE mail RENAME TO away")
        self.assertEqual(self.chain.process(make_envelope()), STORE_UNAVAILABLE)
        query(self.path, "ALTER TABLE away RENAME TO mail")
        self.chain.save(make_envelope())

    def test_failed_commit_leaves_nothing_behind(self) -> None:
        """SQLite keeps the transaction open then; the next message is not to commit it."""
        query(self.path, "CREATE TABLE known (name TEXT PRIMARY KEY)")
        query(
            self.path,
            "ALTER TABLE mail ADD COLUMN owner TEXT DEFAULT 'me'"
            " REFERENCES known (name) DEFERRABLE INITIALLY DEFERRED",
        )
        (connection,) = self.connections
        connection.execute("PRAGMA foreign_keys = ON")
        refused = make_envelope(recipients=(b"<refused@example.org>",))
        self.assertEqual(self.chain.process(refused), STORE_UNAVAILABLE)
        # Nor does it lock others out.
        query(self.path, "INSERT INTO known VALUES ('me')")
        self.chain.save(make_envelope())
        self.assertEqual(self.recipients(), ["bob@example.org"])

    def test_message_that_no_row_can_be_made_of(self) -> None:
        """It fails alone."""
        store = OpenStore(self, {"sql_dsn": self.path, "mail_table": "mail"})
        batch = [make_envelope() for _ in range(4)]
        batch[1].hashes = ["a", "b"]
        batch[2].remote_ip = "no address"
        results = store.save_all(batch)
        self.assertEqual(results, [None, PROCESSING_FAILED, PROCESSING_FAILED, None])
        self.assertEqual(len(self.recipients()), 2)
        self.assertEqual(
            store.lines(),
            [
                f"{envelope.queued_id}: not stored in mail: no row can be made of it: ValueError"
                for envelope in batch[1:3]
            ],
        )

    def test_refused_message_keeps_its_queue_id(self) -> None:
        """It is what the log has, and what a second try hashes again."""
        query(self.path, "ALTER TABLE mail RENAME TO away")
        envelope = make_envelope()
        queued_id = envelope.queued_id
        self.chain.process(envelope)
        self.assertEqual(envelope.queued_id, queued_id)


class ThreadTests(TestCase):
    """In the Gateway, with its threads."""

    timeout = 60

    def setUp(self) -> None:
        self.path = self.mktemp()
        log = Logger("test", observer=LogPublisher())
        self.gateway = Gateway(Registry(BUILTIN), reactor, log)  # type: ignore[arg-type]

    async def start(self, **settings: object) -> None:
        await self.gateway.initialize(
            {
                "save_process": "HeadersParser|Hasher|Header|Compressor|Sql",
                "sql_dsn": self.path,
                "mail_table": "mail",
                **settings,
            }
        )
        self.addCleanup(self.gateway.shutdown)
        self.gateway.start()

    async def send(self, count: int) -> list[IResult]:
        """Give the Gateway many messages at once."""
        answers = [
            self.gateway.process(make_envelope(recipients=THREE), Task.SAVE_MAIL)
            for _ in range(count)
        ]
        return [await answer if isinstance(answer, Deferred) else answer for answer in answers]

    async def test_many_at_once(self) -> None:
        await self.start(save_workers_size=4)
        results = await self.send(100)
        self.assertEqual({result.code for result in results}, {250})
        hashes = {row[0] for row in query(self.path, "SELECT hash FROM mail")}
        self.assertEqual(len(hashes), 300)
        self.assertEqual({result.text.split()[-1] for result in results} - hashes, set())

    async def test_batches(self) -> None:
        await self.start(save_workers_size=8, sql_batch_size=5)
        query(
            self.path,
            "CREATE TRIGGER stop BEFORE INSERT ON mail WHEN new.recipient LIKE 'bad@%' "
            "BEGIN SELECT RAISE(ABORT, 'no'); END",
        )
        envelopes = [make_envelope(recipients=THREE) for _ in range(40)]
        envelopes[17] = make_envelope(recipients=(*THREE, b"<bad@example.org>"))
        answers = [self.gateway.process(each, Task.SAVE_MAIL) for each in envelopes]
        codes = [(await answer).code for answer in answers if isinstance(answer, Deferred)]
        self.assertEqual(codes, [250] * 17 + [451] + [250] * 22)
        stored = {row[0] for row in query(self.path, "SELECT hash FROM mail")}
        good = (each for each in envelopes if each is not envelopes[17])
        self.assertEqual(stored, {name for each in good for name in each.hashes})

    async def test_sql_insert(self) -> None:
        await self.start(
            sql_insert='INSERT INTO mail (date, "to", "from", subject, body, mail, spam_score,'
            " hash, content_type, recipient, has_attach, ip_addr, return_path, is_tls, message_id,"
            " reply_to, sender) VALUES"
        )
        self.assertEqual([result.code for result in await self.send(1)], [250])
        ((date, mail),) = query(self.path, "SELECT DISTINCT date, mail FROM mail")
        self.assertTrue(date.startswith("20"))
        self.assertTrue(mail)

    async def test_bounded_pool(self) -> None:
        """More workers than connections: they wait for each other."""
        await self.start(save_workers_size=8, sql_max_open_conns=2, sql_max_idle_conns=1)
        results = await self.send(40)
        self.assertEqual({result.code for result in results}, {250})

    async def test_locked_database(self) -> None:
        """The store's own answer comes before the Gateway's deadline, in all threads."""
        await self.start(save_workers_size=20, gw_save_timeout="2s")
        with closing(sqlite3.connect(self.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            results = await self.send(20)
        self.assertEqual(results, [STORE_UNAVAILABLE] * 20)
        self.assertEqual((await self.send(1))[0].code, 250)
        self.assertEqual(query(self.path, "SELECT count(*) FROM mail"), [(3,)])

    async def test_deadline_counts_from_when_the_message_came(self) -> None:
        """What was told 451 is not stored, also when it waited for a worker first."""
        await self.start(save_workers_size=1, gw_save_timeout="2s")
        other = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        self.addCleanup(other.close)
        other.execute("BEGIN IMMEDIATE")
        unlocking = Timer(2.5, other.rollback)
        unlocking.start()
        results = await self.send(2)
        self.assertEqual([result.code for result in results], [451, 451])
        await deferToThread(unlocking.join)
        await self.gateway.shutdown()
        self.assertEqual(query(self.path, "SELECT count(*) FROM mail"), [(0,)])

    async def test_shutdown_while_it_is_opened(self) -> None:
        """Nobody waits for the opening any more, and what it opens is closed."""
        pool = WorkerPool(reactor, 2, "test")  # type: ignore[arg-type]
        pool.startService()
        self.addCleanup(pool.stopService)
        settings = {"sql_dsn": self.path, "mail_table": "mail"}
        log = Logger("test", observer=LogPublisher())
        svc = BackendService("Sql", settings, 30.0, pool, log, reactor, set())
        store = SqlStore(svc.extract_config(settings, SqlConfig), svc)
        connections: list[sqlite3.Connection] = []
        connecting, go_on = Event(), Event()

        def connected(connection: Any, _: object) -> None:
            connections.append(connection)
            connecting.set()
            go_on.wait(10)

        event.listen(Engine, "connect", connected)
        self.addCleanup(event.remove, Engine, "connect", connected)
        opening = store.initialize({})
        opening.addErrback(lambda failure: failure.trap(CancelledError))
        await deferToThread(connecting.wait, 10)
        opening.cancel()
        closed = store.shutdown()
        reactor.callLater(0.1, go_on.set)
        await closed
        for connection in connections:
            with self.assertRaises(sqlite3.ProgrammingError):
                connection.execute("SELECT 1")

    async def test_shutdown_of_what_was_never_opened(self) -> None:
        chain = Chain(self, "Sql", sql_dsn=self.path, mail_table="mail")
        chain.close()

    async def test_shut_down_store_is_whole(self) -> None:
        """What was answered 250 is in the file itself, no log beside it."""
        await self.start()
        await self.send(3)
        await self.gateway.shutdown()
        with open(self.path, "rb") as file, open(self.mktemp(), "wb") as copy:
            copy.write(file.read())
        self.assertEqual(query(copy.name, "SELECT count(*) FROM mail"), [(9,)])

    async def test_refused_start_names_the_processor(self) -> None:
        self.path += "/no/such/file"
        with self.assertRaises(InitializationError) as caught:
            await self.start()
        self.assertEqual(
            str(caught.exception),
            f"Sql: cannot store in table mail in {self.path}: No such file or directory",
        )
        self.assertIs(self.gateway.state, State.ERROR)

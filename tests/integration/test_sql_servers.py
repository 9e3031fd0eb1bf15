"""Sql with real servers: what a row holds, and that none is lost or doubled whatever happens."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import time
from contextlib import closing
from functools import cache
from pathlib import Path
from threading import Event, Thread
from typing import Any
from unittest import mock

from sqlalchemy import Engine, event
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.backends.errors import StoreError
from guerrilla_tw.backends.results import STORE_UNAVAILABLE, TOO_LARGE_FOR_STORE
from guerrilla_tw.config import ConfigError
from guerrilla_tw.mail.envelope import Envelope
from guerrilla_tw.processors.redis.processor import IN_REDIS
from guerrilla_tw.processors.sql import writer
from guerrilla_tw.processors.sql.drivers import SESSION
from guerrilla_tw.processors.sql.schema import create_tables, table_ddl
from guerrilla_tw.processors.sql.settings import MySqlConfig
from guerrilla_tw.processors.sql.writer import _SESSIONS
from tests.integration.daemon_process import ROOT, wait_until
from tests.integration.programs import DEADLINE
from tests.integration.sql_support import CuttingProxy, OpenStore
from tests.processors.support import Chain, make_envelope
from tests.servers.mariadb import DATABASE, MariaDb
from tests.servers.postgresql import PASSWORD, PostgreSql

THREE = (b"<a@example.org>", b"<b@example.org>", b"<c@example.org>")
UTF8 = (
    "From: x@y.example\r\nSubject: =?utf-8?b?8J+YgA==?= Gr\u00fc\u00dfe \u0442\r\n"
    "To: \u043f\u0451\u0442\u0440@\u043f\u0440\u0438\u043c\u0435\u0440.\u0440\u0444\r\n\r\nx\r\n"
).encode()
# go-guerrilla's documentation has it, in this form or a like one, for MySQL.
OLD_TABLE = """
CREATE TABLE new_mail (
    mail_id BIGINT(20) unsigned NOT NULL AUTO_INCREMENT, date datetime NOT NULL,
    `from` varchar(128) character set latin1 NOT NULL,
    `to` varchar(128) character set latin1 NOT NULL,
    subject varchar(255) NOT NULL, body text NOT NULL,
    charset varchar(32) character set latin1 NOT NULL, mail longblob NOT NULL,
    spam_score float NOT NULL, hash char(32) character set latin1 NOT NULL,
    content_type varchar(64) character set latin1 NOT NULL,
    recipient varchar(128) character set latin1 NOT NULL, has_attach int(11) NOT NULL,
    ip_addr {ip_addr} NOT NULL, return_path VARCHAR(255) NOT NULL,
    is_tls BIT(1) DEFAULT b'0' NOT NULL,
    PRIMARY KEY (mail_id), KEY `to` (`to`), KEY hash (hash), KEY date (date)
) ENGINE={engine} DEFAULT CHARSET=utf8
"""


def hashed(data: bytes = b"Subject: x\r\n\r\nx\r\n", *recipients: bytes) -> Envelope:
    """:returns: an envelope as it comes from HeadersParser and Hasher."""
    envelope = make_envelope(data, recipients or (b"<bob@example.org>",))
    envelope.parse_headers()
    envelope.hashes = [os.urandom(16).hex() for _ in envelope.rcpt_to]
    return envelope


class ServerTests:
    """For each server; a subclass is a TestCase, and says what differs."""

    server: Any
    # To see where a statement hangs, for other users.
    lock: str
    kill_others: str

    @classmethod
    def make_server(cls) -> Any:
        raise NotImplementedError

    def dsn(self, user: str = "", password: str = "", port: int = 0) -> dict[str, object]:
        """:returns: sql_driver and sql_dsn."""
        raise NotImplementedError

    @classmethod
    @cache
    def started_server(cls) -> Any:
        """One for all tests of a class: trial does not call setUpClass."""
        server = cls.make_server()
        atexit.register(server.close)
        server.start()
        cls.make_users(server)
        return server

    @classmethod
    def make_users(cls, server: Any) -> None:
        raise NotImplementedError

    def setUp(self) -> None:
        self.server = self.started_server()
        self.drop()
        self.settings = {**self.dsn(), "mail_table": "new_mail"}

    def drop(self) -> None:
        self.server.execute("DROP TABLE IF EXISTS new_mail")

    def own(self) -> None:
        """Give the table that an administrator made to the store's user."""

    def make_table(self) -> None:
        create_tables({"save_process": "Sql", **self.settings})

    def store(self: Any, timeout: float = 30.0, **changes: object) -> OpenStore:
        """:returns: an open store with the table that is there."""
        return OpenStore(self, {**self.settings, **changes}, timeout)

    def ready(self, timeout: float = 30.0) -> OpenStore:
        """:returns: an open store with our table."""
        self.make_table()
        return self.store(timeout)

    def hashes(self) -> list[str]:
        return [row[0] for row in self.server.execute("SELECT hash FROM new_mail ORDER BY mail_id")]

    def refused(self: Any, **changes: object) -> str:
        """:returns: why the store does not start."""
        with self.assertRaises(Exception) as caught:
            self.store(**changes)
        # What successResultOf raises holds the text of the failure.
        return str(caught.exception)

    # What a row holds.

    def test_every_octet(self: Any) -> None:
        store = self.ready()
        for data in (bytes(range(256)) * 20, b"", b"%s ? \\ ' \" \0 \x1a :x", b"\xff" * 3_000_000):
            envelope = hashed(data)
            envelope.delivery_header = "Delivered-To: \u00fc\r\n"
            self.assertEqual(store.save_all([envelope]), [None])
            mail = self.server.execute(
                "SELECT mail FROM new_mail WHERE hash = %s", envelope.hashes[0]
            )
            self.assertEqual(mail, [("Delivered-To: \u00fc\r\n".encode() + data,)])

    def test_row_of_each_recipient(self: Any) -> None:
        self.make_table()
        chain = Chain(self, "HeadersParser|Compressor|Hasher|Sql", **self.settings)
        chain.open()
        envelope = make_envelope(UTF8, (*THREE, "<\u7528\u6237@b\u00fccher.example>".encode()))
        result = chain.process(envelope)
        self.assertEqual(result.text, f"OK: queued as {envelope.hashes[0]}")
        rows = self.server.execute(
            f"SELECT hash, recipient, subject, body, {self.quote}to{self.quote}, is_tls, ip_addr,"
            " return_path, message_id FROM new_mail ORDER BY mail_id"
        )
        self.assertEqual(
            [(row[0], row[1]) for row in rows],
            list(zip(envelope.hashes, map(str, envelope.rcpt_to), strict=True)),
        )
        self.assertEqual(
            {tuple(row[2:8]) for row in rows},
            {
                (
                    "\U0001f600 Gr\u00fc\u00dfe \u0442",
                    "gzip",
                    "\u043f\u0451\u0442\u0440@\u043f\u0440\u0438\u043c\u0435\u0440.\u0440\u0444",
                    False,
                    b"\xc0\x00\x02\x01",
                    "alice@example.com",
                )
            },
        )

    def test_message_in_redis(self: Any) -> None:
        store = self.ready()
        envelope = hashed(b"x", *THREE)
        envelope.values[IN_REDIS] = envelope.hashes[0]
        self.assertEqual(store.save_all([envelope]), [None])
        rows = self.server.execute("SELECT body, mail, hash FROM new_mail")
        self.assertEqual(rows, [("redis", b"", envelope.hashes[0])] * 3)

    def test_hostile_text(self: Any) -> None:
        store = self.ready()
        subject = "'); DROP TABLE new_mail; -- \\' %s ? :x \\"
        envelope = hashed(b"Subject: " + subject.encode() + b"\r\n\r\n", b'<"a\'b\\\\"@x.example>')
        envelope.subject += "\0\ud800" + "\U0001f600" * 300
        self.assertEqual(store.save_all([envelope]), [None])
        ((stored, recipient),) = self.server.execute("SELECT subject, recipient FROM new_mail")
        self.assertEqual(stored, (subject + "??" + "\U0001f600" * 300)[:255])
        self.assertEqual(recipient, str(envelope.rcpt_to[0]))

    def test_date_is_utc(self: Any) -> None:
        store = self.ready()
        store.save_all([hashed()])
        ((age,),) = self.server.execute(self.age)
        self.assertLess(abs(age), 60)

    # What is there at the start.

    def test_table_is_missing(self: Any) -> None:
        text = self.refused()
        self.assertIn("python -m guerrilla_tw create-table --config FILE", text)

    def test_tables_are_made_once(self: Any) -> None:
        config = {"save_process": "Hasher|SQL|sql", **self.settings}
        (made,) = create_tables(config)
        self.assertTrue(made.endswith(" is made"), made)
        (made,) = create_tables(config)
        self.assertTrue(made.endswith(" is there already"), made)

    def test_statements_that_are_shown_are_good(self: Any) -> None:
        for statement in table_ddl({"save_process": "Sql", **self.settings}):
            self.server.execute(statement)
        self.own()
        self.assertEqual(self.store().save_all([hashed()]), [None])

    def test_nothing_to_make_a_table_for(self: Any) -> None:
        with self.assertRaises(ConfigError) as caught:
            create_tables({"save_process": "Hasher|Redis"})
        self.assertEqual(caught.exception.path, "backend_config.save_process")

    def test_wrong_password(self: Any) -> None:
        self.make_table()
        text = self.refused(**self.dsn(password="secret7"))
        self.assertIn("assword", text)
        self.assertNotIn("secret7", text)
        with self.assertRaises(StoreError) as caught:
            create_tables({"save_process": "Sql", **self.settings, **self.dsn(password="secret7")})
        self.assertNotIn("secret7", str(caught.exception))

    def test_may_only_read(self: Any) -> None:
        self.make_table()
        self.server.execute("GRANT SELECT ON new_mail TO reader")
        text = self.refused(**self.dsn(user="reader", password="reader"))
        self.assertIn("denied", text)

    def test_column_that_needs_a_value(self: Any) -> None:
        self.make_table()
        self.server.execute("ALTER TABLE new_mail ADD COLUMN owner INT NOT NULL")
        self.assertIn("the column owner needs a value", self.refused())
        self.server.execute("ALTER TABLE new_mail ALTER COLUMN owner SET DEFAULT 7")
        self.assertEqual(self.store().save_all([hashed()]), [None])

    def test_columns_are_missing(self: Any) -> None:
        self.make_table()
        for column in ("reply_to", "sender"):
            self.server.execute(f"ALTER TABLE new_mail DROP COLUMN {column}")
        store = self.store()
        self.assertEqual(store.lines(), ["table new_mail has no column reply_to, sender"])
        self.assertEqual(store.save_all([hashed()]), [None])
        self.server.execute("ALTER TABLE new_mail DROP COLUMN recipient")
        self.assertIn("the table has no column recipient", self.refused())

    def test_shorter_columns(self: Any) -> None:
        self.make_table()
        self.server.execute(self.shorten)
        envelope = hashed(b"Subject: abcdefghijkl\r\n\r\n")
        self.assertEqual(self.store().save_all([envelope]), [None])
        self.assertEqual(self.server.execute("SELECT subject FROM new_mail"), [("abcdefgh",)])

    def test_mail_column_for_text(self: Any) -> None:
        self.make_table()
        self.server.execute("ALTER TABLE new_mail DROP COLUMN mail")
        self.server.execute("ALTER TABLE new_mail ADD COLUMN mail TEXT NOT NULL")
        self.assertIn("the column mail is for text", self.refused())

    # Statements that somebody wrote.

    def test_sql_insert_and_sql_values(self: Any) -> None:
        self.make_table()
        self.server.execute("ALTER TABLE new_mail ADD COLUMN owner VARCHAR(9) NOT NULL")
        store = self.store(
            sql_insert=f"INSERT INTO new_mail (owner, date, {self.quote}to{self.quote},"
            f" {self.quote}from{self.quote}, subject, body, mail,"
            " spam_score, hash, content_type, recipient, has_attach, ip_addr, return_path,"
            " is_tls, message_id, reply_to, sender) VALUES",
            sql_values="('? 100%', CURRENT_TIMESTAMP, ?, ?, ?, ?, ?, 0, ?, ?, ?,"
            f" {self.false}, ?, ?, ?, ?, ?, ?)",
        )
        batch = [hashed(b"%d" % number, *THREE) for number in range(3)]
        self.assertEqual(store.save_all(batch), [None] * 3)
        rows = self.server.execute("SELECT owner, hash FROM new_mail ORDER BY mail_id")
        self.assertEqual(rows, [("? 100%", name) for each in batch for name in each.hashes])

    def test_sql_values_alone(self: Any) -> None:
        self.make_table()
        store = self.store(
            sql_values="(CURRENT_TIMESTAMP, ?, ?, ?, ?, ?, 7, ?, ?, ?,"
            f" {self.false}, ?, ?, ?, ?, ?, ?)"
        )
        self.assertEqual(store.save_all([hashed()]), [None])
        self.assertEqual(self.server.execute("SELECT spam_score FROM new_mail"), [(7,)])

    def test_sql_insert_for_no_table(self: Any) -> None:
        self.make_table()
        text = self.refused(sql_insert="INSERT INTO other_mail VALUES")
        self.assertIn("other_mail", text)

    # Trouble.

    def test_server_restarts_between_two_messages(self: Any) -> None:
        store = self.ready()
        first, second = hashed(), hashed()
        self.assertEqual(store.save_all([first]), [None])
        self.server.kill()
        started = time.monotonic()
        self.assertEqual(store.save_all([hashed()]), [STORE_UNAVAILABLE])
        self.assertLess(time.monotonic() - started, 10)
        self.server.start()
        self.assertEqual(store.save_all([second]), [None])
        self.assertEqual(self.hashes(), first.hashes + second.hashes)

    def test_session_is_killed_between_two_messages(self: Any) -> None:
        store = self.ready()
        first, second = hashed(), hashed()
        store.save_all([first])
        self.kill_sessions()
        self.assertEqual(store.save_all([second]), [None])
        self.assertEqual(self.hashes(), first.hashes + second.hashes)
        self.assertEqual(store.lines(), [])

    def test_session_is_killed_while_it_writes(self: Any) -> None:
        store = self.ready()
        envelope = hashed(b"x", *THREE)
        with closing(self.hold_lock()):
            writing = self.in_thread(store, envelope)
            wait_until(self.somebody_waits)
            self.kill_sessions(waiting=True)
        self.assertEqual(writing(), [None])
        self.assertEqual(self.hashes(), envelope.hashes)

    def test_server_hangs(self: Any) -> None:
        store = self.ready(timeout=2)
        store.save_all([hashed()])
        hung, after = hashed(), hashed()
        self.server.pause()
        try:
            started = time.monotonic()
            self.assertEqual(store.save_all([hung]), [STORE_UNAVAILABLE])
            self.assertLess(time.monotonic() - started, 1.7)
        finally:
            self.server.go_on()
        self.assertEqual(store.save_all([after]), [None])
        wait_until(lambda: self.sessions() <= 1)
        self.assertEqual(self.hashes()[1:], after.hashes)

    def test_lock_that_is_released(self: Any) -> None:
        # MySQL counts whole seconds.
        store = self.ready(timeout=5)
        envelope = hashed()
        failed = Event()

        def note(context: Any) -> None:
            failed.set()

        event.listen(Engine, "handle_error", note)
        self.addCleanup(event.remove, Engine, "handle_error", note)
        with closing(self.hold_lock()):
            writing = self.in_thread(store, envelope)
            # The first try ends in a lock timeout.
            self.assertTrue(failed.wait(DEADLINE))
        self.assertEqual(writing(), [None])
        self.assertEqual(self.hashes(), envelope.hashes)

    def test_lock_that_is_not_released(self: Any) -> None:
        store = self.ready(timeout=4.5)
        with closing(self.hold_lock()):
            started = time.monotonic()
            self.assertEqual(store.save_all([hashed()]), [STORE_UNAVAILABLE])
            self.assertLess(time.monotonic() - started, 4)
        self.assertIn("imeout", store.lines()[0])
        self.assertEqual(self.hashes(), [])

    def test_connection_lost_in_commit(self: Any) -> None:
        """Each time there is exactly one row, whether the COMMIT has arrived or arrives later."""
        self.make_table()
        for hold in (False, True):
            proxy = CuttingProxy(self.server.port)
            store = OpenStore(self, {**self.dsn(port=proxy.port), "mail_table": "new_mail"})
            store.save_all([hashed()])
            proxy.arm(b"COMMIT", hold=hold)
            batch = [hashed(b"1", *THREE), hashed(b"2")]
            results = store.save_all(batch)
            self.assertTrue(proxy.cut.is_set())
            proxy.close()
            self.assertEqual(results, [None, None])
            wait_until(lambda: self.sessions() <= 1)
            expected = batch[0].hashes + batch[1].hashes
            self.assertEqual(self.hashes()[-4:], expected)
            self.assertEqual(len(set(self.hashes())), len(self.hashes()))

    def test_connection_lost_in_commit_without_hashes(self: Any) -> None:
        """Nobody could find the rows again, so the client is told to come back."""
        self.make_table()
        proxy = CuttingProxy(self.server.port)
        self.addCleanup(proxy.close)
        store = OpenStore(self, {**self.dsn(port=proxy.port), "mail_table": "new_mail"})
        proxy.arm(b"COMMIT")
        self.assertEqual(store.save_all([make_envelope()]), [STORE_UNAVAILABLE])
        self.assertIn("the connection was lost in COMMIT", store.lines()[0])

    def test_outcome_cannot_be_found_out(self: Any) -> None:
        """Then nothing is written once more, not even message by message."""
        self.make_table()
        proxy = CuttingProxy(self.server.port)
        self.addCleanup(proxy.close)
        store = OpenStore(self, {**self.dsn(port=proxy.port), "mail_table": "new_mail"})

        def refuse(*arguments: Any) -> None:
            if "count(" in arguments[2]:
                raise RuntimeError("no")

        event.listen(Engine, "before_cursor_execute", refuse)
        self.addCleanup(event.remove, Engine, "before_cursor_execute", refuse)
        proxy.arm(b"COMMIT")
        batch = [hashed(), hashed()]
        self.assertEqual(store.save_all(batch), [STORE_UNAVAILABLE] * 2)
        self.assertIn("nobody knows whether it is stored", store.lines()[0])
        wait_until(lambda: self.sessions() <= 1)
        self.assertIn(self.hashes(), ([], batch[0].hashes + batch[1].hashes))

    def test_lost_session_does_not_end(self: Any) -> None:
        """As long as it may still commit, nobody knows, and nothing is written once more."""
        self.make_table()
        proxy = CuttingProxy(self.server.port)
        self.addCleanup(proxy.close)
        settings = {**self.dsn(port=proxy.port), "mail_table": "new_mail"}
        store = OpenStore(self, settings, timeout=3)
        end = {kind: ("SELECT no_such_name", *rest) for kind, (_, *rest) in _SESSIONS.items()}
        self.patch(writer, "_SESSIONS", end)
        proxy.arm(b"COMMIT", hold=True)
        envelope = hashed()
        started = time.monotonic()
        self.assertEqual(store.save_all([envelope]), [STORE_UNAVAILABLE])
        self.assertLess(time.monotonic() - started, 2.5)
        self.assertIn("nobody knows whether it is stored", store.lines()[0])
        proxy.release.set()
        wait_until(lambda: self.hashes() == envelope.hashes)

    def test_second_try_while_the_first_may_still_commit(self: Any) -> None:
        """As from the spool, of a process or a connection that is no more."""
        self.make_table()
        proxy = CuttingProxy(self.server.port)
        self.addCleanup(proxy.close)
        settings = {**self.dsn(port=proxy.port), "mail_table": "new_mail"}
        first = OpenStore(self, settings, timeout=3)
        end = {kind: ("SELECT no_such_name", *rest) for kind, (_, *rest) in _SESSIONS.items()}
        self.patch(writer, "_SESSIONS", end)
        proxy.arm(b"COMMIT", hold=True)
        envelope = hashed(b"1", *THREE)
        self.assertEqual(first.save_all([envelope]), [STORE_UNAVAILABLE])

        envelope.may_be_stored = True
        self.assertEqual(self.store(timeout=3).save_all([envelope]), [STORE_UNAVAILABLE])
        writing = self.in_thread(self.store(timeout=60), envelope)
        proxy.release.set()
        self.assertEqual(writing(), [None])
        self.assertEqual(self.hashes(), envelope.hashes)

    def test_second_try(self: Any) -> None:
        """What is there is left alone, and the rest of the batch is written."""
        store = self.ready()
        batch = [hashed(b"1", *THREE), hashed(b"2"), hashed(b"3")]
        store.save_all(batch[:1])
        batch[0].may_be_stored = batch[1].may_be_stored = True
        self.assertEqual(store.save_all(batch), [None] * 3)
        self.assertEqual(store.save_all(batch[:2]), [None] * 2)
        expected = [hash_ for envelope in batch for hash_ in envelope.hashes]
        self.assertEqual(self.hashes(), expected)

    def test_connection_lost_in_commit_of_a_second_try(self: Any) -> None:
        """What was there before says nothing of what is new."""
        self.make_table()
        proxy = CuttingProxy(self.server.port)
        self.addCleanup(proxy.close)
        store = OpenStore(self, {**self.dsn(port=proxy.port), "mail_table": "new_mail"})
        batch = [hashed(b"1"), hashed(b"2")]
        store.save_all(batch[:1])
        batch[0].may_be_stored = True
        proxy.arm(b"COMMIT", hold=True)
        self.assertEqual(store.save_all(batch), [None] * 2)
        proxy.close()
        wait_until(lambda: self.sessions() <= 1)
        self.assertEqual(self.hashes(), batch[0].hashes + batch[1].hashes)

    def test_connection_lost_before_commit(self: Any) -> None:
        self.make_table()
        proxy = CuttingProxy(self.server.port)
        self.addCleanup(proxy.close)
        store = OpenStore(self, {**self.dsn(port=proxy.port), "mail_table": "new_mail"})
        proxy.arm(b"INSERT")
        envelope = make_envelope(recipients=THREE)
        self.assertEqual(store.save_all([envelope]), [None], store.lines())
        self.assertEqual(len(self.hashes()), 3)

    def test_message_that_has_waited_too_long(self: Any) -> None:
        """It is refused alone, before it could shorten the others' time."""
        store = self.ready(timeout=10)
        batch = [hashed() for _ in range(3)]
        batch[1].answer_by = 2.0
        batch[2].answer_by = 9.0
        self.assertEqual(store.save_all(batch), [None, STORE_UNAVAILABLE, None])
        self.assertEqual(self.hashes(), batch[0].hashes + batch[2].hashes)
        (line,) = store.lines()
        self.assertIn(f"{batch[1].queued_id}: not stored in new_mail: it takes too long", line)

    def test_session_number_is_given_again(self: Any) -> None:
        """As after a restart of the server: the new session is not to end itself."""
        self.make_table()
        proxy = CuttingProxy(self.server.port)
        self.addCleanup(proxy.close)
        store = OpenStore(self, {**self.dsn(port=proxy.port), "mail_table": "new_mail"})

        def number(connection: Any, record: Any, proxy: Any) -> None:
            record.info[SESSION] = 7

        event.listen(Engine, "checkout", number)
        self.addCleanup(event.remove, Engine, "checkout", number)
        proxy.arm(b"COMMIT")
        envelope = hashed()
        with mock.patch.object(writer, "_SESSIONS", {}):
            self.assertEqual(store.save_all([envelope]), [None])
        self.assertEqual(self.hashes(), envelope.hashes)

    def test_bad_message_in_a_batch(self: Any) -> None:
        self.make_table()
        self.server.execute("CREATE UNIQUE INDEX once ON new_mail (hash)")
        store = self.store()
        batch = [hashed(b"secret", *THREE) for _ in range(4)]
        batch[2].hashes[2] = batch[2].hashes[1]
        self.assertEqual(store.save_all(batch), [None, None, STORE_UNAVAILABLE, None])
        good = [name for index in (0, 1, 3) for name in batch[index].hashes]
        self.assertEqual(self.hashes(), good)
        (line,) = (line for line in store.lines() if "not stored" in line)
        self.assertTrue(line.startswith(f"{batch[2].queued_id}: not stored in new_mail: "), line)
        self.assertNotIn(batch[2].hashes[1], line)
        self.assertNotIn("secret", repr(store.events))
        self.assertEqual(batch[0].stored_as, batch[0].hashes[0])
        self.assertEqual(batch[2].stored_as, "")

    def test_large_batch(self: Any) -> None:
        """More rows and octets than one statement takes."""
        store = self.ready()
        batch = [hashed(b"x" * 30_000) for _ in range(70)] + [hashed(b"y" * 2_000_000, *THREE)]
        self.assertEqual(store.save_all(batch), [None] * 71)
        self.assertEqual(self.hashes(), [name for each in batch for name in each.hashes])

    def test_many_threads(self: Any) -> None:
        store = self.ready()
        batches = [[hashed(b"x", *THREE) for _ in range(5)] for _ in range(8)]
        waits = [self.in_thread(store, *batch) for batch in batches]
        self.assertEqual([wait() for wait in waits], [[None] * 5] * 8)
        self.assertEqual(len(set(self.hashes())), 120)

    # Helpers that need nothing of a server.

    def in_thread(self, store: OpenStore, *envelopes: Envelope) -> Any:
        """Save, meanwhile; :returns: what waits for the results."""
        results: list[Any] = []
        thread = Thread(target=lambda: results.extend(store.save_all(envelopes)))
        thread.start()

        def wait() -> list[Any]:
            thread.join(60)
            return results

        return wait


class MariaDbTests(ServerTests, SynchronousTestCase):
    """MariaDB, as Debian has it: in strict mode."""

    quote = "`"
    false = "0"
    age = "SELECT TIMESTAMPDIFF(SECOND, date, UTC_TIMESTAMP()) FROM new_mail"
    shorten = "ALTER TABLE new_mail MODIFY subject VARCHAR(8) NOT NULL"

    @classmethod
    def make_server(cls) -> MariaDb:
        # Neither the machine's time zone nor the server's is what a row has.
        return MariaDb("--max-allowed-packet=8M", "--default-time-zone=+05:00")

    @classmethod
    def make_users(cls, server: Any) -> None:
        server.execute("CREATE USER sqltest IDENTIFIED BY 'p@s/s:w%rd'")
        server.execute(f"GRANT ALL ON {DATABASE}.* TO sqltest")
        server.execute("CREATE USER reader IDENTIFIED BY 'reader'")

    def dsn(self, user: str = "", password: str = "", port: int = 0) -> dict[str, object]:
        account = f"{user or 'sqltest'}:{password or 'p@s/s:w%rd'}"
        address = f"tcp(127.0.0.1:{port or self.server.port})"
        return {
            "sql_driver": "mysql",
            "sql_dsn": f"{account}@{address}/{DATABASE}?charset=utf8&parseTime=true",
        }

    def sessions(self) -> int:
        ((number,),) = self.server.execute(
            "SELECT count(*) FROM information_schema.processlist WHERE user = 'sqltest'"
        )
        return int(number)

    def kill_sessions(self, waiting: bool = False) -> None:
        for (number,) in self.server.execute(
            "SELECT id FROM information_schema.processlist WHERE user = 'sqltest'"
        ):
            self.server.execute(f"KILL CONNECTION {number}")

    def hold_lock(self) -> Any:
        connection = self.server.connect()
        with connection.cursor() as cursor:
            cursor.execute("LOCK TABLES new_mail READ")
        return connection

    def somebody_waits(self) -> bool:
        return bool(
            self.server.execute(
                "SELECT id FROM information_schema.processlist WHERE state LIKE 'Waiting for%%lock'"
                " AND user = 'sqltest'"
            )
        )

    def old_table(self, ip_addr: str = "varbinary(16)", engine: str = "InnoDB") -> None:
        self.server.execute(OLD_TABLE.format(ip_addr=ip_addr, engine=engine))

    def test_table_of_go_guerrilla(self) -> None:
        self.old_table()
        settings = {
            "mysql_host": f"127.0.0.1:{self.server.port}",
            "mysql_db": DATABASE,
            "mysql_user": "sqltest",
            "mysql_pass": "p@s/s:w%rd",
            "mail_table": "new_mail",
            "primary_mail_host": "sharklasers.com",
        }
        chain = Chain(self, "HeadersParser|Hasher|Header|Compressor|MySql", **settings)
        chain.open()
        self.assertEqual(
            chain.lines(), ["table new_mail has no column message_id, reply_to, sender"]
        )
        envelope = make_envelope(
            UTF8,
            ("<\u7528\u6237@b\u00fccher.example>".encode(), b"<a@example.org>"),
            tls=True,
            remote_ip="2001:db8::1",
        )
        chain.save(envelope)
        rows = self.server.execute(
            "SELECT recipient, hash, subject, charset, `to`, is_tls, body, ip_addr, has_attach"
            " FROM new_mail"
        )
        in_common = (
            *("? Gr\u00fc\u00dfe \u0442", "UTF-8", "????@??????.??", b"\1", "gzip"),
            *(bytes.fromhex("20010db8000000000000000000000001"), 0),
        )
        self.assertEqual(
            rows,
            [
                ("??@b\u00fccher.example", envelope.hashes[0], *in_common),
                ("a@example.org", envelope.hashes[1], *in_common),
            ],
        )

    def test_client_address_as_text(self) -> None:
        self.old_table("varchar(15)")
        store = self.store()
        store.save_all([hashed()])
        store.save_all([make_envelope(remote_ip="2001:db8:1234:5678::1")])
        rows = self.server.execute("SELECT ip_addr FROM new_mail ORDER BY mail_id")
        self.assertEqual(rows, [("192.0.2.1",), ("2001:db8:1234:5",)])

    def test_engine_without_transactions(self) -> None:
        self.old_table(engine="MyISAM")
        self.assertIn(
            "table new_mail is kept by MyISAM, which knows no transactions", self.store().lines()
        )

    def test_too_large_for_the_server(self) -> None:
        store = self.ready()
        limit = 8 * 2**20
        # Twice as many octets are sent.
        batch = [hashed(), hashed(b"x" * (limit // 2)), hashed(b"x" * (limit // 2 - 10_000))]
        self.assertEqual(store.save_all(batch), [None, TOO_LARGE_FOR_STORE, None])
        self.assertEqual(self.hashes(), batch[0].hashes + batch[2].hashes)

    def test_too_large_for_the_column(self) -> None:
        self.make_table()
        self.server.execute("ALTER TABLE new_mail MODIFY mail BLOB NOT NULL")
        batch = [hashed(), hashed(b"x" * 65_536), hashed(b"x" * 65_535)]
        self.assertEqual(self.store().save_all(batch), [None, TOO_LARGE_FOR_STORE, None])
        self.assertEqual(self.hashes(), batch[0].hashes + batch[2].hashes)

    def test_deadlock(self) -> None:
        """The server chooses who is to try again."""
        store = self.ready(timeout=10)
        self.server.execute("CREATE UNIQUE INDEX once ON new_mail (hash)")
        first, second = hashed(b"x"), hashed(b"x")
        other = self.server.connect(autocommit=False)
        self.addCleanup(other.close)
        copy = (
            "INSERT INTO new_mail (date, `to`, `from`, subject, body, mail, spam_score, hash,"
            " content_type, recipient, has_attach, ip_addr, return_path, is_tls, message_id,"
            " reply_to, sender) VALUES (NOW(), '', '', '', '', %s, 0, %s, '', '', 0, '', '', 0, '',"
            " '', '')"
        )
        with other.cursor() as cursor:
            # Heavier, so that it is the other one that is rolled back.
            cursor.executemany(copy, [("", os.urandom(16).hex()) for _ in range(50)])
            cursor.execute(copy, ("", second.hashes[0]))
            writing = self.in_thread(store, first, second)
            wait_until(self.somebody_waits_for_a_row)
            cursor.execute(copy, ("", first.hashes[0]))
        other.rollback()
        self.assertEqual(writing(), [None, None])
        self.assertIn(first.hashes[0], self.hashes())

    def somebody_waits_for_a_row(self) -> bool:
        return bool(self.server.execute("SELECT * FROM information_schema.innodb_lock_waits"))

    def test_in_another_database(self) -> None:
        self.server.execute("CREATE OR REPLACE DATABASE other")
        self.server.execute("GRANT ALL ON other.* TO sqltest")
        self.settings["mail_table"] = "other.new_mail"
        self.assertEqual(self.ready().save_all([hashed()]), [None])
        self.assertEqual(self.server.execute("SELECT count(*) FROM other.new_mail"), [(1,)])

    def test_other_ways_to_name_it(self) -> None:
        self.make_table()
        port = self.server.port
        for dsn in (
            f"sqltest:p@s/s:w%rd@unix({self.server.socket})/{DATABASE}",
            f"sqltest:p@s/s:w%rd@tcp([::ffff:127.0.0.1]:{port})/{DATABASE}?timeout=5s",
            f"mysql://sqltest:p%40s%2Fs%3Aw%25rd@127.0.0.1:{port}/{DATABASE}",
            f"mysql+pymysql://sqltest:p%40s%2Fs%3Aw%25rd@/{DATABASE}"
            f"?unix_socket={self.server.socket}",
        ):
            self.assertEqual(self.store(sql_dsn=dsn).save_all([hashed()]), [None], dsn)

    def test_no_tls_where_it_is_asked_for(self) -> None:
        self.make_table()
        dsn = str(self.settings["sql_dsn"])
        self.assertIn("SSL", self.refused(sql_dsn=dsn + "&tls=skip-verify"))
        self.assertEqual(self.store(sql_dsn=dsn + "&tls=preferred").save_all([hashed()]), [None])

    def test_column_that_counts_octets(self) -> None:
        self.make_table()
        self.server.execute("ALTER TABLE new_mail MODIFY subject TINYTEXT NOT NULL")
        store = self.store()
        for subject, expected in (
            ("\u0442" * 255, "\u0442" * 127),
            ("x" * 255, "x" * 255),
        ):
            envelope = hashed(b"Subject: " + subject.encode() + b"\r\n\r\n")
            self.assertEqual(store.save_all([envelope]), [None])
            stored = self.server.execute(
                "SELECT subject FROM new_mail WHERE hash = %s", envelope.hashes[0]
            )
            self.assertEqual(stored, [(expected,)])

    def test_server_that_is_not_strict(self) -> None:
        """It would keep the beginning of a message, and say yes."""
        server = MariaDb("--sql-mode=")
        self.addCleanup(server.close)
        server.start()
        dsn = f"root@tcp(127.0.0.1:{server.port})/{DATABASE}"
        settings = {"sql_driver": "mysql", "sql_dsn": dsn, "mail_table": "new_mail"}
        create_tables({"save_process": "Sql", **settings})
        server.execute("ALTER TABLE new_mail MODIFY mail BLOB NOT NULL")
        store = OpenStore(self, settings)
        batch = [hashed(b"x" * 100_000), hashed()]
        self.assertEqual(store.save_all(batch), [TOO_LARGE_FOR_STORE, None])
        self.assertEqual(server.execute("SELECT hash FROM new_mail"), [(batch[1].hashes[0],)])

    def test_older_settings_name_a_socket(self) -> None:
        config = MySqlConfig(
            mysql_host=str(self.server.socket), mysql_db="d", mysql_user="u", mail_table="t"
        )
        self.assertEqual(config.source().socket, str(self.server.socket))


class PostgreSqlTests(ServerTests, SynchronousTestCase):
    """PostgreSQL."""

    quote = '"'
    false = "FALSE"
    age = "SELECT extract(epoch FROM now() AT TIME ZONE 'UTC' - date)::float FROM new_mail"
    shorten = "ALTER TABLE new_mail ALTER COLUMN subject TYPE VARCHAR(8)"

    @classmethod
    def make_server(cls) -> PostgreSql:
        return PostgreSql("timezone=Asia/Tokyo")

    @classmethod
    def make_users(cls, server: Any) -> None:
        server.execute("CREATE USER sqltest PASSWORD 'p@s/s:w''rd'")
        server.execute("GRANT ALL ON SCHEMA public TO sqltest")
        server.execute("CREATE USER reader PASSWORD 'reader'")

    def dsn(self, user: str = "", password: str = "", port: int = 0) -> dict[str, object]:
        secret = password or r"'p@s/s:w\'rd'"
        account = f"user={user or 'sqltest'} password={secret}"
        return {
            "sql_driver": "postgres",
            "sql_dsn": f"host=127.0.0.1 port={port or self.server.port} {account}"
            f" dbname={DATABASE} sslmode=disable",
        }

    def sessions(self) -> int:
        ((number,),) = self.server.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE usename = 'sqltest'"
        )
        return int(number)

    def kill_sessions(self, waiting: bool = False) -> None:
        self.server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'sqltest'"
        )
        if not waiting:
            wait_until(lambda: self.sessions() == 0)

    def own(self) -> None:
        self.server.execute("ALTER TABLE new_mail OWNER TO sqltest")

    def hold_lock(self) -> Any:
        connection = self.server.connect()
        connection.autocommit = False
        connection.cursor().execute("LOCK TABLE new_mail IN SHARE MODE")
        return connection

    def somebody_waits(self) -> bool:
        return bool(self.server.execute("SELECT 1 FROM pg_locks WHERE NOT granted"))

    def test_older_table(self) -> None:
        self.server.execute(
            "CREATE TABLE new_mail (mail_id serial, date timestamptz NOT NULL, body text NOT NULL,"
            " mail bytea NOT NULL, hash char(32) NOT NULL, recipient text NOT NULL,"
            " is_tls bit(1) NOT NULL, has_attach int NOT NULL, ip_addr inet NOT NULL)"
        )
        self.own()
        envelope = hashed(b"x", "<\u7528\u6237@b\u00fccher.example>".encode())
        envelope.tls = True
        self.assertEqual(self.store().save_all([envelope]), [None])
        rows = self.server.execute(
            "SELECT recipient, hash, is_tls::text, has_attach, host(ip_addr),"
            " abs(extract(epoch FROM now() - date)) < 60 FROM new_mail"
        )
        self.assertEqual(
            rows, [(str(envelope.rcpt_to[0]), envelope.hashes[0], "1", 0, "192.0.2.1", True)]
        )

    def test_database_of_another_character_set(self) -> None:
        self.server.execute("DROP DATABASE IF EXISTS narrow")
        self.server.execute("CREATE DATABASE narrow ENCODING 'LATIN1' TEMPLATE template0")
        self.server.execute("ALTER DATABASE narrow OWNER TO sqltest")
        self.settings["sql_dsn"] = str(self.settings["sql_dsn"]).replace(DATABASE, "narrow")
        envelope = hashed(UTF8, "<\u7528\u6237@b\u00fccher.example>".encode())
        self.assertEqual(self.ready().save_all([envelope]), [None])
        with closing(self.server.connect(database="narrow")) as connection:
            cursor = connection.cursor()
            cursor.execute("SELECT subject, recipient FROM new_mail")
            self.assertEqual(
                list(map(tuple, cursor.fetchall())),
                [("? Gr\u00fc\u00dfe ?", "??@b\u00fccher.example")],
            )

    def test_in_a_schema(self) -> None:
        self.server.execute("DROP SCHEMA IF EXISTS post CASCADE")
        self.server.execute("CREATE SCHEMA post AUTHORIZATION sqltest")
        self.settings["mail_table"] = "post.new_mail"
        self.assertEqual(self.ready().save_all([hashed()]), [None])
        self.assertEqual(self.server.execute("SELECT count(*) FROM post.new_mail"), [(1,)])

    def test_other_ways_to_name_it(self) -> None:
        self.make_table()
        account = "sqltest:p%40s%2Fs%3Aw%27rd"
        for dsn in (
            f"postgres://{account}@127.0.0.1:{self.server.port}/{DATABASE}?sslmode=prefer",
            f"postgresql+pg8000://{account}@/{DATABASE}"
            f"?host={self.server.directory}&port={self.server.port}",
        ):
            self.assertEqual(
                self.store(sql_driver="", sql_dsn=dsn).save_all([hashed()]), [None], dsn
            )

    def test_no_tls_where_it_is_asked_for(self) -> None:
        self.make_table()
        dsn = str(self.settings["sql_dsn"]).replace("disable", "require")
        self.assertIn("SSL", self.refused(sql_dsn=dsn))

    def test_no_password_where_one_is_asked_for(self) -> None:
        dsn = f"postgres://sqltest@127.0.0.1:{self.server.port}/{DATABASE}"
        self.assertIn("password", self.refused(sql_driver="", sql_dsn=dsn))

    def test_may_not_use_the_sequence(self) -> None:
        """It is found out at the start, not with the first message."""
        self.make_table()
        self.server.execute("GRANT SELECT, INSERT ON new_mail TO reader")
        self.settings.update(self.dsn(user="reader", password="reader"))
        text = self.refused()
        self.assertIn("permission denied for sequence new_mail_mail_id_seq", text)
        self.server.execute("GRANT USAGE ON SEQUENCE new_mail_mail_id_seq TO reader")
        self.assertEqual(self.store().save_all([hashed()]), [None])

    def test_serialization_failure(self) -> None:
        """It is found out at the end only, and tried again."""
        self.make_table()
        self.server.execute(
            "CREATE OR REPLACE FUNCTION fail_once() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " IF nextval('tries') = 1 THEN RAISE SQLSTATE '40001'; END IF; RETURN NEW; END $$"
        )
        self.server.execute("DROP SEQUENCE IF EXISTS tries")
        self.server.execute("CREATE SEQUENCE tries")
        self.server.execute("GRANT ALL ON SEQUENCE tries TO sqltest")
        self.server.execute(
            "CREATE CONSTRAINT TRIGGER once AFTER INSERT ON new_mail DEFERRABLE INITIALLY DEFERRED"
            " FOR EACH ROW EXECUTE FUNCTION fail_once()"
        )
        envelope = hashed()
        self.assertEqual(self.store().save_all([envelope]), [None])
        self.assertEqual(self.hashes(), envelope.hashes)


class TlsTests(SynchronousTestCase):
    """What is encrypted, and whose certificate is believed."""

    def start(self, server: Any) -> Path:
        """:returns: the server's certificate, which nobody vouches for."""
        self.addCleanup(server.close)
        make = ROOT / "examples" / "make_certificate.py"
        command = [sys.executable, str(make), "127.0.0.1", str(server.directory)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        user = server.user()
        if user is not None:
            os.chown(server.directory / "key.pem", user, -1)
        server.start()
        return Path(server.directory / "certificate.pem")

    def assert_checked(
        self, server: Any, certificate: Path, unverified: str, verified: str
    ) -> None:
        settings = {"save_process": "Sql", "mail_table": "new_mail"}
        create_tables({**settings, "sql_dsn": unverified})
        with self.assertRaises(StoreError) as caught:
            create_tables({**settings, "sql_dsn": verified})
        self.assertIn("certificate verify failed", str(caught.exception))
        believe = mock.patch.dict(os.environ, SSL_CERT_FILE=str(certificate))
        believe.start()
        self.addCleanup(believe.stop)
        store = OpenStore(self, {**settings, "sql_dsn": verified})
        self.assertEqual(store.save_all([hashed()]), [None])

    def test_mariadb(self) -> None:
        server = MariaDb("--ssl-cert=../certificate.pem", "--ssl-key=../key.pem")
        certificate = self.start(server)
        server.execute("CREATE USER sqltest IDENTIFIED BY 'x' REQUIRE SSL")
        server.execute(f"GRANT ALL ON {DATABASE}.* TO sqltest")
        dsn = f"mysql://sqltest:x@127.0.0.1:{server.port}/{DATABASE}?tls="
        self.assert_checked(server, certificate, dsn + "skip-verify", dsn + "true")

    def test_postgresql(self) -> None:
        server = PostgreSql("ssl=on", "ssl_cert_file=../certificate.pem", "ssl_key_file=../key.pem")
        certificate = self.start(server)
        dsn = f"postgres://postgres:{PASSWORD}@127.0.0.1:{server.port}/{DATABASE}?sslmode="
        self.assert_checked(server, certificate, dsn + "require", dsn + "verify-full")
        store = OpenStore(self, {"mail_table": "new_mail", "sql_dsn": dsn + "require"})
        rows = server.execute("SELECT 1 FROM pg_stat_ssl WHERE ssl AND pid != pg_backend_pid()")
        self.assertTrue(rows)
        self.assertEqual(store.lines(), [])

"""Sql: what a row holds, and what a setting may be."""

from __future__ import annotations

import os
import sqlite3
import time
import zlib
from contextlib import closing
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from typing import Any
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.backends.errors import StoreError
from guerrilla_tw.config import ConfigError, convert_settings
from guerrilla_tw.interfaces import Task
from guerrilla_tw.mail import envelope as envelope_module
from guerrilla_tw.mail.address import Address
from guerrilla_tw.mail.envelope import Envelope
from guerrilla_tw.mail.headers import Headers
from guerrilla_tw.processors.compressor import COMPRESSED
from guerrilla_tw.processors.redis.processor import IN_REDIS
from guerrilla_tw.processors.sql import database
from guerrilla_tw.processors.sql.settings import MySqlConfig, SqlConfig
from tests.processors.support import Chain, make_envelope

ALL = "HeadersParser|Hasher|Header|Sql"
COLUMNS = (
    *("mail_id", "date", "to", "from", "subject", "body", "mail", "spam_score", "hash"),
    *("content_type", "recipient", "has_attach", "ip_addr", "return_path", "is_tls"),
    *("message_id", "reply_to", "sender"),
)


class SqlTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = self.mktemp()

    def chain(self, expression: str = ALL, **settings: object) -> Chain:
        """:returns: an open chain that stores in ``self.path``."""
        chain = Chain(self, expression, **{"sql_dsn": self.path, "mail_table": "mail", **settings})
        chain.open()
        return chain

    def sql(self, statement: str) -> list[dict[str, Any]]:
        """Do what another program may do with the database."""
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(statement)]

    def rows(self) -> list[dict[str, Any]]:
        return self.sql("SELECT * FROM mail ORDER BY mail_id")

    def stored(self, envelope: Envelope, expression: str = ALL) -> dict[str, Any]:
        """:returns: the row of an envelope of one recipient."""
        chain = self.chain(expression)
        chain.save(envelope)
        chain.close()
        return self.rows()[-1]


class RowTests(SqlTestCase):
    def test_every_column(self) -> None:
        envelope = make_envelope(
            b"From: Alice <a@x.example>\r\nTo: =?utf-8?q?B=2C?= <b@y.example>, c@z.example\r\n"
            b"Subject: =?utf-8?b?R3LDvMOfZQ==?=\r\nMessage-ID: <id@x.example>\r\n"
            b"Reply-To: r@x.example\r\nSender: Sec <s@x.example>\r\n"
            b"Content-Type: text/plain; charset=utf-8\r\n\r\nbody\r\n",
            tls=True,
        )
        row = self.stored(envelope)
        self.assertEqual(tuple(row), COLUMNS)
        date = datetime.fromisoformat(row.pop("date")).replace(tzinfo=timezone.utc)
        self.assertLess(abs(datetime.now(timezone.utc) - date), timedelta(minutes=1))
        expected = {
            "mail_id": 1,
            "to": "b@y.example",
            "from": "alice@example.com",
            "subject": "Grüße",
            "body": "",
            "mail": envelope.delivery_header.encode() + envelope.data,
            "spam_score": 0,
            "hash": envelope.hashes[0],
            "content_type": "text/plain; charset=utf-8",
            "recipient": "bob@example.org",
            "has_attach": 0,
            "ip_addr": ip_address("192.0.2.1").packed,
            "return_path": "alice@example.com",
            "is_tls": 1,
            "message_id": "id@x.example",
            "reply_to": "r@x.example",
            "sender": "s@x.example",
        }
        self.assertEqual(row, expected)

    def test_message_is_kept_byte_for_byte(self) -> None:
        for data in (
            b"",
            b"\r\n",
            bytes(range(256)) * 3,
            b".\r\n..\r\n.\r\n",
            b"Subject: \xff\0\r\n\r\n" + b"\0" * 1000,
            b"x" * 998 + b"\r\n",
            os.urandom(5_000_000),
        ):
            envelope = make_envelope(data)
            row = self.stored(envelope)
            self.assertEqual(row["mail"], envelope.delivery_header.encode() + data)

    def test_date_is_utc_wherever_the_machine_is(self) -> None:
        # Cleaned up in reverse order.
        self.addCleanup(time.tzset)
        environment = mock.patch.dict(os.environ, TZ="UTC-14")
        environment.start()
        self.addCleanup(environment.stop)
        time.tzset()
        date = datetime.fromisoformat(self.stored(make_envelope())["date"])
        utc = datetime.now(timezone.utc).replace(tzinfo=None)
        self.assertLess(abs(utc - date), timedelta(hours=1))

    def test_a_row_for_each_recipient_in_order(self) -> None:
        paths = (b"<a@example.org>", b"<a@example.org>", b"<b@example.org>")
        envelope = make_envelope(recipients=paths)
        self.chain().save(envelope)
        rows = self.rows()
        self.assertEqual([row["recipient"] for row in rows], [str(to) for to in envelope.rcpt_to])
        self.assertEqual([row["hash"] for row in rows], envelope.hashes)
        self.assertEqual(len({row["mail"] for row in rows}), 1)

    def test_first_hash_is_the_id_in_the_reply(self) -> None:
        envelope = make_envelope(recipients=(b"<a@example.org>", b"<b@example.org>"))
        result = self.chain().process(envelope)
        self.assertEqual(result.text, f"OK: queued as {envelope.hashes[0]}")

    def test_header_is_read_once_whatever_the_number_of_recipients(self) -> None:
        """A field may be long and dear to decode."""
        asked: list[str] = []

        class CountingHeaders(Headers):
            def get_raw(self, name: str) -> str | None:
                asked.append(name)
                return super().get_raw(name)

        self.patch(envelope_module, "Headers", CountingHeaders)
        recipients = tuple(b"<r%d@example.org>" % number for number in range(100))
        self.chain().save(make_envelope(b"To: a@b.example\r\n\r\n", recipients))
        self.assertEqual(len(self.rows()), 100)
        self.assertEqual(max(asked.count(name) for name in set(asked)), 1)

    def test_second_try_has_the_same_hashes(self) -> None:
        envelope = make_envelope()
        chain = self.chain()
        first = chain.save(envelope).hashes
        self.assertEqual(chain.save(envelope).hashes, first)

    def test_without_other_processors(self) -> None:
        envelope = make_envelope(b"Subject: x\r\nTo: c@z.example\r\n\r\n")
        queued_id = envelope.queued_id
        result = self.chain("Sql").process(envelope)
        self.assertEqual(result.text, f"OK: queued as {queued_id}")
        (row,) = self.rows()
        self.assertEqual(row["mail"], envelope.data)
        self.assertEqual((row["subject"], row["hash"]), ("", ""))
        self.assertEqual(row["to"], "bob@example.org")
        self.assertEqual(row["message_id"], f"{queued_id}@example.org")

    def test_missing_message_id_is_made_of_hash_and_primary_host(self) -> None:
        envelope = make_envelope()
        self.chain(primary_mail_host="mail.example.net").save(envelope)
        (row,) = self.rows()
        self.assertEqual(row["message_id"], f"{envelope.hashes[0]}@mail.example.net")

    def test_null_sender(self) -> None:
        row = self.stored(make_envelope(sender=b"<>"))
        self.assertEqual((row["from"], row["return_path"]), ("", ""))

    def test_odd_recipients(self) -> None:
        for path, recipient in (
            (b'<"a b@\\"c\'; --"@example.org>', '"a b@\\"c\'; --"@example.org'),
            (b"<bob@[192.0.2.7]>", "bob@[192.0.2.7]"),
            (b"<bob@[IPv6:2001:DB8::7]>", "bob@[IPv6:2001:db8::7]"),
            (b"<a" + b".b" * 31 + b"@" + b"xxx." * 45 + b"example>", None),
        ):
            envelope = make_envelope(recipients=(path,))
            row = self.stored(envelope)
            self.assertEqual(row["recipient"], recipient or str(envelope.rcpt_to[0]))

    def test_addresses_in_utf8(self) -> None:
        envelope = make_envelope(
            "Reply-To: Jörg <jörg@bücher.example>\r\nTo: пётр@пример.рф\r\n\r\n".encode(),
            recipients=("<用户@bücher.example>".encode(),),
            sender="<jörg@BÜCHER.example>".encode(),
        )
        row = self.stored(envelope)
        self.assertEqual(row["recipient"], "用户@bücher.example")
        self.assertEqual(row["return_path"], "jörg@bücher.example")
        self.assertEqual(row["to"], "пётр@пример.рф")
        self.assertEqual(row["reply_to"], "jörg@bücher.example")
        self.assertEqual(row["message_id"], f"{envelope.hashes[0]}@bücher.example")
        self.assertEqual(row["mail"], envelope.delivery_header.encode() + envelope.data)

    def test_client_addresses(self) -> None:
        for remote_ip, octets in (
            ("2001:db8::1", ip_address("2001:db8::1").packed),
            ("::ffff:192.0.2.1", ip_address("::ffff:192.0.2.1").packed),
            ("fe80::1%eth0", ip_address("fe80::1").packed),
            ("", b""),
        ):
            self.assertEqual(self.stored(make_envelope(remote_ip=remote_ip))["ip_addr"], octets)

    def test_hostile_fields_are_trimmed_values(self) -> None:
        long = b"\xc3\xbc" * 20_000
        row = self.stored(
            make_envelope(
                b"Subject: '); DROP TABLE mail; -- \0 :body ? %s " + long + b"\r\n"
                b"To: =?utf-8?q?a=40b=2C?= <no one>, @@,\xff\r\nReply-To: " + b"(" * 2000 + b"\r\n"
                b"Sender: =?utf-8?q?x=40y=2Eexample?=\r\nMessage-Id: <" + long + b">\r\n"
                b"Content-Type: =?utf-8?q?=0D=0A?= " + long + b"\r\n\r\n"
            )
        )
        self.assertTrue(row["subject"].startswith("'); DROP TABLE mail; -- \ufffd :body ? %s ü"))
        for column in ("subject", "message_id", "content_type"):
            self.assertEqual(len(row[column]), 255)
        self.assertEqual((row["to"], row["reply_to"], row["sender"]), ("bob@example.org", "", ""))

    def test_envelope_of_an_embedder(self) -> None:
        """The front gives a bare postmaster a host; somebody else may not."""
        envelope = make_envelope()
        envelope.rcpt_to = [Address("postmaster")]
        self.assertEqual(self.stored(envelope, "Hasher|Sql")["recipient"], "postmaster")

    def test_recipient_check_is_passed_on(self) -> None:
        self.assertEqual(
            self.chain().process(make_envelope(), Task.VALIDATE_RCPT).enhanced, "2.1.5"
        )
        self.assertEqual(self.rows(), [])


class CompressedRowTests(SqlTestCase):
    def test_is_kept_compressed_and_marked(self) -> None:
        envelope = make_envelope(b"x" * 100_000)
        row = self.stored(envelope, "Compressor|" + ALL)
        self.assertEqual(row["body"], "gzip")
        self.assertLess(len(row["mail"]), 2000)
        self.assertEqual(zlib.decompress(row["mail"]), envelope.delivered_data)

    def test_somebody_elses_value_is_not_taken_for_it(self) -> None:
        envelope = make_envelope()
        envelope.values[COMPRESSED] = b"something"
        row = self.stored(envelope)
        self.assertEqual((row["body"], row["mail"]), ("", envelope.delivered_data))


class InRedisTests(SqlTestCase):
    def test_row_says_where_the_message_is(self) -> None:
        envelope = make_envelope(recipients=(b"<a@example.org>", b"<b@example.org>"))
        envelope.values[IN_REDIS] = "the key"
        self.chain("Compressor|" + ALL).save(envelope)
        for row in self.rows():
            self.assertEqual((row["body"], row["mail"], row["hash"]), ("redis", b"", "the key"))


class TableTests(SqlTestCase):
    def test_of_somebody_else(self) -> None:
        """Columns that have a default are left to it; ours that are missing are told of."""
        self.sql(
            "CREATE TABLE mail (mail_id INTEGER PRIMARY KEY, mail BLOB NOT NULL, body TEXT,"
            " hash TEXT, recipient VARCHAR(5), charset TEXT NOT NULL, ip_addr TEXT, is_tls INT,"
            " owner TEXT NOT NULL DEFAULT 'me')"
        )
        chain = self.chain()
        (line,) = chain.lines()
        self.assertEqual(
            line,
            "table mail has no column date, to, from, subject, spam_score, content_type,"
            " has_attach, return_path, message_id, reply_to, sender",
        )
        chain.save(make_envelope(remote_ip="2001:db8::1", tls=True))
        (row,) = self.rows()
        self.assertEqual(
            (row["recipient"], row["charset"], row["ip_addr"], row["is_tls"], row["owner"]),
            ("bob@e", "UTF-8", "2001:db8::1", 1, "me"),
        )

    def test_rows_are_kept_over_a_restart(self) -> None:
        for _ in range(2):
            self.stored(make_envelope())
        self.assertEqual([row["mail_id"] for row in self.rows()], [1, 2])

    def test_table_of_another_name_beside_it(self) -> None:
        self.stored(make_envelope())
        self.chain(mail_table="other_1")
        self.assertEqual(len(self.rows()), 1)
        self.assertEqual(self.sql("SELECT * FROM other_1"), [])

    def test_reserved_word_is_a_name_too(self) -> None:
        self.chain(mail_table="select").save(make_envelope())
        self.assertEqual(len(self.sql('SELECT * FROM "select"')), 1)

    def test_is_found_by_recipient_and_by_hash(self) -> None:
        self.chain()
        for column in ("recipient", "hash"):
            (plan,) = self.sql(f"EXPLAIN QUERY PLAN SELECT * FROM mail WHERE {column} = 'x'")
            self.assertIn("USING INDEX", plan["detail"])


class RefusedStartTests(SqlTestCase):
    """What could never take a row is found out before the first message."""

    def assert_refused(self, cause: str) -> None:
        chain = Chain(self, "Sql", sql_dsn=self.path, mail_table="mail")
        (initializer,) = chain.services[0].initializers
        opened = initializer.initialize({})
        assert opened is not None
        text = str(self.failureResultOf(opened, StoreError).value)
        self.assertEqual(text, f"cannot store in table mail in {self.path}: {cause}")

    def test_directory_is_missing(self) -> None:
        self.path += "/no/such/file"
        self.assert_refused("No such file or directory")

    def test_path_is_a_directory(self) -> None:
        os.mkdir(self.path)
        self.assert_refused("Is a directory")

    def test_file_is_no_database(self) -> None:
        with open(self.path, "wb") as file:
            file.write(b"not a database" * 1000)
        self.assert_refused("file is not a database")

    def test_table_lacks_a_column(self) -> None:
        self.sql("CREATE TABLE mail (mail_id INTEGER PRIMARY KEY, body, hash, recipient)")
        self.assert_refused("the table has no column mail")

    def test_file_is_read_only(self) -> None:
        self.stored(make_envelope())
        # To root every file is writable, whatever its mode; so the file says that a later version
        # of SQLite wrote it, which this one may read only (its file format, section 1.3.3).
        with open(self.path, "r+b") as file:
            file.seek(18)
            file.write(b"\3")
        self.assert_refused("attempt to write a readonly database")


class SettingsTests(SqlTestCase):
    def assert_refused(self, setting: str, cause: str, **settings: object) -> None:
        given = {"sql_dsn": self.path, "mail_table": "mail", **settings}
        with self.assertRaises(ConfigError) as caught:
            Chain(self, "Sql", **{key: value for key, value in given.items() if value is not None})
        self.assertEqual(str(caught.exception), f"backend_config.{setting}: {cause}")
        self.assertFalse(os.path.exists(self.path))

    def test_missing(self) -> None:
        self.assert_refused("sql_dsn", "is missing", sql_dsn=None)
        self.assert_refused("mail_table", "is missing", mail_table=None)

    def test_driver(self) -> None:
        cause = "is none of sqlite3, mysql, postgres"
        self.assert_refused("sql_driver", cause, sql_driver="oracle")

    def test_driver_that_is_not_installed(self) -> None:
        self.patch(database, "find_spec", lambda name: None)
        self.assert_refused(
            "sql_driver",
            "needs PyMySQL: pip install PyMySQL",
            sql_dsn="mysql://u:secret@h/db",
        )

    def test_dsn(self) -> None:
        """A database in memory would acknowledge what it does not keep."""
        for dsn in ("", ":memory:", "a\0b", "mail.db?_journal=WAL", "file:mail.db"):
            self.assert_refused("sql_dsn", "is not the path of a file", sql_dsn=dsn)

    def test_table(self) -> None:
        for name in ("", "a b", 'a"; DROP TABLE x; --', "1a", "a.b.c", ".a", "ü", "a" * 64, "a\n"):
            self.assert_refused("mail_table", "is not a table's name", mail_table=name)

    def test_table_in_a_schema(self) -> None:
        """SQLite has one, of this name."""
        self.chain(mail_table="main.mail").save(make_envelope())
        self.assertEqual(len(self.rows()), 1)

    def test_statement(self) -> None:
        self.assert_refused("sql_values", "has 1 ?, not 14", sql_values="(?)")
        self.assert_refused(
            "sql_insert", "holds a ?; values belong to sql_values", sql_insert="INSERT ?"
        )

    def test_numbers(self) -> None:
        self.assert_refused("sql_max_open_conns", "is below 0", sql_max_open_conns=-1)
        self.assert_refused("sql_max_idle_conns", "is below 0", sql_max_idle_conns=-1)
        self.assert_refused("sql_batch_size", "is not between 1 and 1000", sql_batch_size=1001)
        self.assert_refused("sql_batch_size", "is not between 1 and 1000", sql_batch_size=-1)
        self.assert_refused("sql_batch_wait", "is longer than a second", sql_batch_wait="1001ms")

    def test_empty_is_the_default(self) -> None:
        given = {"mail_table": "mail", "sql_dsn": self.path}
        empty = {"sql_batch_size": 0, "sql_batch_wait": "", "sql_max_conn_lifetime": ""}
        self.assertEqual(
            convert_settings({**given, **empty}, SqlConfig), convert_settings(given, SqlConfig)
        )

    def test_mysql(self) -> None:
        given = {"mysql_db": "gmail_mail", "mysql_user": "root", "mail_table": "new_mail"}
        source = convert_settings({**given, "mysql_pass": "ok"}, MySqlConfig).source()
        self.assertEqual(source.where, "mysql 127.0.0.1:3306 database gmail_mail")
        self.assertEqual((source.user, source.password), ("root", "ok"))
        for changes, text in (
            ({"mysql_db": ""}, "mysql_db: is empty"),
            (
                {"mysql_host": "a b"},
                "mysql_host: the address is neither host:port nor the path of a socket",
            ),
        ):
            with self.assertRaises(ConfigError) as caught:
                Chain(self, "MySql", **{**given, **changes})
            self.assertEqual(str(caught.exception), f"backend_config.{text}")

    def test_without_headers_parser(self) -> None:
        given = {"sql_dsn": self.path, "mail_table": "mail"}
        advice = "without HeadersParser before it, what comes from the header stays empty"
        services = Chain(self, "Hasher|Sql", **given).services
        self.assertEqual(services[-1].warnings, [advice])
        services = Chain(self, "Hasher|HeadersParser|Sql", **given).services
        self.assertEqual(services[-1].warnings, [])

    def test_batches_of_one_worker(self) -> None:
        given = {"sql_dsn": self.path, "mail_table": "mail", "sql_batch_size": 2}
        services = Chain(self, "Hasher|HeadersParser|Sql", **given).services
        self.assertEqual(
            services[-1].warnings,
            ["sql_batch_size has no effect with a single worker (save_workers_size)"],
        )

    def test_type(self) -> None:
        self.assert_refused("mail_table", "expected a string, got a whole number", mail_table=1)

    def test_is_a_store(self) -> None:
        """Else the daemon warns that mail is forgotten."""
        (service,) = Chain(self, "Sql", sql_dsn=self.path, mail_table="mail").services
        self.assertTrue(service.stores)

    def test_making_the_chain_touches_no_file(self) -> None:
        Chain(self, "Sql", sql_dsn=self.path, mail_table="mail")
        self.assertFalse(os.path.exists(self.path))

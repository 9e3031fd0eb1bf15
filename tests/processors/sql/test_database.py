"""How a database is opened, how long it is waited for, and what its errors mean."""

from __future__ import annotations

import os
import sqlite3
import ssl
import subprocess
import sys
from typing import Any

import pymysql  # type: ignore[import-untyped]
from pg8000 import DatabaseError, InterfaceError  # type: ignore[import-untyped]
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.config import ConfigError
from guerrilla_tw.processors.sql import database, drivers
from guerrilla_tw.processors.sql.database import PoolSize, check_driver, open_database
from guerrilla_tw.processors.sql.dsn import read_source
from guerrilla_tw.processors.sql.errors import Trouble, cause, is_lost, trouble
from guerrilla_tw.processors.sql.patience import patience

SECRET = "s3cr3t"


class PatienceTests(SynchronousTestCase):
    def test_a_hang_and_another_fit_into_a_stores_time(self) -> None:
        for timeout in (0.5, 5.0, 30.0):
            limits = patience(timeout, read_source("mysql", "/db"))
            self.assertLess(2 * limits.operation, 0.8 * timeout)
            self.assertLess(limits.lock, limits.operation)

    def test_the_source_may_ask_for_less(self) -> None:
        for wait, operation in (("2s", 2.0), ("1h", 7.5), ("0", 7.5)):
            limits = patience(30.0, read_source("mysql", f"/db?readTimeout={wait}"))
            self.assertAlmostEqual(limits.operation, operation)

    def test_sqlite(self) -> None:
        """It waits for locks by itself, for no longer than it can count."""
        limits = patience(10.0, read_source("", "x"))
        self.assertEqual((limits.lock, limits.operation), (8.0, 0))
        self.assertLess(patience(1e9, read_source("", "x")).lock * 1000, 2**31)


class LockTests(SynchronousTestCase):
    """What SQLite knows of other programs, it knows by locks on its files."""

    def test_another_program_leaves_the_log_to_us(self) -> None:
        """Else what is committed from then on is in a file without a name, and lost."""
        path = self.mktemp()
        source = read_source("", path)
        engine = open_database(source, patience(1.0, source), PoolSize(), 8)
        self.addCleanup(engine.dispose)
        with engine.connect() as first:
            first.exec_driver_sql("CREATE TABLE t (x)")
            first.commit()
            with engine.connect():
                look = f"import sqlite3; sqlite3.connect({path!r}).execute('SELECT * FROM t')"
                subprocess.run([sys.executable, "-c", look], check=True, timeout=60)
                self.assertTrue(os.path.exists(f"{path}-wal"))


class PoolTests(SynchronousTestCase):
    def pool(self, **size: Any) -> QueuePool:
        source = read_source("", self.mktemp())
        engine = open_database(source, patience(0.1, source), PoolSize(**size), 8)
        self.addCleanup(engine.dispose)
        assert isinstance(engine.pool, QueuePool)
        return engine.pool

    def most_at_once(self, pool: QueuePool, enough: int = 12) -> tuple[int, int]:
        """:returns: how many connections there are at most, and how many of them are kept."""
        taken: list[Any] = []
        while len(taken) < enough:
            try:
                taken.append(pool.connect())
            except Exception:
                break
        for connection in taken:
            connection.close()
        return len(taken), pool.checkedin()

    def test_each_worker_keeps_its_own(self) -> None:
        self.assertEqual(self.most_at_once(self.pool()), (12, 12))

    def test_most_are_bounded(self) -> None:
        self.assertEqual(self.most_at_once(self.pool(open=3)), (3, 3))

    def test_idle_ones_are_bounded(self) -> None:
        self.assertEqual(self.most_at_once(self.pool(open=5, idle=2)), (5, 2))
        self.assertEqual(self.most_at_once(self.pool(idle=2)), (8, 2))
        self.assertEqual(self.most_at_once(self.pool(open=2, idle=5)), (2, 2))

    def test_lifetime(self) -> None:
        self.assertEqual(PoolSize(lifetime=60.0).arguments(1)["pool_recycle"], 60.0)
        self.assertEqual(PoolSize().arguments(1)["pool_recycle"], -1)


class DriverTests(SynchronousTestCase):
    def test_missing(self) -> None:
        self.patch(database, "find_spec", lambda name: None)
        check_driver("sqlite", "sql_driver")
        for kind, text in (
            ("mysql", "sql_driver: needs PyMySQL: pip install PyMySQL"),
            ("postgresql", "sql_driver: needs pg8000: pip install pg8000"),
        ):
            with self.assertRaises(ConfigError) as caught:
                check_driver(kind, "sql_driver")  # type: ignore[arg-type]
            self.assertEqual(str(caught.exception), text)

    def test_tls(self) -> None:
        """What the drivers are told."""
        limits = patience(30.0, read_source("", "x"))
        for tls, expected in (
            ("true", ssl.CERT_REQUIRED),
            ("skip-verify", ssl.CERT_NONE),
        ):
            source = read_source("mysql", f"u@tcp(h)/db?tls={tls}")
            arguments = drivers._mysql_arguments(source, limits)["connect_args"]
            self.assertEqual(arguments["ssl"].verify_mode, expected)
        for mode, check in (("verify-full", True), ("require", False)):
            source = read_source("", f"postgres://u@h/db?sslmode={mode}")
            connect = drivers._postgresql_connector(source, limits)["creator"]
            self.assertEqual(connect.args[0]["ssl_context"].check_hostname, check)


def mysql_error(code: int, text: str) -> Exception:
    error: Exception = pymysql.err.OperationalError(code, text)
    return error


def postgresql_error(code: str, text: str, severity: str = "ERROR") -> Exception:
    error: Exception = DatabaseError({"C": code, "M": text, "V": severity, "D": SECRET})
    return error


class ErrorTests(SynchronousTestCase):
    def test_what_they_mean(self) -> None:
        for error, expected in (
            (mysql_error(2006, "gone"), Trouble.LOST),
            (mysql_error(2013, "lost"), Trouble.LOST),
            (mysql_error(1053, "shutdown"), Trouble.LOST),
            (mysql_error(1927, "killed"), Trouble.LOST),
            (pymysql.err.InterfaceError(0, ""), Trouble.LOST),
            (pymysql.err.InternalError("Packet sequence number wrong"), Trouble.LOST),
            (InterfaceError("network error"), Trouble.LOST),
            (postgresql_error("57P01", "terminated", "FATAL"), Trouble.LOST),
            (TimeoutError("timed out"), Trouble.LOST),
            (mysql_error(1205, "lock wait"), Trouble.BUSY),
            (mysql_error(1213, "deadlock"), Trouble.BUSY),
            (postgresql_error("40P01", "deadlock"), Trouble.BUSY),
            (postgresql_error("40001", "serialize"), Trouble.BUSY),
            (postgresql_error("55P03", "lock"), Trouble.BUSY),
            (mysql_error(1406, "Data too long for column 'mail' at row 1"), Trouble.TOO_LARGE),
            (mysql_error(1406, "Data too long for column 'to' at row 1"), Trouble.REFUSED),
            (mysql_error(1153, "packet bigger"), Trouble.TOO_LARGE),
            # All mail would bounce while the database takes nothing for its own reasons.
            (postgresql_error("54000", "database is not accepting commands"), Trouble.REFUSED),
            (mysql_error(1118, "Row size too large"), Trouble.REFUSED),
            (sqlite3.DataError("string or blob too big"), Trouble.TOO_LARGE),
            (OverflowError("BLOB longer than INT_MAX bytes"), Trouble.TOO_LARGE),
            (sqlite3.OperationalError("database is locked"), Trouble.REFUSED),
            (mysql_error(1146, "no table"), Trouble.REFUSED),
            (postgresql_error("42P01", "no table"), Trouble.REFUSED),
            (ValueError("x"), Trouble.LOST),
        ):
            self.assertIs(trouble(error), expected, repr(error))
            self.assertEqual(is_lost(error), expected is Trouble.LOST)
            wrapped = DBAPIError(SECRET, {"mail": SECRET}, error)
            self.assertIs(trouble(wrapped), expected, repr(error))
            self.assertNotIn(SECRET, cause(wrapped))

    def test_causes_hold_nothing_of_the_message(self) -> None:
        refused = InterfaceError("Can't create a connection")
        refused.__cause__ = ConnectionRefusedError(111, "Connection refused")
        for error, expected in (
            (
                mysql_error(1366, f"Incorrect string value: '{SECRET}' for column 'to'"),
                "Incorrect string value (1366)",
            ),
            (mysql_error(1062, f"Duplicate entry '{SECRET}' for key"), "Duplicate entry (1062)"),
            (mysql_error(1146, "Table 'a.b' doesn't exist"), "Table 'a.b' doesn't exist (1146)"),
            (
                postgresql_error("22P02", f'invalid input syntax for type bigint: "{SECRET}"'),
                "SQLSTATE 22P02",
            ),
            (postgresql_error("P0001", f"no mail about {SECRET}"), "SQLSTATE P0001"),
            (mysql_error(1644, f"no mail about {SECRET}"), "refused by a trigger (1644)"),
            (
                postgresql_error("54000", "database is not accepting commands"),
                "database is not accepting commands (54000)",
            ),
            (
                postgresql_error("42P01", 'relation "new_mail" does not exist'),
                'relation "new_mail" does not exist (42P01)',
            ),
            (refused, "cannot be reached: Connection refused"),
            (TimeoutError("timed out"), "timed out"),
            (PermissionError(13, "Permission denied", SECRET), "Permission denied"),
            (sqlite3.OperationalError("disk\nfull"), "disk full"),
            (ValueError(SECRET), "ValueError"),
        ):
            self.assertEqual(cause(error), expected)
        self.assertLess(len(cause(sqlite3.OperationalError("x" * 10_000))), 500)

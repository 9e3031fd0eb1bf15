"""What is secret stays so: passwords in a place that was misread, and the mail itself."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.config import ConfigError
from guerrilla_tw.processors.sql import drivers
from guerrilla_tw.processors.sql.database import PoolSize, open_database
from guerrilla_tw.processors.sql.dsn import read_source
from guerrilla_tw.processors.sql.errors import Trouble, trouble
from guerrilla_tw.processors.sql.patience import patience

SECRET = "SE:CRET"


class PlaceTests(SynchronousTestCase):
    def test_what_is_for_another_database_is_no_path(self) -> None:
        """Its text would be in the log, or the name of a file."""
        for driver in ("", "sqlite3"):
            for dsn in (
                f"root:{SECRET}@/db",
                f"root:{SECRET}@tcp(127.0.0.1:3306)/db",
                f"root:{SECRET}@unix/tmp/x/db",
                f"root:SE/{SECRET}@/db",
                f"user=root password={SECRET}",
            ):
                error = self.assertRaises(ConfigError, read_source, driver, dsn)
                self.assertNotIn("CRET", str(error))

    def test_password_that_is_not_escaped(self) -> None:
        for scheme in ("postgres", "mysql"):
            for rest in ("u:p@CRET@h/db", "u:p@CRET/x@h/db", "u:p CR@ET/x@h/db"):
                error = self.assertRaises(ConfigError, read_source, "", f"{scheme}://{rest}")
                self.assertEqual(
                    str(error), "sql_dsn: is no URL; special characters in it are written %XX"
                )

    def test_port(self) -> None:
        for driver, dsn in (
            ("mysql", "u@tcp(h:0)/db"),
            ("mysql", "mysql://u@h:65536/db"),
            ("postgres", "postgres://u@h:99999/db"),
        ):
            self.assertRaises(ConfigError, read_source, driver, dsn)


class FileTests(SynchronousTestCase):
    def test_others_cannot_read_the_mail(self) -> None:
        path = Path(self.mktemp())
        before = os.umask(0o022)
        self.addCleanup(os.umask, before)
        source = read_source("sqlite3", str(path))
        engine = open_database(source, patience(30.0, source), PoolSize(), workers=1)
        self.addCleanup(engine.dispose)
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE t (x)")
        files = [*path.parent.glob(path.name + "*")]
        self.assertGreater(len(files), 1)
        for file in files:
            self.assertEqual(stat.S_IMODE(file.stat().st_mode), 0o600, file)


class LoginTests(SynchronousTestCase):
    def test_password_is_not_told_in_clear_text(self) -> None:
        """Whoever listens where the server was could ask for it."""
        limits = patience(30.0, read_source("", "x"))
        for query, told in (("", False), ("?tls=false", False), ("?tls=true", True)):
            source = read_source("mysql", f"root:{SECRET}@tcp(127.0.0.1:3306)/db{query}")
            arguments = drivers._mysql_arguments(source, limits)["connect_args"]
            plugins = arguments.get("auth_plugin_map", {})
            self.assertEqual("mysql_clear_password" not in plugins, told, query)
            for plugin in plugins.values():
                self.assertRaises(PermissionError, plugin(None).authenticate, None)


class LostTests(SynchronousTestCase):
    def test_answer_that_is_none(self) -> None:
        """What comes next on that connection belongs to it."""
        for error in (KeyError(1), IndexError(), UnicodeDecodeError("ascii", b"\x80", 0, 1, "")):
            self.assertEqual(trouble(error), Trouble.LOST)

    def test_value_that_cannot_be_sent(self) -> None:
        self.assertEqual(trouble(OverflowError()), Trouble.TOO_LARGE)
        self.assertEqual(trouble(UnicodeEncodeError("utf-8", "\ud800", 0, 1, "")), Trouble.REFUSED)

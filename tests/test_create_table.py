"""``create-table`` by root, in a directory of somebody who would like to be root."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

from guerrilla_tw.command import CommandError
from guerrilla_tw.commands import CreateTable
from tests.test_users import UserTestCase, forbid

# The command, with modules that only root finds.
CLOSED_TO_OTHERS = """
import os, sys
from guerrilla_tw.commands import main

class ForRoot:
    def find_spec(self, name, path=None, target=None):
        if os.geteuid():
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, ForRoot())
sys.exit(main(sys.argv[1:]))
"""


class RootTests(UserTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.database = self.own / "mail.sqlite3"
        self.victim = self.directory / "victim"
        self.victim.mkdir(0o700)

    def write_config(self, database: Path | str) -> Path:
        config = self.directory / "config.json"
        settings = {"save_process": "Sql", "sql_dsn": str(database), "mail_table": "mail"}
        config.write_text(json.dumps({"backend_config": settings}))
        return config

    def run_command(self, database: Path | str | None = None) -> str:
        """:returns: what it shows."""
        config = self.write_config(database or self.database)
        shown = io.StringIO()
        self.patch(sys, "stdout", shown)
        options = CreateTable()
        options.parseOptions(["--config", str(config)])
        options.run()
        return shown.getvalue()

    def refusal(self, database: Path | None = None) -> str:
        """:returns: why it cannot be done, and nothing of root's was touched."""
        error = self.assertRaises(CommandError, self.run_command, database)
        self.assertEqual([path.name for path in self.victim.iterdir()], [])
        return str(error)

    def test_the_daemon_can_write_what_it_makes(self) -> None:
        self.assertIn("is made", self.run_command())
        self.assertEqual({path.stat().st_uid for path in self.own.iterdir()}, {self.user.uid})
        with self.user.rights(), contextlib.closing(sqlite3.connect(self.database)) as connection:
            connection.execute("PRAGMA user_version = 1")
        self.assertIn("is there already", self.run_command())

    def test_an_interpreter_that_only_root_can_read(self) -> None:
        """What is needed was imported when the rights are the owner's."""
        config = self.write_config(self.database)
        command = [sys.executable, "-c", CLOSED_TO_OTHERS, "create-table", "--config", str(config)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual((ended.stderr, ended.returncode), ("", 0))
        self.assertEqual(self.database.stat().st_uid, self.user.uid)

    def test_root_that_may_not_become_another(self) -> None:
        forbid(self, "setegid")
        self.assertIn("cannot take the rights of user nobody: Operation", self.refusal())

    def test_relative_path(self) -> None:
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.own)
        self.assertIn("is made", self.run_command("mail.sqlite3"))
        self.assertEqual(self.database.stat().st_uid, self.user.uid)

    def test_a_link_of_roots(self) -> None:
        """Nobody else can have it lead elsewhere."""
        link = self.directory / "link"
        link.symlink_to(self.database)
        self.run_command(link)
        self.assertEqual(self.database.stat().st_uid, self.user.uid)

    def test_nothing_is_made_where_a_link_leads(self) -> None:
        with self.user.rights():
            self.database.symlink_to(self.victim / "shadow")
        self.assertIn(f"user {self.user.name} can write to {self.own}", self.refusal())

    def test_nothing_is_made_where_a_link_on_the_way_leads(self) -> None:
        with self.user.rights():
            (self.own / "data").symlink_to(self.victim)
        self.assertIn(
            f"user {self.user.name} can write to {self.own}", self.refusal(self.own / "data" / "m")
        )

    def test_nothing_is_written_beside_it_where_a_link_leads(self) -> None:
        with self.user.rights():
            sqlite3.connect(self.database).close()
            (self.own / "mail.sqlite3-wal").symlink_to(self.victim / "shadow")
        # Whether SQLite does without is its affair.
        with contextlib.suppress(CommandError):
            self.run_command()
        self.assertEqual(list(self.victim.iterdir()), [])

    def test_a_directory_of_several(self) -> None:
        """Whose file it would be is not known there."""
        self.own.chmod(0o777)
        self.assertIn("everybody can write to", self.refusal())
        self.assertFalse(self.database.exists())

    def test_a_directory_that_is_not_there(self) -> None:
        self.assertIn("No such file", self.refusal(self.own / "no" / "m"))

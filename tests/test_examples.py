"""The examples do what they say, since newcomers copy them."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from smtplib import SMTPRecipientsRefused
from typing import Any
from unittest import mock

from twisted.internet.address import IPv4Address
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from guerrilla_tw import Config, ConfigError, Guerrilla, ServerConfig
from guerrilla_tw.backends.gateway import InitializationError
from tests.integration.client import Client
from tests.smtp_client import DATA, send_mail

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"


def load(name: str) -> Any:
    """Import an example, which is in no package."""
    spec = spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def documented_config() -> dict[str, Any]:
    """:returns: the configuration in the docstring of ``my_foo.py``."""
    found = re.search(r"^    \{$.*?^    \}$", load("my_foo").__doc__, re.MULTILINE | re.DOTALL)
    assert found is not None
    config: dict[str, Any] = json.loads(found[0])
    return config


class MyFooTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.journal, self.database = self.mktemp(), self.mktemp()
        self.settings = documented_config()["backend_config"]
        self.settings |= {"my_foo_journal": self.journal, "sql_dsn": self.database}

    def make(self) -> Guerrilla:
        server = ServerConfig(is_enabled=True, listen_interface="127.0.0.1:0")
        daemon = Guerrilla(
            Config(
                log_file="off",
                allowed_hosts=(".",),
                backend_config=self.settings,
                servers=(server,),
            )
        )
        daemon.add_processor("MyFoo", load("my_foo").my_foo)
        return daemon

    async def start(self) -> int:
        daemon = self.make()
        await daemon.startService()
        self.addCleanup(daemon.stopService)
        (address,) = daemon.addresses
        port: int = getattr(address, "port")  # noqa: B009  # IAddress does not promise one
        return port

    async def test_message_is_written_into_the_journal(self) -> None:
        port = await self.start()
        recipients = ("alice@example.org", "BOB@example.org", '"postmaster"@example.org')
        reply = await deferToThread(send_mail, port, *recipients)
        self.assertRegex(reply, "^250 ")
        (line,) = Path(self.journal).read_text().splitlines()
        entry = json.loads(line)
        self.assertRegex(entry.pop("id"), r"\A[0-9a-f]{32}\Z")
        expected = {
            "from": "alice@example.com",
            "to": ["alice@example.org", "BOB@example.org", "postmaster@example.org"],
            "octets": len(DATA),
        }
        self.assertEqual(entry, expected)
        with closing(sqlite3.connect(self.database)) as connection:
            self.assertEqual(connection.execute("SELECT count(*) FROM new_mail").fetchall(), [(3,)])

    async def test_nobody_else_has_a_mailbox(self) -> None:
        port = await self.start()
        with self.assertRaises(SMTPRecipientsRefused) as caught:
            await deferToThread(send_mail, port, "bob@example.org", "mallory@example.org")
        self.assertEqual(
            caught.exception.recipients, {"mallory@example.org": (550, b"5.1.1 no such user")}
        )

    async def test_journal_that_cannot_be_opened_stops_the_start(self) -> None:
        self.settings["my_foo_journal"] = self.mktemp() + "/no/such/file"
        with self.assertRaises(InitializationError) as caught:
            await self.make().startService()
        self.assertIn("MyFoo: [Errno 2] No such file or directory", str(caught.exception))

    def test_journal_that_was_never_opened_is_closed(self) -> None:
        """Else the daemon says so, and only then why it could not start."""
        load("my_foo").Journal(self.journal).close()

    def test_settings_are_checked(self) -> None:
        for setting, value in (("my_foo_users", "alice"), ("my_foo_journal", None)):
            kept = self.settings[setting]
            self.settings[setting] = value
            with self.assertRaises(ConfigError) as caught:
                self.make().check()
            self.assertEqual(caught.exception.path, f"backend_config.{setting}")
            self.settings[setting] = kept

    def test_journal_that_fails_accepts_nothing(self) -> None:
        """A line that is on the disk in part only is none."""
        journal = load("my_foo").Journal(self.journal)
        journal.open()
        self.addCleanup(journal.close)
        with mock.patch("os.write", return_value=4), self.assertRaises(OSError):
            journal.write("line")


class PluginTests(SynchronousTestCase):
    def test_found_by_its_name(self) -> None:
        """With the configuration and the PYTHONPATH of the docstring."""
        config = Path(self.mktemp())
        config.write_text(json.dumps(documented_config()))
        result = subprocess.run(
            [sys.executable, "-m", "twisted", "guerrilla", "--config", config, "--check"],
            env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{EXAMPLES}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.assertEqual((result.returncode, result.stdout), (0, f"{config}: OK\n"))


class FunkyLoggerTests(SynchronousTestCase):
    """The program, as somebody runs it."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()

    def start(self, interface: str) -> subprocess.Popen[str]:
        program = subprocess.Popen(
            [sys.executable, EXAMPLES / "funky_logger.py", interface],
            cwd=self.directory,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        # Nothing below waits longer.
        limit = threading.Timer(60, program.kill)
        limit.start()
        assert program.stdout is not None
        self.addCleanup(program.stdout.close)
        self.addCleanup(program.wait)
        self.addCleanup(program.kill)
        self.addCleanup(limit.cancel)
        return program

    def test_logs_both_tasks_and_their_results(self) -> None:
        program = self.start("127.0.0.1:0")
        assert program.stdout is not None
        for line in program.stdout:
            listening = re.search(r"listening on .*:(\d+)", line)
            if listening:
                break
        else:
            self.fail("it ended")
        reply = send_mail(int(listening[1]), "bob@example.org")
        program.send_signal(signal.SIGINT)
        output, _ = program.communicate()
        told = [line.partition("funky: ")[2] for line in output.splitlines() if "funky: " in line]
        self.assertEqual(
            told,
            [
                "is there 'bob@example.org'?",
                "250 OK",
                f"{len(DATA)} octets from 'alice@example.com'",
                reply.replace(" 2.0.0", ""),
            ],
        )
        self.assertRegex(output, r"(?m)stopped$")
        self.assertNotIn("Traceback", output)
        with closing(sqlite3.connect(self.directory / "guerrilla.sqlite3")) as connection:
            (row,) = connection.execute("SELECT recipient, mail FROM new_mail")
        self.assertEqual(row[0], "bob@example.org")
        self.assertTrue(row[1].endswith(DATA))

    def test_ends_when_it_cannot_start(self) -> None:
        (self.directory / "guerrilla.sqlite3").mkdir()
        program = self.start("127.0.0.1:0")
        output, _ = program.communicate()
        self.assertIn("Sql: cannot store in table new_mail in guerrilla.sqlite3: ", output)
        self.assertNotEqual(program.returncode, 0)


class QuotasTests(TestCase):
    timeout = 60

    async def test_answer_of_its_own_for_each_recipient(self) -> None:
        database = self.mktemp()
        server = ServerConfig(is_enabled=True, listen_interface="127.0.0.1:0", protocol="lmtp")
        backend_config = {
            "save_process": "HeadersParser|Quotas|Hasher|Header|Sql",
            "full_mailboxes": ["bob"],
            "sql_dsn": database,
            "mail_table": "new_mail",
        }
        daemon = Guerrilla(
            Config(
                log_file="off",
                allowed_hosts=(".",),
                servers=(server,),
                backend_config=backend_config,
            )
        )
        daemon.add_processor("Quotas", load("quotas").quotas)
        await daemon.startService()
        self.addCleanup(daemon.stopService)
        [address] = daemon.addresses
        assert isinstance(address, IPv4Address)
        port = address.port
        for names, codes in (
            ("alice bob carol", ["250", "452", "250"]),
            ("bob", ["452"]),
            ("carol", ["250"]),
        ):
            replies = await deferToThread(deliver_by_lmtp, port, names.split())
            self.assertEqual([reply[:3] for reply in replies], codes)
        with closing(sqlite3.connect(database)) as connection:
            rows = connection.execute("SELECT recipient FROM new_mail ORDER BY mail_id").fetchall()
        self.assertEqual(rows, [(f"{name}@example.com",) for name in ("alice", "carol", "carol")])


def deliver_by_lmtp(port: int, names: list[str]) -> list[str]:
    """:returns: the replies to the message, one for each recipient."""
    with Client(port) as client:
        client.reply()
        for command in ("LHLO me", "MAIL FROM:<>", *(f"RCPT TO:<{n}@example.com>" for n in names)):
            client.command(command)
        client.command("DATA")
        client.write(b"Subject: x\r\n\r\n.\r\n")
        return [client.reply() for _ in names]

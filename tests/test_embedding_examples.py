"""The programs and pieces of code of docs/embedding.rst do what is said there."""

from __future__ import annotations

import ast
import json
import os
import re
import signal
import smtplib
import sqlite3
import subprocess
import sys
import urllib.request
from contextlib import closing
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from guerrilla_tw import Config, Guerrilla, ServerConfig
from guerrilla_tw.events import Event
from tests.docs.blocks import DOCS, Block, python_blocks
from tests.integration.client import Client
from tests.integration.daemon_process import FOREGROUND, ROOT, Process
from tests.integration.programs import DEADLINE, missing
from tests.smtp_client import DATA, send_mail

EXAMPLES = ROOT / "examples" / "embedding"
PAGE = (DOCS / "embedding.rst").read_text(encoding="utf-8")


class ProgramTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()

    def start(self, *command: str | Path) -> Process:
        process = Process([str(part) for part in command], self.directory)
        self.addCleanup(process.kill)
        return process

    def end(self, process: Process) -> None:
        """Tell it to end; it stops in order, and has found nothing to complain of."""
        process.terminate()
        process.finish()
        self.assertIn("#info] stopped\n", process.output)
        self.assertNotRegex(process.output, r"#(warn|error|critical)\]|Traceback|Unhandled|Warning")

    def subjects(self) -> list[str]:
        with closing(sqlite3.connect(self.directory / "mail.sqlite3")) as database:
            return [subject for (subject,) in database.execute("SELECT subject FROM new_mail")]


class ApplicationTests(ProgramTestCase):
    COMMAND = ("env", "MAIL_PORT=0", *FOREGROUND, "--python", EXAMPLES / "daemon.tac")

    def test_stores_mail(self) -> None:
        process = self.start(*self.COMMAND)
        self.assertRegex(send_mail(process.port(), "bob@example.com"), "^250 ")
        with self.assertRaises(smtplib.SMTPRecipientsRefused):
            send_mail(process.port(), "bob@example.org")
        self.end(process)
        self.assertEqual(self.subjects(), ["hello"])

    def test_ends_when_it_cannot_start(self) -> None:
        (self.directory / "mail.sqlite3").mkdir()
        process = self.start(*self.COMMAND)
        process.finish()
        self.assertIn("cannot start: Sql: ", process.output)
        self.assertNotIn("Unhandled", process.output)


class WebSiteTests(ProgramTestCase):
    def test_shows_what_came(self) -> None:
        process = self.start(sys.executable, EXAMPLES / "web_site.py", "0", "0")
        url = process.wait_for(r"see (http://127\.0\.0\.1:[0-9]+/)")[1]
        for subject in (b"One & all", b"<script>alert(1)</script>"):
            data = b"Subject: " + subject + b"\r\n\r\n"
            self.assertRegex(send_mail(process.port(), "bob@example.com", data=data), "^250 ")
        with urllib.request.urlopen(url, timeout=DEADLINE) as response:
            page = response.read().decode("utf-8")
        self.assertIn("<p>2 messages</p>", page)
        self.assertIn("<li>&lt;script&gt;alert(1)&lt;/script&gt;</li><li>One &amp; all</li>", page)
        self.end(process)
        self.assertEqual(len(self.subjects()), 2)

    def test_ends_when_it_cannot_start(self) -> None:
        (self.directory / "mail.sqlite3").mkdir()
        process = self.start(sys.executable, EXAMPLES / "web_site.py", "0", "0")
        self.assertEqual(process.finish(), 1)
        self.assertIn("Sql: ", process.output)


class AsyncioTests(ProgramTestCase):
    def test_coroutine_handles_messages(self) -> None:
        process = self.start(sys.executable, "-X", "dev", EXAMPLES / "asyncio_program.py", "0")
        for _ in range(2):
            self.assertRegex(send_mail(process.port(), "bob@example.com"), "^250 ")
        with self.assertRaises(smtplib.SMTPRecipientsRefused):
            send_mail(process.port(), "bob@example.org")
        self.end(process)
        self.assertEqual("".join(process.stdout), f"{len(DATA)} octets: 'hello'\n" * 2)

    def test_ends_when_it_cannot_start(self) -> None:
        process = self.start(sys.executable, EXAMPLES / "asyncio_program.py", "99999")
        self.assertEqual(process.finish(), 1)
        self.assertIn("servers[0].listen_interface: ", process.output)


class TestsOfOthersTests(ProgramTestCase):
    """The tests of the two programs that send mail."""

    def run_tests(self, *command: str) -> str:
        result = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=self.directory,
            env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{EXAMPLES}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DEADLINE,
        )
        self.assertEqual(result.returncode, 0, result.stdout)
        return result.stdout

    def test_trial(self) -> None:
        output = self.run_tests("twisted.trial", "test_newsletter")
        self.assertIn("PASSED (successes=3)", output)

    def test_pytest(self) -> None:
        if find_spec("pytest") is None:
            missing("pytest")
        program = str(EXAMPLES / "test_invitation.py")
        output = self.run_tests("pytest", "-p", "no:cacheprovider", program)
        self.assertRegex(output, r"=== 3 passed in ")


def sections() -> dict[str, list[Block]]:
    """:returns: the pieces of code of each section that has some, by its title."""
    lines = PAGE.splitlines()
    titles = [
        (number, title)
        for number, (title, below) in enumerate(pairwise(lines), 1)
        if re.fullmatch(r"[-~=]{4,}", below)
    ]
    found: dict[str, list[Block]] = {}
    for block in python_blocks(DOCS / "embedding.rst"):
        title = [title for number, title in titles if number < block.line][-1]
        found.setdefault(title, []).append(block)
    return found


class SnippetTestCase(TestCase):
    """Runs the pieces of a section one after the other, as if they were one coroutine."""

    timeout = 60

    def setUp(self) -> None:
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(directory)
        self.write_config("example.com")
        self.printed: list[str] = []
        self.daemons: list[Guerrilla] = []
        self.addCleanup(lambda: Deferred.fromCoroutine(self.stop()))

    async def stop(self) -> None:
        for daemon in self.daemons:
            if daemon.running:
                await daemon.stopService()

    def write_config(self, *hosts: str) -> None:
        server = {"is_enabled": True, "listen_interface": "127.0.0.1:0"}
        backend_config = {"save_process": "HeadersParser|Sql", "sql_dsn": "m", "mail_table": "m"}
        config = {
            "log_file": "off",
            "allowed_hosts": hosts,
            "servers": [server],
            "backend_config": backend_config,
        }
        Path("guerrilla.json").write_text(json.dumps(config))

    def make_config(self) -> Config:
        return Config(
            log_file="off",
            allowed_hosts=("example.com",),
            servers=(ServerConfig(is_enabled=True, listen_interface="127.0.0.1:0"),),
            backend_config={"save_process": "HeadersParser|Sql", "sql_dsn": "m", "mail_table": "m"},
        )

    async def start(self) -> Guerrilla:
        daemon = Guerrilla(self.make_config())
        self.daemons.append(daemon)
        await daemon.startService()
        return daemon

    async def run_section(self, title: str, **names: object) -> dict[str, Any]:
        """:returns: all names that there are at its end."""
        namespace: dict[str, Any] = {
            "reactor": reactor,
            "print": lambda *words: self.printed.append(" ".join(map(str, words))),
            **names,
        }
        for block in sections()[title]:
            code = compile(
                block.text,
                str(block),
                "exec",
                ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
                dont_inherit=True,
            )
            try:
                ended = eval(code, namespace)
                if ended is not None:
                    await ended
            finally:
                self.daemons += [
                    value for value in namespace.values() if isinstance(value, Guerrilla)
                ]
        return namespace


def port_of(daemon: Guerrilla) -> int:
    address: Any = daemon.addresses[0]
    port: int = address.port
    return port


class SnippetTests(SnippetTestCase):
    def test_there_are_no_others(self) -> None:
        """Each of these sections has a test below."""
        expected = [
            "Configuration",
            "Start and stop",
            "Several processes",
            "Processors",
            "A backend of your own",
            "Events",
            "Reload",
            "Logs",
            "Another reactor, and a clock",
            "Several in one process",
        ]
        self.assertEqual(list(sections()), expected)

    async def test_configuration(self) -> None:
        names = await self.run_section("Configuration")
        (error,) = self.printed
        self.assertIn(f"This prints ``{error}``", PAGE.replace("\n", " "))
        daemon = names["daemon"]
        await daemon.startService()
        self.assertRegex(await deferToThread(send_mail, port_of(daemon), "b@example.com"), "^250 ")

    async def test_several_processes(self) -> None:
        settings = {
            "backend_config": {"save_process": "Header"},
            "servers": [{"is_enabled": True, "listen_interface": "127.0.0.1:0"}],
            "log_file": "off",
        }
        names = await self.run_section("Several processes", settings=settings)
        daemon = names["daemon"]
        self.assertEqual((daemon.config.processes, len(daemon.addresses)), (4, 1))
        await daemon.stopService()

    async def test_start_and_stop(self) -> None:
        names = await self.run_section("Start and stop", config=self.make_config(), **IMPORTS)
        (line,) = self.printed
        self.assertRegex(line, r"\A127\.0\.0\.1:[1-9][0-9]*\Z")
        self.assertEqual(names["daemon"].addresses, [])

    async def test_start_that_fails(self) -> None:
        Path("m").mkdir()
        await self.run_section("Start and stop", config=self.make_config(), **IMPORTS)
        (line,) = self.printed
        self.assertRegex(line, r"^cannot start: Sql: ")

    async def test_processors(self) -> None:
        daemon = (await self.run_section("Processors"))["daemon"]
        data = b"Subject: Your invoice\r\n\r\n"
        reply = await deferToThread(send_mail, port_of(daemon), "b@example.com", data=data)
        self.assertEqual(reply, "550 5.7.1 no invoices, please")
        self.assertRegex(await deferToThread(send_mail, port_of(daemon), "b@example.com"), "^250 ")

    async def test_backend(self) -> None:
        names = await self.run_section("A backend of your own", config=self.make_config())
        port = port_of(names["daemon"])
        await deferToThread(send_mail, port, "Postmaster@example.com")
        self.assertEqual([envelope.data for envelope in names["backend"].envelopes], [DATA])
        with self.assertRaises(smtplib.SMTPRecipientsRefused):
            await deferToThread(send_mail, port, "bob@example.com")

    async def test_events(self) -> None:
        daemon = await self.start()
        names = await self.run_section("Events", daemon=daemon)
        self.write_config("example.com", "example.net")
        await daemon.reload("guerrilla.json")
        self.assertEqual(self.printed, ["mail is taken for example.com example.net"])
        daemon.unsubscribe("config_change:allowed_hosts", names["tell"])
        self.write_config("example.com")
        await daemon.reload("guerrilla.json")
        self.assertEqual(len(self.printed), 1)

    def test_table_of_events(self) -> None:
        rows = re.findall(r"(?m)^``(\w+:\w+)`` +``(\w+)``  ", PAGE)
        expected = [
            (event.value, "Config" if event.value.startswith("config") else "ServerConfig")
            for event in Event
        ]
        self.assertEqual(rows, expected)

    async def test_reload(self) -> None:
        daemon = await self.start()
        for number in (signal.SIGHUP, signal.SIGUSR1):
            self.addCleanup(signal.signal, number, signal.getsignal(number))
        await self.run_section("Reload", daemon=daemon)
        self.assertEqual(self.printed, [])
        self.assertEqual(daemon.config.allowed_hosts, ("example.com", "example.org"))
        await deferToThread(send_mail, port_of(daemon), "bob@example.org")
        for number, event, hosts in (
            (signal.SIGHUP, "config_change:new_config", ("example.net",)),
            (signal.SIGUSR1, "config_change:reopen_log_file", ("example.net",)),
        ):
            happened: Deferred[Config] = Deferred()
            daemon.subscribe(event, happened.callback)
            self.write_config("example.net")
            os.kill(os.getpid(), number)
            self.assertEqual((await happened).allowed_hosts, hosts)
            daemon.unsubscribe(event, happened.callback)

    async def test_reload_that_is_refused(self) -> None:
        daemon = await self.start()
        for number in (signal.SIGHUP, signal.SIGUSR1):
            self.addCleanup(signal.signal, number, signal.getsignal(number))
        Path("guerrilla.json").unlink()
        await self.run_section("Reload", daemon=daemon)
        self.assertEqual(
            self.printed,
            ["nothing has changed: guerrilla.json: cannot be read: No such file or directory"],
        )

    async def test_logs(self) -> None:
        names = await self.run_section("Logs", config=self.make_config(), **IMPORTS)
        await names["daemon"].startService()
        self.assertIn(f"listening on 127.0.0.1:{port_of(names['daemon'])}", names["lines"])

    async def test_clock(self) -> None:
        names = await self.run_section(
            "Another reactor, and a clock", config=self.make_config(), **IMPORTS
        )

        def talk() -> list[str]:
            with Client(port_of(names["daemon"])) as client:
                said = [client.reply()[:3]]
                reactor.callFromThread(names["clock"].advance, 30)  # type: ignore[attr-defined]
                said.append(client.reply()[:9])
                return said

        self.assertEqual(await deferToThread(talk), ["220", "421 4.4.2"])

    async def test_several(self) -> None:
        names = await self.run_section("Several in one process")
        self.assertEqual(names["com"].addresses, [])
        await deferToThread(send_mail, port_of(names["org"]), "bob@example.org")


IMPORTS = {"Guerrilla": Guerrilla}

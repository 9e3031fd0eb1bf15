"""Where real daemons log: under twistd in every way, through logrotate, and never a password."""

from __future__ import annotations

import grp
import gzip
import json
import os
import pwd
import re
import signal
import smtplib
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import Any, NamedTuple

from guerrilla_tw.processors.sql.schema import create_tables
from tests.integration.client import MESSAGE, Client, queue_id
from tests.integration.daemon_process import (
    FOREGROUND,
    LISTENING,
    MODULE,
    ROOT,
    DaemonTestCase,
    Process,
    free_port,
    wait_until,
)
from tests.integration.programs import missing, run_program
from tests.servers.mariadb import DATABASE as MARIADB_DATABASE
from tests.servers.mariadb import MariaDb
from tests.servers.postgresql import DATABASE as POSTGRESQL_DATABASE
from tests.servers.postgresql import PostgreSql
from tests.servers.process import PrivateServer
from tests.servers.redis import RedisServer

# Says a thing of each kind when it opens or soon after. The error is put together, so that it is
# not found in the source lines of its own traceback.
_TALKER = """
from twisted.internet.defer import fail
from guerrilla_tw import initialize_with, process_with

def others_talk():
    print("said by print")
    fail(ValueError("said " + "by nobody"))

def talker(svc):
    def talk(config):
        svc.log.info("said by {who}", who="us")
        # Before, "python -m twisted" has not begun to log.
        svc.reactor.callLater(0, others_talk)
    svc.add_initializer(initialize_with(talk))
    return process_with(svc, lambda envelope, task: None, nonblocking=True)
"""
_TALKER_PLUGIN = """
from guerrilla_tw import ProcessorPlugin
talker = ProcessorPlugin("Talker", "talking.talker")
"""
# For --logger.
_RECORDER = """
from twisted.logger import textFileLogObserver

def recorder():
    return textFileLogObserver(open("recorded", "a", buffering=1))
"""
# There may be no syslog here.
_WITH_SYSLOG = """
import functools, syslog
def write(priority, text):
    with open("syslog", "a") as file:
        file.write(text + "\\n")
syslog.openlog = functools.partial(lambda *_: None)
syslog.syslog = functools.partial(write)
from twisted.scripts.twistd import run
run()
"""
_SECRET = "x7Marker"
_BACKGROUND = (*FOREGROUND[:-2], "--pidfile=twistd.pid")
_DOUBLING = re.compile(
    "Starting factory|starting on|Main loop terminated|starting up|reactor class|Server Shut Down"
)


class Case(NamedTuple):
    """
    A way to start a daemon.

    :ivar command: of twistd, without the plugin's name.
    :ivar log_file: of the configuration.
    :ivar ours: where our lines should be, by the file's name or the stream's; empty: nowhere.
    :ivar others: where Twisted's errors and what is printed should be.
    :ivar doubling: whether Twisted's own lines are seen, there too.
    """

    command: Sequence[str]
    log_file: str
    ours: str
    others: str
    doubling: bool = False


CASES = (
    # We are in charge.
    Case(FOREGROUND, "stderr", "stderr", "stderr"),
    Case(FOREGROUND, "stdout", "stdout", "stdout"),
    Case(FOREGROUND, "log", "log", "log"),
    Case(FOREGROUND, "off", "", "stderr"),
    Case(_BACKGROUND, "stderr", "twistd.log", "twistd.log"),
    Case(_BACKGROUND, "stdout", "twistd.log", "twistd.log"),
    Case(_BACKGROUND, "log", "log", "log"),
    Case(_BACKGROUND, "off", "", "twistd.log"),
    # twistd was told.
    Case((*FOREGROUND, "--logfile=x"), "stderr", "x", "x", True),
    Case((*FOREGROUND, "--logfile=x"), "log", "log", "x", True),
    Case((*FOREGROUND, "--logfile=x"), "off", "", "x", True),
    Case((*FOREGROUND, "--logfile=-"), "stderr", "stdout", "stdout", True),
    Case((*FOREGROUND, "--logger=talking.recorder"), "stdout", "recorded", "recorded", True),
    Case((*FOREGROUND, "--logger=talking.recorder"), "log", "log", "recorded", True),
    Case((*_BACKGROUND, "--logfile=x"), "stderr", "x", "x", True),
    Case((*_BACKGROUND, "--logfile=x"), "log", "log", "x", True),
    Case(
        (sys.executable, "-c", _WITH_SYSLOG, "--nodaemon", "--pidfile=", "--syslog"),
        *("stderr", "syslog", "syslog", True),
    ),
    Case(MODULE, "stderr", "stderr", "stderr"),
    Case(MODULE, "log", "log", "log"),
    Case(MODULE, "off", "", "stderr"),
    Case((*MODULE, "--log-file=x", "--log-format=text"), "stderr", "x", "x", True),
    Case((*MODULE, "--log-file=x", "--log-format=text"), "log", "log", "x", True),
)


class LoggingTestCase(DaemonTestCase):
    def configure(self, backend: Mapping[str, Any] | None = None, **settings: Any) -> str:
        """
        Write a configuration.

        :param backend: settings to add to the ``backend_config``.
        :param settings: of the uppermost level, or ``listen_interface``.
        """
        name = self.write_config(
            **{key: settings.pop(key) for key in ("listen_interface",) if key in settings}
        )
        config = json.loads((self.directory / name).read_text())
        config.update(settings)
        config["backend_config"].update(backend or {})
        return self.write_config_text(json.dumps(config))

    def wait_for_greeting(self, port: int, process: Process) -> None:
        """Wait until a daemon in the foreground serves."""
        wait_until(lambda: _greets(port) or not process.running)
        self.assertTrue(process.running, process.output)

    def text(self, name: str) -> str:
        """:returns: what is in a file of the daemon's directory; empty if there is none."""
        path = self.directory / name
        return path.read_text() if path.exists() else ""


class WhereTests(LoggingTestCase):
    """Every line is there exactly once, and where it should be."""

    def test_every_way(self) -> None:
        for number, case in enumerate(CASES):
            self.directory = Path(self.mktemp()).absolute()
            plugins = self.directory / "twisted" / "plugins"
            plugins.mkdir(parents=True)
            (plugins / "talking_plugin.py").write_text(_TALKER_PLUGIN)
            (self.directory / "talking.py").write_text(_TALKER + _RECORDER)
            with self.subTest(number=number, command=case.command[1:], log_file=case.log_file):
                self.check(case, self.run_daemon(case))

    def run_daemon(self, case: Case) -> Mapping[str, str]:
        """:returns: all that was written, by where."""
        port = free_port()
        config = self.configure(
            {"save_process": "HeadersParser|Hasher|Header|Talker|Sql"},
            listen_interface=f"127.0.0.1:{port}",
            log_file=case.log_file,
        )
        process = self.launch("--config", config, command=case.command)
        if "--pidfile=twistd.pid" in case.command:
            self.assertEqual((process.finish(), process.output), (0, ""))
            pid_file = self.directory / "twistd.pid"
            pid = int(pid_file.read_text())
            wait_until(lambda: _greets(port))
            os.kill(pid, signal.SIGTERM)
            wait_until(lambda: not pid_file.exists())
        else:
            self.wait_for_greeting(port, process)
            process.terminate()
            process.finish()
        names = ("log", "x", "recorded", "syslog", "twistd.log")
        files = {name: self.text(name) for name in names if (self.directory / name).exists()}
        streams = {"stdout": "".join(process.stdout), "stderr": "".join(process.stderr)}
        return {**files, **streams}

    def check(self, case: Case, written: Mapping[str, str]) -> None:
        def places(text: str) -> list[str]:
            """With a place as often as it has lines with the text."""
            return [
                place
                for place, lines in written.items()
                for line in lines.splitlines()
                if text in line
            ]

        ours = [case.ours] if case.ours else []
        self.assertEqual(places("said by us"), ours)
        self.assertEqual(places(LISTENING), ours)
        self.assertEqual(places("said by nobody"), [case.others])
        self.assertEqual(places("said by print"), [case.others])
        doubling = {place for place, text in written.items() if _DOUBLING.search(text)}
        self.assertEqual(doubling, {case.others} if case.doubling else set())
        used = {place for place, text in written.items() if text or place == "twistd.log"}
        self.assertEqual(used, {*ours, case.others})


class LifeTests(LoggingTestCase):
    def test_full_disk(self) -> None:
        """Mail is taken, and whoever looks at standard error learns why there is no log."""
        if not os.path.exists("/dev/full"):
            missing("/dev/full")
        port = free_port()
        config = self.configure(log_file="/dev/full", listen_interface=f"127.0.0.1:{port}")
        process = self.launch("--config", config)
        self.wait_for_greeting(port, process)
        with Client(port) as client:
            client.hello()
            queue_id(client.deliver(MESSAGE))
        process.terminate()
        process.finish()
        [line] = process.stderr
        self.assertIn("/dev/full: lines are being lost: No space left on device", line)

    def test_reload(self) -> None:
        """Another file, form and level; and a file that cannot be written changes nothing."""
        config = self.configure({"log_received_mails": True}, log_file="1")
        process = self.launch("--config", config)
        wait_until(lambda: LISTENING in self.text("1") or not process.running)
        match = re.search(rf"{LISTENING} .*:([0-9]+)", self.text("1"))
        assert match is not None
        with Client(int(match[1])) as client:
            client.hello()
            queue_id(client.deliver(b"Subject: first\r\n\r\n"))
            self.configure({"log_received_mails": True}, log_file="missing/2")
            os.kill(process.pid, signal.SIGHUP)
            wait_until(lambda: "missing/2 cannot be written" in self.text("1"))
            changed = {"log_file": "2", "log_format": "json", "log_level": "debug"}
            self.configure({"log_received_mails": True}, **changed)
            os.kill(process.pid, signal.SIGHUP)
            wait_until(lambda: self.text("2"))
            queue_id(client.deliver(b"Subject: second\r\n\r\n"))
        process.terminate()
        process.finish()
        self.assertIn("subject 'first'", self.text("1"))
        self.assertNotIn("subject 'second'", self.text("1"))
        lines = [json.loads(line) for line in self.text("2").splitlines()]
        self.assertEqual([line["subject"] for line in lines if "subject" in line], ["second"])
        self.assertEqual(process.output, "")


class LogrotateTests(LoggingTestCase):
    """Debian's logrotate, with the configuration of the examples, under a sender."""

    ROTATIONS = 6

    def test_every_line_is_in_one_file(self) -> None:
        logs = self.directory / "logs"
        logs.mkdir()
        # It wants nobody else to be able to write there.
        logs.chmod(0o755)
        # twistd moves its own by itself.
        (logs / "twistd.log").write_text("Twisted's\n")
        port = free_port()
        config = self.configure(
            {
                "save_process": "HeadersParser|Debugger|Hasher|Header|Sql",
                "log_received_mails": True,
            },
            listen_interface=f"127.0.0.1:{port}",
            log_file="logs/guerrilla.log",
            pid_file="ours.pid",
        )
        process = self.launch("--config", config)
        self.wait_for_greeting(port, process)
        sent = self.rotate_under_load(port, logs)
        process.terminate()
        self.assertEqual(process.finish(), -signal.SIGTERM)
        self.assertEqual(process.output, "")
        found = re.findall(r"to \['(\d+)@example\.com'\]", _all_logs(logs))
        self.assertEqual(sorted(map(int, found)), list(range(sent)))
        self.assertEqual([path.name for path in logs.glob("twistd*")], ["twistd.log"])

    def rotate_under_load(self, port: int, logs: Path) -> int:
        """:returns: how many messages were sent meanwhile."""
        enough = Event()
        sent: list[int] = []

        def send() -> None:
            with smtplib.SMTP("127.0.0.1", port, "client.example.com", timeout=30) as client:
                while not enough.is_set():
                    client.sendmail("a@example.com", f"{len(sent)}@example.com", MESSAGE)
                    sent.append(len(sent))

        sender = Thread(target=send)
        sender.start()
        try:
            settings = self.logrotate_settings(logs)
            for rotation in range(self.ROTATIONS):
                wanted = len(sent) + 1
                arguments = ("--force", "--state", str(self.directory / "state"), str(settings))
                result = run_program("logrotate", *arguments)
                self.assertEqual((result.returncode, result.stdout), (0, ""))
                # The next one has something to move, and the daemon has opened the new file.
                wait_until(lambda: (logs / "guerrilla.log").stat().st_size)
                wait_until(partial(_has_come, sent, wanted, sender))
                self.assertTrue(sender.is_alive(), f"stopped at rotation {rotation}")
        finally:
            enough.set()
            sender.join()
        return len(sent)

    def logrotate_settings(self, logs: Path) -> Path:
        """:returns: the example, for the user, the directory and the daemon of this test."""
        user, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
        text = (ROOT / "examples/logrotate").read_text()
        for example, here in (
            ("guerrilla guerrilla", f"{user} {group}"),
            ("/var/log/guerrilla", str(logs)),
            ("/run/guerrilla/guerrilla.pid", str(self.directory / "ours.pid")),
        ):
            self.assertIn(example, text)
            text = text.replace(example, here)
        path = self.directory / "logrotate.conf"
        path.write_text(text)
        path.chmod(0o644)
        return path


class SecretTests(LoggingTestCase):
    """A password is in no line, whatever happens to its store."""

    def check(self, server: PrivateServer, settings: Mapping[str, Any]) -> None:
        """
        Live through a start, a loss of the store, reloads, and a start without the store.

        :param settings: of the store, with the secret in them.
        """
        port = free_port()

        def write_config(**more: Any) -> str:
            return self.configure(
                {**settings, **more},
                listen_interface=f"127.0.0.1:{port}",
                log_level="debug",
                log_file="stderr",
            )

        process = self.launch("--config", write_config())
        process.wait_for(LISTENING)
        with Client(port) as client:
            client.hello()
            queue_id(client.deliver(MESSAGE))
            server.kill()
            self.assertEqual(client.deliver(MESSAGE)[:3], "451")
            # It cannot be opened anew.
            write_config(save_workers_size=2)
            os.kill(process.pid, signal.SIGHUP)
            process.wait_for("nothing has changed")
            server.start()
            wait_until(lambda: client.deliver(MESSAGE)[:3] == "250")
            os.kill(process.pid, signal.SIGHUP)
        process.terminate()
        process.finish()
        server.kill()
        failing = self.launch("--config", write_config())
        self.assertEqual(failing.finish(), 1)
        server.start()
        wrong = {
            name: value.replace(_SECRET, f"{_SECRET}Wrong") if isinstance(value, str) else value
            for name, value in settings.items()
        }
        refused = self.launch("--config", write_config(**wrong))
        self.assertEqual(refused.finish(), 1, refused.output)
        for output in (process.output, failing.output, refused.output):
            self.assertIn("[guerrilla_tw#", output)
            self.assertNotIn(_SECRET, output)

    def test_redis(self) -> None:
        server = RedisServer("--requirepass", _SECRET)
        self.addCleanup(server.close)
        server.start()
        self.check(
            server,
            {
                "save_process": "HeadersParser|Hasher|Header|Redis",
                "redis_interface": server.address,
                "redis_password": _SECRET,
            },
        )

    def test_mysql(self) -> None:
        server = MariaDb()
        self.addCleanup(server.close)
        server.start()
        server.execute(f"CREATE USER mail IDENTIFIED BY '{_SECRET}'")
        server.execute(f"GRANT ALL ON {MARIADB_DATABASE}.* TO mail")
        address = f"127.0.0.1:{server.port}"
        settings = {
            "save_process": "HeadersParser|Hasher|Header|Sql",
            "sql_driver": "mysql",
            "sql_dsn": f"mail:{_SECRET}@tcp({address})/{MARIADB_DATABASE}",
            "mail_table": "new_mail",
        }
        create_tables(settings)
        self.check(server, settings)

    def test_postgresql(self) -> None:
        server = PostgreSql()
        self.addCleanup(server.close)
        server.start()
        server.execute(f"CREATE USER mail SUPERUSER PASSWORD '{_SECRET}'")
        address = f"127.0.0.1:{server.port}/{POSTGRESQL_DATABASE}"
        settings = {
            "save_process": "HeadersParser|Hasher|Header|Sql",
            "sql_driver": "postgres",
            "sql_dsn": f"postgres://mail:{_SECRET}@{address}?sslmode=disable",
            "mail_table": "new_mail",
        }
        create_tables(settings)
        self.check(server, settings)


def _greets(port: int) -> bool:
    """:returns: whether a daemon serves there."""
    try:
        with Client(port) as client:
            return client.reply()[:3] == "220"
    except ConnectionRefusedError:
        return False


def _has_come(sent: list[int], wanted: int, sender: Thread) -> bool:
    """:returns: whether so many messages were sent, or no more will be."""
    return len(sent) > wanted or not sender.is_alive()


def _all_logs(directory: Path) -> str:
    """:returns: what is in the files that logrotate made, and in the one that it left."""
    texts = []
    for path in directory.iterdir():
        octets = path.read_bytes()
        texts.append((gzip.decompress(octets) if path.suffix == ".gz" else octets).decode())
    return "".join(texts)

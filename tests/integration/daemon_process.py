"""A real daemon in a process of its own, in a temporary directory, for tests to talk to."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from threading import Condition, Thread
from typing import IO, Any, cast

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.programs import DEADLINE

ROOT = Path(__file__).resolve().parent.parent.parent
# This is all that the console script does.
_TWISTD = (sys.executable, "-c", "from twisted.scripts.twistd import run; run()")
FOREGROUND = (*_TWISTD, "--nodaemon", "--pidfile=")
BACKGROUND = (*_TWISTD, "--pidfile=twistd.pid", "--logfile=twistd.log")
MODULE = (sys.executable, "-m", "twisted")
# What a daemon says when it serves, once for each server.
LISTENING = "listening on"


class Process:
    """
    A process whose output is collected while it runs.

    :param command: with its arguments.
    :param directory: where it runs.
    """

    def __init__(self, command: Sequence[str], directory: Path) -> None:
        self.stdout: list[str] = []
        self.stderr: list[str] = []
        self._changed = Condition()
        self._open_streams = 2
        self._process = subprocess.Popen(
            command,
            cwd=directory,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._readers = [
            Thread(target=self._read, args=streams)
            for streams in (
                (self._process.stdout, self.stdout),
                (self._process.stderr, self.stderr),
            )
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: IO[str], lines: list[str]) -> None:
        with stream:
            for line in stream:
                with self._changed:
                    lines.append(line)
                    self._changed.notify_all()
        with self._changed:
            self._open_streams -= 1
            self._changed.notify_all()

    @property
    def output(self) -> str:
        """All that it has written so far, to either stream."""
        return "".join([*self.stdout, *self.stderr])

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def wait_for(self, pattern: str) -> re.Match[str]:
        """
        Wait until the process has written something.

        :raises AssertionError: it did not before its end or the deadline.
        """

        def settled() -> bool:
            return not self._open_streams or re.search(pattern, self.output) is not None

        with self._changed:
            self._changed.wait_for(settled, DEADLINE)
        match = re.search(pattern, self.output)
        assert match is not None, f"no {pattern!r} in:\n{self.output}"
        return match

    def port(self) -> int:
        """:returns: where it listens, once it does."""
        return int(self.wait_for(rf"{LISTENING} .*:([0-9]+)")[1])

    def terminate(self) -> None:
        """Ask it to end."""
        self._process.send_signal(signal.SIGTERM)

    def finish(self) -> int:
        """
        Wait for its end.

        :returns: its status, below zero for the signal that ended it.
        """
        status = self._process.wait(DEADLINE)
        for reader in self._readers:
            reader.join(DEADLINE)
        return status

    def kill(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self.finish()


def wait_until(condition: Callable[[], object], seconds: float = DEADLINE) -> None:
    """
    Wait for what no process tells of: a file, a port.

    :param seconds: to the deadline.
    :raises AssertionError: it did not come before the deadline.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def free_port() -> int:
    """:returns: a port of 127.0.0.1 that nobody had a moment ago."""
    while True:
        # Out of those that Linux gives to nobody's connections: whoever tries to reach a server
        # that is down could be given its port, and would have it when the server comes back.
        port = random.randrange(20000, 32768)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def answers(port: int) -> bool:
    """:returns: whether somebody listens there."""
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class DaemonTestCase(SynchronousTestCase):
    """A test that starts daemons. None of them outlives it."""

    processes = 1

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()

    def write_config(self, **changes: object) -> str:
        """
        Write a configuration that stores mail in SQLite.

        :param changes: settings other than the usual ones, at any level that has them; a whole
            ``backend_config`` takes the place of the usual one.
        :returns: the file's name, in the directory where daemons run.
        """
        return self.write_config_text(
            json.dumps(_config({"processes": self.processes, **changes}), indent=1)
        )

    def write_config_text(self, text: str) -> str:
        """As :meth:`write_config`, with a text that may be anything."""
        (self.directory / "test.json").write_text(text)
        return "test.json"

    def launch(self, *arguments: str, command: Sequence[str] = FOREGROUND) -> Process:
        """Start a process of ``guerrilla`` without waiting for anything."""
        process = Process([*command, "guerrilla", *arguments], self.directory)
        self.addCleanup(process.kill)
        return process

    def start(self, **changes: object) -> Process:
        """Start a daemon in the foreground and wait until it serves."""
        process = self.launch("--config", self.write_config(**changes))
        process.port()
        return process

    def stored(self) -> dict[str, bytes]:
        """:returns: the mail column of every row by the hash column, which must differ."""
        with closing(sqlite3.connect(self.directory / "mail.sqlite3")) as database:
            rows = database.execute("SELECT hash, mail FROM new_mail").fetchall()
        mails = dict(rows)
        self.assertEqual(len(mails), len(rows))
        return mails

    def assert_clean(self, process: Process) -> None:
        """The daemon found nothing to complain of."""
        complaints = re.compile(r"#(warn|error|critical)\]|Traceback|Unhandled|[Ee]xception")
        self.assertEqual(
            [line for line in process.output.splitlines() if complaints.search(line)], []
        )


def _config(changes: Mapping[str, object]) -> dict[str, Any]:
    config: dict[str, Any] = {"log_file": "stderr", "log_level": "info", "pid_file": ""}
    config["processes"] = 1
    config.update({"spill_size": 0, "spill_dir": "", "max_inflight_bytes": 0})
    config["allowed_hosts"] = ["."]
    backend: dict[str, Any] = {
        "save_process": "HeadersParser|Debugger|Hasher|Header|Sql",
        "save_workers_size": 1,
        "log_received_mails": False,
        "sleep_seconds": 0,
        "sql_driver": "sqlite3",
        "sql_dsn": "mail.sqlite3",
        "mail_table": "new_mail",
    }
    if "backend_config" in changes:
        backend = dict(cast("Mapping[str, object]", changes["backend_config"]))
    server: dict[str, Any] = {
        "is_enabled": True,
        "host_name": "mail.example.com",
        "listen_interface": "127.0.0.1:0",
        "protocol": "smtp",
        "max_clients": 100,
        "max_size": 0,
        "timeout": 0,
        "max_messages": 0,
        "bare_newline": "reject",
        "reject_early_talkers": "",
        "proxyon": False,
        "xclient_on": False,
        "trusted_proxies": [],
        "tls": {},
    }
    for level in (config, backend, server):
        level.update({name: value for name, value in changes.items() if name in level})
    unused = set(changes).difference(config, backend, server, ["backend_config"])
    assert not unused, f"no such setting here: {unused}"
    return {**config, "backend_config": backend, "servers": [server]}

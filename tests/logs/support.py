"""What tests of logs have in common."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, cast

from twisted.logger import ILogObserver, LogEvent, Logger, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.config import Config, ServerConfig
from guerrilla_tw.logs import Logs


class LogsTestCase(SynchronousTestCase):
    """Log files in a directory of the test's own, and a log of the program that is a list."""

    def setUp(self) -> None:
        self.directory = os.path.abspath(self.mktemp())
        os.mkdir(self.directory)
        self.events: list[LogEvent] = []
        # A function is an observer, though mypy-zope does not know it.
        self.fallback: ILogObserver = cast(Any, self.events.append)
        self.logs = self.made(Logs(self.fallback))

    def made(self, logs: Logs) -> Logs:
        """:returns: logs that are closed after the test."""
        self.addCleanup(logs.close)
        return logs

    def path(self, name: str) -> str:
        """:returns: the path of a file in the test's directory."""
        return os.path.join(self.directory, name)

    def text(self, name: str) -> str:
        """:returns: what is in a file."""
        with open(self.path(name), encoding="utf-8") as file:
            return file.read()

    def messages(self, name: str) -> list[str]:
        """:returns: what the lines of a text log say, without time and source."""
        return [line.partition("] ")[2] for line in self.text(name).splitlines()]

    def told(self) -> list[str]:
        """:returns: what the log of the program was given."""
        return [formatEvent(event) for event in self.events]

    def change(self, log_file: str, *server_files: str, **settings: str) -> None:
        """Put a configuration in force."""
        config = make_config(log_file, *server_files, **settings)
        self.logs.commit(self.logs.prepare(config))

    def say(self, log_file: str = "") -> Callable[..., None]:
        """:returns: what logs a line at info to the log of a server."""
        return Logger("guerrilla_tw", observer=self.logs.observer_for(log_file)).info


def set_time_zone(test: SynchronousTestCase, zone: str) -> None:
    """
    Be elsewhere until the end of a test.

    :param zone: as in ``TZ`` of the environment.
    """
    before = os.environ.get("TZ")

    def restore() -> None:
        del os.environ["TZ"]
        if before is not None:
            os.environ["TZ"] = before
        time.tzset()

    os.environ["TZ"] = zone
    test.addCleanup(restore)
    time.tzset()


def make_config(log_file: str, *server_files: str, **settings: str) -> Config:
    """:returns: a configuration with a server for each log file."""
    servers = tuple(
        ServerConfig(is_enabled=True, listen_interface=f"127.0.0.1:{2525 + index}", log_file=name)
        for index, name in enumerate(server_files or [""])
    )
    return Config(log_file=log_file, servers=servers, **cast(Any, settings))

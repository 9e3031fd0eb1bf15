"""Where log lines go."""

from __future__ import annotations

import io
import os
import sys

from twisted.logger import Logger, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.config import Config, ConfigError
from guerrilla_tw.logs import make_observer

LEVELS = ["info", "warn", "error", "critical"]


class ObserverTests(SynchronousTestCase):
    def log(self, log_file: str, console: bool, log_level: str = "info") -> None:
        """Log a line on every level, and the name of a hostile client."""
        config = Config(log_file=log_file, log_level=log_level)
        log = Logger("guerrilla_tw", observer=make_observer(config, console))
        for level in ("debug", "info", "warn", "error", "critical"):
            getattr(log, level)("told as {word} by {client!r}", word=level, client="a\n{word}")

    def test_console(self) -> None:
        for name in ("stdout", "stderr"):
            stream = io.StringIO()
            self.patch(sys, name, stream)
            self.log(name, console=True)
            lines = stream.getvalue().splitlines()
            self.assertEqual([line.split(" ")[4] for line in lines], LEVELS)
            self.assertTrue(lines[0].endswith(r"told as info by 'a\n{word}'"), lines[0])

    def test_console_that_cannot_show_everything(self) -> None:
        octets = io.BytesIO()
        self.patch(sys, "stdout", io.TextIOWrapper(octets, encoding="ascii"))
        log = Logger("guerrilla_tw", observer=make_observer(Config(log_file="stdout"), True))
        log.info("subject {subject!r}", subject="\N{SNOWMAN}")
        self.assertIn(rb"subject '\u2603'", octets.getvalue())

    def test_the_log_of_the_program(self) -> None:
        events: list[object] = []
        globalLogPublisher.addObserver(events.append)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, events.append)  # type: ignore[arg-type]
        self.log("stderr", console=False, log_level="error")
        self.assertEqual(len(events), 2)
        self.flushLoggedErrors()

    def test_file(self) -> None:
        path = self.mktemp()
        self.log(path, console=False)
        self.log(path, console=True)
        with open(path, encoding="utf-8") as file:
            self.assertEqual(len(file.readlines()), 8)

    def test_off(self) -> None:
        stream = io.StringIO()
        self.patch(sys, "stderr", stream)
        self.log("off", console=True, log_level="debug")
        self.assertEqual(stream.getvalue(), "")

    def test_levels(self) -> None:
        for level, count in (("debug", 5), ("warn", 3), ("error", 2), ("fatal", 1), ("panic", 1)):
            stream = io.StringIO()
            self.patch(sys, "stderr", stream)
            self.log("stderr", console=True, log_level=level)
            self.assertEqual(len(stream.getvalue().splitlines()), count, level)

    def test_a_file_that_cannot_be_written(self) -> None:
        config = Config(log_file=os.path.join(self.mktemp(), "missing", "log"))
        error = self.assertRaises(ConfigError, make_observer, config, True)
        self.assertEqual(str(error), "log_file: cannot be written: No such file or directory")

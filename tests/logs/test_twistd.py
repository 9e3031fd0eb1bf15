"""Who logs where, as the options of twistd say; real processes are in the integration tests."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Mapping, MutableMapping
from typing import Any, cast

from twisted.application.service import Application, MultiService
from twisted.logger import (
    ILogObserver,
    LogBeginner,
    Logger,
    LogLevel,
    LogPublisher,
    globalLogPublisher,
    textFileLogObserver,
)
from twisted.python import syslog
from twisted.python.log import LogPublisher as OldLogPublisher
from zope.interface.verify import verifyObject

from guerrilla_tw.config import ConfigError
from guerrilla_tw.logs.twistd import ProgramObserver, TwistdLogs
from tests.logs.support import LogsTestCase

FOREGROUND: dict[str, Any] = {"nodaemon": 1, "logfile": None, "logger": None, "syslog": 0}
BACKGROUND: dict[str, Any] = {**FOREGROUND, "nodaemon": 0}
# Of "python -m twisted".
MODULE: dict[str, Any] = {"fileLogObserverFactory": textFileLogObserver}
TOLD: tuple[Mapping[str, Any], ...] = (
    {"logfile": "-"},
    {"logfile": "x"},
    {"logger": "some.observer"},
    {"syslog": 1},
)


class TwistdTestCase(LogsTestCase):
    def setUp(self) -> None:
        super().setUp()
        for name in ("stderr", "stdout"):
            stream = open(self.path(name), "w", encoding="utf-8")  # noqa: SIM115  # closed below
            self.addCleanup(stream.close)
            self.patch(sys, name, stream)
        globalLogPublisher.addObserver(self.fallback)
        self.addCleanup(globalLogPublisher.removeObserver, self.fallback)
        here = os.getcwd()
        os.chdir(self.directory)
        self.addCleanup(os.chdir, here)

    def under(
        self, options: MutableMapping[str, Any] | None, log_file: str, **settings: str
    ) -> TwistdLogs:
        """Begin as twistd does, up to its own beginning to log."""
        logs = TwistdLogs(options)
        self.logs = self.made(logs)
        self.change(log_file, **settings)
        self.application = Application("guerrilla")
        logs.attach(self.application)
        return logs

    def observer(self) -> ILogObserver | None:
        """:returns: what twistd is going to log to."""
        return cast("ILogObserver | None", self.application.getComponent(ILogObserver, None))

    def log_as_twisted(self, observer: ILogObserver) -> None:
        for namespace in ("twisted.internet", "guerrilla_tw.smtp.factory.GuerrillaESMTPFactory"):
            log = Logger(namespace, observer=observer)
            log.info("Starting factory")
            log.warn("a warning")
        old = OldLogPublisher(publishPublisher=LogPublisher(observer))
        old.msg("GuerrillaESMTPFactory starting on 2525")


class ToldTests(TwistdTestCase):
    def test_twistd_has_its_log(self) -> None:
        options = [{**mode, **told} for told in TOLD for mode in (FOREGROUND, BACKGROUND)]
        for option in [*options, {"logFile": sys.stderr}, None]:
            del self.events[:]
            logs = self.under(option, "stderr")
            self.assertIsNone(self.observer())
            self.assertFalse(logs.on_stderr)
            self.say()("ours")
            self.assertEqual(self.told(), ["ours"])
            logs = self.under(option, "log")
            self.say()("in our file")
            self.assertIsNone(self.observer())
            self.assertEqual(self.told(), ["ours"])
        self.assertEqual(set(self.messages("log")), {"in our file"})
        self.assertEqual(self.text("stderr"), "")

    def test_file_of_twistds_is_not_ours(self) -> None:
        """It does not append, so that it would write over what we append."""
        os.symlink("log", "link")
        for log_file in (self.path("log"), "log", "link"):
            error = self.assertRaises(ConfigError, self.under, {"logfile": "log"}, log_file)
            path = os.path.normpath(self.path(log_file))
            cause = "it is twistd's --logfile; write stderr to log there"
            self.assertEqual(str(error), f"log_file: {path} cannot be written: {cause}")
        self.under({"logfile": "stderr"}, "stderr")
        self.under({"logfile": "-"}, "-")


class ForegroundTests(TwistdTestCase):
    def test_on_a_stream(self) -> None:
        for name, on_stderr in (("stderr", True), ("stdout", False)):
            logs = self.under(FOREGROUND, name)
            self.assertIs(logs.on_stderr, on_stderr)
            self.say()("ours")
            observer = self.observer()
            assert observer is not None
            verifyObject(ILogObserver, observer)
            self.log_as_twisted(observer)
            self.assertEqual(self.messages(name), ["ours", "a warning", "a warning"])
        self.assertEqual(self.events, [])

    def test_in_a_file(self) -> None:
        logs = self.under(FOREGROUND, "log", log_level="error")
        self.assertFalse(logs.on_stderr)
        observer = self.observer()
        assert observer is not None
        self.log_as_twisted(observer)
        Logger("twisted.x", observer=observer).error("an error")
        self.assertEqual(self.messages("log"), ["an error"])
        self.assertEqual((self.text("stderr"), self.text("stdout")), ("", ""))

    def test_off(self) -> None:
        self.under(FOREGROUND, "off")
        self.say()("ours")
        observer = self.observer()
        assert observer is not None
        self.log_as_twisted(observer)
        self.assertEqual(self.messages("stderr"), ["a warning", "a warning"])

    def test_python_m_twisted(self) -> None:
        options: dict[str, Any] = {
            "logFile": sys.stdout,
            "fileLogObserverFactory": textFileLogObserver,
        }
        logs = self.under(options, "stderr")
        self.assertTrue(logs.on_stderr)
        self.say()("ours")
        self.log_as_twisted(options["fileLogObserverFactory"](sys.stdout))
        self.assertEqual(self.messages("stderr"), ["ours", "a warning", "a warning"])
        self.assertEqual(self.text("stdout"), "")

    def test_python_m_twisted_that_was_told(self) -> None:
        options: dict[str, Any] = {
            "logFile": sys.stderr,
            "fileLogObserverFactory": textFileLogObserver,
        }
        self.under(options, "stderr")
        self.assertIs(options["fileLogObserverFactory"], textFileLogObserver)

    def test_parent_that_is_no_application(self) -> None:
        logs = self.under(FOREGROUND, "stderr")
        logs.attach(MultiService())

    def test_without_streams(self) -> None:
        """As after ``2>&-``."""
        self.patch(sys, "stderr", None)
        self.under(FOREGROUND, "stderr")
        self.say()("ours")
        self.assertEqual(self.text("stdout"), "")

    def test_file_that_cannot_be_written(self) -> None:
        self.under(FOREGROUND, "/dev/full")
        self.say()("ours")
        self.assertIn("/dev/full: lines are being lost: No space left", self.text("stderr"))


class BackgroundTests(TwistdTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.in_syslog: list[str] = []
        self.patch(syslog.SyslogObserver, "openlog", lambda *_: None)
        self.patch(syslog.SyslogObserver, "syslog", lambda *given: self.in_syslog.append(given[-1]))

    def test_in_a_file(self) -> None:
        self.under(BACKGROUND, "log")
        self.say()("ours")
        observer = self.observer()
        assert observer is not None
        self.log_as_twisted(observer)
        self.assertEqual(self.messages("log"), ["ours", "a warning", "a warning"])
        self.assertFalse(os.path.exists("twistd.log"))

    def test_streams_are_gone(self) -> None:
        for name in ("stderr", "stdout", "off"):
            logs = self.under(BACKGROUND, name)
            self.assertFalse(logs.on_stderr)
            self.say()("ours")
            observer = self.observer()
            assert observer is not None
            self.log_as_twisted(observer)
        warned = ["a warning", "a warning"]
        self.assertEqual(self.messages("twistd.log"), ["ours", *warned, "ours", *warned, *warned])

    def test_file_that_cannot_be_written(self) -> None:
        self.under(BACKGROUND, "/dev/full")
        self.say()("ours")
        [line] = self.in_syslog
        self.assertIn("/dev/full: lines are being lost: No space left", line)


class ProgramObserverTests(TwistdTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.change(self.path("log"))
        self.program = cast(Any, ProgramObserver(self.logs.observer))

    def test_own_loggers_of_others(self) -> None:
        for namespace in ("my_processor", "stdout"):
            Logger(namespace, observer=self.program).info("{what}", what=namespace)
            Logger(namespace, observer=self.program).debug("not of log_level")
        self.assertEqual(self.messages("log"), ["my_processor", "stdout"])

    def test_error_in_the_old_way(self) -> None:
        old = OldLogPublisher(publishPublisher=LogPublisher(self.program))
        try:
            raise ValueError("bad")
        except ValueError:
            from twisted.python.failure import Failure

            old.msg(failure=Failure(), why="it failed", isError=1)
            old.msg(failure=Failure(), why=None, isError=1)
        old.msg("just told", isError=1)
        lines = self.text("log").splitlines()
        self.assertTrue(lines[0].endswith("[log_legacy#critical] it failed"), lines[0])
        self.assertEqual(lines[1], "\tTraceback (most recent call last):")
        self.assertEqual(lines.count("\tbuiltins.ValueError: bad"), 2)
        self.assertIn("Unhandled Error", self.messages("log"))
        self.assertIn("just told", self.messages("log"))

    def test_values_of_the_old_way_are_left_out(self) -> None:
        self.change(self.path("json"), log_format="json")
        OldLogPublisher(publishPublisher=LogPublisher(self.program)).msg("told", isError=1)
        self.assertEqual(self.text("json").count('"'), 16)

    def test_warnings_and_prints(self) -> None:
        """As twistd begins to log, with the streams of a module of the test's own."""

        class Streams:
            stdout = sys.stdout
            stderr = sys.stderr

        publisher = LogPublisher()
        beginner = LogBeginner(publisher, sys.stderr, Streams, warnings)
        before = warnings.showwarning
        self.addCleanup(setattr, warnings, "showwarning", before)
        beginner.beginLoggingTo([self.program])
        print("printed", file=Streams.stdout)
        print("an error", file=Streams.stderr)
        warnings.showwarning("old", DeprecationWarning, "file.py", 7)
        self.assertEqual(
            self.messages("log"),
            ["printed", "an error", "file.py:7: builtins.DeprecationWarning: old"],
        )

    def test_level_that_is_missing(self) -> None:
        self.program({"log_namespace": "x", "log_format": "no level"})
        self.program({"log_namespace": "x", "log_format": "a", "log_level": LogLevel.info})
        self.assertEqual(self.messages("log"), ["a"])

"""Where the lines of a daemon go, and how that changes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, cast

from twisted.logger import ILogObserver, Logger, LogLevel, globalLogPublisher
from zope.interface.verify import verifyObject

from guerrilla_tw.config import Config, ConfigError, ServerConfig
from guerrilla_tw.logs import Logs
from tests.integration.programs import missing
from tests.logs.support import LogsTestCase, make_config
from tests.test_users import UserTestCase


def open_files() -> int:
    """:returns: how many this process has; it runs on Linux only."""
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        missing("/proc")


class TargetTests(LogsTestCase):
    def test_observer(self) -> None:
        verifyObject(ILogObserver, self.logs.observer)

    def test_before_anything_is_known(self) -> None:
        self.say()("early")
        self.assertEqual(self.told(), ["early"])

    def test_file(self) -> None:
        self.change(self.path("log"))
        self.say()("a line")
        self.assertEqual(self.messages("log"), ["a line"])
        self.assertEqual(self.events, [])

    def test_streams_are_the_log_of_the_program(self) -> None:
        for name in ("stderr", "stdout"):
            self.change(name, "", name)
            self.say()("main {client}", client="a\n")
            self.say(name)("server")
        self.assertEqual(self.told(), [r"main a\n", "server"] * 2)
        # For observers that want values.
        self.assertEqual(self.events[0]["client"], "a\n")

    def test_streams(self) -> None:
        with open(self.path("err"), "w") as err, open(self.path("out"), "w") as out:
            self.logs = self.made(Logs(self.fallback, {"stderr": err, "stdout": out}))
            self.change("stderr", "", "stdout")
            self.say()("main")
            self.say("stdout")("server")
        self.assertEqual((self.messages("err"), self.messages("out")), (["main"], ["server"]))

    def test_off(self) -> None:
        self.change("off", self.path("log"), "off")
        self.say()("main")
        self.say("off")("second")
        self.say(self.path("log"))("first")
        self.assertEqual(self.messages("log"), ["first"])
        self.assertEqual(self.events, [])

    def test_one_open_file_for_equal_paths(self) -> None:
        before = open_files()
        self.change(self.path("log"), self.path("log"), "", self.path("./other/../log"))
        self.assertEqual(open_files(), before + 1)
        for name in ("", self.path("log"), self.path("./other/../log")):
            self.say(name)("{name}", name=name or "main")
        self.assertEqual(len(self.messages("log")), 3)

    def test_disabled_server_has_no_log(self) -> None:
        servers = (
            ServerConfig(is_enabled=True),
            ServerConfig(listen_interface="127.0.0.1:1", log_file=self.path("disabled")),
        )
        self.logs.prepare(Config(log_file="off", servers=servers))
        self.assertEqual(os.listdir(self.directory), [])

    def test_relative_paths_are_where_the_daemon_began(self) -> None:
        here = os.getcwd()
        self.addCleanup(os.chdir, here)
        os.chdir(self.directory)
        self.logs = self.made(Logs(self.fallback))
        os.chdir("/")
        self.change("log")
        os.rename(self.path("log"), self.path("old"))
        self.logs.reopen()
        self.say()("here")
        self.assertEqual(self.messages("log"), ["here"])

    def test_failing_log_of_the_program_harms_nobody(self) -> None:
        def fail(_: object) -> None:
            raise ValueError

        self.logs = Logs(cast(ILogObserver, fail))
        self.say()("a line")

    def test_of_the_whole_process(self) -> None:
        events = self.events
        observer: Any = events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.logs = Logs()
        self.change("stderr")
        self.say()("a line")
        self.assertEqual(self.told(), ["a line"])


class LevelTests(LogsTestCase):
    def log(self) -> None:
        log = Logger("guerrilla_tw", observer=self.logs.observer)
        for level in LogLevel.iterconstants():
            log.emit(level, "{level_name}", level_name=level.name)

    def test_levels(self) -> None:
        names = ["debug", "info", "warn", "error", "critical"]
        for setting, first in (
            ("debug", 0),
            ("info", 1),
            ("warn", 2),
            ("error", 3),
            ("fatal", 4),
            ("panic", 4),
        ):
            self.change(self.path(setting), log_level=setting)
            self.log()
            self.assertEqual(self.messages(setting), names[first:])
            self.assertEqual(
                [level.name for level in LogLevel.iterconstants() if self.logs.is_enabled(level)],
                names[first:],
            )

    def test_of_the_log_of_the_program(self) -> None:
        self.change("stderr", log_level="error")
        self.log()
        self.assertEqual(self.told(), ["error", "critical"])

    def test_formats(self) -> None:
        self.change(self.path("log"), log_format="json")
        self.say()("{client} came", client="192.0.2.1")
        fields = json.loads(self.text("log"))
        self.assertEqual((fields["message"], fields["client"]), ("192.0.2.1 came", "192.0.2.1"))


class ObserverTests(LogsTestCase):
    def test_takes_all(self) -> None:
        self.logs = Logs.for_observer(self.fallback)
        self.change(self.path("log"), self.path("server"), "off", log_level="info")
        log = Logger("guerrilla_tw", observer=self.logs.observer)
        log.info("main")
        log.debug("not seen")
        self.say(self.path("server"))("first {client}", client="\x1b")
        self.say("off")("second")
        self.logs.reopen()
        self.assertEqual(self.told(), ["main", r"first \x1b", "second"])
        self.assertEqual(os.listdir(self.directory), [])


class ChangeTests(LogsTestCase):
    def test_everybody_follows(self) -> None:
        self.change(self.path("1"), self.path("server"))
        main, server, later = self.say(), self.say(self.path("server")), self.say(self.path("new"))
        main("one")
        server("one of a server")
        self.change(self.path("2"), self.path("new"), log_format="json", log_level="debug")
        main("two")
        # It is still at work, but its log is no more.
        server("three")
        later("four")
        self.assertEqual(
            (self.messages("1"), self.messages("server")), (["one"], ["one of a server"])
        )
        self.assertEqual(
            [json.loads(line)["message"] for line in self.text("2").splitlines()], ["two", "three"]
        )
        self.assertEqual(json.loads(self.text("new"))["message"], "four")

    def test_files_are_closed_when_nobody_uses_them(self) -> None:
        before = open_files()
        self.change(self.path("1"), self.path("2"))
        self.assertEqual(open_files(), before + 2)
        self.change(self.path("2"))
        self.assertEqual(open_files(), before + 1)
        self.say()("a line")
        self.assertEqual(self.messages("2"), ["a line"])
        self.logs.close()
        self.assertEqual(open_files(), before)
        self.say()("late")
        self.assertEqual(self.told(), ["late"])

    def test_a_file_that_stays_is_not_opened_anew(self) -> None:
        self.change(self.path("log"))
        os.rename(self.path("log"), self.path("moved"))
        self.change(self.path("log"))
        self.say()("a line")
        self.assertEqual(self.messages("moved"), ["a line"])

    def test_prepared_and_abandoned(self) -> None:
        self.change(self.path("1"))
        before = open_files()
        plan = self.logs.prepare(make_config(self.path("2"), self.path("1"), log_level="error"))
        self.say()("goes on")
        self.logs.abandon(plan)
        self.say()("and on")
        self.assertEqual(open_files(), before)
        self.assertEqual((self.messages("1"), self.text("2")), (["goes on", "and on"], ""))

    def test_cannot_be_written(self) -> None:
        self.change(self.path("log"))
        before = open_files()
        nowhere = self.path("missing/log")
        for files, message in (
            (
                ["missing/log"],
                f"log_file: {nowhere} cannot be written: No such file or directory",
            ),
            (
                ["new", "", "missing/log"],
                f"servers[1].log_file: {nowhere} cannot be written: No such file or directory",
            ),
            (["new", ""], f"log_file: {self.path('new')} cannot be written: Is a directory"),
        ):
            if files == ["new", ""]:
                os.unlink(self.path("new"))
                os.mkdir(self.path("new"))
            config = make_config(*(name and self.path(name) for name in files))
            error = self.assertRaises(ConfigError, self.logs.prepare, config)
            self.assertEqual(str(error), message)
        self.assertEqual(open_files(), before)
        self.say()("as before")
        self.assertEqual(self.messages("log"), ["as before"])

    def test_line_of_a_worker_while_its_file_is_closed(self) -> None:
        """It had chosen the file, and was building the line."""
        self.change(self.path("1"))

        class Slow:
            def __str__(slow) -> str:
                self.change(self.path("2"))
                return "a line"

        self.say()("{what}", what=Slow())
        self.assertEqual((self.messages("1"), self.messages("2")), ([], ["a line"]))


class ReopenTests(LogsTestCase):
    def move(self, *names: str) -> None:
        for name in names:
            os.rename(self.path(name), self.path(f"{name}.1"))

    def test_every_file(self) -> None:
        self.change(self.path("main"), self.path("server"), "stderr", "off")
        self.move("main", "server")
        self.logs.reopen()
        self.say()("one")
        self.say(self.path("server"))("two")
        self.assertEqual((self.messages("main"), self.messages("server")), (["one"], ["two"]))
        self.assertEqual((self.text("main.1"), self.text("server.1")), ("", ""))

    def test_one_that_cannot_be_opened(self) -> None:
        self.change(self.path("main"), self.path("server"))
        self.move("main", "server")
        os.mkdir(self.path("server"))
        self.logs.reopen()
        self.say(self.path("server"))("still here")
        self.assertEqual(self.messages("server.1"), ["still here"])
        [line] = self.messages("main")
        path = self.path("server")
        self.assertEqual(
            line, f"{path}: cannot be opened anew, the old file is kept: Is a directory"
        )


class TroubleTests(LogsTestCase):
    """A file that cannot be written."""

    def setUp(self) -> None:
        super().setUp()
        if not os.path.exists("/dev/full"):
            missing("/dev/full")
        os.symlink("/dev/full", self.path("log"))

    def recover(self) -> None:
        os.unlink(self.path("log"))
        self.logs.reopen()

    def test_main_log(self) -> None:
        self.change(self.path("log"))
        for _ in range(3):
            self.say()("lost")
        path = self.path("log")
        lost = f"{path}: lines are being lost: No space left on device"
        self.assertEqual(self.told(), [lost])
        self.recover()
        self.say()("back")
        self.assertEqual(
            self.messages("log"), ["back", f"{path}: lines lost: 3 (No space left on device)"]
        )
        self.assertEqual(self.told(), [lost])

    def test_log_of_a_server(self) -> None:
        self.change(self.path("main"), self.path("log"))
        self.lose_one()
        self.assertEqual(self.messages("main"), self.news())
        self.assertEqual(self.events, [])

    def test_log_of_a_server_without_a_main_log(self) -> None:
        self.change("off", self.path("log"))
        self.lose_one()
        self.assertEqual(self.told(), self.news())

    def lose_one(self) -> None:
        self.say(self.path("log"))("lost")
        self.recover()
        self.say(self.path("log"))("back")
        self.assertEqual(self.messages("log"), ["back"])

    def news(self) -> list[str]:
        path = self.path("log")
        return [
            f"{path}: lines are being lost: No space left on device",
            f"{path}: lines lost: 1 (No space left on device)",
        ]

    def test_main_log_that_is_the_log_of_the_program(self) -> None:
        self.change("stderr", self.path("log"))
        self.say(self.path("log"))("lost")
        self.assertEqual(len(self.events), 1)


class UserTests(UserTestCase):
    """Root opens them for the user whom the process is about to become."""

    def prepare(self, log_file: Path, *server_files: Path) -> None:
        logs = Logs(user=self.user)
        self.addCleanup(logs.close)
        logs.commit(logs.prepare(make_config(str(log_file), *map(str, server_files))))

    def test_are_the_users(self) -> None:
        self.prepare(self.own / "main", self.own / "server")
        for name in ("main", "server"):
            found = (self.own / name).stat()
            self.assertEqual((found.st_uid, found.st_gid), (self.user.uid, self.user.gid))

    def test_where_he_may_not_write(self) -> None:
        error = self.assertRaises(ConfigError, self.prepare, self.directory / "log")
        cause = "cannot be written: Permission denied for user nobody"
        self.assertEqual(str(error), f"log_file: {self.directory}/log {cause}")
        self.assertFalse((self.directory / "log").exists())

    def test_link_of_his(self) -> None:
        """It leads to nothing that he could not change himself."""
        precious, nothing = self.directory / "precious", self.directory / "nothing"
        precious.write_text("secret")
        precious.chmod(0o600)
        link = self.own / "log"
        for target in (precious, nothing):
            link.symlink_to(target)
            error = self.assertRaises(ConfigError, self.prepare, link)
            self.assertIn("Permission denied for user nobody", str(error))
            link.unlink()
        self.assertEqual((precious.read_text(), precious.stat().st_uid), ("secret", 0))
        self.assertFalse(nothing.exists())

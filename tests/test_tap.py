"""``twistd guerrilla`` up to the service, in this process; ``integration`` starts real ones."""

from __future__ import annotations

import atexit
import json
import os
import sys
from collections.abc import Callable, Generator
from io import StringIO
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.task import deferLater
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase, TestCase

from guerrilla_tw import tap
from guerrilla_tw.backends.chain import initialize_with
from guerrilla_tw.backends.registry import Decorator
from guerrilla_tw.daemon import Guerrilla
from guerrilla_tw.interfaces import IBackendService

STORE = {"save_process": "HeadersParser|Hasher|Header|Sql", "mail_table": "new_mail"}
SERVER = {"is_enabled": True, "host_name": "mail.example.com", "listen_interface": "127.0.0.1:25"}


class MakeServiceTestCase(TestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.file = str(self.directory / "test.json")
        self.stdout = StringIO()
        self.patch(sys, "stdout", self.stdout)

    def write(self, **changes: object) -> None:
        """Write a good configuration, or what the changes make of it."""
        backend = {**STORE, "sql_dsn": str(self.directory / "mail.sqlite3")}
        config = {"log_file": "off", "backend_config": backend, "servers": [SERVER], **changes}
        Path(self.file).write_text(json.dumps(config))

    def make(self, *arguments: str) -> Guerrilla:
        options = tap.Options()
        options.parseOptions(["--config", self.file, *arguments])
        return tap.makeService(options)

    def refusal(self, *arguments: str) -> SystemExit:
        refusal: SystemExit = self.assertRaises(SystemExit, self.make, *arguments)
        return refusal


class OptionsTests(SynchronousTestCase):
    def test_no_arguments(self) -> None:
        options = tap.Options()
        options.parseOptions([])
        self.assertEqual((options["config"], options["check"]), (None, 0))

    def test_short_name_of_config(self) -> None:
        options = tap.Options()
        options.parseOptions(["-c", "some.json"])
        self.assertEqual(options["config"], "some.json")

    def test_help_names_the_list_of_processors(self) -> None:
        text = " ".join(str(tap.Options()).split())
        self.assertIn("python -m guerrilla_tw processors", text)

    def test_argument_without_an_option_is_refused(self) -> None:
        """Else ``twistd guerrilla some.json`` would serve with the defaults."""
        self.assertRaises(UsageError, tap.Options().parseOptions, ["some.json"])


class MakeServiceTests(MakeServiceTestCase):
    def test_good_configuration_makes_the_daemon(self) -> None:
        self.write()
        service = self.make()
        self.assertIsInstance(service, Guerrilla)
        self.assertEqual(service.config.servers[0].interface, ("127.0.0.1", 25, ""))
        self.assertEqual(os.listdir(self.directory), ["test.json"])

    def test_no_file_makes_the_default_daemon(self) -> None:
        options = tap.Options()
        options.parseOptions([])
        self.assertEqual(
            tap.makeService(options).config.servers[0].interface, ("127.0.0.1", 2525, "")
        )

    def test_setting_that_is_refused(self) -> None:
        self.write(log_level="loud")
        line = str(self.refusal().code)
        self.assertTrue(line.startswith(f"{self.file}: log_level: "), line)

    def test_file_that_cannot_be_read(self) -> None:
        line = f"{self.file}: cannot be read: No such file or directory"
        self.assertEqual(self.refusal().code, line)

    def test_log_file_that_cannot_be_written(self) -> None:
        self.write(log_file=str(self.directory / "missing" / "log"))
        line = f"{self.file}: log_file: cannot be written: No such file or directory"
        self.assertEqual(self.refusal().code, line)

    def test_warning_goes_to_the_log(self) -> None:
        log = self.directory / "log"
        self.write(log_file=str(log), backend_config={"save_processors": "Header"})
        self.make()
        self.assertRegex(log.read_text(), rf"#warn\] {self.file}: backend_config\.save_processors")

    def test_standard_stream_of_a_daemonized_twistd_is_its_log(self) -> None:
        """twistd's own options are the parent of ours."""
        self.write(log_file="stdout")
        lines = {}
        for nodaemon in (True, False):
            options = tap.Options()
            options.parseOptions(["--config", self.file])
            parent: Any = {"nodaemon": nodaemon}
            options.parent = parent
            self.stdout.truncate(0)
            tap.makeService(options).log.info("a line")
            lines[nodaemon] = self.stdout.getvalue().count("a line")
        self.assertEqual(lines, {True: 1, False: 0})


class CheckTests(MakeServiceTestCase):
    def test_good_configuration(self) -> None:
        self.write()
        self.assertEqual(self.refusal("--check").code, 0)
        self.assertEqual(self.stdout.getvalue(), f"{self.file}: OK\n")

    def test_warnings_come_first(self) -> None:
        self.write(backend_config={"save_process": "Header", "hm": 1})
        self.assertEqual(self.refusal("--check").code, 0)
        *warnings, last = self.stdout.getvalue().splitlines()
        self.assertEqual(last, f"{self.file}: OK")
        self.assertEqual(len(warnings), 2)
        for warning in warnings:
            self.assertTrue(warning.startswith(f"{self.file}: warning: backend_config."), warning)

    def test_bad_configuration(self) -> None:
        self.write(backend_config={"save_process": "Hedaer"})
        line = str(self.refusal("--check").code)
        self.assertIn(f"{self.file}: backend_config.save_process: ", line)
        self.assertEqual(self.stdout.getvalue(), "")


class StartTests(MakeServiceTestCase):
    """What can go wrong only at the start ends the process."""

    def setUp(self) -> None:
        super().setUp()
        self.stderr = StringIO()
        self.patch(sys, "stderr", self.stderr)
        self.patch(sys, "__stderr__", self.stderr)
        self.at_exit: list[Callable[[], None]] = []
        self.patch(atexit, "register", self.at_exit.append)
        self.stops: list[str] = []

    def configure(self, **changes: object) -> None:
        self.write(servers=[{**SERVER, "listen_interface": "127.0.0.1:0"}], **changes)

    @inlineCallbacks
    def start(self, service: Guerrilla) -> Generator[Deferred[None], object, None]:
        # A failure stops the reactor once that runs; trial has a stop of its own by then.
        yield deferLater(reactor, 0)
        self.patch(reactor, "stop", lambda: self.stops.append("stop"))
        yield service.startService()

    @inlineCallbacks
    def assert_ends_with_failure(self, line: str) -> Generator[Deferred[None], object, None]:
        yield self.start(self.make())
        self.assertEqual(self.stops, ["stop"])
        self.assertRegex(self.stderr.getvalue(), line)
        self.assertEqual(self.stderr.getvalue().count("cannot be written"), 1)
        statuses: list[int] = []
        self.patch(os, "_exit", statuses.append)
        for function in self.at_exit:
            function()
        self.assertEqual(statuses, [1])

    def test_late_failure(self) -> Deferred[None]:
        self.configure(pid_file="missing/pid")
        return self.assert_ends_with_failure(
            rf"\A{self.file}: pid_file: cannot be written: No such file or directory\n\Z"
        )

    def test_line_is_on_stderr_once_if_the_log_is_there_too(self) -> Deferred[None]:
        self.configure(pid_file="missing/pid", log_file="stderr")
        return self.assert_ends_with_failure(
            rf"critical\] cannot start: {self.file}: pid_file: cannot be written: "
        )

    @inlineCallbacks
    def test_error_of_several_lines_becomes_one(self) -> Generator[Deferred[None], object, None]:
        self.configure()
        service = self.make()

        def fail(svc: IBackendService) -> Decorator:
            def initialize(config: object) -> None:
                raise OSError("one\ntwo")

            svc.add_initializer(initialize_with(initialize))
            return lambda following: following

        service.add_processor("Sql", fail)
        yield self.start(service)
        self.assertEqual(self.stops, ["stop"])
        self.assertEqual(self.stderr.getvalue(), f"{self.file}: Sql: one\\ntwo\n")

    @inlineCallbacks
    def test_stop_before_the_start_is_through_is_no_failure(
        self,
    ) -> Generator[Deferred[None], object, None]:
        self.configure()
        service = self.make()
        service.add_processor("Sql", _open_for_ever)
        started = service.startService()
        yield service.stopService()
        yield started
        self.assertEqual((self.stops, self.at_exit, self.stderr.getvalue()), ([], [], ""))

    @inlineCallbacks
    def test_port_in_use(self) -> Generator[Deferred[None], object, None]:
        self.configure()
        first = self.make()
        yield first.startService()
        (address,) = first.addresses
        assert isinstance(address, IPv4Address)
        where = f"127.0.0.1:{address.port}"
        self.write(servers=[{**SERVER, "listen_interface": where}])
        refusal = self.assertRaises(SystemExit, self.make().privilegedStartService)
        yield first.stopService()
        line = f"{self.file}: servers[0].listen_interface: cannot listen on {where}: "
        # The status, for the shell; the line, for the parent of a daemonized twistd.
        self.assertEqual(refusal.code, 1)
        self.assertTrue(str(refusal).startswith(line), refusal)
        self.assertEqual(self.stderr.getvalue(), f"{refusal}\n")


def _open_for_ever(svc: IBackendService) -> Decorator:
    svc.add_initializer(initialize_with(lambda config: Deferred()))
    return lambda following: following

"""``twistd guerrilla`` up to the service, in this process; ``integration`` starts real ones."""

from __future__ import annotations

import atexit
import json
import os
import pwd
import signal
import socket
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
from guerrilla_tw.config import ConfigError
from guerrilla_tw.config.listen import Interface
from guerrilla_tw.daemon import Guerrilla
from guerrilla_tw.interfaces import IBackendService
from guerrilla_tw.tap import future_user
from guerrilla_tw.twistd_service import TwistdDaemon
from guerrilla_tw.users import SAME_USER, User

InlineCallbacks = Generator[Deferred[None], object, None]
STORE = {"save_process": "HeadersParser|Hasher|Header|Sql", "mail_table": "new_mail"}
MISSING_STORE = {**STORE, "sql_dsn": "missing/mail.sqlite3"}
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

    def make(self, *arguments: str) -> TwistdDaemon:
        options = tap.Options()
        options.parseOptions(["--config", self.file, *arguments])
        return tap.makeService(options)

    def guerrilla(self, service: TwistdDaemon) -> Guerrilla:
        assert isinstance(service.daemon, Guerrilla)
        return service.daemon

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
        self.assertIsInstance(service.daemon, Guerrilla)
        self.assertEqual(service.daemon.config.servers[0].interface, Interface("127.0.0.1", 25))
        self.assertFalse((self.directory / "pid").exists())

    def test_no_file_makes_the_default_daemon(self) -> None:
        options = tap.Options()
        options.parseOptions([])
        self.assertEqual(
            tap.makeService(options).daemon.config.servers[0].interface,
            Interface("127.0.0.1", 2525),
        )

    def test_setting_that_is_refused(self) -> None:
        self.write(log_level="loud")
        line = str(self.refusal().code)
        self.assertTrue(line.startswith(f"{self.file}: log_level: "), line)

    def test_file_that_cannot_be_read(self) -> None:
        line = f"{self.file}: cannot be read: No such file or directory"
        self.assertEqual(self.refusal().code, line)

    def test_log_file_that_cannot_be_written(self) -> None:
        path = (self.directory / "missing" / "log").absolute()
        self.write(log_file=str(path))
        line = f"{self.file}: log_file: {path} cannot be written: No such file or directory"
        self.assertEqual(self.refusal().code, line)

    def test_warning_goes_to_the_log(self) -> None:
        log = self.directory / "log"
        server = {**SERVER, "listen_interface": "127.0.0.1:0"}
        backend = {"save_processors": "Header"}
        self.write(log_file=str(log), backend_config=backend, servers=[server])
        service = self.make()
        service.privilegedStartService()
        self.addCleanup(service.stopService)
        self.assertRegex(log.read_text(), r"#warn\] .*backend_config\.save_processors")


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


class StartTestCase(MakeServiceTestCase):
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
    def start(self, service: TwistdDaemon) -> InlineCallbacks:
        # A failure stops the reactor once that runs; trial has a stop of its own by then.
        yield deferLater(reactor, 0)
        self.patch(reactor, "stop", lambda: self.stops.append("stop"))
        yield service.startService()


class StartTests(StartTestCase):
    """What can go wrong only at the start ends the process."""

    @inlineCallbacks
    def assert_ends_with_failure(self, line: str) -> InlineCallbacks:
        yield self.start(self.make())
        self.assertEqual(self.stops, ["stop"])
        self.assertRegex(self.stderr.getvalue(), line)
        self.assertEqual(self.stderr.getvalue().count("Sql: "), 1)
        statuses: list[int] = []
        self.patch(os, "_exit", statuses.append)
        for function in self.at_exit:
            function()
        self.assertEqual(statuses, [1])

    def test_late_failure(self) -> Deferred[None]:
        self.configure(backend_config=MISSING_STORE)
        return self.assert_ends_with_failure(rf"\A{self.file}: Sql: .*\n\Z")

    @inlineCallbacks
    def test_error_of_several_lines_becomes_one(self) -> InlineCallbacks:
        self.configure()
        service = self.make()
        self.guerrilla(service).add_processor("Sql", _fail)
        yield self.start(service)
        self.assertEqual(self.stops, ["stop"])
        self.assertEqual(self.stderr.getvalue(), f"{self.file}: Sql: one\\ntwo\n")

    @inlineCallbacks
    def test_stop_before_the_start_is_through_is_no_failure(
        self,
    ) -> InlineCallbacks:
        self.configure()
        service = self.make()
        self.guerrilla(service).add_processor("Sql", _open_for_ever)
        started = service.startService()
        yield service.stopService()
        yield started
        self.assertEqual((self.stops, self.at_exit, self.stderr.getvalue()), ([], [], ""))

    @inlineCallbacks
    def test_port_in_use(self) -> InlineCallbacks:
        self.configure()
        first = self.make()
        yield first.startService()
        (address,) = first.daemon.addresses
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


class TwistdTests(StartTestCase):
    """What twistd's own options ask for."""

    def make_under(self, **twistd: object) -> TwistdDaemon:
        """Make a service under a twistd that logs elsewhere."""
        self.configure()
        options = tap.Options()
        options.parseOptions(["--config", self.file])
        parent: Any = {"nodaemon": False, "logfile": "twistd.log", **twistd}
        options.parent = parent
        return tap.makeService(options)

    def status_pipe(self) -> tuple[int, int]:
        """:returns: what the process that was started reads from, and what its child writes to."""
        read, write = os.pipe()
        self.addCleanup(os.close, read)
        return read, write

    @inlineCallbacks
    def test_starter_is_told_when_clients_are_answered(self) -> InlineCallbacks:
        read, write = self.status_pipe()
        service = self.make_under(statusPipe=write)
        service.privilegedStartService()
        os.set_blocking(read, False)
        self.assertRaises(BlockingIOError, os.read, read, 100)
        yield service.startService()
        self.assertEqual(os.read(read, 100), b"0")
        yield service.stopService()
        self.assertEqual(os.read(read, 100), b"")

    @inlineCallbacks
    def test_starter_is_told_of_a_late_failure(self) -> InlineCallbacks:
        read, write = self.status_pipe()
        service = self.make_under(statusPipe=write)
        self.guerrilla(service).add_processor("Sql", _fail)
        yield self.start(service)
        self.assertEqual(os.read(read, 1000), f"1 {self.file}: Sql: one\\ntwo".encode()[:100])

    @inlineCallbacks
    def test_starter_is_gone(self) -> InlineCallbacks:
        read, write = os.pipe()
        service = self.make_under(statusPipe=write)
        os.close(read)
        yield service.startService()
        yield service.stopService()

    @inlineCallbacks
    def test_user_who_cannot_read_python(self) -> InlineCallbacks:
        """Else he is told that there is no such module, which there is."""
        log = self.directory / "log"
        self.configure(log_file=str(log.absolute()))
        usual, library = os.access, os.path.dirname(os.__file__)
        self.patch(os, "access", lambda path, *how: path != library and usual(path, *how))
        for uid, is_said in ((0, False), (1000, True)):
            service = self.make()
            self.patch(service, "_user", User(1000, 1000))
            self.patch(os, "geteuid", lambda uid=uid: uid)
            yield self.start(service)
            yield service.stopService()
            said = f"user {User(1000).name} cannot read {library}: modules"
            self.assertIs(said in log.read_text(), is_said)

    def test_user_whom_twistd_changes_to(self) -> None:
        nobody = pwd.getpwnam("nobody")
        uid = nobody.pw_uid
        for given, user in (
            ((None, None), SAME_USER),
            ((uid, None), User(uid, nobody.pw_gid)),
            ((None, 7), User(-1, 7)),
            ((uid, 7), User(uid, 7)),
        ):
            self.assertEqual(future_user(dict(zip(("uid", "gid"), given, strict=True))), user)
        self.assertEqual(future_user({}), SAME_USER)
        error = self.assertRaises(ConfigError, future_user, {"uid": 54321, "gid": 7})
        self.assertEqual(str(error), "--uid: there is no user 54321")


class SignalTests(StartTestCase):
    """Signals that this process sends to itself."""

    def setUp(self) -> None:
        super().setUp()
        self.configure(pid_file=str(self.directory / "pid"))
        self.service = self.make()
        self.reloads: list[Deferred[None]] = []
        self.patch(self.service.daemon, "reload", self.reload)

    def reload(self) -> Deferred[None]:
        self.reloads.append(Deferred())
        return self.reloads[-1]

    def hang_up(self) -> Deferred[None]:
        signal.raise_signal(signal.SIGHUP)
        return _next_turn()

    @inlineCallbacks
    def test_one_reload_for_all_that_come_during_one(self) -> InlineCallbacks:
        yield self.service.startService()
        for _ in range(10):
            yield self.hang_up()
        self.assertEqual(len(self.reloads), 1)
        self.reloads[0].callback(None)
        self.assertEqual(len(self.reloads), 2)
        self.reloads[1].errback(ConfigError("is wrong"))
        yield self.hang_up()
        self.assertEqual(len(self.reloads), 3)
        self.reloads[2].callback(None)
        yield self.service.stopService()

    @inlineCallbacks
    def test_what_comes_too_early_waits(self) -> InlineCallbacks:
        self.service.privilegedStartService()
        yield self.hang_up()
        self.assertEqual(self.reloads, [])
        yield self.service.startService()
        self.assertEqual(len(self.reloads), 1)
        yield self.hang_up()
        yield self.service.stopService()
        # It has ended meanwhile.
        self.reloads[0].callback(None)
        self.assertEqual(len(self.reloads), 1)

    @inlineCallbacks
    def test_handlers_are_restored(self) -> InlineCallbacks:
        numbers = (signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM, signal.SIGINT)
        before = [signal.getsignal(number) for number in numbers]
        yield self.service.startService()
        for number, handler in zip(numbers, before, strict=True):
            self.assertNotEqual(signal.getsignal(number), handler)
        yield self.service.stopService()
        self.assertEqual([signal.getsignal(number) for number in numbers], before)

    @inlineCallbacks
    def test_handlers_are_restored_if_it_cannot_start(self) -> InlineCallbacks:
        before = signal.getsignal(signal.SIGHUP)
        with socket.create_server(("127.0.0.1", 0)) as server:
            where = f"127.0.0.1:{server.getsockname()[1]}"
            self.write(servers=[{**SERVER, "listen_interface": where}])
            self.assertRaises(SystemExit, self.make().privilegedStartService)
        yield deferLater(reactor, 0)
        self.assertEqual(signal.getsignal(signal.SIGHUP), before)

    @inlineCallbacks
    def test_second_one_in_a_container(self) -> InlineCallbacks:
        """Its first process does not die of a signal that it sends to itself."""
        # trial's reactor has handlers of its own once it runs.
        yield deferLater(reactor, 0)
        self.addCleanup(signal.signal, signal.SIGTERM, signal.getsignal(signal.SIGTERM))
        signal.signal(signal.SIGTERM, lambda *_: None)
        yield self.service.startService()
        for _ in range(2):
            signal.raise_signal(signal.SIGTERM)
        ends: list[tuple[int, ...]] = []
        self.patch(os, "kill", lambda *args: ends.append(args))
        self.patch(os, "_exit", lambda *args: ends.append(args))
        yield _next_turn()
        self.assertEqual(ends, [(os.getpid(), signal.SIGTERM), (128 + signal.SIGTERM,)])
        self.assertFalse((self.directory / "pid").exists())
        yield self.service.stopService()


def _next_turn() -> Deferred[None]:
    """:returns: a Deferred that fires when all is done that signals have asked for so far."""
    done: Deferred[None] = Deferred()
    reactor.callFromThread(done.callback, None)  # type: ignore[attr-defined]
    return done


def _fail(svc: IBackendService) -> Decorator:
    def initialize(config: object) -> None:
        raise OSError("one\ntwo")

    svc.add_initializer(initialize_with(initialize))
    return lambda following: following


def _open_for_ever(svc: IBackendService) -> Decorator:
    svc.add_initializer(initialize_with(lambda config: Deferred()))
    return lambda following: following

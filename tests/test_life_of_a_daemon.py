"""Starts, reloads and ends in orders that somebody will try."""

from __future__ import annotations

import gc
import json
import os
import socket
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from twisted.application.service import MultiService
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import LogEvent, LogLevel, formatEvent
from twisted.trial.unittest import TestCase

import guerrilla_tw.listening
from guerrilla_tw import (
    Config,
    ConfigError,
    Decorator,
    Event,
    Guerrilla,
    IBackendService,
    InitializationError,
    ServerConfig,
    initialize_with,
    process_with,
    shutdown_with,
)
from guerrilla_tw.listening import Listener
from guerrilla_tw.listening.endpoints import make_endpoint
from tests.integration.daemon_process import answers, free_port
from tests.smtp.session import FakeBackend

ANY_PORT = "127.0.0.1:0"


def config(*places: str, **settings: object) -> dict[str, Any]:
    return {
        "allowed_hosts": ["."],
        "backend_config": {"save_process": "Store"},
        "servers": [
            {"is_enabled": True, "listen_interface": place} for place in places or (ANY_PORT,)
        ],
        **settings,
    }


class LifeTestCase(TestCase):
    def setUp(self) -> None:
        self.events: list[LogEvent] = []
        self.opening: Deferred[None] | None = None
        self.happened: list[str] = []

    def make(self, given: Any = None, **options: Any) -> Guerrilla:
        def store(svc: IBackendService) -> Decorator:
            def open_store(_: Mapping[str, object]) -> Deferred[None] | None:
                self.happened.append("opened")
                return self.opening

            svc.add_initializer(initialize_with(open_store))
            svc.add_shutdowner(shutdown_with(lambda: self.happened.append("closed")))
            svc.declare_store()
            return process_with(svc, lambda *_: None)

        options.setdefault("observer", self.events.append)
        daemon = Guerrilla(given or config(), **options)
        daemon.add_processor("Store", store)
        self.addCleanup(daemon.stopService)
        return daemon

    def lines(self, level: LogLevel) -> list[str]:
        return [formatEvent(event) for event in self.events if event["log_level"] is level]


class StartTests(LifeTestCase):
    async def refused(self, daemon: Guerrilla, state: str) -> None:
        with self.assertRaises(RuntimeError) as caught:
            await daemon.startService()
        self.assertEqual(str(caught.exception), f"cannot start a daemon that is {state}")

    async def test_twice(self) -> None:
        """As when a service is added to a program that runs, and is then started, too."""
        daemon = self.make()
        opening: Deferred[None] = Deferred()
        self.opening = opening
        started = daemon.startService()
        await self.refused(daemon, "starting already")
        opening.callback(None)
        await started
        await self.refused(daemon, "serving already")
        await daemon.reload(config())
        self.assertEqual(len(daemon.addresses), 1)
        self.assertEqual(self.lines(LogLevel.critical), [])

    async def test_before_the_end_is_through(self) -> None:
        path = self.mktemp()
        daemon = self.make(config(pid_file=path))
        await daemon.startService()
        stopped = daemon.stopService()
        await self.refused(daemon, "still stopping")
        await stopped
        await daemon.startService()
        self.assertTrue(os.path.exists(path))

    async def test_again_after_a_failure(self) -> None:
        daemon = self.make()
        self.opening = fail(OSError("no such volume"))
        with self.assertRaises(Exception) as caught:
            await daemon.startService()
        self.assertEqual(str(caught.exception), "Store: no such volume")
        self.assertEqual(self.lines(LogLevel.critical), ["cannot start: Store: no such volume"])
        self.assertFalse(daemon.running)
        self.opening = None
        await daemon.startService()
        self.assertTrue(daemon.running)

    async def test_told_to_stop_while_it_starts(self) -> None:
        daemon = self.make()
        self.opening = Deferred()
        started = daemon.startService()
        await daemon.stopService()
        with self.assertRaises(CancelledError):
            await started
        self.assertEqual(self.lines(LogLevel.critical), [])
        self.assertEqual(self.happened, ["opened", "closed"])


class SlowEndpoint:
    """Listens when it is told to."""

    def __init__(self, endpoint: Any, gate: Deferred[None]) -> None:
        self._endpoint = endpoint
        self._gate = gate

    def listen(self, factory: IProtocolFactory) -> Deferred[IListeningPort]:
        return self._gate.addCallback(lambda _: self._endpoint.listen(factory))


class SlowPlaceTests(LifeTestCase):
    """A place that takes a while, and one after it."""

    def setUp(self) -> None:
        super().setUp()
        self.ports = (free_port(), free_port())
        self.gate: Deferred[None] = Deferred()
        usual: Callable[..., Any] = make_endpoint

        def make_slow(text: str, *more: object) -> Any:
            endpoint = usual(text, *more)
            is_slow = text.endswith(f":{self.ports[0]}")
            return SlowEndpoint(endpoint, self.gate) if is_slow else endpoint

        self.patch(guerrilla_tw.listening, "make_endpoint", make_slow)

    def make_slow(self, **settings: object) -> Guerrilla:
        places = [f"127.0.0.1:{port}" for port in self.ports]
        return self.make(config(*places, **settings))

    async def assert_nobody_listens(self) -> None:
        await deferLater(reactor, 0)
        self.assertEqual([answers(port) for port in self.ports], [False, False])

    async def test_serves_when_it_is_there(self) -> None:
        daemon = self.make_slow()
        started = daemon.startService()
        self.assertEqual(daemon.addresses, [])
        self.gate.callback(None)
        await started
        self.assertEqual(len(daemon.addresses), 2)

    async def test_is_not_there_after_the_end(self) -> None:
        daemon = self.make_slow()
        daemon.privilegedStartService()
        await daemon.stopService()
        self.gate.callback(None)
        await self.assert_nobody_listens()

    async def test_is_not_there_after_a_start_that_failed(self) -> None:
        daemon = self.make_slow(pid_file=os.path.join(self.mktemp(), "pid"))
        with self.assertRaises(ConfigError):
            await daemon.startService()
        self.gate.callback(None)
        await self.assert_nobody_listens()

    async def test_fails_when_nobody_wants_it_any_more(self) -> None:
        daemon = self.make_slow()
        daemon.privilegedStartService()
        await daemon.stopService()
        self.gate.errback(OSError("too late"))
        self.assertEqual(self.flushLoggedErrors(), [])


class ReloadTests(LifeTestCase):
    def write(self, name: str, settings: Mapping[str, object]) -> str:
        path = Path(self.mktemp())
        path.mkdir()
        (path / name).write_text(json.dumps(settings))
        return str(path / name)

    async def test_refusal_names_the_file_that_it_is_due_to(self) -> None:
        first = self.write("first.json", config())
        second = self.write("second.json", config("127.0.0.1:0", "127.0.0.1:99999999"))
        no_key = config()
        no_key["servers"][0]["tls"] = {
            "start_tls_on": True,
            "private_key_file": "/missing.key",
            "public_key_file": "/missing.crt",
        }
        third = self.write("third.json", no_key)
        daemon = self.make(first)
        await daemon.startService()
        for source, beginning in (
            (second, f"{second}: servers[1].listen_interface: "),
            (third, f"{third}: servers[0].tls."),
            (no_key, "servers[0].tls."),
        ):
            with self.assertRaises(ConfigError):
                await daemon.reload(source)
            refusal = self.lines(LogLevel.error)[-1]
            self.assertIn(f"nothing has changed: {beginning}", refusal)

    async def test_settings_that_were_changed_in_place(self) -> None:
        backend_config = {"save_process": "Store"}
        settings = Config(
            backend_config=backend_config,
            servers=(ServerConfig(is_enabled=True, listen_interface=ANY_PORT),),
        )
        daemon = self.make(settings)
        await daemon.startService()
        backend_config["save_process"] = "Store|HeadersParser"
        await daemon.reload(settings)
        self.assertEqual(self.happened, ["opened", "opened", "closed"])

    async def test_cancelled_before_its_turn(self) -> None:
        daemon = self.make()
        await daemon.startService()
        opening: Deferred[None] = Deferred()
        self.opening = opening
        first = daemon.reload(config(backend_config={"save_process": "Store|Store"}))
        second = daemon.reload(config(allowed_hosts=["other.example"]))
        second.cancel()
        with self.assertRaises(CancelledError):
            await second
        opening.callback(None)
        await first
        await daemon.reload(config())
        self.assertEqual(daemon.config.allowed_hosts, (".",))

    async def test_step_back_that_fails_keeps_no_other_back(self) -> None:
        daemon = self.make()
        await daemon.startService()
        self.opening = None
        taken = free_port()
        blocker = self.make(config(f"127.0.0.1:{taken}"))
        await blocker.startService()
        self.happened.clear()

        def break_down(*_: object) -> None:
            raise ValueError("broken")

        self.patch(guerrilla_tw.servers.ServersChange, "abandon", break_down)
        with self.assertRaises(ConfigError):
            await daemon.reload(
                config(
                    ANY_PORT,
                    f"127.0.0.1:{taken}",
                    backend_config={"save_process": "Store|Store"},
                )
            )
        self.assertEqual(self.happened, ["opened", "opened", "closed", "closed"])
        self.assertIn("could not be undone in full", self.lines(LogLevel.critical))

    async def test_log_file_that_cannot_be_closed(self) -> None:
        """What was written last may not have reached the disk; that must not stop a change."""
        first, second = self.mktemp(), self.mktemp()
        daemon = self.make(config(log_file=first), observer=None)
        await daemon.startService()
        usual = os.close

        def close(descriptor: int) -> None:
            usual(descriptor)
            raise OSError(28, "No space left on device")

        self.patch(os, "close", close)
        await daemon.reload(config(log_file=second, allowed_hosts=["other.example"]))
        self.patch(os, "close", usual)
        self.assertEqual(daemon.config.allowed_hosts, ("other.example",))
        self.assertIn("reloaded: ", Path(second).read_text())

    async def test_place_that_cannot_be_used_after_all(self) -> None:
        """It was there; so nothing else is kept from its place, and nothing is undone."""
        daemon = self.make()
        await daemon.startService()

        def answer(listener: Listener) -> None:
            raise ValueError("not mine")

        self.patch(Listener, "answer", answer)
        await daemon.reload(
            config("127.0.0.1:0", backend_config={"save_process": "Store|HeadersParser"})
        )
        await daemon.reload(config(f"127.0.0.1:{free_port()}", allowed_hosts=["other.example"]))
        self.assertEqual(self.lines(LogLevel.critical), ["a server does not answer"])
        self.assertEqual(self.happened, ["opened", "opened", "closed", "opened", "closed"])
        self.assertEqual(daemon.config.allowed_hosts, ("other.example",))

    async def test_initializer_that_wants_to_end_the_program(self) -> None:
        daemon = self.make()
        await daemon.startService()
        self.opening = fail(SystemExit("no licence"))
        with self.assertRaises(InitializationError):
            await daemon.reload(config(backend_config={"save_process": "Store|HeadersParser"}))
        self.assertEqual(self.happened, ["opened", "opened", "closed"])

    async def test_processor_that_wants_to_end_the_program(self) -> None:
        def leave(svc: IBackendService) -> Decorator:
            raise SystemExit("no licence")

        daemon = self.make()
        daemon.add_processor("Leave", leave)
        await daemon.startService()
        with self.assertRaises(SystemExit):
            await daemon.reload(config(backend_config={"save_process": "Leave"}))
        self.assertEqual(
            self.lines(LogLevel.error),
            ["reload refused, nothing has changed: no licence"],
        )
        await daemon.reload(config(allowed_hosts=["other.example"]))


class EndTests(LifeTestCase):
    async def test_subscriber_that_stops_the_daemon(self) -> None:
        daemon = self.make()
        stopped: list[Deferred[None]] = []
        daemon.subscribe(Event.ALLOWED_HOSTS, lambda _: stopped.append(daemon.stopService()))
        await daemon.startService()
        await daemon.reload(config(allowed_hosts=["other.example"]))
        await stopped[0]
        self.assertEqual((daemon.addresses, self.happened), ([], ["opened", "closed"]))

    async def test_twice(self) -> None:
        daemon = self.make()
        await daemon.startService()
        first, second = daemon.stopService(), daemon.stopService()
        await first
        await second
        self.assertEqual(self.happened, ["opened", "closed"])
        self.assertEqual(self.lines(LogLevel.info)[-1], "stopped")

    async def test_backend_that_does_not_end_well(self) -> None:
        def raise_now() -> Deferred[None]:
            raise ValueError("disk on fire")

        for end in (raise_now, lambda: fail(ValueError("disk on fire"))):
            self.events.clear()
            path = self.mktemp()
            backend = FakeBackend()
            self.patch(backend, "shutdown", end)
            daemon = Guerrilla(config(pid_file=path), backend=backend, observer=self.events.append)
            await daemon.startService()
            await daemon.stopService()
            self.assertEqual(self.lines(LogLevel.critical), ["the backend failed to end"])
            self.assertEqual(self.lines(LogLevel.info)[-1], "stopped")
            self.assertFalse(os.path.exists(path))

    async def test_who_was_turned_away_has_heard_it(self) -> None:
        """And nothing of him is left behind."""
        server = {"is_enabled": True, "listen_interface": ANY_PORT, "max_clients": 1}
        daemon = self.make(config(servers=[server]))
        await daemon.startService()
        [address] = daemon.addresses
        assert isinstance(address, IPv4Address)
        with ExitStack() as clients:
            first, second = (
                clients.enter_context(socket.create_connection(("127.0.0.1", address.port), 10))
                for _ in range(2)
            )
            await deferToThread(first.recv, 100)
            said = await deferToThread(second.recv, 100)
            stopped = daemon.stopService()
            await deferToThread(first.recv, 100)
            self.assertNoResult(stopped)
        await stopped
        self.assertEqual(said[:9], b"421 4.7.0")
        self.assertEqual(self.lines(LogLevel.info)[-1], "stopped")

    async def test_start_by_a_parent_that_looks_at_nothing(self) -> None:
        """As an Application is: what the log has said is not said again."""
        daemon = self.make()
        parent = MultiService()
        parent.startService()
        self.opening = fail(OSError("no such volume"))
        daemon.setServiceParent(parent)
        await deferLater(reactor, 0)
        self.opening = Deferred()
        other = self.make()
        other.setServiceParent(parent)
        await parent.stopService()
        gc.collect()
        self.assertEqual(self.lines(LogLevel.critical), ["cannot start: Store: no such volume"])
        self.assertEqual(self.flushLoggedErrors(), [])

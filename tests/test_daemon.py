"""The daemon's own part: ports, pid file, and what it refuses."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import ExitStack

from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

import guerrilla_tw
from guerrilla_tw import (
    Config,
    ConfigError,
    Decorator,
    Envelope,
    Guerrilla,
    IBackendService,
    IResult,
    ServerConfig,
    initialize_with,
    process_with,
)
from tests.integration.daemon_process import answers, free_port
from tests.smtp.session import FakeBackend

NULL_CHAIN = {"save_process": "HeadersParser"}
ANY_PORT = "127.0.0.1:0"


class PidFileTests(TestCase):
    async def test_is_there_while_it_serves(self) -> None:
        path = self.mktemp()
        daemon = Guerrilla(make_config(pid_file=path))
        await daemon.startService()
        with open(path, encoding="ascii") as file:
            self.assertEqual(file.read(), f"{os.getpid()}\n")
        await daemon.stopService()
        self.assertFalse(os.path.exists(path))

    async def test_somebody_else_removed_it(self) -> None:
        path = self.mktemp()
        daemon = Guerrilla(make_config(pid_file=path))
        await daemon.startService()
        os.unlink(path)
        await daemon.stopService()

    async def test_cannot_be_written(self) -> None:
        opened: list[bool] = []

        def store(svc: IBackendService) -> Decorator:
            svc.add_initializer(initialize_with(lambda _: opened.append(True)))
            return process_with(svc, lambda *_: None)

        path = os.path.abspath(os.path.join(self.mktemp(), "pid"))
        daemon = Guerrilla(make_config(pid_file=path))
        daemon.add_processor("HeadersParser", store)
        with self.assertRaises(ConfigError) as caught:
            await daemon.startService()
        self.assertEqual(
            str(caught.exception), f"pid_file: {path} cannot be written: No such file or directory"
        )
        self.assertEqual((daemon.addresses, opened), ([], []))


class ServerTests(TestCase):
    async def test_nothing_is_left_open_when_a_port_cannot_be_had(self) -> None:
        port = free_port()
        servers = (f"127.0.0.1:{port}", "unix:/dev/null/no")
        daemon = Guerrilla(
            make_config(
                servers=tuple(ServerConfig(is_enabled=True, listen_interface=at) for at in servers)
            )
        )
        error = self.assertRaises(ConfigError, daemon.privilegedStartService)
        self.assertEqual(
            str(error),
            "servers[1].listen_interface: cannot listen on unix:/dev/null/no: Not a directory",
        )
        # Twisted lets go of a port in its next turn.
        await deferLater(reactor, 0)
        self.assertFalse(answers(port))

    async def test_only_what_is_enabled_listens(self) -> None:
        servers = (
            ServerConfig(is_enabled=True, listen_interface=ANY_PORT),
            ServerConfig(is_enabled=False, listen_interface="127.0.0.1:1"),
        )
        daemon = Guerrilla(make_config(servers=servers))
        await daemon.startService()
        self.assertEqual(len(daemon.addresses), 1)
        await daemon.stopService()


class Recorder(FakeBackend):
    """Remembers its end."""

    def __init__(self, opening: Deferred[None] | None = None) -> None:
        super().__init__()
        self.opening = opening or succeed(None)
        self.ended = False

    def initialize(self, config: Mapping[str, object]) -> Deferred[None]:
        return self.opening

    def shutdown(self) -> Deferred[None]:
        self.ended = True
        return succeed(None)


class EndTests(TestCase):
    async def test_all_whom_the_kernel_keeps_are_told(self) -> None:
        daemon = Guerrilla(make_config(), backend=Recorder())
        await daemon.startService()
        address = address_of(daemon)
        with ExitStack() as clients:
            # One alone: from then on Twisted accepts one at a time.
            first = clients.enter_context(socket.create_connection(address, 10))
            await deferToThread(first.recv, 100)
            # The reactor does not run here, so it is the kernel that answers.
            waiting = [
                clients.enter_context(socket.create_connection(address, 10)) for _ in range(9)
            ]
            await daemon.stopService()
            said = [(await deferToThread(client.recv, 100))[:9] for client in waiting]
        self.assertEqual(said, [b"421 4.3.2"] * 9)

    async def test_backend_outlives_the_clients(self) -> None:
        backend = Recorder()
        answer: Deferred[IResult] = Deferred()
        asked: Deferred[None] = Deferred()

        def ask(envelope: Envelope) -> Deferred[IResult]:
            asked.callback(None)
            return answer

        backend.check_recipient = ask
        daemon = Guerrilla(make_config(), backend=backend)
        await daemon.startService()
        address = address_of(daemon)
        with socket.create_connection(address, 10) as client:
            client.sendall(b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\n")
            await asked  # Which is still inside the question.
            await deferToThread(lambda: None)
            stopped = daemon.stopService()
            await deferToThread(lambda: None)
            self.assertFalse(backend.ended)
            self.assertNoResult(stopped)
            answer.errback(ValueError("late"))
            await stopped
        self.assertTrue(backend.ended)
        self.flushLoggedErrors(ValueError)

    async def test_pid_file_of_another_is_left_alone(self) -> None:
        path = self.mktemp()
        with open(path, "w", encoding="ascii") as file:
            file.write("1\n")
        daemon = Guerrilla(make_config(pid_file=path), backend=Recorder(Deferred()))
        started = daemon.startService()
        started.addErrback(lambda failure: None)
        await daemon.stopService()
        self.assertTrue(os.path.exists(path))


class CheckTests(SynchronousTestCase):
    def test_allowed_host_that_is_no_address(self) -> None:
        daemon = Guerrilla(make_config(allowed_hosts=("[300.1.1.1]",)))
        error = self.assertRaises(ConfigError, daemon.check)
        self.assertIn("allowed_hosts: '300.1.1.1'", str(error))

    def test_trusted_proxies_that_are_no_networks(self) -> None:
        server = ServerConfig(
            is_enabled=True, listen_interface=ANY_PORT, trusted_proxies=("10.0.0.1/8",)
        )
        error = self.assertRaises(ConfigError, Guerrilla(make_config(servers=(server,))).check)
        self.assertRegex(str(error), r"^servers\[0\]\.trusted_proxies: .*10\.0\.0\.1/8")

    def test_names_for_embedders(self) -> None:
        for name in dir(guerrilla_tw):
            self.assertIsNotNone(getattr(guerrilla_tw, name))
        with self.assertRaises(AttributeError):
            guerrilla_tw.no_such_name  # noqa: B018


def make_config(
    pid_file: str = "",
    allowed_hosts: tuple[str, ...] = (".",),
    servers: tuple[ServerConfig, ...] = (ServerConfig(is_enabled=True, listen_interface=ANY_PORT),),
) -> Config:
    return Config(
        pid_file=pid_file,
        allowed_hosts=allowed_hosts,
        servers=servers,
        backend_config=NULL_CHAIN,
    )


def address_of(daemon: Guerrilla) -> tuple[str, int]:
    (address,) = daemon.addresses
    assert isinstance(address, IPv4Address)
    return address.host, address.port

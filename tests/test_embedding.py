"""The daemon in somebody's own Twisted program, over real TCP and with real threads."""

from __future__ import annotations

import socket
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from smtplib import SMTPRecipientsRefused
from typing import Any

from twisted.application.service import Application, IService, IServiceCollection
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred, succeed
from twisted.internet.threads import deferToThread
from twisted.logger import LogEvent, capturedLogs, formatEvent
from twisted.trial.unittest import TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from guerrilla_tw import (
    NO_SUCH_USER,
    Config,
    ConfigError,
    Envelope,
    Guerrilla,
    IBackend,
    IBackendService,
    IProcessor,
    IResult,
    Result,
    ServerConfig,
    Task,
    initialize_with,
    process_with,
    shutdown_with,
)
from guerrilla_tw.backends.gateway import InitializationError
from tests.smtp_client import DATA, send_mail

Decorator = Callable[[IProcessor], IProcessor]


def make_config(interface: str = "127.0.0.1:0", **backend_config: object) -> Config:
    server = ServerConfig(is_enabled=True, host_name="mx.example", listen_interface=interface)
    return Config(allowed_hosts=(".",), backend_config=backend_config, servers=(server,))


def port_of(daemon: Guerrilla) -> int:
    (address,) = daemon.addresses
    port: int = getattr(address, "port")  # noqa: B009  # IAddress does not promise one
    return port


def is_open(port: int) -> bool:
    """:returns: whether anybody listens."""
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except ConnectionRefusedError:
        return False
    return True


class EmbeddingTestCase(TestCase):
    timeout = 60

    def make(self, config: Config, **arguments: Any) -> Guerrilla:
        """Make a daemon that is stopped when the test is over, and logs to ``self.events``."""
        self.events: list[LogEvent] = []
        # A function is an observer, though mypy-zope does not know it.
        observer: Any = self.events.append
        daemon = Guerrilla(config, observer=observer, **arguments)
        self.addCleanup(lambda: daemon.stopService() if daemon.running else None)
        return daemon

    def make_with(self, constructor: Callable[[IBackendService], Decorator]) -> Guerrilla:
        """Make a daemon whose chain is one processor."""
        daemon = self.make(make_config(save_process="Mine"))
        daemon.add_processor("Mine", constructor)
        return daemon


class ApplicationTests(EmbeddingTestCase):
    """In an Application, as twistd starts and stops it."""

    def start(self, *daemons: Guerrilla) -> None:
        application = Application("mine")
        for daemon in daemons:
            daemon.setServiceParent(IServiceCollection(application))
        self.service = IService(application)
        self.service.privilegedStartService()
        self.service.startService()

    def make_mine(self, processor: str) -> Guerrilla:
        """Two of these have a processor of one name, which writes another word into the row."""
        daemon = self.make(
            make_config(
                save_process="HeadersParser|Mark|Sql", sql_dsn=self.mktemp(), mail_table="mail"
            )
        )

        def mark(svc: IBackendService) -> Decorator:
            def step(envelope: Envelope, task: Task) -> None:
                envelope.subject = processor

            return process_with(svc, step)

        daemon.add_processor("mark", mark)
        return daemon

    def subjects(self, daemon: Guerrilla) -> list[tuple[str, bytes]]:
        with closing(sqlite3.connect(daemon.config.backend_config["sql_dsn"])) as connection:
            return connection.execute("SELECT subject, mail FROM mail").fetchall()

    async def test_two_in_one_process(self) -> None:
        one, other = self.make_mine("one"), self.make_mine("other")
        self.start(one, other)
        ports = port_of(one), port_of(other)
        replies = [
            await deferToThread(send_mail, port, "bob@example.org")
            for port in (ports[0], ports[1], ports[1])
        ]
        for reply in replies:
            self.assertRegex(reply, r"\A250 2\.0\.0 OK: queued as [0-9a-f]{32}\Z")
        await maybeDeferred(self.service.stopService)
        self.assertEqual(self.subjects(one), [("one", DATA)])
        self.assertEqual(self.subjects(other), [("other", DATA)] * 2)
        self.assertEqual([is_open(port) for port in ports], [False, False])

    async def test_stopping_one_leaves_the_other(self) -> None:
        one, other = self.make_mine("one"), self.make_mine("other")
        self.start(one, other)
        await deferToThread(send_mail, port_of(one), "bob@example.org")
        await one.stopService()
        await deferToThread(send_mail, port_of(other), "bob@example.org")
        await maybeDeferred(self.service.stopService)
        self.assertEqual(self.subjects(other), [("other", DATA)])

    async def test_can_be_started_again(self) -> None:
        daemon = self.make_mine("again")
        for count in (1, 2):
            await daemon.startService()
            await deferToThread(send_mail, port_of(daemon), "bob@example.org")
            await daemon.stopService()
            self.assertEqual(len(self.subjects(daemon)), count)
            self.assertEqual(daemon.addresses, [])


@implementer(IBackend)
class OwnBackend:
    """A backend of somebody's own: no chain, no Gateway."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.envelopes: list[Envelope] = []

    def check(self, config: Mapping[str, object]) -> Sequence[str]:
        self.calls.append("check")
        return ["mind the gap"]

    def initialize(self, config: Mapping[str, object]) -> Deferred[None]:
        self.calls.append("initialize")
        return succeed(None)

    def start(self) -> None:
        self.calls.append("start")

    def process(self, envelope: Envelope, task: Task) -> IResult | Deferred[IResult]:
        self.envelopes.append(envelope)
        return succeed(Result(250, "2.6.0", "mine"))

    def validate_rcpt(self, envelope: Envelope) -> IResult | Deferred[IResult]:
        return NO_SUCH_USER if envelope.rcpt_to[-1].user == "mallory" else Result(250, "2.1.5", "y")

    def shutdown(self) -> Deferred[None]:
        self.calls.append("shutdown")
        return succeed(None)

    def reinitialize(self) -> Deferred[None]:
        return succeed(None)


class OwnBackendTests(EmbeddingTestCase):
    async def test_takes_the_place_of_the_gateway(self) -> None:
        backend = OwnBackend()
        verifyObject(IBackend, backend)
        daemon = self.make(make_config(), backend=backend)
        await daemon.startService()
        reply = await deferToThread(send_mail, port_of(daemon), "bob@example.org", "c@example.org")
        self.assertEqual(reply, "250 2.6.0 mine")
        (envelope,) = backend.envelopes
        self.assertEqual(envelope.data, DATA)
        self.assertEqual([str(to) for to in envelope.rcpt_to], ["bob@example.org", "c@example.org"])
        with self.assertRaises(SMTPRecipientsRefused):
            await deferToThread(send_mail, port_of(daemon), "mallory@example.org")
        await daemon.stopService()
        self.assertEqual(backend.calls, ["check", "initialize", "start", "shutdown"])
        self.assertIn("mind the gap", [formatEvent(event) for event in self.events])


class LogTests(TestCase):
    async def test_goes_to_the_log_of_the_program(self) -> None:
        """Warnings, too, without which nobody learns that mail is not kept."""
        with capturedLogs() as events:
            daemon = Guerrilla(make_config(save_process="HeadersParser"))
            await daemon.startService()
            await daemon.stopService()
        lines = [formatEvent(event) for event in events]
        self.assertIn("NO PROCESSOR STORES MAIL", lines[0])
        self.assertEqual(lines[-1], "stopped")


class AddProcessorTests(EmbeddingTestCase):
    def test_unknown_name_in_the_chain(self) -> None:
        daemon = self.make(make_config(save_process="FunkyLoger"))
        daemon.add_processor("FunkyLogger", lambda svc: process_with(svc, lambda *_: None))
        guess = "(did you mean funkylogger?)"
        refusal = f"backend_config.save_process: unknown processor 'FunkyLoger' {guess}"
        for refuse in (daemon.check, daemon.privilegedStartService):
            error = self.assertRaises(ConfigError, refuse)
            self.assertEqual(str(error), refusal)
        failure = self.failureResultOf(daemon.startService(), ConfigError)
        self.assertEqual(str(failure.value), refusal)
        self.assertEqual(daemon.addresses, [])

    def test_name_that_no_chain_can_hold(self) -> None:
        daemon = self.make(make_config(save_process="Mine"))
        for name in ("", " ", "a|b"):
            with self.assertRaises(ValueError):
                daemon.add_processor(name, lambda svc: process_with(svc, lambda *_: None))

    async def test_goes_before_a_built_in_one(self) -> None:
        daemon = self.make(make_config(save_process="HeadersParser"))
        refusal = Result(554, "5.7.1", "not today")
        daemon.add_processor("headersparser", lambda svc: process_with(svc, lambda *_: refusal))
        await daemon.startService()
        reply = await deferToThread(send_mail, port_of(daemon), "bob@example.org")
        self.assertEqual(reply, "554 5.7.1 not today")


class StartAndStopTests(EmbeddingTestCase):
    async def test_failing_initializer_closes_everything_again(self) -> None:
        order: list[str] = []
        ports: list[int] = []

        def first(svc: IBackendService) -> Decorator:
            svc.add_initializer(initialize_with(lambda _: order.append("opened")))
            svc.add_shutdowner(shutdown_with(lambda: order.append("closed")))
            return process_with(svc, lambda *_: None)

        def second(svc: IBackendService) -> Decorator:
            def fail() -> None:
                ports.append(port_of(daemon))
                raise OSError("no such volume")

            svc.add_initializer(initialize_with(lambda _: svc.defer_to_worker(fail)))
            svc.add_shutdowner(shutdown_with(lambda: order.append("second closed")))
            return process_with(svc, lambda *_: None)

        daemon = self.make(make_config(save_process="First|Second"))
        daemon.add_processor("First", first)
        daemon.add_processor("Second", second)
        with self.assertRaises(InitializationError) as caught:
            await daemon.startService()
        self.assertEqual(str(caught.exception), "Second: no such volume")
        self.assertEqual(order, ["opened", "second closed", "closed"])
        self.assertEqual((daemon.addresses, is_open(ports[0])), ([], False))
        await daemon.stopService()

    async def test_client_is_answered_when_all_is_open(self) -> None:
        """Who comes before that waits for the greeting."""
        opening: Deferred[None] = Deferred()

        def slow(svc: IBackendService) -> Decorator:
            svc.add_initializer(initialize_with(lambda _: opening))
            return process_with(svc, lambda *_: None)

        daemon = self.make_with(slow)
        started = daemon.startService()
        sent = deferToThread(send_mail, port_of(daemon), "bob@example.org")
        await deferToThread(is_open, port_of(daemon))
        self.assertNoResult(started)
        opening.callback(None)
        await started
        self.assertRegex(await sent, "^250 ")

    async def test_stop_while_an_initializer_waits(self) -> None:
        def hang(svc: IBackendService) -> Decorator:
            svc.add_initializer(initialize_with(lambda _: Deferred()))
            return process_with(svc, lambda *_: None)

        daemon = self.make_with(hang)
        started = daemon.startService()
        port = port_of(daemon)
        await daemon.stopService()
        with self.assertRaises(CancelledError):
            await started
        self.assertEqual((daemon.addresses, is_open(port)), ([], False))

    async def test_who_has_not_been_greeted_yet_is_told(self) -> None:
        """Those whom the kernel has connected and nobody has answered."""

        def hang(svc: IBackendService) -> Decorator:
            svc.add_initializer(initialize_with(lambda _: Deferred()))
            return process_with(svc, lambda *_: None)

        daemon = self.make_with(hang)
        started = daemon.startService()
        with socket.create_connection(("127.0.0.1", port_of(daemon)), timeout=10) as client:
            await daemon.stopService()
            said = await deferToThread(client.recv, 100)
        self.assertEqual(said[:9], b"421 4.3.2")
        with self.assertRaises(CancelledError):
            await started

    async def test_stop_while_an_initializer_hangs_in_a_thread(self) -> None:
        """The reactor does not wait for the thread."""

        def wait() -> None:
            hung.wait()

        hung = threading.Event()
        self.addCleanup(hung.set)
        # The test ends, and fails, even where the reactor does wait.
        limit = threading.Timer(10, hung.set)
        limit.start()
        self.addCleanup(limit.cancel)

        def hang(svc: IBackendService) -> Decorator:
            svc.add_initializer(initialize_with(lambda _: svc.defer_to_worker(wait)))
            return process_with(svc, lambda *_: None)

        daemon = self.make_with(hang)
        started = daemon.startService()
        await daemon.stopService()
        self.assertFalse(hung.is_set())
        with self.assertRaises(CancelledError):
            await started

    async def test_stop_leaves_alone_what_the_program_does_after_the_start(self) -> None:
        daemon = self.make(make_config(save_process="HeadersParser"))
        afterwards: Deferred[None] = Deferred()
        daemon.startService().addCallback(lambda _: afterwards)
        await daemon.stopService()
        self.assertNoResult(afterwards)

    async def test_message_in_work_is_finished_before_the_end(self) -> None:
        """And the shutdowner comes after it."""
        order: list[str] = []
        entered: Deferred[None] = Deferred()
        leave = threading.Event()
        self.addCleanup(leave.set)

        def slow(svc: IBackendService) -> Decorator:
            def step(envelope: Envelope, task: Task) -> None:
                reactor.callFromThread(entered.callback, None)  # type: ignore[attr-defined]
                leave.wait()
                order.append("saved")

            svc.add_shutdowner(shutdown_with(lambda: order.append("closed")))
            return process_with(svc, step)

        daemon = self.make_with(slow)
        await daemon.startService()
        sent = deferToThread(send_mail, port_of(daemon), "bob@example.org")
        await entered
        stopped = daemon.stopService()
        leave.set()
        self.assertRegex(await sent, "^250 ")
        await stopped
        self.assertEqual(order, ["saved", "closed"])

    async def test_port_in_use(self) -> None:
        """One of two: the other is closed again, and a later start may work."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            interface = f"127.0.0.1:{taken.getsockname()[1]}"
            config = make_config(save_process="HeadersParser")
            servers = (
                ServerConfig(is_enabled=True, listen_interface="127.0.0.1:0"),
                ServerConfig(is_enabled=True, listen_interface=interface),
            )
            daemon = self.make(
                Config(allowed_hosts=(".",), backend_config=config.backend_config, servers=servers)
            )
            with self.assertRaises(ConfigError) as caught:
                await daemon.startService()
            self.assertEqual(caught.exception.path, "servers[1].listen_interface")
            self.assertEqual(daemon.addresses, [])
        await daemon.startService()
        self.assertEqual(len(daemon.addresses), 2)

    async def test_idle_clients_are_told(self) -> None:
        daemon = self.make(make_config(save_process="HeadersParser"))
        await daemon.startService()
        with closing(socket.create_connection(("127.0.0.1", port_of(daemon)), 5)) as client:
            await deferToThread(client.recv, 1000)
            await daemon.stopService()
            self.assertRegex(await deferToThread(client.recv, 1000), b"^421 4\\.3\\.2 ")

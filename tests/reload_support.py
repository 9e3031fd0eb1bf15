"""What the tests of a reload share: a daemon in this process, its store, and its clients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from OpenSSL import SSL
from OpenSSL.crypto import X509
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, DeferredQueue
from twisted.internet.endpoints import clientFromString, connectProtocol
from twisted.internet.interfaces import (
    IHandshakeListener,
    IOpenSSLContextFactory,
)
from twisted.internet.protocol import connectionDone
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from guerrilla_tw import (
    Envelope,
    Guerrilla,
    IBackendService,
    IResult,
    Task,
    initialize_with,
    shutdown_with,
)
from guerrilla_tw.backends.chain import process_with_deferred
from guerrilla_tw.backends.registry import Decorator
from tests.integration.daemon_process import free_port
from tests.smtp.tls_connection import client_context

ANY_PORT = "127.0.0.1:0"


def new_interface() -> str:
    """:returns: a place where nobody listens."""
    return f"127.0.0.1:{free_port()}"


def server(interface: str = ANY_PORT, **settings: Any) -> dict[str, Any]:
    """:returns: one of the ``servers``, enabled."""
    return {
        "is_enabled": True,
        "host_name": "mx.example",
        "listen_interface": interface,
        **settings,
    }


def config(
    *servers: Mapping[str, Any], backend: Mapping[str, Any] | None = None, **settings: Any
) -> dict[str, Any]:
    """
    Make a configuration.

    :param servers: by default one, on a port of the system's choice.
    :param backend: settings of the ``backend_config``, whose chain is :class:`Store`.
    """
    return {
        "allowed_hosts": ["."],
        "backend_config": {"save_process": "Store", **(backend or {})},
        "servers": list(servers) or [server()],
        **settings,
    }


class Store:
    """
    A store in memory, as a processor that several backends may have.

    The setting ``mark`` tells one backend from another.

    :ivar happened: what initializers, messages and shutdowners did, such as ``open 1``.
    :ivar openings: what the initializer of a mark waits for, or fails with.
    :ivar holdings: what a message in the chain waits for, by mark.
    :ivar closings: what the shutdowner of a mark waits for.
    :ivar entered: fires when a message is in the chain, by mark.
    """

    def __init__(self) -> None:
        self.happened: list[str] = []
        self.openings: dict[str, Deferred[None]] = {}
        self.holdings: dict[str, Deferred[None]] = {}
        self.closings: dict[str, Deferred[None]] = {}
        self.entered: dict[str, Deferred[None]] = {}
        self.subjects: list[str] = []

    def construct(self, svc: IBackendService) -> Decorator:
        """See :meth:`.Guerrilla.add_processor`."""
        mark = str(svc.config.get("mark", ""))

        def open_store(_: Mapping[str, object]) -> Deferred[None] | None:
            self.happened.append(f"open {mark}")
            return self.openings.get(mark)

        def close_store() -> Deferred[None] | None:
            self.happened.append(f"close {mark}")
            return self.closings.get(mark)

        def save(envelope: Envelope, task: Task) -> Deferred[IResult | None] | None:
            if task is not Task.SAVE_MAIL:
                return None
            self.happened.append(f"take {mark}")
            if mark in self.entered:
                # Not at once: the session is still inside of its question.
                reactor.callLater(0, self.entered.pop(mark).callback, None)
            kept = self.holdings.get(mark)
            if kept is None:
                self._keep(envelope, mark)
                return None
            # Each message waits on its own, for the same.
            mine: Deferred[IResult | None] = Deferred()

            def go_on(result: None) -> None:
                self._keep(envelope, mark)
                mine.callback(None)

            kept.addCallback(go_on)
            return mine

        svc.declare_store()
        svc.add_initializer(initialize_with(open_store))
        svc.add_shutdowner(shutdown_with(close_store))
        return process_with_deferred(save)

    def _keep(self, envelope: Envelope, mark: str) -> None:
        envelope.parse_headers()
        self.subjects.append(envelope.subject)
        self.happened.append(f"keep {mark}")


@implementer(IOpenSSLContextFactory)
class _ContextFactory:
    """What Twisted asks for."""

    def __init__(self, context: SSL.Context) -> None:
        self._context = context

    def getContext(self) -> SSL.Context:
        return self._context


@implementer(IHandshakeListener)
class Client(LineOnlyReceiver):
    """
    A client on the same reactor. A closed connection is an empty reply.

    :ivar certificate: that the server has shown in TLS.
    """

    delimiter = b"\r\n"
    MAX_LENGTH = 65536

    def __init__(self) -> None:
        self.replies: DeferredQueue[str] = DeferredQueue()
        self.secured: Deferred[None] = Deferred()
        self.certificate: X509 | None = None
        self._lines: list[str] = []

    def connectionMade(self) -> None:
        """What is sent arrives before what others send later."""
        transport: Any = self.transport
        if isinstance(transport.getPeer(), IPv4Address):
            transport.setTcpNoDelay(True)

    def lineReceived(self, line: bytes) -> None:
        """Gather a reply."""
        self._lines.append(line.decode("ascii"))
        if line[3:4] != b"-":
            lines, self._lines = self._lines, []
            self.replies.put("\n".join(lines))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The server has closed, or we have."""
        self.replies.put("")
        if not self.secured.called:
            self.secured.errback(reason)
            self.secured.addErrback(lambda _: None)

    def handshakeCompleted(self) -> None:
        """TLS is there."""
        transport: Any = self.transport
        self.certificate = transport.getPeerCertificate()
        self.secured.callback(None)

    def reply(self) -> Deferred[str]:
        """:returns: a Deferred of the next reply, without its last line end."""
        return self.replies.get()

    def command(self, line: str) -> Deferred[str]:
        """:returns: a Deferred of the reply to a command."""
        self.send(f"{line}\r\n".encode("ascii"))
        return self.reply()

    def send(self, data: bytes) -> None:
        """Send octets."""
        assert self.transport is not None
        self.transport.write(data)

    async def hello(self) -> str:
        """Read the greeting and say EHLO. :returns: the reply, or a greeting that is a no."""
        greeting = await self.reply()
        return await self.command("EHLO c.example") if greeting[:3] == "220" else greeting

    async def begin(self, recipient: str = "bob@example.org") -> str:
        """Do all of a message up to DATA. :returns: the reply to that, or the first no."""
        for line in ("MAIL FROM:<a@example.com>", f"RCPT TO:<{recipient}>", "DATA"):
            reply = await self.command(line)
            if reply[:1] not in "23":
                return reply
        return reply

    def finish(self, subject: str) -> Deferred[str]:
        """Send a message, after :meth:`begin`. :returns: a Deferred of the reply."""
        self.send(f"Subject: {subject}\r\n\r\nbody\r\n.\r\n".encode("ascii"))
        return self.reply()

    async def deliver(self, subject: str, recipient: str = "bob@example.org") -> str:
        """Send a message. :returns: the reply to it, or the first no."""
        reply = await self.begin(recipient)
        return await self.finish(subject) if reply[:3] == "354" else reply

    async def start_tls(self, context: SSL.Context | None = None, *, command: bool = True) -> None:
        """
        Begin TLS.

        :param context: by default one that takes any server.
        :param command: whether STARTTLS is said before it.
        :raises Exception: the handshake has failed.
        """
        if command:
            reply = await self.command("STARTTLS")
            assert reply[:3] == "220", reply
        transport: Any = self.transport
        transport.startTLS(_ContextFactory(context or client_context()))
        await self.secured

    @property
    def tls(self) -> Any:
        """The state of TLS: pyOpenSSL's connection."""
        transport: Any = self.transport
        return transport.getHandle()

    def leave(self) -> None:
        """Go away."""
        if self.transport is not None:
            self.transport.loseConnection()


class MixedClock:
    """Sockets and threads of the real reactor, and time that a test lets pass."""

    def __init__(self) -> None:
        self._clock = Clock()
        self.advance = self._clock.advance
        self.callLater = self._clock.callLater
        self.seconds = self._clock.seconds

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)


class ReloadTestCase(TestCase):
    """A test of one daemon."""

    timeout = 60

    def setUp(self) -> None:
        self.events: list[LogEvent] = []
        self.store = Store()

    def make(self, source: Any, **arguments: Any) -> Guerrilla:
        """Make a daemon that is stopped when the test is over; it is :attr:`daemon` from now on."""
        if "logs" not in arguments:
            arguments.setdefault("observer", self.events.append)
        daemon = Guerrilla(source, **arguments)
        daemon.add_processor("Store", self.store.construct)
        self.addCleanup(lambda: daemon.stopService() if daemon.running else None)
        self.daemon = daemon
        return daemon

    async def start(self, *servers: Mapping[str, Any], **settings: Any) -> Guerrilla:
        """Make and start a daemon."""
        daemon = self.make(config(*servers, **settings))
        await daemon.startService()
        return daemon

    async def reload(self, *servers: Mapping[str, Any], **settings: Any) -> None:
        """Go over to another configuration."""
        await self.daemon.reload(config(*servers, **settings))

    async def refuse(self, *servers: Mapping[str, Any], **settings: Any) -> str:
        """:returns: why the daemon refuses a configuration, which has to be logged in one line."""
        before = (self.daemon.config, list(map(str, self.daemon.addresses)))
        count = len(self.refusals())
        try:
            await self.reload(*servers, **settings)
        except Exception as error:
            reason = str(error)
        else:
            self.fail("it was not refused")
        self.assertEqual((self.daemon.config, list(map(str, self.daemon.addresses))), before)
        self.assertEqual(self.refusals()[count:], [reason])
        return reason

    def lines(self) -> list[str]:
        """:returns: what was logged."""
        return [str(formatEvent(event)) for event in self.events]

    def refusals(self) -> list[str]:
        """:returns: the reasons that were logged."""
        beginning = "reload refused, nothing has changed: "
        return [line.removeprefix(beginning) for line in self.lines() if line.startswith(beginning)]

    def changes(self) -> list[str]:
        """:returns: what each reload changed, as the log has it."""
        return [
            line.removeprefix("reloaded: ") for line in self.lines() if line.startswith("reloaded")
        ]

    def port(self, index: int = 0) -> int:
        """:returns: of a server that listens."""
        address: Any = self.daemon.addresses[index]
        number: int = address.port
        return number

    async def connect(self, where: int | str | None = None) -> Client:
        """
        Connect.

        :param where: a port, or an endpoint; by default the first server's.
        :returns: a client that has not read the greeting. It goes when the test is over.
        """
        if where is None:
            where = self.port()
        if isinstance(where, int):
            where = f"tcp:127.0.0.1:{where}"
        client = Client()
        await connectProtocol(clientFromString(reactor, where), client)
        self.addCleanup(client.leave)
        return client

    async def greeted(self, where: int | str | None = None) -> Client:
        """:returns: a client that has said EHLO."""
        client = await self.connect(where)
        reply = await client.hello()
        self.assertEqual(reply[:3], "250", reply)
        return client

    async def send(self, subject: str, where: int | str | None = None) -> str:
        """:returns: the reply to a message on a connection of its own."""
        client = await self.greeted(where)
        reply = await client.deliver(subject)
        client.leave()
        return reply

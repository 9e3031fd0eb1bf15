"""A server in memory: real sessions, a real Gateway, and a transport that goes nowhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final

from twisted.internet.address import IPv4Address
from twisted.logger import ILogObserver, LogEvent, Logger
from zope.interface import implementer

from guerrilla_tw.backends.gateway import Gateway
from guerrilla_tw.backends.registry import Constructor, Registry
from guerrilla_tw.config import convert_config
from guerrilla_tw.mail.body import BodyStorage
from guerrilla_tw.mail.envelope import Envelope
from guerrilla_tw.processors import BUILTIN
from guerrilla_tw.smtp.factory import GuerrillaESMTPFactory
from guerrilla_tw.smtp.hosts import AllowedHosts
from guerrilla_tw.smtp.journal import Journal
from guerrilla_tw.smtp.server import Server, Shared
from guerrilla_tw.smtp.settings import SessionSettings

CHAIN = "HeadersParser|Hasher|Header"
HEADER = (
    b"From: <a@example.com>\r\nTo: <b@example.com>\r\nSubject: a message to measure with\r\n"
    b"Date: Sat, 28 Nov 2026 19:00:00 +0000\r\nMessage-Id: <1234.5678@client.example.com>\r\n\r\n"
)
#: 2 KB, as smtp-source makes them.
MESSAGE = HEADER + (b"X" * 78 + b"\r\n") * 23


@implementer(ILogObserver)
class Gatherer:
    """Keeps the last event of a log."""

    last: LogEvent

    def __call__(self, event: LogEvent) -> None:
        """Keep it."""
        self.last = event


#: It says nothing to anybody.
SILENT: Final = Logger("guerrilla_tw", observer=Gatherer())


class Transport:
    """A connection of which nothing is heard, and which remembers what was said last."""

    address: ClassVar = IPv4Address("TCP", "127.0.0.1", 1)
    disconnecting = False
    # A layer of TLS puts itself there.
    protocol: Any = None
    said = b""

    def write(self, data: bytes) -> None:
        """Remember what is said."""
        self.said = data

    def registerProducer(self, producer: object, streaming: bool) -> None:
        """Have room at all times."""

    def unregisterProducer(self) -> None:
        """As before."""

    def pauseProducing(self) -> None:
        """Nothing comes by itself."""

    def resumeProducing(self) -> None:
        """As before."""

    def loseConnection(self) -> None:
        """Leave it to who measures to end it."""

    abortConnection = loseConnection

    def getPeer(self) -> IPv4Address:
        """:returns: an address."""
        return self.address

    getHost = getPeer

    def getHandle(self) -> Transport:
        """:returns: what stands for a socket."""
        return self

    def recv(self, size: int, flags: int) -> bytes:
        """Nobody has spoken early."""
        raise BlockingIOError


def make_gateway(
    reactor: Any, chain: str = CHAIN, added: Mapping[str, Constructor] | None = None
) -> Gateway:
    """
    Start a Gateway.

    :param chain: processors that open nothing.
    :param added: processors beside those that are built in.
    """
    registry = Registry(BUILTIN)
    for name, constructor in (added or {}).items():
        registry.add(name, constructor)
    gateway = Gateway(registry, reactor, SILENT)
    gateway.initialize({"save_process": chain})
    gateway.start()
    return gateway


def make_server(reactor: Any, *, log: Logger = SILENT, told: bool = False) -> Server:
    """
    Make a server with the usual chain.

    :param log: where its journal goes.
    :param told: whether that is told anything.
    """
    place = {"is_enabled": True, "listen_interface": "127.0.0.1:2525", "host_name": "mx"}
    settings: dict[str, object] = {
        "allowed_hosts": ["."],
        "backend_config": {"save_process": CHAIN},
        "servers": [place],
    }
    config = convert_config(settings).config
    shared = Shared(make_gateway(reactor), AllowedHosts(["."]), BodyStorage(), reactor)
    server = Server(SessionSettings(config.servers[0], None), shared, log)
    server.journal = Journal(log, enabled=told)
    return server


def make_sessions(server: Server) -> Callable[[], tuple[Any, Transport]]:
    """:returns: what makes a session that is not connected, and its transport."""
    factory = GuerrillaESMTPFactory(server)
    return lambda: (factory.buildProtocol(Transport.address), Transport())


def filled_envelope(session: Any) -> Envelope:
    """:returns: an envelope with a whole message, as a session hands it over."""
    envelope = Envelope("127.0.0.1", "client.example.com", esmtp=True)
    envelope.mail_from = session.transaction.envelope.mail_from
    envelope.rcpt_to = list(session.transaction.envelope.rcpt_to)
    envelope.body.write(MESSAGE)
    return envelope

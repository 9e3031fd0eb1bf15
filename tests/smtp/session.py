"""A session without a network: bytes in, replies out, a backend that does as it is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from socket import socket
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import LogEvent, Logger
from zope.interface import implementer

from guerrilla_tw.backends.results import NO_SUCH_USER, RECIPIENT_OK, queued
from guerrilla_tw.config import ServerConfig
from guerrilla_tw.interfaces import IBackend, IResult, Task
from guerrilla_tw.mail.body import BodyStorage
from guerrilla_tw.mail.envelope import Envelope
from guerrilla_tw.smtp.esmtp import GuerrillaESMTP
from guerrilla_tw.smtp.factory import GuerrillaESMTPFactory
from guerrilla_tw.smtp.hosts import AllowedHosts
from guerrilla_tw.smtp.server import Server, Shared
from guerrilla_tw.smtp.settings import SessionSettings, TLSStarter

Answer = Callable[[Envelope], "IResult | Deferred[IResult]"]


@implementer(IBackend)
class FakeBackend:
    """
    Keeps what it is given. Recipients that begin with ``no`` do not exist.

    :ivar saved: the envelopes that came to be saved.
    :ivar save: answers for a message.
    :ivar check_recipient: answers for a recipient.
    """

    def __init__(self) -> None:
        self.saved: list[Envelope] = []
        self.save: Answer = lambda envelope: queued("id")
        self.check_recipient: Answer = lambda envelope: (
            NO_SUCH_USER if envelope.rcpt_to[-1].user.startswith("no") else RECIPIENT_OK
        )

    def check(self, config: Mapping[str, object]) -> Sequence[str]:
        return ()

    def initialize(self, config: Mapping[str, object]) -> Deferred[None]:
        return succeed(None)

    def start(self) -> None:
        pass

    def process(self, envelope: Envelope, task: Task) -> IResult | Deferred[IResult]:
        assert task is Task.SAVE_MAIL
        self.saved.append(envelope)
        return self.save(envelope)

    def validate_rcpt(self, envelope: Envelope) -> IResult | Deferred[IResult]:
        return self.check_recipient(envelope)

    def shutdown(self) -> Deferred[None]:
        return succeed(None)

    def reinitialize(self) -> Deferred[None]:
        return succeed(None)


class Transport(StringTransport):
    """
    Remembers how it was closed, and closes like a connection whose peer reads everything.

    :ivar closed_half: whether we have said our last word, and may read on for a while.
    """

    protocol: GuerrillaESMTP
    aborted = False
    closed_half = False

    def getHandle(self) -> socket:
        raise OSError("there is no socket")

    def abortConnection(self) -> None:
        self.aborted = True
        super().abortConnection()

    def loseWriteConnection(self) -> None:
        self.closed_half = True


class Session:
    """
    One client of a server of its own.

    :param storage: where messages are kept.
    :param layer: what starts TLS.
    :param settings: of the server.
    """

    def __init__(
        self,
        *,
        storage: BodyStorage | None = None,
        layer: TLSStarter | None = None,
        **settings: Any,
    ) -> None:
        self.backend = FakeBackend()
        self.clock = Clock()
        self.events: list[LogEvent] = []
        config = ServerConfig(is_enabled=True, host_name="mx.example.com", **settings)
        shared = Shared(
            self.backend,
            AllowedHosts(["example.com", "*.example.org"]),
            storage or BodyStorage(),
            self.clock,
        )
        self.server = Server(
            SessionSettings(config, layer),
            shared,
            Logger("test", observer=self.events.append),  # type: ignore[arg-type]
        )
        self.factory = GuerrillaESMTPFactory(self.server)
        self.connect()

    def connect(self, remote_ip: str = "192.0.2.1") -> None:
        """Have a further client come; the session is about that one from now on."""
        self.transport = Transport()
        protocol = self.factory.buildProtocol(IPv4Address("TCP", remote_ip, 4321))
        self.protocol: GuerrillaESMTP = protocol  # type: ignore[assignment]
        protocol.makeConnection(self.transport)

    def send(self, data: bytes) -> bytes:
        """:returns: what the server said since the last time."""
        self.protocol.dataReceived(data)
        self.settle()
        return self.heard()

    def settle(self) -> None:
        """Let the server do all that it puts off for the sake of other clients."""
        while any(call.getTime() <= self.clock.seconds() for call in self.clock.getDelayedCalls()):
            self.clock.advance(0)

    def heard(self) -> bytes:
        """:returns: what the server said since the last time."""
        said: bytes = self.transport.value()
        self.transport.clear()
        return said

    def disconnect(self) -> None:
        """The client goes away."""
        from twisted.internet.error import ConnectionDone
        from twisted.python.failure import Failure

        self.protocol.connectionLost(Failure(ConnectionDone()))

    @property
    def closed(self) -> bool:
        """Whether the server has closed the connection."""
        return self.transport.disconnecting or self.transport.closed_half


def codes(said: bytes) -> list[str]:
    """:returns: reply codes with their enhanced codes, one for each reply."""
    lines = said.decode("ascii").splitlines()
    return [" ".join(line.split(" ")[:2]) for line in lines if line[3:4] == " "]

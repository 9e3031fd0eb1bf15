"""A connection without a network, with TLS of the server's on it and a client of pyOpenSSL's."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from OpenSSL import SSL
from OpenSSL.crypto import X509, PKey
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Protocol
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from guerrilla_tw.config import TLSConfig
from guerrilla_tw.smtp.tls import TLS, make_tls
from tests.smtp.certificates import SERVER, Identity, issue


@implementer(IHandshakeListener)
class Session(Protocol):
    """
    What has TLS put under it.

    :ivar events: what happened, in order.
    :ivar pieces: what was received, as it came.
    :ivar greeting: what it says first.
    :ivar answer: does something when something was received.
    """

    transport: Any
    greeting = b""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.pieces: list[bytes] = []
        self.lost: list[Failure] = []
        self.answer: Callable[[], None] = lambda: None

    @property
    def received(self) -> bytes:
        """All of it."""
        return b"".join(self.pieces)

    def connectionMade(self) -> None:
        self.events.append("made")

    def handshakeCompleted(self) -> None:
        self.events.append("handshake")
        self.transport.write(self.greeting)

    def dataReceived(self, data: bytes) -> None:
        self.pieces.append(data)
        self.answer()

    def connectionLost(self, reason: Failure | None = None) -> None:
        assert reason is not None
        self.events.append("lost")
        self.lost.append(reason)


class Transport(StringTransport):
    """
    Closes like a connection whose peer reads everything: when somebody looks.

    :ivar writes: how often something was sent.
    """

    protocol: Any = None
    closed = False
    aborted = False
    writes = 0

    def write(self, data: bytes) -> None:
        self.writes += 1
        super().write(data)

    def abortConnection(self) -> None:
        self.aborted = True
        self.loseConnection()

    def settle(self) -> None:
        if self.disconnecting and not self.closed:
            self.closed = True
            self.protocol.connectionLost(Failure(ConnectionDone()))


class Connection:
    """
    A connection without a network, with TLS started on it, and a client of pyOpenSSL's.

    :param tls: of the server.
    :param context: of the client.
    :param session: an earlier one, to be resumed.
    """

    def __init__(self, tls: TLS, context: SSL.Context, session: SSL.Session | None = None) -> None:
        self.transport = Transport()
        self.session = Session()
        self.transport.protocol = self.session
        self.session.makeConnection(self.transport)
        self.layer: Any = tls.start(cast(Any, self.transport), self.session)
        self.client = SSL.Connection(context, None)
        self.client.set_connect_state()
        if session is not None:
            self.client.set_session(session)

    @property
    def completed(self) -> bool:
        """Whether the server took the client."""
        return "handshake" in self.session.events

    def shake_hands(self) -> Connection:
        """Carry octets until neither side has more to say."""
        for _ in range(10):
            # It wants octets, or says no; then its reason goes to the server.
            with contextlib.suppress(SSL.Error):
                self.client.do_handshake()
            self.carry()
        return self

    def records(self) -> bytes:
        """:returns: what the client has to send."""
        records = b""
        with contextlib.suppress(SSL.WantReadError):
            while True:
                records += self.client.bio_read(2**16)
        return records

    def say(self, *pieces: bytes) -> bytes:
        """:returns: records of the client's, one for each."""
        for piece in pieces:
            self.client.send(piece)
        return self.records()

    def carry(self) -> None:
        """Carry what is there, once, to the server and back."""
        records = self.records()
        if records and not self.transport.closed:
            self.transport.protocol.dataReceived(records)
        self.transport.settle()
        octets = self.transport.value()
        self.transport.clear()
        if octets:
            self.client.bio_write(octets)


def client_context(
    lowest: int = 0, highest: int = 0, ciphers: str = "DEFAULT", identity: Identity | None = None
) -> SSL.Context:
    """A client that takes any server."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_cipher_list(f"{ciphers}:@SECLEVEL=0".encode())
    context.set_min_proto_version(lowest)
    context.set_max_proto_version(highest)
    if identity is not None:
        context.use_certificate(X509.from_cryptography(identity.chain[0]))
        context.use_privatekey(PKey.from_cryptography_key(cast(Any, identity.key)))
    return context


class TLSTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.authority = issue("Test Authority", authority=True)
        self.files = issue(SERVER, self.authority).write(self.directory, "server")

    def config(self, **changes: Any) -> TLSConfig:
        """Settings that work, with changes."""
        return TLSConfig(**{"start_tls_on": True, **self.files, **changes})

    def connect(self, context: SSL.Context | None = None, **changes: Any) -> Connection:
        """Shake hands with a server that has these settings."""
        context = context or client_context()
        return Connection(make_tls(self.config(**changes)), context).shake_hands()

    def write(self, name: str, content: bytes) -> str:
        """:returns: the path of a new file."""
        path = self.directory / name
        path.write_bytes(content)
        return str(path)

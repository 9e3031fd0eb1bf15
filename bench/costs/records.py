"""What TLS costs, without a network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Protocol
from zope.interface import implementer

from bench.certificate import write_certificate
from bench.costs.memory import Transport
from bench.costs.timing import Effort, Row, rows, stages
from guerrilla_tw.config import TLSConfig
from guerrilla_tw.smtp.tls import TLS, make_tls

_TITLE = "TLS, without the network"
_COMMAND = b"MAIL FROM:<a@example.com>\r\n"
_REPLY = b"250 2.1.0 OK\r\n"
_LARGE = b"x" * 2**14


class _Wire(Transport):
    """A connection that keeps what is said until somebody takes it."""

    def write(self, data: bytes) -> None:
        """Keep it."""
        self.said += data

    def take(self) -> bytes:
        """:returns: what was said since the last time."""
        said, self.said = self.said, b""
        return said


@implementer(IHandshakeListener)
class _Session(Protocol):
    """Hears in TLS, and does nothing with it."""

    is_secret = False

    def handshakeCompleted(self) -> None:
        """Hands are shaken."""
        self.is_secret = True


class _Client:
    """Both ends of a connection in TLS."""

    def __init__(self, tls: TLS) -> None:
        self.wire = _Wire()
        self.session = _Session()
        ours: Any = self.wire
        self.layer: Any = tls.start(ours, self.session)
        self.connection = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
        self.connection.set_connect_state()
        self._go_on()
        self.records = self.connection.bio_read(2**15)

    def _go_on(self) -> None:
        try:
            self.connection.do_handshake()
        except SSL.WantReadError:
            return

    def hear(self) -> None:
        """Have the server take what the client has said."""
        self.wire.protocol.dataReceived(self.records)

    def answer(self) -> None:
        """Take what the server has said."""
        self.connection.bio_write(self.wire.take())
        self._go_on()
        self.records = self.connection.bio_read(2**15)

    def shake_hands(self) -> None:
        """Do all of it."""
        self.hear()
        self.answer()
        self.hear()
        if not self.session.is_secret:
            raise ValueError("the handshake does not end")

    def say(self, octets: bytes) -> bytes:
        """:returns: a record."""
        self.connection.send(octets)
        return self.connection.bio_read(2**15)

    def forget(self) -> _Client:
        """:returns: itself, with nothing left on the wire."""
        self.wire.take()
        return self


def measure(reactor: Any, effort: Effort) -> Iterator[Row]:
    """Measure records and handshakes."""
    with TemporaryDirectory(prefix="bench-") as directory:
        key, certificate = Path(directory, "key.pem"), Path(directory, "certificate.pem")
        write_certificate(key, certificate)
        tls = make_tls(
            TLSConfig(
                tls_always_on=True, private_key_file=str(key), public_key_file=str(certificate)
            )
        )
    client = _Client(tls)
    client.shake_hands()
    for name, octets in (("a record in, a command", _COMMAND), ("a record in, 16 KiB", _LARGE)):
        hear = {name: client.wire.protocol.dataReceived}
        yield from rows(_TITLE, stages(lambda: client.say(octets), hear, effort))  # noqa: B023
    said = {"a record out, a reply": lambda client: client.layer.write(_REPLY)}
    yield from rows(_TITLE, stages(client.forget, said, effort))
    acts = {"hello": _Client.hear, "client": _Client.answer, "end": _Client.hear}
    costs = stages(lambda: _Client(tls), acts, effort.tenth())
    yield Row(_TITLE, "a handshake, RSA 2048", costs["hello"] + costs["end"])

"""The client's end of a dialog, and what stands around the server: clock, backend, TLS, wires."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from guerrilla_tw.backends.results import RecipientResults, Result, queued
from guerrilla_tw.config import ServerConfig
from guerrilla_tw.config.settings import convert
from guerrilla_tw.interfaces import IResult
from guerrilla_tw.mail.body import BodyStorage
from guerrilla_tw.mail.envelope import Envelope
from guerrilla_tw.smtp.journal import TOO_MANY_CLIENTS
from tests.smtp.dialog import CLOSED, Dialog, joined_lines
from tests.smtp.session import Session, Transport


class Wire(Transport):
    """A transport that knows whether the server has said its last word."""

    @property
    def closed(self) -> bool:
        """Whether the client hears nothing more."""
        return self.closed_half or self.disconnecting or self.aborted

    def dataReceived(self, data: bytes) -> None:
        """Of TLS: octets that came before the session knew that they were for TLS."""


class FakeTLS:
    """
    Where the server's TLS is. It encrypts nothing, but like TLS it keeps plain text out.

    :param wires: what a client hears is added to it.
    :ivar shaking: whether a handshake was begun that is not complete.
    """

    def __init__(self, wires: list[Wire]) -> None:
        self.shaking = False
        self._wires = wires

    def start(self, transport: Wire, protocol: object) -> Wire:
        """:returns: what the session has to write to from now on."""
        self.shaking = True
        wire = Wire(peerAddress=transport.getPeer())
        self._wires.append(wire)
        return wire

    def version(self, transport: Wire) -> str:
        """:returns: what the handshake has agreed on."""
        return "TLSv1.3"


class Client(Session):
    """
    The other end of a dialog.

    :ivar messages: what the backend was given.
    """

    transport: Wire

    def __init__(self, dialog: Dialog) -> None:
        self._dialog = dialog
        self._wires: list[Wire] = []
        self._closed = self._secret = False
        self._answer: Deferred[IResult] | None = None
        self._tls = FakeTLS(self._wires)
        self._protocols: list[Any] = []
        self.messages: list[dict[str, bytes]] = []
        config = convert({"is_enabled": True, **dialog.settings}, ServerConfig)
        settings = {name: getattr(config, name) for name in dialog.settings}
        super().__init__(storage=BodyStorage(**dialog.storage), layer=self._tls, **settings)

    def connect(self, remote_ip: str = "") -> None:
        """Come, from the dialog's address."""
        self.backend.save = self._save
        if "check" in self._dialog.answers:
            self.backend.check_recipient = lambda envelope: self._give("check")
        kind = IPv6Address if ":" in self._dialog.peer else IPv4Address
        address = kind("TCP", self._dialog.peer, 4321)
        self.transport = Wire(peerAddress=address)
        self._wires[:] = [self.transport]
        self._closed = self._secret = False
        self.protocol: Any = self.factory.buildProtocol(address)
        self._protocols.append(self.protocol)
        self.protocol.makeConnection(self.transport)

    def _save(self, envelope: Envelope) -> IResult | Deferred[IResult]:
        self.messages.append(_described(envelope))
        return self._give("save") if "save" in self._dialog.answers else queued("id")

    def _give(self, task: str) -> IResult | Deferred[IResult]:
        text = self._dialog.answers[task]
        if text == "raise":
            raise RuntimeError("as the dialog says")
        if text == "pending":
            self._answer = Deferred()
            return self._answer
        return _answer(text)

    def pass_barrier(self, barrier: str) -> None:
        """Let happen what stands between the dashes."""
        what, _, argument = barrier.partition(" ")
        if barrier == "TLS":
            assert self._tls.shaking, "no handshake was begun"
            self._tls.shaking = False
            self._secret = True
            self.protocol.handshakeCompleted()
        elif argument == "s":
            self.clock.pump([0.25] * int(4 * float(what)))
        elif what == "answer:":
            assert self._answer is not None, "nobody waits for an answer"
            answer, self._answer = self._answer, None
            answer.callback(_answer(argument))
        elif barrier == "next client":
            self.connect()
        elif barrier == "half close":
            self.protocol.readConnectionLost()
        elif barrier == "shutdown":
            self.server.shut_down(30)
        elif barrier:
            raise AssertionError(f"no such barrier: {barrier}")

    def deliver(self, pieces: Iterable[bytes]) -> None:
        """
        Let octets arrive.

        They do so also while the transport is paused, and while it closes: TLS does that. Plain
        text in a handshake, and what comes after an end by force, reaches nobody.
        """
        for piece in pieces:
            if not (self._tls.shaking or self._wires[-1].aborted):
                self.protocol.dataReceived(piece)
                self.settle()

    @property
    def connections(self) -> int:
        """How many there were, without those that were too many."""
        return sum(protocol.ending != TOO_MANY_CLIENTS for protocol in self._protocols)

    def leave(self) -> None:
        """Have everybody who came go away."""
        for protocol in self._protocols:
            protocol.connectionLost(Failure(ConnectionDone()))

    def heard_replies(self) -> list[str]:
        """:returns: what was heard since the last time: whole replies, and the end."""
        said = b"".join(wire.value() for wire in self._wires)
        assert not self._secret or said == self._wires[-1].value(), "in plain text, after TLS"
        for wire in self._wires:
            wire.clear()
        assert said.endswith(b"\r\n") or not said, f"a reply has no end: {said!r}"
        replies = list(joined_lines(said.decode("ascii").split("\r\n")[:-1]))
        if not self._closed and any(wire.closed for wire in self._wires):
            self._closed = True
            replies.append(CLOSED)
        return replies


def _answer(text: str) -> IResult:
    """:returns: one result, or one for each recipient where ``;`` is between them."""
    results = []
    for one in text.split("; "):
        code, enhanced, rest = one.split(" ", 2)
        results.append(Result(int(code), enhanced, rest))
    return results[0] if len(results) == 1 else RecipientResults(results)


def _described(envelope: Envelope) -> dict[str, bytes]:
    fields = {
        "from": str(envelope.mail_from),
        "to": ", ".join(map(str, envelope.rcpt_to)),
        "helo": envelope.helo,
        "ip": envelope.remote_ip,
        "tls": "yes" if envelope.tls else "no",
        "esmtp": "yes" if envelope.esmtp else "no",
        "size": str(envelope.size),
    }
    return {"data": envelope.data, **{name: text.encode() for name, text in fields.items()}}

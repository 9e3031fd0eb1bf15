"""
twisted.mail's own ESMTP server: joins the lines of each message and throws it away.

It listens on 127.0.0.1, on the port that the environment variable PORT names.
"""

from __future__ import annotations

import os

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Protocol
from twisted.mail.interfaces import IMessageDelivery, IMessageSMTP
from twisted.mail.smtp import ESMTP, SMTPFactory
from zope.interface import implementer


@implementer(IMessageSMTP)
class Message:
    """One message for one recipient."""

    def __init__(self) -> None:
        self._lines: list[bytes] = []

    def lineReceived(self, line: bytes) -> None:
        """Take a line."""
        self._lines.append(line)

    def eomReceived(self) -> Deferred[None]:
        """The message is complete."""
        b"\r\n".join(self._lines)
        return succeed(None)

    def connectionLost(self) -> None:
        """The client went away in the middle."""


@implementer(IMessageDelivery)
class Delivery:
    """Takes mail from anybody to anybody."""

    def receivedHeader(self, helo: object, origin: object, recipients: object) -> bytes:
        """:returns: a line that goes before the message."""
        return b"Received: by bench"

    def validateFrom(self, helo: object, origin: object) -> object:
        """:returns: the sender that goes on."""
        return origin

    def validateTo(self, user: object) -> type[Message]:
        """:returns: what makes the message for a recipient."""
        return Message


class Factory(SMTPFactory):
    """Makes the sessions."""

    protocol = ESMTP

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """:returns: a session."""
        session: ESMTP = super().buildProtocol(addr)
        session.delivery = Delivery()
        return session


def main() -> None:
    """Serve until a signal comes."""
    from twisted.internet import reactor

    reactor.listenTCP(int(os.environ["PORT"]), Factory(), interface="127.0.0.1")
    reactor.run()


if __name__ == "__main__":
    main()

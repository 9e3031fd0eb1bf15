"""twisted.mail's own ESMTP server: joins the lines of each message and throws it away."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress, IOpenSSLContextFactory
from twisted.internet.protocol import Protocol
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.mail.interfaces import IMessageDelivery, IMessageSMTP
from twisted.mail.smtp import ESMTP, SMTPFactory
from zope.interface import implementer

from bench.servers.options import BACKLOG, Options, parser


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
    """
    Makes the sessions.

    :param context_factory: for STARTTLS, if there is any.
    """

    protocol = ESMTP

    def __init__(self, context_factory: IOpenSSLContextFactory | None) -> None:
        super().__init__()
        self._context_factory = context_factory

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """:returns: a session."""
        session: ESMTP = super().buildProtocol(addr)
        session.delivery = Delivery()
        session.ctx = self._context_factory
        return session


def main() -> None:
    """Serve until a signal comes."""
    from twisted.internet import reactor as installed

    reactor: Any = installed
    options = parser(__doc__).parse_args(namespace=Options())
    context_factory = None
    if options.tls:
        context_factory = DefaultOpenSSLContextFactory(options.key, options.certificate)
    if options.tls == "implicit":
        reactor.listenSSL(options.port, Factory(None), context_factory, BACKLOG, "127.0.0.1")
    else:
        reactor.listenTCP(options.port, Factory(context_factory), BACKLOG, "127.0.0.1")
    reactor.run()


if __name__ == "__main__":
    main()

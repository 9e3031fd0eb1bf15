"""Who cannot be served."""

from __future__ import annotations

from guerrilla_tw.smtp.connection import SMTPConnection
from guerrilla_tw.smtp.server import Server


class TurnedAway(SMTPConnection):
    """
    A client that is told why it cannot be served, and let go. It does not count as a client.

    :param server: that it wanted.
    :param reply: what it is told; nothing where it would not understand it before TLS.
    """

    def __init__(self, server: Server, reply: bytes) -> None:
        super().__init__(server)
        self._reply = b"" if server.config.tls.tls_always_on else reply

    def connectionMade(self) -> None:
        """Say it, and close."""
        self.transport.registerProducer(self, True)
        self.reply(self._reply)
        self.close(linger=True)

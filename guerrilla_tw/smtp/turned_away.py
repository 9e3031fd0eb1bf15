"""Who cannot be served."""

from __future__ import annotations

from twisted.python.failure import Failure

from guerrilla_tw.smtp.flow import SMTPFlow
from guerrilla_tw.smtp.server import Server

# Beyond that, their last words may be lost: each costs a file descriptor, and they are not counted
# in max_clients.
_LINGERING_AT_ONCE = 100


class TurnedAway(SMTPFlow):
    """
    A client that is told why it cannot be served, and let go. It does not count as a client.

    :param server: that it wanted.
    :param remote_ip: as the parent's.
    :param reply: what it is told; nothing where it would not understand it before TLS.
    :param ending: the same, for the log.
    :param cause: more of it in words.
    :param is_told: whether it is logged.
    """

    def __init__(
        self,
        server: Server,
        remote_ip: str,
        reply: bytes,
        ending: str,
        cause: str = "",
        *,
        is_told: bool = True,
    ) -> None:
        super().__init__(server, remote_ip)
        self._reply = b"" if self.settings.config.tls.tls_always_on else reply
        self.end_as(ending, cause)
        self._is_told = is_told

    def connectionMade(self) -> None:
        """Say it, and close."""
        self.transport.registerProducer(self, True)
        self.reply(self._reply)
        self.close(self.ending, linger=len(self.server.turned_away) < _LINGERING_AT_ONCE)
        self.server.turned_away.add(self)

    def connectionLost(self, reason: Failure | None = None) -> None:
        """As the parent."""
        self.server.turned_away.discard(self)
        super().connectionLost(reason)

    def log_end(self) -> None:
        """As the parent, unless one like it was told of."""
        if self._is_told:
            super().log_end()

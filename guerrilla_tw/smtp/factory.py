"""Makes the sessions of one server."""

from __future__ import annotations

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Protocol
from twisted.mail.smtp import SMTPFactory

from guerrilla_tw.smtp import journal, replies
from guerrilla_tw.smtp.esmtp import GuerrillaESMTP
from guerrilla_tw.smtp.lmtp import GuerrillaLMTP
from guerrilla_tw.smtp.server import Server
from guerrilla_tw.smtp.turned_away import TurnedAway


class GuerrillaESMTPFactory(SMTPFactory):
    """
    Makes a session for each client, or turns it away.

    :param server: whose clients they are.
    """

    noisy = False

    def __init__(self, server: Server) -> None:
        super().__init__()
        self.server = server
        self._is_full = False

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """:returns: a session; or a refusal, at the end and when there are ``max_clients``."""
        server = self.server
        config = server.settings.config
        if server.shutting_down:
            return TurnedAway(server, _ip(addr), replies.SHUTTING_DOWN, journal.SHUTDOWN)
        if not server.has_room():
            return self._one_too_many(_ip(addr))
        self._is_full = False
        session = GuerrillaLMTP if config.protocol == "lmtp" else GuerrillaESMTP
        return session(server, _ip(addr))

    def _one_too_many(self, remote_ip: str) -> TurnedAway:
        """One line will do until there is a place again: an attacker may come very often."""
        is_first, self._is_full = not self._is_full, True
        return TurnedAway(
            self.server,
            remote_ip,
            replies.TOO_MANY_CLIENTS,
            journal.TOO_MANY_CLIENTS,
            f"there are {self.server.settings.config.max_clients} (max_clients)",
            is_told=is_first,
        )


def _ip(addr: IAddress | None) -> str:
    """:returns: the address of a client; IPv4's own where it came to a socket for IPv6."""
    return getattr(addr, "host", "").removeprefix("::ffff:")

"""Makes the sessions of one server."""

from __future__ import annotations

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Protocol
from twisted.mail.smtp import SMTPFactory

from guerrilla_tw.smtp import replies
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
        self._session = GuerrillaLMTP if server.config.protocol == "lmtp" else GuerrillaESMTP

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """:returns: a session; or a refusal, at the end and when there are ``max_clients``."""
        server = self.server
        if server.shutting_down:
            return TurnedAway(server, replies.SHUTTING_DOWN)
        if len(server.clients) >= server.config.max_clients:
            server.log.warn(
                "{host_name}: refused a client, there are {max_clients} (max_clients)",
                host_name=server.config.host_name,
                max_clients=server.config.max_clients,
            )
            return TurnedAway(server, replies.TOO_MANY_CLIENTS)
        return self._session(server, getattr(addr, "host", ""))

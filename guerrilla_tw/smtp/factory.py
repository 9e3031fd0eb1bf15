"""One server: what its clients have in common."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from twisted.mail.smtp import SMTPFactory

from guerrilla_tw.config import ServerConfig
from guerrilla_tw.interfaces import IBackend
from guerrilla_tw.smtp import replies
from guerrilla_tw.smtp.connection import SMTPConnection
from guerrilla_tw.smtp.esmtp import GuerrillaESMTP
from guerrilla_tw.smtp.hosts import AllowedHosts


class _TurnedAway(Protocol):
    """
    A client that cannot be served: it is told so, and let go.

    :param reply: what it is told.
    """

    def __init__(self, reply: bytes) -> None:
        self._reply = reply

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self._reply)
        self.transport.loseConnection()


class GuerrillaESMTPFactory(SMTPFactory):
    """
    Makes the sessions of one server and knows those that live.

    :param config: of this server.
    :param allowed_hosts: whom mail is taken for.
    :param backend: whom recipients and messages are given to.
    :param clock: for timeouts.
    :param log: where refusals and failures go.
    """

    noisy = False

    def __init__(
        self,
        config: ServerConfig,
        allowed_hosts: AllowedHosts,
        backend: IBackend,
        clock: IReactorTime,
        log: Logger,
    ) -> None:
        super().__init__()
        self.host_name = config.host_name
        self.max_size = config.max_size
        self.max_clients = config.max_clients
        self.timeout = config.timeout
        self.allowed_hosts = allowed_hosts
        self.backend = backend
        self.clock = clock
        self.log = log
        self.greeting = replies.greeting(config.host_name)
        self.hello = replies.hello(config.host_name)
        self.extended_hello = replies.extended_hello(config.host_name, config.max_size)
        self.clients: set[SMTPConnection] = set()
        self.shutting_down = False
        self._emptied: Deferred[None] | None = None

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """:returns: a session; or a refusal, at the end and when there are ``max_clients``."""
        if self.shutting_down:
            return _TurnedAway(replies.SHUTTING_DOWN)
        if len(self.clients) >= self.max_clients:
            self.log.warn(
                "{host_name}: refused a client, there are {max_clients} (max_clients)",
                host_name=self.host_name,
                max_clients=self.max_clients,
            )
            return _TurnedAway(replies.TOO_MANY_CLIENTS)
        return GuerrillaESMTP(self, getattr(addr, "host", ""))

    def client_lost(self, client: SMTPConnection) -> None:
        """A session has ended."""
        self.clients.discard(client)
        if self._emptied is not None and not self.clients:
            emptied, self._emptied = self._emptied, None
            emptied.callback(None)

    def shut_down(self, timeout: float) -> Deferred[None]:
        """
        Let every client finish the command in hand, then say 421 and close.

        :param timeout: seconds after which the connections that are left are cut.
        :returns: a Deferred that fires when no client is left.
        """
        self.shutting_down = True
        for client in list(self.clients):
            client.shut_down()
        if not self.clients:
            return succeed(None)
        emptied: Deferred[None] = Deferred()
        self._emptied = emptied
        cut = self.clock.callLater(timeout, self._cut)

        def stop_waiting(_: None) -> None:
            if cut.active():
                cut.cancel()

        return emptied.addCallback(stop_waiting)

    def _cut(self) -> None:
        self.log.warn(
            "{host_name}: cut the connections of {count} clients that did not finish in time",
            host_name=self.host_name,
            count=len(self.clients),
        )
        for client in list(self.clients):
            client.transport.abortConnection()

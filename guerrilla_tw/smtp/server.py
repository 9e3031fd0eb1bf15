"""One server, as its sessions see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from guerrilla_tw.config import ConfigError, ServerConfig
from guerrilla_tw.interfaces import IBackend
from guerrilla_tw.mail.body import BodyStorage
from guerrilla_tw.smtp import replies
from guerrilla_tw.smtp.hosts import AllowedHosts
from guerrilla_tw.smtp.proxy import TrustedProxies

if TYPE_CHECKING:
    from guerrilla_tw.smtp.flow import ITransport


class Client(Protocol):
    """A connection, as the server sees it."""

    transport: ITransport

    def shut_down(self) -> None:
        """Say goodbye, now or when the command in hand is done."""


class TLSStarter(Protocol):
    """What makes connections secret; see :mod:`guerrilla_tw.smtp.tls`."""

    def start(self, transport: Any, protocol: Any) -> Any:
        """
        Put TLS between a connection and its protocol.

        :param transport: an :class:`.ITransport`.
        :param protocol: of the connection, which goes on in TLS.
        :returns: an :class:`.ITransport`, the protocol's new one.
        """


class Server:
    """
    The settings of one server, what its sessions work with, and who is there.

    :param config: of this server.
    :param allowed_hosts: whom mail is taken for.
    :param backend: whom recipients and messages are given to.
    :param storage: where messages are kept until the backend is done.
    :param tls: how to start TLS; None where there is none.
    :param clock: for timeouts.
    :param log: where refusals and failures go.
    :raises ConfigError: ``trusted_proxies`` holds something else than addresses and networks.
    """

    def __init__(
        self,
        config: ServerConfig,
        allowed_hosts: AllowedHosts,
        backend: IBackend,
        storage: BodyStorage,
        tls: TLSStarter | None,
        clock: IReactorTime,
        log: Logger,
    ) -> None:
        self.config = config
        self.allowed_hosts = allowed_hosts
        self.backend = backend
        self.storage = storage
        self.tls = tls
        self.clock = clock
        self.log = log
        try:
            self.trusted_proxies = TrustedProxies(config.trusted_proxies)
        except ValueError as error:
            raise ConfigError(str(error), "trusted_proxies") from None
        name = "LMTP" if config.protocol == "lmtp" else "ESMTP"
        self.greeting = replies.greeting(config.host_name, name)
        self.hello = replies.hello(config.host_name)
        self.clients: set[Client] = set()
        self.turned_away: set[Client] = set()
        self.shutting_down = False
        self._emptied: Deferred[None] | None = None
        self._extended_hellos: dict[tuple[bool, bool], bytes] = {}

    def extended_hello(self, starttls: bool, xclient: bool) -> bytes:
        """
        Say what a session may use.

        :param starttls: whether it may start TLS.
        :param xclient: whether it may speak for others.
        :returns: the reply to EHLO or LHLO.
        """
        known = (starttls, xclient)
        if known not in self._extended_hellos:
            self._extended_hellos[known] = replies.extended_hello(
                self.config.host_name, _extensions(self.config, starttls, xclient)
            )
        return self._extended_hellos[known]

    def client_lost(self, client: Client) -> None:
        """A connection has ended."""
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
            host_name=self.config.host_name,
            count=len(self.clients),
        )
        for client in list(self.clients):
            client.transport.abortConnection()


def _extensions(config: ServerConfig, starttls: bool, xclient: bool) -> list[str]:
    # RFC 9422.
    limits = f"LIMITS RCPTMAX={config.max_recipients}"
    if config.max_messages:
        limits += f" MAILMAX={config.max_messages}"
    return [
        f"SIZE {config.max_size}",
        "PIPELINING",
        "8BITMIME",
        "SMTPUTF8",
        "CHUNKING",
        "BINARYMIME",
        "ENHANCEDSTATUSCODES",
        *(["STARTTLS"] if starttls else []),
        limits,
        *(["XCLIENT NAME ADDR PORT PROTO HELO"] if xclient else []),
        "HELP",
    ]

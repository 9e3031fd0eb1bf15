"""The servers of a daemon: who listens where, who has clients left, and how that changes."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IAddress
from twisted.logger import Logger

from guerrilla_tw.config import Config
from guerrilla_tw.logs import Logs
from guerrilla_tw.servers.change import ServersChange
from guerrilla_tw.servers.listening_server import Handed, ListeningServer
from guerrilla_tw.servers.wanted import (
    Place,
    check_spill_dir,
    read_allowed_hosts,
    read_server,
)
from guerrilla_tw.smtp.server import Server, Shared
from guerrilla_tw.stamps import ON_DISK, Files
from guerrilla_tw.users import User

__all__ = ["Handed", "Servers", "ServersChange", "check_spill_dir"]


class Servers:
    """
    All servers of a daemon: those that listen, and those that only have clients left.

    :param shared: what they share.
    :param reactor: to listen with.
    :param log: of the daemon.
    :param logs: of the daemon and the servers.
    :param user: whom the process is about to become.
    :param handed: what another process has opened, if one has.
    :param files: where keys and certificates are.
    """

    def __init__(
        self,
        shared: Shared,
        reactor: Any,
        log: Logger,
        logs: Logs,
        user: User,
        handed: Handed | None = None,
        files: Files = ON_DISK,
    ) -> None:
        self.shared = shared
        self.reactor = reactor
        self.logs = logs
        self.user = user
        self.handed = handed
        self._files = files
        self._log = log
        self.listening: dict[Place, ListeningServer] = {}
        # Those whose ports are taken, and nobody is answered yet.
        self.opened: dict[Place, ListeningServer] = {}
        self.left: set[Server] = set()
        # Places that are being let go, and can be taken again when they are.
        self._closing: list[Deferred[None]] = []

    @property
    def addresses(self) -> list[IAddress]:
        """Where they listen, in the order of the configuration."""
        known = (*self.listening.values(), *self.opened.values())
        return [each.listener.address for each in known if each.is_listening]

    @property
    def all(self) -> list[Server]:
        """Those that listen, and those that have clients left."""
        return [*(each.server for each in self.listening.values()), *self.left]

    def check(self, config: Config) -> None:
        """
        Judge a configuration; keys and certificates are read, and nothing listens.

        :raises ConfigError: it cannot be used.
        """
        self.prepare(config)

    def prepare(self, config: Config) -> ServersChange:
        """
        Read keys and certificates for a change.

        :param config: the configuration to come.
        :returns: the change; its ports are yet to be taken.
        :raises ConfigError: it cannot be used.
        """
        check_spill_dir(config.spill_dir, self.user)
        allowed_hosts = read_allowed_hosts(config)
        wanted = {}
        for index, server in enumerate(config.servers):
            if server.is_enabled:
                current = self.listening.get(server.interface)
                before = current.wanted if current else None
                wanted[server.interface] = read_server(
                    f"servers[{index}]", server, before, self.reactor, self._files
                )
        return ServersChange(self, config, allowed_hosts, wanted)

    def leave(self, leaving: ListeningServer) -> None:
        """Have a server end, when its clients have."""
        server = leaving.server
        self._log.info(
            "no longer listening on {interface}; {count} clients are served to their end",
            interface=server.settings.config.place,
            count=len(server.clients),
        )
        self.let_go(leaving)
        # A server that will be there has none of its clients.
        server.tally.close()
        self.left.add(server)
        server.when_empty().addCallback(lambda _: self.left.discard(server))

    def let_go(self, leaving: ListeningServer) -> None:
        """Have a server give up its place, which is free when all is :meth:`settled`."""
        self._closing.append(leaving.stop_listening())

    def settled(self) -> Deferred[Any]:
        """:returns: a Deferred that fires when every place that was left is free."""
        self._closing = [closing for closing in self._closing if not closing.called]
        waiting: Deferred[Any] = Deferred()
        # Who cancels the one does not keep the places from getting free.
        DeferredList(self._closing).chainDeferred(waiting)
        return waiting

    def shut_down(self, timeout: float) -> Deferred[Any]:
        """
        Stop listening, and let every client finish the command in hand.

        :param timeout: seconds after which the connections that are left are cut.
        :returns: a Deferred that fires when no client is left.
        """
        servers = self.all
        for server in servers:
            server.shutting_down = True
        listening, self.listening = self.listening, {}
        for each in listening.values():
            # Whom the kernel keeps for us is told, too.
            self.let_go(each)
        emptied: list[Deferred[Any]] = [server.shut_down(timeout) for server in servers]
        return DeferredList([*emptied, self.settled()], consumeErrors=True)

"""A change of servers: ports are taken, then all is put in force, or given back."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.logger import Logger, LogLevel

from guerrilla_tw.config import Config, ConfigError, ServerConfig
from guerrilla_tw.config.listen import overlap
from guerrilla_tw.listening import PlaceInUse
from guerrilla_tw.servers.listening_server import ListeningServer
from guerrilla_tw.servers.wanted import Place, Wanted, blaming
from guerrilla_tw.smtp.hosts import AllowedHosts
from guerrilla_tw.smtp.journal import Journal

if TYPE_CHECKING:
    from guerrilla_tw.servers import Servers

InlineCallbacks = Generator[Deferred[Any], Any, None]


class ServersChange:
    """
    A change of servers. It takes their ports, and then it is put in force or abandoned.

    :param servers: to change.
    :param config: the configuration to come.
    :param allowed_hosts: out of it.
    :param wanted: its enabled servers.
    """

    def __init__(
        self,
        servers: Servers,
        config: Config,
        allowed_hosts: AllowedHosts,
        wanted: dict[Place, Wanted],
    ) -> None:
        self._servers = servers
        self._config = config
        self._allowed_hosts = allowed_hosts
        self._wanted = wanted
        self._released: list[ListeningServer] = []

    @property
    def renewed(self) -> list[ServerConfig]:
        """The servers whose certificates have changed, and nothing of their settings for TLS."""
        return [each.settings.config for each in self._wanted.values() if each.renewed]

    @inlineCallbacks
    def take_ports(self) -> InlineCallbacks:
        """
        Take the ports that are new.

        :returns: a Deferred; it has fired already unless something takes a while. It fails with
            a ConfigError if one cannot be had.
        """
        yield self._servers.settled()
        for interface, wanted in self._wanted.items():
            if interface not in self._servers.listening:
                with blaming(wanted.path):
                    yield self._take_place(interface, wanted)

    @inlineCallbacks
    def _take_place(self, interface: Place, wanted: Wanted) -> InlineCallbacks:
        try:
            opened = self._open(wanted)
        except PlaceInUse:
            in_the_way = self._in_the_way(interface)
            if not in_the_way:
                raise
            # Such as 127.0.0.1:25 that becomes 0.0.0.0:25: both at once cannot be. It was tried
            # all the same, since who has no right to the new one would have none to the old.
            self._released += in_the_way
            for each in in_the_way:
                self._servers.let_go(each)
            yield self._servers.settled()
            opened = self._open(wanted)
        self._servers.opened[interface] = opened
        yield opened.listener.ready()

    def _open(self, wanted: Wanted) -> ListeningServer:
        servers = self._servers
        log, _ = self._logs_of(wanted.settings.config)
        return ListeningServer(
            wanted, servers.shared, log, servers.reactor, servers.user, servers.handed
        )

    def _in_the_way(self, interface: Place) -> list[ListeningServer]:
        """:returns: what listens there, and is to go."""
        return [
            other
            for place, other in self._servers.listening.items()
            if other.is_listening and place not in self._wanted and overlap(place, interface)
        ]

    def commit(self) -> None:
        """Put it in force, in this turn of the reactor."""
        servers, config = self._servers, self._config
        servers.shared.allowed_hosts = self._allowed_hosts
        servers.shared.storage.set_limits(
            config.spill_size, config.spill_dir, config.max_inflight_bytes
        )
        before, opened = servers.listening, servers.opened
        servers.listening, servers.opened = {}, {}
        for interface, wanted in self._wanted.items():
            listening = before.pop(interface, None) or opened[interface]
            listening.update(wanted, *self._logs_of(wanted.settings.config))
            servers.listening[interface] = listening
        for each in opened.values():
            each.answer()
        for leaving in before.values():
            servers.leave(leaving)
        for server in servers.left:
            server.log, server.journal = self._logs_of(server.settings.config)

    @inlineCallbacks
    def abandon(self) -> InlineCallbacks:
        """Give back what was taken. Whoever came to a new port is told to come again."""
        servers = self._servers
        opened, servers.opened = servers.opened, {}
        for each in opened.values():
            each.server.shutting_down = True
            servers.let_go(each)
            each.server.tally.close()
        yield servers.settled()
        for released in self._released:
            try:
                released.listen()
            except ConfigError as error:
                released.server.log.critical("{error}; it was open before", error=error)
                # A later reload tries again, as with a new one.
                servers.listening.pop(released.server.settings.config.interface, None)
                servers.leave(released)
            else:
                released.answer()

    def _logs_of(self, config: ServerConfig) -> tuple[Logger, Journal]:
        logs = self._servers.logs
        log = Logger("guerrilla_tw", observer=logs.observer_for(config.log_file))
        return log, Journal(log, logs.is_enabled(LogLevel.info, config.log_file))

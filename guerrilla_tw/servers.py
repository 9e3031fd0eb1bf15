"""The servers of a configuration: where they listen, and whom for."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, inlineCallbacks, succeed
from twisted.internet.interfaces import IAddress
from twisted.logger import Logger, LogLevel

from guerrilla_tw.config import Config, ConfigError, ServerConfig
from guerrilla_tw.config.listen import Endpoint, Interface, overlap
from guerrilla_tw.listening import Listener, PlaceInUse, check_interface
from guerrilla_tw.logs import Logs
from guerrilla_tw.smtp.factory import GuerrillaESMTPFactory
from guerrilla_tw.smtp.hosts import AllowedHosts
from guerrilla_tw.smtp.journal import Journal
from guerrilla_tw.smtp.server import Server, Shared
from guerrilla_tw.smtp.settings import SessionSettings, TLSStarter
from guerrilla_tw.stamps import Stamps, stamps
from guerrilla_tw.users import User

InlineCallbacks = Generator[Deferred[Any], Any, None]
Place = Interface | Endpoint


@dataclass(frozen=True)
class _Wanted:
    """
    What an enabled server is to be.

    :param path: of it in the configuration.
    :param settings: for its sessions.
    :param files: of keys and certificates, as they were before they were read.
    :param renewed: whether these have changed, and their settings have not.
    """

    path: str
    settings: SessionSettings
    files: Stamps
    renewed: bool


class _ListeningServer:
    """
    One server, and the place where its clients come. Nobody is answered before it is told.

    :param wanted: what it is.
    :param shared: with the other servers.
    :param log: of the server.
    :param reactor: to listen with.
    :param user: whom the process is about to become.
    :raises ConfigError: it cannot listen there.
    """

    def __init__(
        self, wanted: _Wanted, shared: Shared, log: Logger, reactor: Any, user: User
    ) -> None:
        self.server = Server(wanted.settings, shared, log)
        self.files = wanted.files
        self._reactor = reactor
        self._user = user
        self._factory = GuerrillaESMTPFactory(self.server)
        self._listener: Listener | None = None
        self.listen()

    @property
    def is_listening(self) -> bool:
        """Whether it has its place."""
        return self._listener is not None and self._listener.is_ready

    @property
    def listener(self) -> Listener:
        """Where it listens."""
        assert self._listener is not None
        return self._listener

    def listen(self) -> None:
        """
        Take the place, at first or again.

        :raises ConfigError: it cannot be had.
        """
        name = self.server.settings.config.listen_interface
        self._listener = Listener(name, self._factory, self._reactor, self._user)

    def update(self, wanted: _Wanted, log: Logger, journal: Journal) -> None:
        """Be otherwise from now on, to clients that come from now on."""
        self.server.settings = wanted.settings
        self.server.log = log
        self.server.journal = journal
        self.files = wanted.files

    def answer(self) -> None:
        """Begin with those whom the kernel kept for us."""
        log = self.server.log
        try:
            self.listener.answer()
            log.info("listening on {interface}", interface=self.listener.name)
        except Exception:  # Of a plugin's endpoint: that is no reason to keep others from it.
            log.failure("a server does not answer")

    def stop_listening(self) -> Deferred[None]:
        """
        Let the place go. Whom the kernel keeps for us is taken in before.

        :returns: a Deferred, which must not be cancelled: the place would never be free.
        """
        if self._listener is None:
            return succeed(None)
        listener, self._listener = self._listener, None
        listener.accept_waiting()
        return listener.close()


class Servers:
    """
    All servers of a daemon: those that listen, and those that only have clients left.

    :param shared: what they share.
    :param reactor: to listen with.
    :param log: of the daemon.
    :param logs: of the daemon and the servers.
    :param user: whom the process is about to become.
    """

    def __init__(self, shared: Shared, reactor: Any, log: Logger, logs: Logs, user: User) -> None:
        self.shared = shared
        self.reactor = reactor
        self.logs = logs
        self.user = user
        self._log = log
        self.listening: dict[Place, _ListeningServer] = {}
        # Those whose ports are taken, and nobody is answered yet.
        self.opened: dict[Place, _ListeningServer] = {}
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
        _allowed_hosts(config)
        check_spill_dir(config.spill_dir, self.user)
        self._wanted(config)

    def prepare(self, config: Config) -> ServersChange:
        """
        Read keys and certificates for a change.

        :param config: the configuration to come.
        :returns: the change; its ports are yet to be taken.
        :raises ConfigError: it cannot be used.
        """
        check_spill_dir(config.spill_dir, self.user)
        return ServersChange(self, config, _allowed_hosts(config), self._wanted(config))

    def _wanted(self, config: Config) -> dict[Place, _Wanted]:
        wanted = {}
        for index, server in enumerate(config.servers):
            if server.is_enabled:
                path = f"servers[{index}]"
                with _blaming(path):
                    check_interface(server.listen_interface, self.reactor)
                    wanted[server.interface] = self._wanted_server(path, server)
        return wanted

    def _wanted_server(self, path: str, config: ServerConfig) -> _Wanted:
        tls: TLSStarter | None
        current = self.listening.get(config.interface)
        # Before they are read: what changes in between is seen at the next reload.
        files = stamps(config.tls.files, current.files if current else {})
        settings = current.server.settings if current else None
        same = settings is not None and settings.config.tls == config.tls
        if current and settings and same and current.files == files:
            # Who started as root may not be able to read the key any more.
            tls = settings.tls
        else:
            tls = _make_tls(config)
        renewed = same and current is not None and current.files != files
        return _Wanted(path, SessionSettings(config, tls), files, renewed)

    def leave(self, leaving: _ListeningServer) -> None:
        """Have a server end, when its clients have."""
        server = leaving.server
        self._log.info(
            "no longer listening on {interface}; {count} clients are served to their end",
            interface=server.settings.config.listen_interface,
            count=len(server.clients),
        )
        self.let_go(leaving)
        self.left.add(server)
        server.when_empty().addCallback(lambda _: self.left.discard(server))

    def let_go(self, leaving: _ListeningServer) -> None:
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
        wanted: dict[Place, _Wanted],
    ) -> None:
        self._servers = servers
        self._config = config
        self._allowed_hosts = allowed_hosts
        self._wanted = wanted
        self._released: list[_ListeningServer] = []

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
                with _blaming(wanted.path):
                    yield self._take_place(interface, wanted)

    @inlineCallbacks
    def _take_place(self, interface: Place, wanted: _Wanted) -> InlineCallbacks:
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

    def _open(self, wanted: _Wanted) -> _ListeningServer:
        servers = self._servers
        log, _ = self._logs_of(wanted.settings.config)
        return _ListeningServer(wanted, servers.shared, log, servers.reactor, servers.user)

    def _in_the_way(self, interface: Place) -> list[_ListeningServer]:
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


def _allowed_hosts(config: Config) -> AllowedHosts:
    with _blaming("allowed_hosts"):
        return AllowedHosts(config.allowed_hosts)


def check_spill_dir(path: str, user: User) -> None:
    """
    See whether large messages can be kept.

    :param path: the ``spill_dir``.
    :param user: whom the process has become, for the error.
    :raises ConfigError: no file could be made there.
    """
    rights = {"effective_ids": True} if os.access in os.supports_effective_ids else {}
    if path and not (os.path.isdir(path) and os.access(path, os.W_OK | os.X_OK, **rights)):
        who = f" by user {user.name}" if user.has_come else ""
        raise ConfigError(f"{path} is not a directory that can be written to{who}", "spill_dir")


def _make_tls(config: ServerConfig) -> TLSStarter | None:
    if not config.tls.is_on:
        return None
    # Here, because OpenSSL is not needed where nobody asks for it.
    from guerrilla_tw.smtp.tls import make_tls

    with _blaming("tls"):
        return make_tls(config.tls)


@contextmanager
def _blaming(path: str) -> Iterator[None]:
    """Say of whatever is wrong where in the configuration it is."""
    try:
        yield
    except ConfigError as error:
        raise error.below(path) from None
    except ValueError as error:
        raise ConfigError(str(error), path) from None

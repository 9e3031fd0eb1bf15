"""The parts of a daemon, and what has to come before what when they start, change and stop."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, inlineCallbacks, succeed
from twisted.internet.interfaces import IAddress
from twisted.logger import Logger
from twisted.python.failure import Failure

from guerrilla_tw.backends.gateway import Gateway
from guerrilla_tw.backends.registry import Registry
from guerrilla_tw.config import Config, ConfigError, ServerConfig
from guerrilla_tw.events import Event
from guerrilla_tw.gateways import Gateways
from guerrilla_tw.interfaces import IBackend
from guerrilla_tw.logs import Logs
from guerrilla_tw.mail.body import BodyStorage
from guerrilla_tw.process import PidFile
from guerrilla_tw.servers import Servers, ServersChange
from guerrilla_tw.smtp.hosts import AllowedHosts
from guerrilla_tw.smtp.server import Client, Shared

InlineCallbacks = Generator[Deferred[Any], Any, None]
Renewed = Sequence[Event | ServerConfig]


@dataclass
class _Taken:
    """What was taken while the process may take it, and nobody is answered yet."""

    servers: ServersChange
    ports: Deferred[None]
    pid_file: PidFile


class House:
    """
    Logs, servers, backend and pid file of a daemon.

    :param reactor: of the daemon.
    :param logs: where its lines go.
    :param registry: where processors are found.
    :param backend: in place of a Gateway.
    :param check_limits: raises a ConfigError if the process may not have what a configuration asks.
    """

    def __init__(
        self,
        reactor: Any,
        logs: Logs,
        registry: Registry,
        backend: IBackend | None,
        check_limits: Callable[[Config], None],
    ) -> None:
        self._logs = logs
        self.log = Logger("guerrilla_tw", observer=logs.observer)
        self._check_limits = check_limits

        def make_gateway() -> Gateway:
            return Gateway(registry, reactor, self.log)

        # Nobody is there to ask for hosts or bodies before a configuration is in force.
        self._shared = Shared(backend or make_gateway(), AllowedHosts(()), BodyStorage(), reactor)
        self._gateways = Gateways(make_gateway, self._shared, reactor, self.log)
        self._servers = Servers(self._shared, reactor, self.log, logs)
        self._pid_file = PidFile("")
        # While nobody is answered.
        self._taken: _Taken | None = None

    @property
    def addresses(self) -> list[IAddress]:
        """Where the servers listen, with real port numbers in place of 0."""
        return self._servers.addresses

    @property
    def clients(self) -> list[Client]:
        """The connections that are open."""
        return [client for server in self._servers.all for client in server.clients]

    def check(self, config: Config) -> Sequence[str]:
        """
        Judge a configuration without listening and without opening a store.

        :returns: warnings, one line each.
        :raises ConfigError: the daemon could not start with it.
        """
        self._servers.check(config)
        return self._shared.backend.check(config.backend_config)

    # The start

    @property
    def has_places(self) -> bool:
        """Whether :meth:`take_places` has been called, and :meth:`open` has not."""
        return self._taken is not None

    def take_places(self, config: Config) -> None:
        """
        Open the logs, take the ports and the pid file. Nobody is answered yet.

        :raises ConfigError: the configuration cannot be used, or something cannot be had.
        """
        self._logs.commit(self._logs.prepare(config))
        self.warn(self.check(config))
        self._check_limits(config)
        change = self._servers.prepare(config)
        self._taken = _Taken(change, change.take_ports(), PidFile(config.pid_file))
        try:
            _raise_at_once(self._taken.ports)
            self._taken.pid_file.take()
        except ConfigError:
            self._leave()
            raise

    @inlineCallbacks
    def open(self, config: Config) -> InlineCallbacks:
        """
        Open the backend, then answer.

        :returns: a Deferred that fails with the reason if nobody will ever be answered; everything
            is closed then.
        """
        backend = self._shared.backend
        taken = self._taken
        assert taken is not None
        try:
            yield taken.ports
            yield backend.initialize(config.backend_config)
            taken.pid_file.write()
        except BaseException:
            yield self._leave()
            yield backend.shutdown()
            raise
        self._taken = None
        self._pid_file = taken.pid_file
        backend.start()
        taken.servers.commit()

    def _leave(self) -> Deferred[None]:
        """Give up what was taken where nobody was answered."""
        taken, self._taken = self._taken, None
        if taken is None:
            return succeed(None)
        taken.pid_file.remove()
        return taken.servers.abandon()

    # Changes

    @inlineCallbacks
    def change(self, old: Config, new: Config) -> Generator[Deferred[Any], Any, Renewed]:
        """
        Go over to another configuration, whole or not at all.

        :param old: the one in force.
        :param new: the one to come.
        :returns: a Deferred of what is another though its settings are not, for
            :func:`.events.compare`. It fails with the reason if nothing has changed.
        """
        undo: list[Callable[[], Any]] = []
        try:
            commit = yield self._prepare(old, new, undo)
        except BaseException:
            for step in reversed(undo):
                # Whoever stops the daemon meanwhile does not wait for this step; the rest is to
                # be undone all the same.
                with suppress(CancelledError):
                    yield step()
            raise
        renewed: Renewed = commit()
        return renewed

    @inlineCallbacks
    def _prepare(
        self, old: Config, new: Config, undo: list[Callable[[], Any]]
    ) -> Generator[Deferred[Any], Any, Callable[[], Renewed]]:
        """
        Do all of a change that can fail.

        :param undo: gets what undoes it, in this order.
        :returns: a Deferred of what puts it in force, in one turn of the reactor.
        """
        self._check_limits(new)
        # Also before a backend is opened, which may take a while.
        self._servers.check(new)
        plan = self._logs.prepare(new)
        undo.append(partial(self._logs.abandon, plan))
        pid_file = self._pid_file
        # It may be the same file under another name, which is not to be removed then.
        if new.pid_file != old.pid_file and PidFile(new.pid_file).path != pid_file.path:
            pid_file = PidFile(new.pid_file)
            pid_file.take()
            undo.append(pid_file.remove)
        gateway: Gateway | None = None
        if self._gateways.must_change(old, new):
            self.warn(self._shared.backend.check(new.backend_config))
            gateway = yield self._gateways.open(new)
            undo.append(gateway.shutdown)
        # The last, so that the time is short in which a port may be neither here nor there.
        servers = self._servers.prepare(new)
        undo.append(servers.abandon)
        yield servers.take_ports()
        # It may be another daemon's: it is touched when nothing else can fail.
        pid_file.write()

        def commit() -> Renewed:
            self._logs.commit(plan)
            if gateway is not None:
                self._gateways.replace_by(gateway)
            servers.commit()
            if pid_file is not self._pid_file:
                self._pid_file.remove()
                self._pid_file = pid_file
            return [*servers.renewed, *([Event.BACKEND_CONFIG] if gateway else [])]

        return commit

    def reopen_logs(self) -> None:
        """Open every log file anew by its name."""
        self._logs.reopen()

    def give_files(self, uid: int, gid: int) -> None:
        """
        Give log files and pid file to a user, before the start is complete.

        :param uid: of the user, -1 for the present one.
        :param gid: of the group, -1 for the present one.
        """
        self._logs.give_to(uid, gid)
        if self._taken is not None:
            self._taken.pid_file.give_to(uid, gid)

    # The end

    @inlineCallbacks
    def close(self, timeout: float) -> InlineCallbacks:
        """
        Stop listening; let clients finish; finish the work; close the backend. In this order.

        :param timeout: seconds that clients have.
        """
        yield self._leave()
        yield self._servers.shut_down(timeout)
        yield self._gateways.shut_down()
        self._pid_file.remove()

    def warn(self, warnings: Sequence[str]) -> None:
        """
        Log what is odd and yet no error.

        :param warnings: one line each.
        """
        for advice in warnings:
            # Not as "warning": Twisted takes an event that has one for a warning of Python's.
            self.log.warn("{advice}", advice=advice)


def _raise_at_once(deferred: Deferred[None]) -> None:
    """Raise what a Deferred has failed with, if it has."""
    failures: list[Failure] = []

    def keep(failure: Failure) -> Failure:
        failures.append(failure)
        return failure

    deferred.addErrback(keep)
    if failures:
        deferred.addErrback(lambda _: None)
        failures[0].raiseException()

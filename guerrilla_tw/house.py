"""The parts of a daemon, and what has to come before what when they start, change and stop."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks, succeed
from twisted.internet.interfaces import IAddress
from twisted.logger import Logger
from twisted.python.failure import Failure

from guerrilla_tw.backends.gateway import Gateway
from guerrilla_tw.backends.registry import Registry
from guerrilla_tw.config import Config
from guerrilla_tw.events import Event, Renewed
from guerrilla_tw.gateways import Gateways
from guerrilla_tw.interfaces import IBackend
from guerrilla_tw.logs import Logs
from guerrilla_tw.mail.body import BodyStorage
from guerrilla_tw.pid_file import PidFiles
from guerrilla_tw.servers import Handed, Servers, ServersChange, check_spill_dir
from guerrilla_tw.smtp.hosts import AllowedHosts
from guerrilla_tw.smtp.server import Client, Shared
from guerrilla_tw.stamps import ON_DISK, Files
from guerrilla_tw.undo import Undo
from guerrilla_tw.users import User

InlineCallbacks = Generator[Deferred[Any], Any, None]
#: Asked when all that can fail has been done, with what is renewed; what its Deferred fails with
#: has all be undone.
Agree = Callable[[Renewed], Deferred[None]]


def at_once(_: Renewed) -> Deferred[None]:
    """Nobody has to be asked."""
    return succeed(None)


@dataclass
class _Taken:
    """What was taken while the process may take it, and nobody is answered yet."""

    servers: ServersChange
    ports: Deferred[None]


class House:
    """
    Logs, servers, backend and pid file of a daemon.

    :param reactor: of the daemon.
    :param logs: where its lines go.
    :param registry: where processors are found.
    :param backend: in place of a Gateway.
    :param check_limits: raises a ConfigError if the process may not have what a configuration asks.
    :param user: whom the process is about to become.
    :param handed: what a supervisor has opened, if there is one; it has told as well what is to be
        told of a configuration.
    :param files: where keys and certificates are.
    """

    def __init__(
        self,
        reactor: Any,
        logs: Logs,
        registry: Registry,
        backend: IBackend | None,
        check_limits: Callable[[Config], None],
        user: User,
        handed: Handed | None = None,
        files: Files = ON_DISK,
    ) -> None:
        self._logs = logs
        self.log = Logger("guerrilla_tw", observer=logs.observer)
        self._check_limits = check_limits
        self._user = user
        self._handed = handed

        def make_gateway() -> Gateway:
            return Gateway(registry, reactor, self.log, user=user)

        # Nobody is there to ask for hosts or bodies before a configuration is in force.
        self._shared = Shared(backend or make_gateway(), AllowedHosts(()), BodyStorage(), reactor)
        self._gateways = Gateways(make_gateway, self._shared, reactor, self.log)
        self._servers = Servers(self._shared, reactor, self.log, logs, user, handed, files)
        self._pid_files = PidFiles(user)
        self._doing: Deferred[Any] = succeed(None)
        # While nobody is answered.
        self._taken: _Taken | None = None

    @property
    def addresses(self) -> list[IAddress]:
        """Where the servers listen, with real port numbers in place of 0."""
        return self._servers.addresses

    @property
    def client_count(self) -> int:
        """How many connections are open."""
        return len(self.clients)

    @property
    def clients(self) -> list[Client]:
        """Whose connections are open."""
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

    def take_places(self, config: Config) -> None:
        """
        Open the logs, take the ports and the pid file. Nobody is answered yet.

        :raises ConfigError: the configuration cannot be used, or something cannot be had.
        """
        self._logs.commit(self._logs.prepare(config))
        change = self._servers.prepare(config)
        self.warn(self._shared.backend.check(config.backend_config))
        self._check_limits(config)
        self._taken = _Taken(change, change.take_ports())
        try:
            _raise_at_once(self._taken.ports)
            self._pid_files.take(config.pid_file)
        except Exception:
            self._leave()
            raise

    def open(self, config: Config, agree: Agree = at_once) -> Deferred[None]:
        """
        Open the backend, then answer.

        :param config: the one that places were taken for.
        :param agree: asked in between.
        :returns: a Deferred that fails with the reason if nobody will ever be answered; everything
            is closed then.
        """
        undo = Undo(self.log)
        undo.add(self._gateways.shut_down)
        undo.add(self._leave)
        self._doing = self._open(config, agree)
        return undo.unless_done(self._doing)

    @inlineCallbacks
    def _open(self, config: Config, agree: Agree) -> InlineCallbacks:
        taken = self._taken
        assert taken is not None
        yield taken.ports
        # By now the process may be a user who may do less.
        check_spill_dir(config.spill_dir, self._user)
        yield self._gateways.initialize(config)
        yield agree(())
        self._pid_files.write()
        self._taken = None
        self._pid_files.commit()
        self._shared.backend.start()
        taken.servers.commit()

    def _leave(self) -> Deferred[None]:
        """Give up what was taken where nobody was answered."""
        taken, self._taken = self._taken, None
        if taken is None:
            return succeed(None)
        self._pid_files.abandon()
        taken.ports.addErrback(lambda _: None)
        taken.ports.cancel()
        return taken.servers.abandon()

    # Changes

    def change(self, old: Config, new: Config, agree: Agree = at_once) -> Deferred[Renewed]:
        """
        Go over to another configuration, whole or not at all.

        :param old: the one in force.
        :param new: the one to come.
        :param agree: asked when all that can fail has been done.
        :returns: a Deferred of what is another though its settings are not, for
            :func:`.events.compare`. It fails with the reason if nothing has changed.
        """
        undo = Undo(self.log)
        self._doing = self._change(old, new, agree, undo)
        return undo.unless_done(self._doing)

    @inlineCallbacks
    def _change(
        self, old: Config, new: Config, agree: Agree, undo: Undo
    ) -> Generator[Deferred[Any], Any, Renewed]:
        """Do all that can fail; then put it in force, in one turn of the reactor."""
        self._check_limits(new)
        # Before a backend is opened, which may take a while.
        servers = self._servers.prepare(new)
        plan = self._logs.prepare(new)
        undo.add(partial(self._logs.abandon, plan))
        self._pid_files.take(new.pid_file)
        undo.add(self._pid_files.abandon)
        gateway: Gateway | None = None
        if self._gateways.must_change(old, new):
            self.warn(self._shared.backend.check(new.backend_config))
            gateway = yield self._gateways.open(new)
            undo.add(gateway.shutdown)
        # The last, so that the time is short in which a port may be neither here nor there.
        undo.add(servers.abandon)
        yield servers.take_ports()
        renewed: Renewed = [*servers.renewed, *([Event.BACKEND_CONFIG] if gateway else [])]
        yield agree(renewed)
        self._pid_files.write()

        # From here on nothing can fail, and nothing that follows is to undo it.
        undo.forget()
        self._logs.commit(plan)
        if gateway is not None:
            self._gateways.replace_by(gateway)
        servers.commit()
        self._pid_files.commit()
        return renewed

    def cancel(self) -> None:
        """End an :meth:`open` or a :meth:`change` that is under way; what it has done is undone."""
        self._doing.cancel()

    def reopen_logs(self) -> None:
        """Open every log file anew by its name."""
        self._logs.reopen()

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
        self._pid_files.remove()

    def settled(self) -> Deferred[Any]:
        """:returns: a Deferred that fires when every place that was left is free."""
        return self._servers.settled()

    def kill(self) -> None:
        """End what would outlive the process, which ends now: there is nothing."""

    def warn(self, warnings: Sequence[str]) -> None:
        """
        Log what is odd and yet no error.

        :param warnings: one line each.
        """
        for advice in warnings if self._handed is None else ():
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

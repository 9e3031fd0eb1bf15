"""The sockets of a supervisor: opened once, and used by all its workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from twisted.internet.interfaces import IAddress
from twisted.logger import Logger

from guerrilla_tw.config import Config, ConfigError, ServerConfig
from guerrilla_tw.config.listen import overlap
from guerrilla_tw.listening import (
    ListeningSocket,
    PlaceInUse,
    can_be_shared,
    name_of,
    open_socket,
)
from guerrilla_tw.processes.crowd import MOST_SERVERS
from guerrilla_tw.servers.wanted import Place, blaming
from guerrilla_tw.users import User


class Shared(NamedTuple):
    """
    A socket.

    :param text: the ``listen_interface`` that it was opened for.
    :param socket: shared with the workers.
    :param server: the number of its server.
    """

    text: str
    socket: ListeningSocket
    server: int

    @property
    def name(self) -> str:
        return name_of(self.socket.address)


class Places:
    """
    Where a daemon listens, and where it is about to.

    :param reactor: to find systemd's sockets with.
    :param log: of the supervisor.
    :param user: whom the process is about to become.
    """

    def __init__(self, reactor: Any, log: Logger, user: User) -> None:
        self._reactor = reactor
        self._log = log
        self._user = user
        self._open: dict[Place, Shared] = {}
        self._wanted: set[Place] = set()
        self._taken: dict[Place, Shared] = {}
        # Numbers of servers that nobody has.
        self._free = list(range(MOST_SERVERS))

    @property
    def addresses(self) -> list[IAddress]:
        """Where it listens, with real port numbers in place of 0."""
        return [each.socket.address for each in (*self._open.values(), *self._taken.values())]

    @property
    def all(self) -> Sequence[Shared]:
        """The sockets."""
        return [*self._open.values(), *self.taken]

    @property
    def taken(self) -> Sequence[Shared]:
        """Those of them that are not yet in force."""
        return [*self._taken.values()]

    @staticmethod
    def check(config: Config) -> None:
        """:raises ConfigError: a place is none that several processes can share."""
        cause = "several processes cannot share the endpoint of a plugin; set processes to 1"
        for index, server in enumerate(config.servers):
            if server.is_enabled and not can_be_shared(server.listen_interface):
                raise ConfigError(cause, f"servers[{index}].listen_interface")

    def take(self, config: Config) -> None:
        """
        Open what is new.

        :raises ConfigError: a place cannot be had; what was opened is closed again.
        """
        self._wanted = {server.interface for server in config.servers if server.is_enabled}
        try:
            for index, server in enumerate(config.servers):
                if server.is_enabled and server.interface not in self._open:
                    with blaming(f"servers[{index}]"):
                        self._taken[server.interface] = self._take(server)
        except ConfigError:
            self.abandon()
            raise

    def _take(self, server: ServerConfig) -> Shared:
        text = server.listen_interface
        if not self._free:
            cause = f"several processes have {MOST_SERVERS} servers at most, and one change of all"
            raise ConfigError(f"{cause} of them is too much")
        try:
            listening = open_socket(text, self._reactor, self._user)
        except PlaceInUse as error:
            for place, other in self._open.items():
                if place not in self._wanted and overlap(place, server.interface):
                    # Workers have it as well, and would have to let it go before.
                    cause = f"{error.cause}: {other.name} is; let it go by a reload before"
                    raise ConfigError(cause, error.path) from None
            raise
        return Shared(text, listening, self._free.pop())

    def commit(self) -> None:
        """Have what was taken, and let go what is not wanted any more; workers do so as well."""
        for place in [place for place in self._open if place not in self._wanted]:
            left = self._open.pop(place)
            self._log.info("no longer listening on {interface}", interface=left.name)
            self._give_back(left)
        for taken in self._taken.values():
            self._log.info("listening on {interface}", interface=taken.name)
        self._open.update(self._taken)
        self._taken.clear()

    def abandon(self) -> None:
        """Let go what was taken."""
        while self._taken:
            self._give_back(self._taken.popitem()[1])

    def close(self) -> None:
        """Let go everything; workers have it until they have taken in who waits."""
        self.abandon()
        while self._open:
            self._give_back(self._open.popitem()[1])

    def _give_back(self, left: Shared) -> None:
        left.socket.remove()
        left.socket.close()
        # By the time of the next change no worker has clients of that server any more.
        self._free.append(left.server)

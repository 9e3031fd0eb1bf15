"""What can be said of a configuration before any process is started."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from twisted.logger import Logger

from guerrilla_tw.backends.gateway import Gateway
from guerrilla_tw.backends.registry import Registry
from guerrilla_tw.config import Config, ConfigError
from guerrilla_tw.processes.places import Places
from guerrilla_tw.processors import BUILTIN
from guerrilla_tw.reading import read_file
from guerrilla_tw.servers.wanted import (
    Place,
    Wanted,
    blaming,
    check_spill_dir,
    read_allowed_hosts,
    read_server,
)
from guerrilla_tw.stamps import Stamps
from guerrilla_tw.users import User


@dataclass(frozen=True)
class Known:
    """
    What was read for a configuration.

    :param servers: its enabled servers.
    :param files: what the keys and certificates held, by path.
    """

    servers: Mapping[Place, Wanted] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)


class Judge:
    """
    Reads what a configuration names, as every worker will, while this process may.

    :param reactor: to judge places with.
    :param log: of the supervisor.
    :param user: whom the process is about to become.
    """

    def __init__(self, reactor: Any, log: Logger, user: User) -> None:
        self._reactor = reactor
        self._log = log
        self._user = user
        self.known = Known()

    def check(self, config: Config) -> Sequence[str]:
        """
        Judge a configuration.

        :returns: warnings, one line each.
        :raises ConfigError: no daemon of several processes could start with it.
        """
        self.read(config)
        return self.check_backend(config)

    def check_backend(self, config: Config) -> Sequence[str]:
        """
        Judge the ``backend_config`` alone.

        :returns: see :meth:`check`.
        :raises ConfigError: no worker could use it.
        """
        gateway = Gateway(Registry(BUILTIN), self._reactor, self._log, user=self._user)
        return gateway.check(config.backend_config)

    def read(self, config: Config) -> Known:
        """
        Read keys and certificates.

        :returns: for :meth:`commit`.
        :raises ConfigError: something cannot be used.
        """
        Places.check(config)
        check_spill_dir(config.spill_dir, self._user)
        read_allowed_hosts(config)
        before, after = self.known.servers, {}
        files: dict[str, bytes] = {}
        for index, server in enumerate(config.servers):
            if server.is_enabled:
                path, place = f"servers[{index}]", server.interface
                after[place] = read_server(path, server, before.get(place), self._reactor)
                with blaming(f"{path}.tls"):
                    files.update(self._contents(after[place].files, before.get(place)))
        return Known(after, files)

    def _contents(self, wanted: Stamps, before: Wanted | None) -> Iterator[tuple[str, bytes]]:
        for path, stamp in wanted.items():
            if before is not None and before.files.get(path) == stamp:
                # Who started as root may not be able to read it any more.
                yield path, self.known.files[path]
            else:
                try:
                    yield path, read_file(path)
                except OSError as error:
                    raise ConfigError(f"{path} cannot be read: {error.strerror}") from None

    def commit(self, known: Known) -> None:
        """Remember what was read: a later reload looks only at what has changed."""
        self.known = known

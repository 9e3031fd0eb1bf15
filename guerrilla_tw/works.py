"""What a daemon consists of, as its service sees it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.logger import Logger

from guerrilla_tw.config import Config
from guerrilla_tw.events import Renewed


class Works(Protocol):
    """Logs, servers, backend and pid file, in this process or in others. See :class:`.House`."""

    log: Logger

    @property
    def addresses(self) -> list[IAddress]:
        """Where the servers listen, with real port numbers in place of 0."""

    @property
    def client_count(self) -> int:
        """How many connections are open."""

    def check(self, config: Config) -> Sequence[str]:
        """Judge a configuration without listening and without opening a store."""

    def take_places(self, config: Config) -> None:
        """Open the logs, take the ports and the pid file. Nobody is answered yet."""

    def open(self, config: Config) -> Deferred[None]:
        """Open the backend, then answer."""

    def change(self, old: Config, new: Config) -> Deferred[Renewed]:
        """Go over to another configuration, whole or not at all."""

    def cancel(self) -> None:
        """End an open or a change that is under way; what it has done is undone."""

    def reopen_logs(self) -> None:
        """Open every log file anew by its name."""

    def close(self, timeout: float) -> Deferred[None]:
        """Stop listening; let clients finish; finish the work; close the backend."""

    def kill(self) -> None:
        """End at once what would outlive this process."""

    def warn(self, warnings: Sequence[str]) -> None:
        """Log what is odd and yet no error."""

"""One server, as its sessions see it, and what all servers share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from guerrilla_tw.interfaces import IBackend
from guerrilla_tw.mail.body import BodyStorage
from guerrilla_tw.smtp.hosts import AllowedHosts
from guerrilla_tw.smtp.journal import Journal
from guerrilla_tw.smtp.settings import SessionSettings


class Client(Protocol):
    """A connection, as the server sees it."""

    def shut_down(self) -> None:
        """Say goodbye, now or when the command in hand is done."""

    def cut(self) -> None:
        """End at once."""


@dataclass
class Shared:
    """
    What all servers of a daemon share. A change holds for every session, from its next step on.

    :param backend: whom recipients and messages are given to.
    :param allowed_hosts: whom mail is taken for.
    :param storage: where messages are kept until the backend is done.
    :param clock: for timeouts.
    """

    backend: IBackend
    allowed_hosts: AllowedHosts
    storage: BodyStorage
    clock: IReactorTime


class Tally:
    """Counts the clients of a server; one of several processes has another, which counts all's."""

    def count(self, here: int) -> int:
        """
        Count.

        :param here: how many clients this process has.
        :returns: how many all processes have.
        """
        return here

    def close(self) -> None:
        """The clients that are left are nobody else's concern."""


class Server:
    """
    What the sessions of one server work with, and who is there.

    :param settings: for the sessions that begin from now on.
    :param shared: with the other servers.
    :param log: where failures go.
    :param tally: of its clients.

    .. attribute:: journal

        Where what clients do is told; to :attr:`log`, as long as no other is set.
    """

    def __init__(
        self, settings: SessionSettings, shared: Shared, log: Logger, tally: Tally | None = None
    ) -> None:
        self.settings = settings
        self.shared = shared
        self.clock = shared.clock
        self.log = log
        self.journal = Journal(log, enabled=True)
        self.tally = tally or Tally()
        self.clients: set[Client] = set()
        self.turned_away: set[Client] = set()
        self.shutting_down = False
        self._emptied: list[Deferred[None]] = []

    def has_room(self) -> bool:
        """Tell whether one more client may come (``max_clients``); then he has to be taken in."""
        here = len(self.clients)
        if self.tally.count(here + 1) <= self.settings.config.max_clients:
            return True
        self.tally.count(here)
        return False

    def client_came(self, client: Client) -> None:
        """Take a client in."""
        self.clients.add(client)
        self.tally.count(len(self.clients))

    def client_lost(self, client: Client) -> None:
        """A connection has ended."""
        self.clients.discard(client)
        self.tally.count(len(self.clients))
        if self._is_empty():
            emptied, self._emptied = self._emptied, []
            for waiting in emptied:
                waiting.callback(None)

    def _is_empty(self) -> bool:
        return not (self.clients or self.turned_away)

    def when_empty(self) -> Deferred[None]:
        """:returns: a Deferred that fires when nobody is left, of those turned away neither."""
        if self._is_empty():
            return succeed(None)
        emptied: Deferred[None] = Deferred()
        self._emptied.append(emptied)
        return emptied

    def shut_down(self, timeout: float) -> Deferred[None]:
        """
        Let every client finish the command in hand, then say 421 and close.

        :param timeout: seconds after which the connections that are left are cut.
        :returns: a Deferred that fires when nobody is left.
        """
        self.shutting_down = True
        for client in list(self.clients):
            client.shut_down()
        if self._is_empty():
            return succeed(None)
        cut = self.clock.callLater(timeout, self._cut)

        def stop_waiting(result: Any) -> Any:
            if cut.active():
                cut.cancel()
            return result

        return self.when_empty().addBoth(stop_waiting)

    def _cut(self) -> None:
        left = [*self.clients, *self.turned_away]
        self.log.warn(
            "{host_name}: cut the connections of {count} clients that did not finish in time",
            host_name=self.settings.config.host_name,
            count=len(left),
        )
        for client in left:
            client.cut()

"""A server and the place where its clients come."""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from guerrilla_tw.listening import Listener, ListeningSocket
from guerrilla_tw.servers.wanted import Wanted
from guerrilla_tw.smtp.factory import GuerrillaESMTPFactory
from guerrilla_tw.smtp.journal import Journal
from guerrilla_tw.smtp.server import Server, Shared, Tally
from guerrilla_tw.users import User


class Handed(Protocol):
    """What one of several processes has from the one that looks after them."""

    def socket_for(self, text: str) -> ListeningSocket:
        """
        :param text: a ``listen_interface``.
        :returns: the socket that is open for it; once.
        """

    def tally_for(self, text: str) -> Tally:
        """
        :param text: a ``listen_interface``.
        :returns: what counts the clients of its server in all processes.
        """


class ListeningServer:
    """
    One server, and the place where its clients come. Nobody is answered before it is told.

    :param wanted: what it is.
    :param shared: with the other servers.
    :param log: of the server.
    :param reactor: to listen with.
    :param user: whom the process is about to become.
    :param handed: what another process has opened; that one tells of it.
    :raises ConfigError: it cannot listen there.
    """

    def __init__(
        self,
        wanted: Wanted,
        shared: Shared,
        log: Logger,
        reactor: Any,
        user: User,
        handed: Handed | None,
    ) -> None:
        name = wanted.settings.config.listen_interface
        tally = handed.tally_for(name) if handed else None
        self.server = Server(wanted.settings, shared, log, tally)
        self.wanted = wanted
        self._reactor = reactor
        self._user = user
        self._handed = handed
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
        sockets = self._handed.socket_for if self._handed else None
        self._listener = Listener(name, self._factory, self._reactor, self._user, sockets)

    def update(self, wanted: Wanted, log: Logger, journal: Journal) -> None:
        """Be otherwise from now on, to clients that come from now on."""
        self.server.settings = wanted.settings
        self.server.log = log
        self.server.journal = journal
        self.wanted = wanted

    def answer(self) -> None:
        """Begin with those whom the kernel kept for us."""
        log = self.server.log
        try:
            self.listener.answer()
            if self._handed is None:
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

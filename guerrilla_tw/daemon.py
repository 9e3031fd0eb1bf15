"""The composition root: what the daemon is made of, and in which order it starts and stops."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from contextlib import suppress
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, inlineCallbacks
from twisted.internet.interfaces import IAddress
from twisted.logger import ILogObserver, Logger

from guerrilla_tw.backends.gateway import Gateway
from guerrilla_tw.backends.registry import Constructor, Registry
from guerrilla_tw.config import Config, ConfigError
from guerrilla_tw.interfaces import IBackend
from guerrilla_tw.logs import make_observer
from guerrilla_tw.processors import BUILTIN
from guerrilla_tw.servers import ListeningServer, enabled_servers
from guerrilla_tw.smtp.server import Server

InlineCallbacks = Generator[Deferred[Any], Any, None]

# How long clients may take to finish the command in hand at shutdown, in seconds.
CLIENTS_TIMEOUT = 30.0


class Guerrilla(Service):
    """
    The daemon, as a Twisted service.

    :param config: by default, a server on 127.0.0.1:2525 and an embedded store.
    :param backend: in place of the Gateway that ``backend_config`` describes.
    :param reactor: by default the global one.
    :param observer: where log lines go; by default where ``log_file`` says, and for ``stderr`` and
        ``stdout`` to the log of the program that this service is part of.
    :raises ConfigError: ``log_file`` cannot be written.
    """

    def __init__(
        self,
        config: Config | None = None,
        *,
        backend: IBackend | None = None,
        reactor: Any = None,
        observer: ILogObserver | None = None,
    ) -> None:
        if reactor is None:
            from twisted.internet import reactor
        self.config = config or Config()
        self.log = Logger("guerrilla_tw", observer=observer or make_observer(self.config, False))
        self._reactor = reactor
        self._registry = Registry(BUILTIN)
        self._backend = backend or Gateway(self._registry, reactor, self.log)
        self._servers: list[ListeningServer] = []
        self._opening: Deferred[None] | None = None
        self._serving = False

    def add_processor(self, name: str, constructor: Constructor) -> None:
        """
        Make a processor known under a name (go-guerrilla: ``AddProcessor``). Before the start.

        :param name: to use in ``save_process`` or ``validate_process``, in any case.
        :param constructor: see :class:`.IBackendService`.
        """
        self._registry.add(name, constructor)

    def check(self) -> Sequence[str]:
        """
        Judge the configuration without listening and without opening a store.

        :returns: warnings, one line each.
        :raises ConfigError: the daemon could not start with it.
        """
        self._make_servers()
        return self._backend.check(self.config.backend_config)

    @property
    def addresses(self) -> list[IAddress]:
        """The addresses that it listens on, with real port numbers in place of 0."""
        return [server.address for server in self._servers]

    # IService

    def privilegedStartService(self) -> None:
        """
        Take the ports, while this process may.

        Nobody is answered before :meth:`startService` is through; the kernel keeps who comes.

        :raises ConfigError: the configuration cannot be used, or a port cannot be had.
        """
        for warning in self.check():
            # Not as "warning": Twisted takes an event that has one for a warning of Python's.
            self.log.warn("{advice}", advice=warning)
        try:
            for path, server in self._make_servers():
                try:
                    self._servers.append(ListeningServer(server, self._reactor))
                except ConfigError as error:
                    raise error.below(path) from None
        except Exception:
            _stop_listening(self._take_servers())
            raise

    def startService(self) -> Deferred[None]:
        """
        Open the backend, then serve.

        :returns: a Deferred that fires when clients are answered, and fails with the reason if
            they never will be; everything is closed again then.
        :raises ConfigError: as :meth:`privilegedStartService`, which not every program calls.
        """
        if not self._servers:
            self.privilegedStartService()
        super().startService()
        started: Deferred[None] = Deferred()
        self._opening = self._open()
        # What the caller goes on to do with his Deferred is none of our business at the end.
        self._opening.chainDeferred(started)
        return started

    @inlineCallbacks
    def stopService(self) -> InlineCallbacks:
        """Stop listening; let clients finish; finish the work; close the backend. In this order."""
        super().stopService()
        servers = self._take_servers()
        if self._opening is not None:
            self._opening.cancel()
            yield self._opening
        emptied = [server.shut_down(CLIENTS_TIMEOUT) for server in servers]
        yield _stop_listening(servers)
        yield DeferredList(emptied)
        yield self._backend.shutdown()
        if self._serving:
            self._serving = False
            self._remove_pid_file()
            self.log.info("stopped")

    def _make_servers(self) -> list[tuple[str, Server]]:
        return enabled_servers(self.config, self._backend, self._reactor, self.log)

    def _take_servers(self) -> list[ListeningServer]:
        """:returns: the servers, whose end is the caller's from now on."""
        servers, self._servers = self._servers, []
        return servers

    @inlineCallbacks
    def _open(self) -> InlineCallbacks:
        try:
            yield self._backend.initialize(self.config.backend_config)
            self._write_pid_file()
        except Exception:
            yield _stop_listening(self._take_servers())
            yield self._backend.shutdown()
            raise
        self._backend.start()
        self._serving = True
        for server in self._servers:
            server.answer()

    def _write_pid_file(self) -> None:
        if not self.config.pid_file:
            return
        try:
            with open(self.config.pid_file, "w", encoding="ascii") as file:
                file.write(f"{os.getpid()}\n")
        except OSError as error:
            raise ConfigError(f"cannot be written: {error.strerror}", "pid_file") from None

    def _remove_pid_file(self) -> None:
        if self.config.pid_file:
            with suppress(OSError):
                os.unlink(self.config.pid_file)


def _stop_listening(servers: list[ListeningServer]) -> Deferred[Any]:
    return DeferredList([server.stop_listening() for server in servers])

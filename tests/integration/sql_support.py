"""What the tests of SQL with real servers share."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from threading import Event, Thread
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import LogEvent, Logger, LogLevel, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.backends.service import BackendService
from guerrilla_tw.processors.sql.settings import SqlConfig
from guerrilla_tw.processors.sql.store import SqlStore
from guerrilla_tw.testing.processor import InlinePool
from tests.integration.programs import DEADLINE


class OpenStore(SqlStore):
    """
    A store of its own, opened, without the other processors.

    :param test: that closes it.
    :param settings: of the store.
    :param timeout: seconds until a Gateway would give a message up.
    """

    def __init__(
        self, test: SynchronousTestCase, settings: Mapping[str, object], timeout: float = 30.0
    ) -> None:
        self.events: list[LogEvent] = []
        observer: Any = self.events.append
        log = Logger("test", observer=observer)
        svc = BackendService("Sql", settings, timeout, InlinePool(), log, Clock(), {"header"})
        super().__init__(svc.extract_config(settings, SqlConfig), svc)
        test.successResultOf(self.initialize(settings))
        test.addCleanup(self.shutdown)

    def lines(self) -> list[str]:
        """:returns: the warnings and errors that were logged."""
        grave = (LogLevel.warn, LogLevel.error, LogLevel.critical)
        return [formatEvent(event) for event in self.events if event["log_level"] in grave]


class CuttingProxy:
    """
    Stands between a client and a server, and cuts their connection when it is told to.

    :param port: of the server.
    """

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        # Set when the connection was cut.
        self.cut = Event()
        # What was cut off goes on to the server when this is set.
        self.release = Event()
        self.release.set()
        self._armed = b""
        self._sockets: list[socket.socket] = [self._listener]
        Thread(target=self._accept, daemon=True).start()

    def arm(self, words: bytes, *, hold: bool = False) -> None:
        """
        Cut the connection once, when the client has sent some words, before it has the answer.

        :param hold: the server does not get these words before :attr:`release` is set.
        """
        self._armed = words
        if hold:
            self.release.clear()

    def close(self) -> None:
        """End all connections."""
        self.release.set()
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server_port))
                self._sockets += [client, server]
                self._start(self._forward, client, server)
                self._start(self._back, server, client)

    def _start(self, function: Callable[..., None], *sockets: socket.socket) -> None:
        Thread(target=function, args=sockets, daemon=True).start()

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                if self._armed and self._armed in data.upper():
                    self._armed = b""
                    # First of all, or the answer may get through.
                    client.shutdown(socket.SHUT_RDWR)
                    self.cut.set()
                    self.release.wait(DEADLINE)
                    server.sendall(data)
                    # Its end of the connection stays open, as when a network fails.
                    return
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)

    def _back(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                client.sendall(data)
            client.shutdown(socket.SHUT_WR)

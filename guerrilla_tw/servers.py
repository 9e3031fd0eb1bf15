"""The servers of a configuration: where they listen, and whom for."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress
from twisted.internet.tcp import Port
from twisted.logger import Logger

from guerrilla_tw.config import Config, ConfigError, ServerConfig
from guerrilla_tw.interfaces import IBackend
from guerrilla_tw.mail.body import BodyStorage
from guerrilla_tw.smtp.factory import GuerrillaESMTPFactory
from guerrilla_tw.smtp.hosts import AllowedHosts
from guerrilla_tw.smtp.server import Server, Shared
from guerrilla_tw.smtp.settings import SessionSettings, TLSStarter

# Connections that the kernel may keep for us; it has a limit of its own (net.core.somaxconn).
_BACKLOG = 1024


class ListeningServer:
    """
    One server, from its port on. It takes the port at once, and answers nobody before it is told.

    :param server: whose clients come there.
    :param reactor: to listen with.
    :raises ConfigError: it cannot listen there.
    """

    def __init__(self, server: Server, reactor: Any) -> None:
        self._server = server
        self._name = server.settings.config.listen_interface
        interface = server.settings.config.interface
        factory = GuerrillaESMTPFactory(server)
        try:
            if interface.path:
                _remove_left_behind(interface.path)
                port = reactor.listenUNIX(interface.path, factory, _BACKLOG)
            else:
                port = reactor.listenTCP(interface.port, factory, _BACKLOG, interface.host)
        except CannotListenError as error:
            cause = f"cannot listen on {self._name}: {error.socketError}"
            raise ConfigError(cause, "listen_interface") from None
        self._port: Port = port
        port.stopReading()

    @property
    def address(self) -> IAddress:
        """Where it listens, with the real port number in place of 0."""
        address: IAddress = self._port.getHost()
        return address

    def answer(self) -> None:
        """Begin with those whom the kernel kept for us."""
        self._port.startReading()
        address = self._port.getHost()
        log = self._server.log
        if isinstance(address, UNIXAddress):
            log.info("listening on {interface}", interface=self._name)
        else:
            log.info("listening on {host}:{port}", host=address.host, port=address.port)

    def shut_down(self, timeout: float) -> Deferred[None]:
        """
        Let every client finish the command in hand. Whom the kernel keeps for us is told, too.

        :param timeout: seconds after which the connections that are left are cut.
        :returns: a Deferred that fires when no client is left.
        """
        emptied = self._server.shut_down(timeout)
        self._port.numberAccepts = _BACKLOG
        self._port.doRead()
        return emptied

    def stop_listening(self) -> Deferred[Any]:
        """Let the port go."""
        return maybeDeferred(self._port.stopListening)


def enabled_servers(
    config: Config, backend: IBackend, reactor: Any, log: Logger
) -> list[tuple[str, Server]]:
    """
    Make what a configuration asks for. Nothing listens yet; keys and certificates are read.

    :returns: the path of each enabled server in the configuration, and the server.
    :raises ConfigError: the configuration cannot be used.
    """
    with _blaming("allowed_hosts"):
        allowed_hosts = AllowedHosts(config.allowed_hosts)
    _check_spill_dir(config.spill_dir)
    storage = BodyStorage(config.spill_size, config.spill_dir, config.max_inflight_bytes)
    shared = Shared(backend, allowed_hosts, storage, reactor)
    servers = []
    for index, server in enumerate(config.servers):
        if server.is_enabled:
            path = f"servers[{index}]"
            with _blaming(path):
                tls = _make_tls(server)
                made = Server(SessionSettings(server, tls), shared, log)
            servers.append((path, made))
    return servers


def _remove_left_behind(path: str) -> None:
    """
    Remove the socket of a daemon that was killed: nobody listens there.

    Twisted's wantPID is not enough: it takes a daemon for alive whose process id another process
    has by now, and removes sockets that other programs listen on.
    """
    with suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
        # Whoever listens may not answer.
        probe.setblocking(False)
        if probe.connect_ex(path) == errno.ECONNREFUSED:
            os.unlink(path)


def _check_spill_dir(path: str) -> None:
    """:raises ConfigError: no file could be made there, so large messages would be refused."""
    if path and not (os.path.isdir(path) and os.access(path, os.W_OK | os.X_OK)):
        raise ConfigError("is not a directory that can be written to", "spill_dir")


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

"""Sockets that listen: UNIX ones, those that systemd has opened for us, and those to share."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from glob import iglob
from typing import Any, Final, cast

from twisted.internet import unix
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, execute
from twisted.internet.endpoints import AdoptedStreamServerEndpoint, serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    IProtocolFactory,
    IStreamServerEndpoint,
)
from twisted.internet.tcp import Port, _reservedFD
from twisted.python.failure import Failure
from zope.interface import implementer

from guerrilla_tw.listening.shared_ports import InTurns, Rota, SharedTCPPort
from guerrilla_tw.users import User

# Connections that the kernel may keep for us; it has a limit of its own (net.core.somaxconn).
BACKLOG: Final = 1024


@implementer(IStreamServerEndpoint)
class UNIXSocket:
    """
    A UNIX socket of ours. One that a killed daemon left behind is replaced.

    :param reactor: to listen with.
    :param path: of its file.
    :param mode: of its file.
    :param backlog: clients whom the kernel may keep.
    :param user: whose it will be, and with whose rights it is made.
    """

    def __init__(self, reactor: Any, path: str, mode: int, backlog: int, user: User) -> None:
        self._reactor = reactor
        self._path = path
        self._mode = mode
        self._backlog = backlog
        self._user = user

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """:returns: a Deferred of the port, or of an OSError, that has fired."""
        return execute(self._listen, protocolFactory)

    def _listen(self, factory: IProtocolFactory) -> IListeningPort:
        opened = open_unix_socket(self._path, self._mode, self._backlog, self._user)
        return _start(opened.socket, factory, self._reactor, opened.remove)


@implementer(IStreamServerEndpoint)
class SystemdSocket:
    """
    A socket that systemd has opened, and keeps (sd_listen_fds(3)).

    Its descriptor stays open when we let it go, so that a later reload can have it again.

    :param reactor: to listen with.
    :param text: ``systemd:domain=INET:name=smtp`` or ``systemd:domain=INET:index=0``.
    """

    def __init__(self, reactor: Any, text: str) -> None:
        self._reactor = reactor
        self._text = text

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """:returns: a Deferred of the port, or of an OSError or ValueError, that has fired."""
        return execute(self._adopt, protocolFactory)

    def _adopt(self, factory: IProtocolFactory) -> IListeningPort:
        return take_up(adopt_systemd_socket(self._text, self._reactor), factory, self._reactor)


@dataclass(frozen=True)
class ListeningSocket:
    """
    A socket that listens.

    :param socket: it.
    :param remove: removes its file, if it has one that is ours still.
    :param rota: says when to accept, where other processes do so as well.
    """

    socket: socket.socket
    remove: Callable[[], None] = lambda: None
    rota: Rota | None = None

    @property
    def address(self) -> IAddress:
        """Where it listens, with the real port number in place of 0."""
        name = self.socket.getsockname()
        if self.socket.family == socket.AF_UNIX:
            return UNIXAddress(name)
        kind = IPv6Address if self.socket.family == socket.AF_INET6 else IPv4Address
        address: IAddress = kind("TCP", *name[:2])
        return address

    def close(self) -> None:
        """Let it go; others may have it still."""
        self.socket.close()


def open_tcp_socket(host: str, port: int, backlog: int) -> ListeningSocket:
    """
    Open a TCP socket.

    :param host: an address, a name, or empty for all of IPv4.
    :param port: 0 for any.
    :param backlog: clients whom the kernel may keep.
    :raises CannotListenError: it cannot be.
    """
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(backlog)
    except OSError as error:
        listening.close()
        raise CannotListenError(host, port, error) from None
    return ListeningSocket(listening)


def open_unix_socket(path: str, mode: int, backlog: int, user: User) -> ListeningSocket:
    """
    Open a UNIX socket. One that a killed daemon left behind is replaced.

    :param path: see :class:`UNIXSocket`, as of the others.
    :raises OSError: it cannot be.
    """
    listening = socket.socket(socket.AF_UNIX)
    try:
        with user.rights():
            _remove_left_behind(path)
            listening.bind(path)
            remove = _remover(path)
            # Nobody can connect before it listens.
            _set_mode(path, mode)
        listening.listen(backlog)
    except OSError:
        listening.close()
        raise
    return ListeningSocket(listening, remove)


def adopt_systemd_socket(text: str, reactor: Any) -> ListeningSocket:
    """
    Take up a socket of systemd's; its own descriptor stays open.

    :param text: see :class:`SystemdSocket`.
    :param reactor: to find it with.
    :raises ValueError: it is not there, or is another's.
    """
    try:
        passed = serverFromString(reactor, text)
    except LookupError:
        cause = "systemd has passed no such socket to this process; is its .socket unit started"
        raise ValueError(f"{cause}?") from None
    # Twisted would close the descriptor, whose number could be another file's the next time;
    # and would set the rights of a UNIX socket's file, which are systemd's to set.
    assert isinstance(passed, AdoptedStreamServerEndpoint)
    _check_free(passed.fileno)
    if not stat.S_ISSOCK(os.fstat(passed.fileno).st_mode):
        raise ValueError("what systemd has passed is no socket")
    adopted = socket.socket(fileno=os.dup(passed.fileno))
    try:
        _check_kind(adopted, passed.addressFamily)
    except ValueError:
        adopted.close()
        raise
    return ListeningSocket(adopted)


def take_up(listening: ListeningSocket, factory: IProtocolFactory, reactor: Any) -> IListeningPort:
    """
    Make a port of a socket.

    :param listening: is the port's from then on.
    :param factory: of the clients' sessions.
    :param reactor: to listen with.
    """
    adopted = listening.socket
    adopted.setblocking(False)
    if adopted.family == socket.AF_UNIX:
        return _start(adopted, factory, reactor, listening.remove, listening.rota)
    with adopted:
        if listening.rota is None:
            port: Any = reactor.adoptStreamPort(adopted.fileno(), adopted.family, factory)
        else:
            # As the reactor does it, which knows only its own class.
            port = SharedTCPPort._fromListeningDescriptor(
                reactor, adopted.fileno(), adopted.family, factory
            )
            port.rota = listening.rota
            port.startListening()
    return cast(IListeningPort, port)


def _check_free(descriptor: int) -> None:
    """:raises ValueError: another server of this process listens there."""
    passed = os.fstat(descriptor)
    # Who listens has a descriptor of his own.
    for path in iglob("/proc/self/fd/*"):
        other = int(os.path.basename(path))
        with suppress(OSError):
            if other != descriptor and os.path.samestat(os.fstat(other), passed):
                raise ValueError("another server has this socket of systemd's")


def _check_kind(passed: socket.socket, family: int) -> None:
    """:raises ValueError: it is not what the settings say."""
    is_listening = passed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if not is_listening or passed.type != socket.SOCK_STREAM:
        raise ValueError("systemd's socket is none with ListenStream= and Accept=no")
    if passed.family != family:
        domain = socket.AddressFamily(passed.family).name.removeprefix("AF_")
        raise ValueError(f"systemd's socket is of domain={domain}")


class _UNIXPort(unix.Port):
    """
    Listens on a UNIX socket that is there.

    Twisted's own makes it everybody's, whosesoever it is, and removes what is in its place at the
    end, be it systemd's or by now another program's.

    :param listening: the socket.
    :param factory: of the clients' sessions.
    :param reactor: to listen with.
    :param remove: removes what is to be removed of it at the end.
    """

    def __init__(
        self,
        listening: socket.socket,
        factory: IProtocolFactory,
        reactor: Any,
        remove: Callable[[], None],
    ) -> None:
        super().__init__(listening.getsockname(), factory, BACKLOG, reactor=reactor)
        self._listening = listening
        self._remove = remove
        # It would be shut down for systemd, too.
        self._shouldShutdown = False

    def startListening(self) -> None:
        """Be ready for clients."""
        # So that clients can be refused when there are no more descriptors.
        _reservedFD.reserve()
        self._listening.setblocking(False)
        assert self.factory is not None
        self.factory.doStart()
        self.socket = self._listening
        self.fileno = self.socket.fileno  # type: ignore[method-assign]
        self.connected = True
        self.numberAccepts = 100
        self.startReading()

    def connectionLost(self, reason: Failure) -> None:
        """The end."""
        self._remove()
        Port.connectionLost(self, reason)


class _SharedUNIXPort(InTurns, _UNIXPort):
    """One of several on the same socket."""


def _start(
    listening: socket.socket,
    factory: IProtocolFactory,
    reactor: Any,
    remove: Callable[[], None] = lambda: None,
    rota: Rota | None = None,
) -> IListeningPort:
    if rota is None:
        port: Any = _UNIXPort(listening, factory, reactor, remove)
    else:
        port = _SharedUNIXPort(listening, factory, reactor, remove)
        port.rota = rota
    port.startListening()
    return cast(IListeningPort, port)


def _set_mode(path: str, mode: int) -> None:
    """
    Set the mode of a socket, and not of what its directory's owner has put in its place.

    :raises OSError: that was done.
    """
    if not hasattr(os, "O_PATH"):
        # Systems without it can leave links alone, which Linux cannot.
        os.chmod(path, mode, follow_symlinks=False)
        return
    found = os.open(path, os.O_PATH | os.O_NOFOLLOW)
    try:
        status = os.fstat(found)
        if not stat.S_ISSOCK(status.st_mode) or status.st_nlink > 1:
            raise OSError(errno.EEXIST, "somebody has put something else in its place")
        os.chmod(f"/proc/self/fd/{found}", mode)
    finally:
        os.close(found)


def _remover(path: str) -> Callable[[], None]:
    """:returns: what removes the file that is there now, and no other."""
    path = os.path.abspath(path)
    made = os.lstat(path)

    def remove() -> None:
        # It may be gone, or the right to remove it may be.
        with suppress(OSError):
            if os.path.samestat(os.lstat(path), made):
                os.unlink(path)

    return remove


def _remove_left_behind(path: str) -> None:
    """
    Remove the socket of a daemon that was killed: nobody listens there.

    Twisted's wantPID is not enough: it takes a daemon for alive whose process id another process
    has by now, and removes sockets that other programs listen on.
    """
    with suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return
        # Whoever listens may not answer.
        probe.setblocking(False)
        if probe.connect_ex(path) == errno.ECONNREFUSED:
            os.unlink(path)

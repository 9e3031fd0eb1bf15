"""Places where clients come: taken at once, answered when it is time, let go without a reset."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    ILoggingContext,
    IProtocol,
    IProtocolFactory,
)
from twisted.internet.protocol import Protocol
from twisted.internet.tcp import Port
from twisted.python.failure import Failure
from zope.interface import implementer

from guerrilla_tw.config import ConfigError
from guerrilla_tw.listening.connections import CONNECTIONS
from guerrilla_tw.listening.endpoints import (
    PlaceInUse,
    can_be_shared,
    cannot_listen,
    check_interface,
    make_endpoint,
    open_socket,
)
from guerrilla_tw.listening.poller import IS_SUPPORTED as POLLER_IS_SUPPORTED
from guerrilla_tw.listening.poller import Poller
from guerrilla_tw.listening.shared_ports import InTurns
from guerrilla_tw.listening.sockets import ListeningSocket, take_up
from guerrilla_tw.users import SAME_USER, User

__all__ = [
    "Listener",
    "ListeningSocket",
    "PlaceInUse",
    "Sockets",
    "can_be_shared",
    "check_interface",
    "name_of",
    "open_socket",
]

Sockets = Callable[[str], ListeningSocket]

# More than a kernel keeps: Linux at most 4096, unless it is told to keep more.
_EVERYBODY: Final = 8192


class Listener:
    """
    One place where clients come. It is taken at once, and nobody is answered before it is told.

    Meanwhile the kernel keeps who comes. Only where a plugin's endpoint cannot be told to wait,
    they are let go.

    :param text: the ``listen_interface`` of a :class:`.ServerConfig`.
    :param factory: makes their sessions.
    :param reactor: to listen with.
    :param user: whom the process is about to become.
    :param sockets: gives the socket, by its text, where another process has opened it.
    :raises ConfigError: the place cannot be had.
    """

    def __init__(
        self,
        text: str,
        factory: IProtocolFactory,
        reactor: Any,
        user: User = SAME_USER,
        sockets: Sockets | None = None,
    ) -> None:
        self._text = text
        self._user = user
        self._gate = _Gate(factory)
        self._port: IListeningPort | None = None
        self._poller: Poller | None = None
        self._closed = False
        self._error: ConfigError | None = None
        self._ready: Deferred[None] = Deferred()
        taken: Deferred[Any] = maybeDeferred(
            lambda: (
                take_up(sockets(text), self._gate, reactor)
                if sockets
                else make_endpoint(text, reactor, user).listen(self._gate)
            )
        )
        taken.addCallbacks(self._hold, self._refuse)
        # Who waits gets another Deferred: if he cancels this one, a port that comes is nobody's.
        taken.chainDeferred(self._ready)
        if self._error is not None:
            self._ready.addErrback(lambda _: None)
            raise self._error

    def ready(self) -> Deferred[None]:
        """
        Wait for an endpoint that takes a while; the others are ready at once. To be asked once.

        :returns: a Deferred that fails with the ConfigError if the place cannot be had after all.
        """
        return self._ready

    @property
    def is_ready(self) -> bool:
        """Whether the place is taken."""
        return self._port is not None

    @property
    def address(self) -> IAddress:
        """Where it listens, with the real port number in place of 0. Once it is ready."""
        assert self._port is not None
        return self._port.getHost()

    @property
    def name(self) -> str:
        """The address in one word, as ``listen_interface`` has it. Once it is ready."""
        return name_of(self.address) or self._text.partition(":")[0]

    def answer(self) -> None:
        """Begin with those whom the kernel kept. Once it is ready."""
        self._gate.is_open = True
        if isinstance(self._port, Port):
            self._port.startReading()

    def accept_waiting(self) -> None:
        """Take in all whom the kernel keeps for us; it resets them when the place is let go."""
        self._gate.is_open = True
        if isinstance(self._port, InTurns):
            self._port.accept(_EVERYBODY)
        elif isinstance(self._port, Port):
            self._port.numberAccepts = _EVERYBODY
            self._port.doRead()

    def close(self) -> Deferred[Any]:
        """
        Let the place go, once. The file of a UNIX socket is removed if it is still ours.

        :returns: a Deferred that fires when it is free; at once if it is not ready: an endpoint
            that becomes so later is closed then.
        """
        self._closed = True
        if self._port is None:
            return succeed(None)
        stopping = maybeDeferred(self._port.stopListening)
        if self._poller is not None:
            self._poller.end()
        return stopping

    def _hold(self, port: IListeningPort) -> Deferred[Any] | None:
        if self._closed:
            return maybeDeferred(port.stopListening)
        self._port = port
        if isinstance(port, Port):
            port.stopReading()
            # A plugin's port may have connections of its own.
            if port.transport in CONNECTIONS:
                port.transport = CONNECTIONS[port.transport]
                if POLLER_IS_SUPPORTED:
                    port.reactor = self._poller = Poller(port.reactor)
        return None

    def _refuse(self, failure: Failure) -> None:
        if not self._closed:
            self._error = cannot_listen(self._text, failure.value, self._user)
            raise self._error


def name_of(address: IAddress) -> str:
    """:returns: an address in one word, as ``listen_interface`` has it; empty for an odd one."""
    if isinstance(address, IPv4Address):
        return f"{address.host}:{address.port}"
    if isinstance(address, IPv6Address):
        return f"[{address.host}]:{address.port}"
    if isinstance(address, UNIXAddress):
        return f"unix:{os.fsdecode(address.name or b'')}".replace("\0", "@")
    return ""


@implementer(IProtocolFactory, ILoggingContext)
class _Gate:
    """
    Lets nobody in before it is open.

    :param factory: makes the sessions of those whom it lets in.
    """

    def __init__(self, factory: IProtocolFactory) -> None:
        self._factory = factory
        self.is_open = False

    def buildProtocol(self, addr: IAddress) -> IProtocol | None:
        """:returns: a session, or what ends the connection."""
        # Not None, which not every factory that a plugin puts around this one understands.
        return self._factory.buildProtocol(addr) if self.is_open else _TooEarly()

    def doStart(self) -> None:
        """Once for each port."""
        self._factory.doStart()

    def doStop(self) -> None:
        """Once for each port."""
        self._factory.doStop()

    def logPrefix(self) -> str:
        """:returns: what the port calls itself in Twisted's lines."""
        return type(self._factory).__name__


class _TooEarly(Protocol):
    """Ends a connection at its beginning."""

    def connectionMade(self) -> None:
        """The client comes again later, as when the daemon is not there."""
        assert self.transport is not None
        self.transport.loseConnection()

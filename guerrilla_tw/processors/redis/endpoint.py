"""Where Redis is, by TCP, TLS or a UNIX socket, or as Sentinels say."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.endpoints import (
    HostnameEndpoint,
    UNIXClientEndpoint,
    wrapClientTLS,
)
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.ssl import optionsForClientTLS
from twisted.python.failure import Failure
from txredisapi import RedisProtocol  # type: ignore[import-untyped]
from zope.interface import implementer

from guerrilla_tw.backends.connecting import connect_quietly
from guerrilla_tw.config.listen import Interface
from guerrilla_tw.processors.redis.pool import RedisPool, cause_of
from guerrilla_tw.processors.redis.settings import RedisTarget, RedisUnavailable, written


@implementer(IStreamClientEndpoint)
class RedisEndpoint:
    """
    What the connections of a pool are made by.

    Sentinels are asked anew for each connection. Not by txredisapi's class for that: while a
    Sentinel is away, it remembers every question to it.

    :param target: what to connect to.
    :param pool: gives the pace, and is told why a connection was not made.
    """

    def __init__(self, target: RedisTarget, pool: RedisPool) -> None:
        self._target = target
        self._pool = pool

    def __repr__(self) -> str:
        # Twisted's log has it, for each try.
        return str(self._target)

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """See :meth:`.IStreamClientEndpoint.connect`."""
        turn: Deferred[None] = self._pool.take_turn()
        return turn.addCallback(lambda _: self._connect(protocolFactory).addErrback(self._failed))

    def _failed(self, failure: Failure) -> Failure:
        self._pool.end_turn(failed=True)
        self._pool.note(cause_of(failure.value))
        return failure

    @inlineCallbacks
    def _connect(self, factory: IProtocolFactory) -> Generator[Deferred[Any], Any, IProtocol]:
        interface = self._target.interface or (yield self._find_master())
        endpoint = self._endpoint(interface)
        if self._target.tls:
            endpoint = wrapClientTLS(optionsForClientTLS(interface.host), endpoint)
        protocol: IProtocol = yield endpoint.connect(factory)
        return protocol

    def _endpoint(self, interface: Interface) -> Any:
        reactor, timeout = self._pool.reactor, self._pool.timeout
        if interface.path:
            return UNIXClientEndpoint(reactor, interface.path, timeout)
        return HostnameEndpoint(reactor, interface.host, interface.port, timeout)

    @inlineCallbacks
    def _find_master(self) -> Generator[Deferred[Any], Any, Interface]:
        """Ask one Sentinel after the other until one knows, as Redis wants its clients to."""
        trouble = ""
        for sentinel in self._target.sentinels:
            answer = self._ask(sentinel).addTimeout(self._pool.timeout, self._pool.reactor)
            try:
                master: Interface = yield answer
            except Exception as error:
                # A connection that is given up tells so in more ways than one.
                if self._pool.disconnectCalled:
                    raise
                trouble = f"Sentinel at {written(sentinel)}: {cause_of(error)}"
            else:
                return master
        raise RedisUnavailable(trouble)

    @inlineCallbacks
    def _ask(self, sentinel: Interface) -> Generator[Deferred[Any], Any, Interface]:
        protocol = yield connect_quietly(self._endpoint(sentinel), RedisProtocol())
        try:
            found = yield protocol.sentinel_get_master_addr_by_name(self._target.master)
        finally:
            protocol.transport.abortConnection()
        if not found:
            raise RedisUnavailable("does not know the master")
        host, port = found
        return Interface(str(host), int(port))

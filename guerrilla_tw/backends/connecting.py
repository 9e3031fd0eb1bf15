"""Connections that processors make."""

from __future__ import annotations

from typing import TypeVar, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol

P = TypeVar("P", bound=Protocol)


def connect_quietly(endpoint: IStreamClientEndpoint, protocol: P) -> Deferred[P]:
    """
    Connect a protocol, as Twisted's ``connectProtocol`` does, without its two log lines for each.

    :param endpoint: where to connect to.
    :param protocol: for this one connection.
    """
    return cast("Deferred[P]", endpoint.connect(_OneProtocol(protocol)))


class _OneProtocol(Factory):
    noisy = False

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        return self._protocol

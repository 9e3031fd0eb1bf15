"""What the reactor and the kernel cost for a client that has something for us."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from twisted.internet import tcp
from twisted.internet.protocol import Protocol

from bench.costs.timing import Effort, Row, smallest, stages

_REPLY = b"250 2.1.0 OK\r\n"
# Clients that come together.
_CLIENTS = 20
_REPLIES = "A reply sent by TCP"


def measure_replies(reactor: Any, effort: Effort) -> Iterator[Row]:
    """Measure replies that are written to TCP connections, by Twisted's and by ours."""
    yield Row(_REPLIES, "Twisted's own", _reply(reactor, tcp.Server, effort))
    from guerrilla_tw.listening.connections import TCPConnection

    yield Row(_REPLIES, "ours", _reply(reactor, TCPConnection, effort))


def _reply(reactor: Any, kind: type[tcp.Server], effort: Effort) -> float:
    """:returns: what a reply costs, with its share of a turn of the reactor."""
    with ExitStack() as stack:
        pairs = [_pair(stack) for _ in range(_CLIENTS)]
        peer: Any = ("127.0.0.1", 1)
        nobody: Any = None
        connections = [kind(end, Protocol(), peer, nobody, 0, reactor) for end, _ in pairs]

        def turn(_: object) -> None:
            for connection in connections:
                connection.write(_REPLY)
            reactor.iterate(0)

        def take() -> None:
            for _, theirs in pairs:
                theirs.recv(2**16)

        turn(None)
        once = effort._replace(crowd=1)
        cost = stages(take, {"": turn}, once)[""] / _CLIENTS
        for connection in connections:
            connection.stopReading()
    return cost


def _pair(stack: ExitStack) -> tuple[socket.socket, socket.socket]:
    """:returns: both ends of a connection on loopback, without waiting."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        theirs = stack.enter_context(socket.create_connection(server.getsockname()))
        ours = stack.enter_context(server.accept()[0])
    for end in (ours, theirs):
        end.setblocking(False)
    ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return ours, theirs


class _Reader:
    """Somebody who has something for us, for ever."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def fileno(self) -> int:
        """:returns: the number of the descriptor."""
        return self._end.fileno()

    def logPrefix(self) -> str:
        """:returns: what stands in lines of Twisted's."""
        return "-"

    def doRead(self) -> None:
        """Leave it there."""

    def connectionLost(self, reason: object) -> None:
        """It cannot be."""


def measure_events(reactor: Any, effort: Effort) -> Iterator[Row]:
    """Measure what it takes until a connection is asked to read, by the reactor itself."""
    yield from _events(reactor, reactor, "the reactor's", effort)


def measure_polled(reactor: Any, effort: Effort) -> Iterator[Row]:
    """Measure the same with an epoll for all clients of a place."""
    from guerrilla_tw.listening.poller import Poller

    poller = Poller(reactor)
    yield from _events(reactor, poller, "the Poller's", effort)
    poller.end()


def _events(reactor: Any, watching: Any, whose: str, effort: Effort) -> Iterator[Row]:
    for clients in (1, _CLIENTS):
        with ExitStack() as stack:
            readers = []
            for _ in range(clients):
                ours, theirs = map(stack.enter_context, socket.socketpair())
                theirs.send(b"x")
                readers.append(_Reader(ours))
                watching.addReader(readers[-1])
            cost = smallest(lambda: reactor.iterate(0), effort) / clients
            ready = "one client" if clients == 1 else f"{clients} clients, each"
            yield Row("An event of a client's", f"{whose}, {ready}", cost)
            for reader in readers:
                watching.removeReader(reader)

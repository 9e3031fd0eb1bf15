"""The client's side of FastCGI on a connection: one request, one answer."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IPullProducer, IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from guerrilla_tw.backends.connecting import connect_quietly
from guerrilla_tw.config.listen import Interface
from guerrilla_tw.processors.fastcgi.records import (
    END_OF_STDIN,
    Beginning,
    FastCGIError,
    Kind,
    Record,
    RecordReader,
    check_end,
)

# Octets that a server may send at all, padding and what is dropped included.
_LONGEST_ANSWER = 2**20
# Octets that are kept of each stream; a header of CGI with cookies fits.
_KEPT = 4096


class Output:
    """
    What a script wrote.

    .. attribute:: stdout

        The beginning of its answer.

    .. attribute:: stderr

        The beginning of what it had to complain of.
    """

    def __init__(self) -> None:
        self.stdout = Beginning(_KEPT)
        self.stderr = Beginning(_KEPT)


@implementer(IPullProducer)
class Exchange(Protocol):
    """
    Sends a request at the server's pace, and takes in the answer.

    :param request: what :func:`.encode_request` gives. Only the piece that is being sent is in
        memory.
    :param output: where what the script writes goes.

    .. attribute:: ended

        A Deferred that fires when the script has read everything and ended well, and fails with
        :class:`.FastCGIError` or, if the request cannot be read from the disk, OSError.
        Cancelling it aborts the connection.
    """

    transport: Any

    def __init__(self, request: Iterator[bytes], output: Output) -> None:
        self.ended: Deferred[None] = Deferred(lambda _: self._stop())
        self._request = request
        self._output = output
        self._reader = RecordReader()
        self._room = _LONGEST_ANSWER
        self._sent = False
        self._over = False

    def connectionMade(self) -> None:
        """Begin to send."""
        # It is asked for more when the kernel has taken what it gave.
        self.transport.registerProducer(self, False)

    def resumeProducing(self) -> None:
        """Send the next piece."""
        try:
            piece = next(self._request, None)
        except OSError as error:
            self._fail(error)
            return
        if piece is not None:
            self.transport.write(piece)
            return
        # The server has what comes before, or will have it from the kernel.
        self._sent = True
        self.transport.write(END_OF_STDIN)
        self.transport.unregisterProducer()

    def stopProducing(self) -> None:
        """The connection is lost; :meth:`connectionLost` says so."""

    def dataReceived(self, data: bytes) -> None:
        """Take in some of the answer."""
        if self._over:
            return
        self._room -= len(data)
        try:
            for record in self._reader.feed(data):
                if self._take(record):
                    return
            if self._room < 0:
                raise FastCGIError(f"the answer is longer than {_LONGEST_ANSWER} octets")
        except FastCGIError as error:
            self._fail(error)

    def _take(self, record: Record) -> bool:
        """:returns: whether this was the end."""
        if record.kind is Kind.STDOUT:
            self._output.stdout.write(record.content)
        elif record.kind is Kind.STDERR:
            self._output.stderr.write(record.content)
        else:
            self._end(record.content)
            return True
        return False

    def _end(self, content: bytes) -> None:
        check_end(content)
        if not self._sent:
            # Whatever it says, it cannot have kept what it has not read.
            raise FastCGIError("the script ended before it had the whole request")
        self._over = True
        self.transport.loseConnection()
        self.ended.callback(None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Without an end there is no answer."""
        if not self._over:
            self._over = True
            self.ended.errback(FastCGIError("the connection was closed before the answer ended"))

    def _fail(self, error: Exception) -> None:
        self._stop()
        self.ended.errback(error)

    def _stop(self) -> None:
        self._over = True
        self.transport.abortConnection()


class Server:
    """
    A FastCGI server, as somewhere to connect to.

    :param reactor: makes the connections.
    :param address: where it is.
    :param name: of the address, for errors.
    """

    def __init__(self, reactor: Any, address: Interface, name: str) -> None:
        self._name = name
        self._endpoint: IStreamClientEndpoint = (
            UNIXClientEndpoint(reactor, address.path)
            if address.path
            # As in Go, no host is this one.
            else HostnameEndpoint(reactor, address.host or "localhost", address.port)
        )

    async def connect(self, protocol: Protocol) -> None:
        """
        Connect to it.

        :param protocol: for the connection.
        :raises FastCGIError: nobody is there.
        """
        try:
            await connect_quietly(self._endpoint, protocol)
        except (ConnectError, DNSLookupError) as error:
            raise FastCGIError(f"{self._name}: {_cause(error)}") from error

    async def probe(self) -> None:
        """
        Connect, and say nothing.

        :raises FastCGIError: nobody is there.
        """
        protocol = Protocol()
        await self.connect(protocol)
        assert protocol.transport is not None
        protocol.transport.loseConnection()


def _cause(error: ConnectError | DNSLookupError) -> str:
    if isinstance(error, DNSLookupError):
        return "no such host"
    # Twisted has no number where the kernel's queue is full, and a text of several lines.
    number = error.osError
    return os.strerror(number).lower() if number else "takes no connection now"

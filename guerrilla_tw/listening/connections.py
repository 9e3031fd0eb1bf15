"""
Connections of clients.

Twisted's own send in the next turn of the reactor, after it has asked the kernel whether there is
room and before it has told the kernel that nobody asks any more: three system calls for a reply.
Nearly always there is room. And they close in the next turn, although all is sent.
"""

from __future__ import annotations

from typing import Any, Final

from twisted.internet import tcp, unix
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.python.failure import Failure

# Twisted has hardly any types for what the class below is mixed into.
_Connection: Any = object


class _SendsAtOnce(_Connection):  # type: ignore[misc]
    """A connection that sends at once, and closes at once where that is safe."""

    disconnecting: bool
    # Whether something waits for room in the kernel, or for the reactor.
    _is_waiting = False
    # Whether the protocol is looking at what came.
    _is_reading = False
    # Whether to close when it has.
    _is_leaving = False

    def startWriting(self) -> None:
        """As the parent."""
        self._is_waiting = True
        super().startWriting()

    def stopWriting(self) -> None:
        """As the parent."""
        if self._is_waiting:
            self._is_waiting = False
            super().stopWriting()

    def write(self, data: bytes) -> None:
        """As the parent; what the kernel has no room for is sent later."""
        if not self._is_waiting and self.connected and not self.disconnecting:
            try:
                sent = self.socket.send(data)
            except OSError:
                # The reactor finds out what it is, while nobody is in the middle of a call.
                sent = 0
            if sent == len(data):
                return
            data = data[sent:]
        super().write(data)

    def loseConnection(self) -> None:
        """As the parent; at the end of the turn, if nothing is left to be sent."""
        if self._is_reading and self.connected and not (self._is_waiting or self.disconnecting):
            self.disconnecting = True
            self._is_leaving = True
        else:
            super().loseConnection()

    def doRead(self) -> Any:
        """:returns: why the connection is no more; None if it is, or if that has been told."""
        try:
            data = self.socket.recv(self.bufferSize)
        except BlockingIOError:
            return None
        except OSError:
            return CONNECTION_LOST
        if not data:
            return CONNECTION_DONE
        self._is_reading = True
        self.protocol.dataReceived(data)
        self._is_reading = False
        if self._is_leaving and self.connected and not self._is_waiting:
            self.connectionLost(Failure(CONNECTION_DONE))
        return None


class TCPConnection(_SendsAtOnce, tcp.Server):  # type: ignore[misc]
    """A client's connection by TCP."""


class UNIXConnection(_SendsAtOnce, unix.Server):  # type: ignore[misc]
    """A client's connection by a UNIX socket."""


#: Connections of Twisted's, and ours in their place.
CONNECTIONS: Final = {tcp.Server: TCPConnection, unix.Server: UNIXConnection}

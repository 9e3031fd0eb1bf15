"""TLS between a connection and the session on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from OpenSSL import SSL
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress, IProducer
from twisted.internet.main import CONNECTION_LOST
from twisted.python.failure import Failure

from guerrilla_tw.smtp.openssl import TLSState

if TYPE_CHECKING:
    from guerrilla_tw.smtp.flow import ITransport


# Octets that a client may say when nobody listens any more, before it is cut.
_MOST_UNHEARD = 2**20


class TLSSession(Protocol):
    """What speaks within TLS: a protocol of Twisted's, and an IHandshakeListener."""

    def handshakeCompleted(self) -> None: ...

    def dataReceived(self, data: bytes) -> None: ...

    def connectionLost(self, reason: Failure) -> None: ...


class TLSLayer:
    """
    The protocol on a connection, and the transport of a session.

    What came together is told together, and what the session says meanwhile goes out together. It
    says nothing before it is told that the handshake is complete.

    :param state: a fresh one.
    :param transport: the connection.
    :param session: is told at last why the connection was lost; by :exc:`SSL.Error` where what
        came was no good TLS.
    :ivar disconnecting: whether the session can neither say nor hear anything more.
    """

    __slots__ = (
        "_has_producer",
        "_is_open",
        "_is_telling",
        "_session",
        "_state",
        "_unheard",
        "disconnecting",
        "transport",
    )

    def __init__(self, state: TLSState, transport: ITransport, session: TLSSession) -> None:
        self._state = state
        self.transport = transport
        self._session = session
        self.disconnecting = False
        # Whether the handshake is complete.
        self._is_open = False
        self._is_telling = False
        self._has_producer = False
        self._unheard = 0

    # For the connection

    def dataReceived(self, data: bytes) -> None:
        """Tell the session what is in it, and send what is to be said to it."""
        self._is_telling = True
        if not self._is_open:
            self._shake_hands(data)
            data = b""
        if self._is_open:
            self._hear(self._state.read(data))
        self._is_telling = False
        if self._state.end is None:
            self._flush()
        else:
            self._close()

    def connectionLost(self, reason: Failure) -> None:
        """Tell the session."""
        end = self._state.end
        if end is None and reason.check(ConnectionDone):
            # Somebody may have cut it (RFC 8446 section 6.1).
            reason = Failure(CONNECTION_LOST)
        elif not (end is None or isinstance(end, SSL.ZeroReturnError)):
            reason = Failure(end)
        session = self._session
        self.disconnecting = True
        # OpenSSL's state is large, and the session has us.
        del self._session, self._state
        session.connectionLost(reason)

    def _shake_hands(self, data: bytes) -> None:
        if self._state.shake_hands(data):
            self._is_open = True
            self._session.handshakeCompleted()

    def _hear(self, said: bytes) -> None:
        if not self.disconnecting:
            if said:
                self._session.dataReceived(said)
            return
        # After our goodbye, and it costs us as much as what we want to hear.
        self._unheard += len(said)
        if self._unheard > _MOST_UNHEARD:
            self.abortConnection()

    def _flush(self) -> None:
        records = self._state.take()
        if records:
            self.transport.write(records)

    def _close(self) -> None:
        """Nothing more can be heard: close when what is said has been sent."""
        self.disconnecting = True
        self._state.say_goodbye()
        self._flush()
        # A connection does not close while somebody produces.
        self.unregisterProducer()
        self.transport.loseConnection()

    # For the session

    def write(self, data: bytes) -> None:
        """Say something, unless it is too late."""
        if not self.disconnecting:
            self._state.write(data)
            if not self._is_telling:
                self._flush()

    def loseConnection(self) -> None:
        """Say goodbye, and close when the client has said it."""
        if not self._is_open:
            self.abortConnection()
        elif not self.disconnecting:
            self.disconnecting = True
            self._state.say_goodbye()
            if not self._is_telling:
                self._flush()

    def abortConnection(self) -> None:
        """Close at once, whatever is not sent."""
        self.disconnecting = True
        self.transport.abortConnection()

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Tell a producer when the connection is full, and when it is not."""
        self._has_producer = True
        self.transport.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        """Tell nobody any more."""
        if self._has_producer:
            self._has_producer = False
            self.transport.unregisterProducer()

    def pauseProducing(self) -> None:
        """Read no more."""
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Read on."""
        self.transport.resumeProducing()

    def getHandle(self) -> SSL.Connection:
        """:returns: what knows all about TLS, while the connection lasts."""
        return self._state.connection

    def getHost(self) -> IAddress:
        """:returns: the server's address."""
        return self.transport.getHost()

    def getPeer(self) -> IAddress:
        """:returns: the client's address."""
        return self.transport.getPeer()

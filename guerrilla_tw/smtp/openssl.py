"""
The state of one TLS connection: records come from the network and go to it, and what is in them.

All that is private in pyOpenSSL is here. By its public calls a small record costs three times what
OpenSSL takes for it: each call makes a buffer, and the one that finds nothing more to read raises.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from OpenSSL import SSL

_lib: Any = getattr(SSL, "_lib", None)
_ffi: Any = getattr(SSL, "_ffi", None)

# The most that a record holds (RFC 8446 section 5.1), and more than it is on the network.
_RECORD_SIZE: Final = 2**14
_BUFFER_SIZE: Final = 2**15


class TLSContext:
    """
    What the connections of a server have in common. They are all used in one thread.

    :param context: with all its settings.
    """

    def __init__(self, context: SSL.Context) -> None:
        self.context = context
        #: Holds nothing from one call to the next, so that one will do for all.
        self.buffer = _ffi.new("char[]", _BUFFER_SIZE)
        #: Nor does this, where OpenSSL puts a pointer.
        self.place = _ffi.new("char **")


class TLSState:
    """
    The server's end of one connection, without the network.

    :param context: the server's.
    :ivar connection: pyOpenSSL's, for what is asked once.
    :ivar end: why nothing more can be read; :exc:`SSL.ZeroReturnError` if the client has said
        goodbye.
    """

    __slots__ = ("_buffer", "_incoming", "_outgoing", "_place", "_ssl", "connection", "end")

    def __init__(self, context: TLSContext) -> None:
        self.connection = SSL.Connection(context.context, None)
        self.connection.set_accept_state()
        self.end: SSL.Error | None = None
        self._buffer = context.buffer
        self._place = context.place
        private: Any = self.connection
        self._ssl = private._ssl
        self._incoming = private._into_ssl
        self._outgoing = private._from_ssl

    def shake_hands(self, records: bytes) -> bool:
        """
        Go on with the handshake.

        :param records: what came from the network, whole records or not.
        :returns: whether the handshake is complete.
        """
        _lib.BIO_write(self._incoming, records, len(records))
        try:
            self.connection.do_handshake()
        except SSL.WantReadError:
            return False
        except SSL.Error as error:
            self._end(error)
            return False
        return True

    def read(self, records: bytes) -> bytes:
        """
        Listen to the client.

        :param records: what came from the network, whole records or not, or nothing.
        :returns: what the client has said, all that is known of it; less before an end.
        """
        ssl, buffer = self._ssl, self._buffer
        pieces = []
        # In steps: OpenSSL keeps as much memory for a connection as it ever needed.
        for start in range(0, len(records) or 1, _RECORD_SIZE):
            step = records[start : start + _RECORD_SIZE]
            _lib.BIO_write(self._incoming, step, len(step))
            while (size := _lib.SSL_read(ssl, buffer, _BUFFER_SIZE)) > 0:
                pieces.append(_ffi.unpack(buffer, size))
                # A record fits into the buffer, so what is left is in here. To be told by an error
                # that there is nothing takes as long as to read.
                if not _lib.BIO_get_mem_data(self._incoming, self._place):
                    break
            else:
                self._see(size)
        return b"".join(pieces)

    def write(self, octets: bytes) -> None:
        """
        Say something to the client.

        :param octets: a few records' at most.
        """
        while octets:
            size = _lib.SSL_write(self._ssl, octets, len(octets))
            if size <= 0:
                self._see(size)
                break
            octets = octets[size:]

    def say_goodbye(self) -> None:
        """Say that nothing more will be said. After an error that is not possible."""
        with suppress(SSL.Error):
            self.connection.shutdown()

    def take(self) -> bytes:
        """:returns: the records that are to go to the network, perhaps none."""
        outgoing, buffer = self._outgoing, self._buffer
        pieces = []
        while (size := _lib.BIO_read(outgoing, buffer, _BUFFER_SIZE)) > 0:
            pieces.append(_ffi.unpack(buffer, size))
            if size < _BUFFER_SIZE:
                break
        return b"".join(pieces)

    def _see(self, result: int) -> None:
        """See why OpenSSL could not do what it was asked."""
        private: Any = self.connection
        if _lib.SSL_get_error(self._ssl, result) != _lib.SSL_ERROR_WANT_READ:
            try:
                private._raise_ssl_error(self._ssl, result)
            except SSL.Error as error:
                self._end(error)

    def _end(self, error: SSL.Error) -> None:
        # Its traceback would keep us in memory until garbage is collected.
        self.end = self.end or error.with_traceback(None)


def take_any_certificate(*_: object) -> bool:
    """
    What ``set_verify`` calls for each fault of a client's certificate: there is none.

    It is still the client's: OpenSSL checks that it has the key.
    """
    # The fault stays in OpenSSL's queue for the thread, where the next call would find it, for this
    # client or for another one.
    _lib.ERR_clear_error()
    return True


def set_groups(context: SSL.Context, groups: Sequence[str]) -> None:
    """
    Choose how keys may be agreed on.

    :param groups: by OpenSSL's names.
    :raises SSL.Error: it does not know one of them.
    :raises AttributeError: this version of pyOpenSSL cannot.
    """
    private: Any = SSL
    handle: Any = context
    done = _lib.SSL_CTX_set1_curves_list(handle._context, ":".join(groups).encode())
    # Takes the error from OpenSSL's queue, where it would hit others.
    private._openssl_assert(done == 1)


def is_supported() -> bool:
    """:returns: whether this version of pyOpenSSL has what every connection uses."""
    try:
        state = TLSState(TLSContext(SSL.Context(SSL.TLS_SERVER_METHOD)))
        state.write(b"too early")
        state.read(b"no TLS")
        state.take()
        take_any_certificate()
    except AttributeError:
        return False
    # Which is asked only where something was read.
    return hasattr(_lib, "BIO_get_mem_data")

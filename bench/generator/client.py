"""A client of the generator: a socket that has a conversation."""

from __future__ import annotations

import errno
import select
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from bench.generator.conversation import Step

_READ, _WRITE = select.EPOLLIN, select.EPOLLOUT
_WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
# Octets that are sent at once. OpenSSL wants the same again after it had to wait.
_PIECE = 262_144


class Unexpected(Exception):
    """The server did something else than take mail. The text says what."""


class Client:
    """
    One connection.

    :param epoll: that tells when :meth:`on_event` is to be called.
    :param address: of the server.
    :param context: for TLS.
    :param on_end: called with the client when all that it was told to say is said and answered.
    :param on_message: called with the client when the server has taken a message.
    """

    def __init__(
        self,
        epoll: select.epoll,
        address: tuple[str, int],
        context: ssl.SSLContext,
        on_end: Callable[[Client], None],
        on_message: Callable[[Client], None],
    ) -> None:
        #: When its message began.
        self.began = 0.0
        self._epoll = epoll
        self._context = context
        self._on_end = on_end
        self._on_message = on_message
        self._steps: Iterator[Step] = iter(())
        self._step = Step(b"", ())
        self._answered = 0
        self._received = b""
        self._unsent = memoryview(b"")
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if (error := self._socket.connect_ex(address)) not in (0, errno.EINPROGRESS):
            raise Unexpected(f"it cannot be reached: {errno.errorcode[error]}")
        self.on_event: Callable[[], None] = self._read

    def fileno(self) -> int:
        """:returns: the descriptor of the connection."""
        return self._socket.fileno()

    def say(self, steps: Sequence[Step]) -> None:
        """Say something, each step when the one before is answered."""
        self._steps = iter(steps)
        self._next()

    def open(self, steps: Sequence[Step], *, implicit: bool) -> None:
        """
        Say something as soon as the connection is there.

        :param implicit: have TLS before.
        """
        self._steps = iter(steps)
        self._step = Step(b"", (), starts_tls=True) if implicit else next(self._steps)
        self.on_event = self._connected
        self._epoll.register(self.fileno(), _WRITE)

    def close(self) -> None:
        """Let go of the server."""
        self._epoll.unregister(self.fileno())
        self._socket.close()

    def _connected(self) -> None:
        if error := self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise Unexpected(f"it cannot be reached: {errno.errorcode[error]}")
        self._await(self._read, _READ)
        if self._step.starts_tls:
            self._start_tls()

    def _await(self, on_event: Callable[[], None], events: int) -> None:
        self.on_event = on_event
        self._epoll.modify(self.fileno(), events)

    def _start_tls(self) -> None:
        # It keeps the descriptor, and so its place in epoll.
        self._socket = self._context.wrap_socket(self._socket, do_handshake_on_connect=False)
        self._shake_hands()

    def _shake_hands(self) -> None:
        assert isinstance(self._socket, ssl.SSLSocket)
        try:
            self._socket.do_handshake()
        except ssl.SSLWantReadError:
            self._await(self._shake_hands, _READ)
        except ssl.SSLWantWriteError:
            self._await(self._shake_hands, _WRITE)
        else:
            self._await(self._read, _READ)
            self._next()

    def _next(self) -> None:
        step = next(self._steps, None)
        if step is None:
            self._on_end(self)
            return
        self._step = step
        self._answered = 0
        self._unsent = memoryview(step.octets)
        if step.octets:
            self._send()

    def _send(self) -> None:
        try:
            while self._unsent:
                self._unsent = self._unsent[self._socket.send(self._unsent[:_PIECE]) :]
        except _WOULD_BLOCK:
            if self.on_event != self._send_more:
                self._await(self._send_more, _WRITE | _READ)

    def _send_more(self) -> None:
        self._send()
        if not self._unsent:
            self._await(self._read, _READ)
        else:
            # Whoever speaks now refuses the message.
            self._read()

    def _read(self) -> None:
        with suppress(*_WOULD_BLOCK):
            octets = self._socket.recv(65536)
            if not octets:
                raise Unexpected(f"it closed, and had to answer {self._step.octets[:60]!r}")
            self._take(octets)

    def _take(self, octets: bytes) -> None:
        step = self._step
        *lines, self._received = (self._received + octets).split(b"\r\n")
        for line in lines:
            if line[3:4] == b"-":
                continue
            if self._answered == len(step.codes) or line[:3] != step.codes[self._answered]:
                raise Unexpected(f"it said {line!r} to {step.octets[:60]!r}")
            self._answered += 1
        if self._answered < len(step.codes):
            return
        if step.is_message:
            self._on_message(self)
        if step.starts_tls:
            self._start_tls()
        else:
            self._next()

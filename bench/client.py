"""A plain client, which waits for each reply."""

from __future__ import annotations

import socket

# Seconds without a word from the server, after which something is wrong with it.
_PATIENCE = 120


class Client:
    """
    A client that has been greeted and has said EHLO.

    :param port: on 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), _PATIENCE)
        self._received = b""
        self.expect(b"220")
        self.say(b"EHLO client.example.com\r\n", b"250")

    def say(self, octets: bytes, *codes: bytes) -> None:
        """Send something, and wait for the replies to it."""
        self.socket.sendall(octets)
        for code in codes:
            self.expect(code)

    def expect(self, code: bytes) -> None:
        """
        Wait for a reply.

        :raises SystemExit: it is another one.
        """
        line = b"   -"
        while line[3:4] == b"-":
            line = self._line()
        if not line.startswith(code):
            raise SystemExit(f"the server said {line!r}, and {code!r} was expected")

    def _line(self) -> bytes:
        while b"\n" not in self._received:
            more = self.socket.recv(65536)
            if not more:
                raise SystemExit(f"the server closed after {self._received!r}")
            self._received += more
        line, _, self._received = self._received.partition(b"\n")
        return line

    def begin_message(self, *parameters: bytes) -> None:
        """Say from whom to whom."""
        sender = b" ".join([b"MAIL FROM:<a@example.com>", *parameters])
        self.say(sender + b"\r\nRCPT TO:<b@example.com>\r\n", b"250", b"250")

    def has_ended(self) -> bool:
        """:returns: whether the server has closed, and said nothing more."""
        return not (self._received or self.socket.recv(1))

"""A client on a raw socket: what a test gives it is what goes over the wire."""

from __future__ import annotations

import re
import socket
from contextlib import suppress

from tests.integration.programs import DEADLINE

MESSAGE = b"Subject: test\r\n\r\nHello.\r\n"


class Client:
    """
    A connection to a daemon on 127.0.0.1.

    :param port: of the daemon.
    """

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE)
        self._replies = self._socket.makefile("rb")
        #: Its own.
        self.port: int = self._socket.getsockname()[1]

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._replies.close()
        self._socket.close()

    def reply(self) -> str:
        """:returns: the next reply without its last line end; empty if the server has closed."""
        lines = []
        with suppress(ConnectionResetError):
            while line := self._replies.readline():
                lines.append(line)
                if line[3:4] != b"-":
                    break
        return b"".join(lines).decode("ascii").removesuffix("\r\n")

    def write(self, data: bytes) -> None:
        """Send bytes; a server that has closed may still have said why, so that is no error."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self._socket.sendall(data)

    def write_all(self, data: bytes) -> str:
        """Send bytes and close that half of the connection. :returns: all that is said then."""
        self.write(data)
        self._socket.shutdown(socket.SHUT_WR)
        return self._replies.read().decode("ascii")

    def command(self, line: str) -> str:
        """Send a command line. :returns: the reply."""
        self.write(line.encode("ascii") + b"\r\n")
        return self.reply()

    def hello(self) -> str:
        """Read the greeting and say EHLO. :returns: the reply, or the greeting if it is a no."""
        greeting = self.reply()
        return self.command("EHLO client.example.com") if greeting[:3] == "220" else greeting

    def deliver(self, message: bytes) -> str:
        """
        Send a message.

        :param message: lines with CR LF, without the dots that the protocol stuffs in.
        :returns: the reply to it, or the first that was not a yes.
        """
        for line in ("MAIL FROM:<a@example.com>", "RCPT TO:<b@example.com>", "DATA"):
            reply = self.command(line)
            if reply[:3] not in ("250", "354"):
                return reply
        self.write(re.sub(rb"(?m)^\.", b"..", message) + b".\r\n")
        return self.reply()


def queue_id(reply: str) -> str:
    """
    :param reply: to a message.
    :returns: the id that the message was queued under.
    :raises AssertionError: the reply is not the one that promises that the message is stored.
    """
    match = re.fullmatch(r"250 2\.0\.0 OK: queued as ([0-9a-f]{32})", reply)
    assert match is not None, f"not accepted: {reply!r}"
    return match[1]

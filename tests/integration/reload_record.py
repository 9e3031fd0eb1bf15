"""One connection of a client, and a record of what all of them have seen."""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Iterator
from threading import Condition
from typing import NamedTuple

from tests.integration.messages import message
from tests.integration.programs import DEADLINE

Address = tuple[str, int] | str
# Of a message that is sent slowly.
_PIECES = 4


class Trouble(Exception):
    """A reply that was not expected, or a connection that ended. It is recorded already."""


class Outcome(NamedTuple):
    """
    What came of a message.

    :ivar token: of the message.
    :ivar reply: to it; empty if there was none.
    """

    token: str
    reply: str


class Record:
    """
    What all clients have seen. Every thread may use it.

    :ivar outcomes: of the messages whose octets were all sent.
    :ivar odd: replies that were not expected.
    :ivar lost: connections that ended before their time, or could not be made.
    :ivar commands: seconds between a command and its reply, or between connecting and the greeting,
        by the sort of client.
    :ivar messages: seconds between a message and its reply, for which the store is asked, by the
        sort of client.
    """

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.odd: list[str] = []
        self.lost: list[str] = []
        self.commands: dict[str, list[float]] = {}
        self.messages: dict[str, list[float]] = {}
        self.reloads = 0
        self.stopping = False
        self._changed = Condition()

    def answered(self, outcome: Outcome) -> None:
        """A message was answered, or never will be."""
        with self._changed:
            self.outcomes.append(outcome)
            self._changed.notify_all()

    def reloaded(self) -> None:
        """The daemon has done as it was told, or has refused."""
        with self._changed:
            self.reloads += 1
            self._changed.notify_all()

    def stop(self) -> None:
        """Let every client finish what it does."""
        with self._changed:
            self.stopping = True
            self._changed.notify_all()

    def wait_for_messages(self, count: int) -> None:
        """
        Wait until so many more have been answered.

        :raises AssertionError: they have not before the deadline.
        """
        with self._changed:
            enough = len(self.outcomes) + count
            came = self._changed.wait_for(lambda: len(self.outcomes) >= enough, DEADLINE)
        assert came, f"no answers any more: {self.lost[-3:]} {self.odd[-3:]}"

    def wait_for_reload(self, number: int) -> None:
        """Wait until there were so many, or all is to stop."""
        with self._changed:
            self._changed.wait_for(lambda: self.stopping or self.reloads >= number, DEADLINE)


class Talk:
    """
    One connection.

    :param record: of what happens on it.
    :param sort: of the client, for the record.
    :param address: a host and a port, or the path of a UNIX socket.
    :param tls: of an implicit handshake.
    :raises Trouble: nobody is there.
    """

    def __init__(
        self, record: Record, sort: str, address: Address, tls: ssl.SSLContext | None = None
    ) -> None:
        self._record = record
        self._sort = sort
        self._socket = socket.socket(
            socket.AF_UNIX if isinstance(address, str) else socket.AF_INET, socket.SOCK_STREAM
        )
        self._socket.settimeout(DEADLINE)
        began = time.monotonic()
        try:
            self._socket.connect(address)
            if tls is not None:
                self._socket = tls.wrap_socket(self._socket)
        except OSError as error:
            raise self._lost(f"cannot connect: {error}") from None
        self._replies = self._socket.makefile("rb")
        self._expect("220", began)

    def close(self) -> None:
        """Go away."""
        self._replies.close()
        self._socket.close()

    def command(self, line: str, code: str = "250") -> str:
        """
        Send a command line.

        :param code: of the reply.
        :raises Trouble: it has another one, or none.
        """
        began = time.monotonic()
        self.write(f"{line}\r\n".encode("ascii"))
        return self._expect(code, began)

    def start_tls(self, tls: ssl.SSLContext) -> None:
        """Go on in TLS."""
        self.command("STARTTLS", "220")
        self._replies.close()
        try:
            self._socket = tls.wrap_socket(self._socket)
        except OSError as error:
            raise self._lost(f"STARTTLS: {error}") from None
        self._replies = self._socket.makefile("rb")
        self.command("EHLO client.example.com")

    def write(self, data: bytes) -> None:
        """
        Send octets.

        :raises Trouble: the connection has ended.
        """
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise self._lost(f"while it sent: {error}") from None

    def deliver(self, token: str, pieces: Iterator[None] | None = None) -> None:
        """
        Send a message by DATA.

        :param pieces: is gone on with after each piece of the message.
        """
        self.command("MAIL FROM:<a@example.com>")
        self.command("RCPT TO:<b@example.com>")
        self.command("DATA", "354")
        data = re.sub(rb"(?m)^\.", b"..", message(token)) + b".\r\n"
        size = -(-len(data) // _PIECES) if pieces else len(data)
        for start in range(0, len(data), size):
            if start and pieces:
                next(pieces)
            # Else it takes the time of our own pauses for the daemon's.
            began = time.monotonic()
            self.write(data[start : start + size])
        self.finish(token, began)

    def deliver_at_once(self, tokens: list[str]) -> None:
        """Send messages by BDAT, without waiting for a reply in between."""
        began = time.monotonic()
        waits = self._record.messages
        for token in tokens:
            data = message(token)
            self.write(
                b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\n"
                b"BDAT %d LAST\r\n%b" % (len(data), data)
            )
        for token in tokens:
            # The first waits for the store, too: it has the message before.
            self._expect("250", began, waits)
            self._expect("250", began, waits)
            self.finish(token, began)

    def finish(self, token: str, began: float) -> None:
        """
        Read the reply to a message.

        :raises Trouble: it is not the one that promises that the message is stored.
        """
        reply = ""
        try:
            reply = self._expect("250 2.0.0 OK: queued as", began, self._record.messages)
        except Trouble as trouble:
            reply = str(trouble)
            raise
        finally:
            self._record.answered(Outcome(token, reply))

    def check_silence(self) -> None:
        """:raises Trouble: the daemon has said something of itself, or has closed."""
        self._socket.setblocking(False)
        try:
            said = self._socket.recv(1000)
        except BlockingIOError:
            return
        except OSError as error:
            raise self._lost(str(error)) from None
        finally:
            self._socket.settimeout(DEADLINE)
        if not said:
            raise self._lost("it was closed")
        raise self._odd(f"said of itself {said!r}")

    def _expect(
        self, beginning: str, began: float, waits: dict[str, list[float]] | None = None
    ) -> str:
        lines = []
        try:
            while line := self._replies.readline().decode("ascii"):
                lines.append(line)
                if line[3:4] != "-":
                    break
        except OSError as error:
            raise self._lost(f"{beginning} was expected: {error}") from None
        reply = "".join(lines).rstrip()
        if not reply:
            raise self._lost(f"{beginning} was expected: it was closed")
        waits = self._record.commands if waits is None else waits
        waits.setdefault(self._sort, []).append(time.monotonic() - began)
        if not reply.startswith(beginning):
            raise self._odd(reply)
        return reply

    def _lost(self, what: str) -> Trouble:
        self._record.lost.append(f"{self._sort}: {what}")
        return Trouble()

    def _odd(self, reply: str) -> Trouble:
        self._record.odd.append(f"{self._sort}: {reply}")
        return Trouble(reply)

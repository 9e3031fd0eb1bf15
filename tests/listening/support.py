"""Clients and sessions of listeners under test."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase

from guerrilla_tw.config import ConfigError
from guerrilla_tw.listening import Listener

ROOT = Path(__file__).resolve().parent.parent.parent
GREETING = b"220 hello\r\n"

# Becomes a program with sockets that are passed as systemd does. The arguments are name=descriptor
# for each socket, "--", and the program.
_ACTIVATE = """\
import os, sys
end = sys.argv.index("--")
names, descriptors = zip(*(item.split("=") for item in sys.argv[1:end]))
# Out of the way first: one may lie where another is to go.
for i, descriptor in enumerate(map(int, descriptors)):
    os.dup2(descriptor, 100 + i)
    os.close(descriptor)
for i in range(len(names)):
    os.dup2(100 + i, 3 + i)
    os.close(100 + i)
os.environ["LISTEN_PID"] = str(os.getpid())
os.environ["LISTEN_FDS"] = str(len(names))
os.environ["LISTEN_FDNAMES"] = ":".join(names)
os.execv(sys.argv[end + 1], sys.argv[end + 1:])
"""


def activated(passed: dict[str, int], program: list[str]) -> list[str]:
    """
    Make a command that has sockets as from systemd.

    :param passed: names and descriptors, which the process must be let inherit.
    :param program: its path and arguments.
    """
    names = [f"{name}={descriptor}" for name, descriptor in passed.items()]
    return [sys.executable, "-c", _ACTIVATE, *names, "--", *program]


class Session(Protocol):
    """Greets, and ends with its client."""

    def connectionMade(self) -> None:
        """The factory counts it."""
        assert self.transport is not None
        assert isinstance(self.factory, Sessions)
        self.transport.write(GREETING)
        self.factory.session_begins()

    def connectionLost(self, reason: object = None) -> None:
        """The test ends after it."""
        assert isinstance(self.factory, Sessions)
        self.factory.session_ends()


class Sessions(Factory):
    """
    Makes sessions, and counts them.

    :ivar begun: how many there were.
    :ivar open: how many there are.
    """

    noisy = False
    protocol = Session

    def __init__(self) -> None:
        self.begun = 0
        self.open = 0
        self._awaited: list[tuple[Callable[[], bool], Deferred[None]]] = []

    def session_begins(self) -> None:
        """One more."""
        self.begun += 1
        self.open += 1
        self._tell()

    def session_ends(self) -> None:
        """One less."""
        self.open -= 1
        self._tell()

    def until(self, condition: Callable[[], bool]) -> Deferred[None]:
        """Wait for a number of sessions."""
        waiting: Deferred[None] = Deferred()
        self._awaited.append((condition, waiting))
        self._tell()
        return waiting

    def _tell(self) -> None:
        for each in list(self._awaited):
            condition, waiting = each
            if condition():
                self._awaited.remove(each)
                waiting.callback(None)


class ListenerTestCase(TestCase):
    """A test of listeners, which are closed at its end, and their sessions after them."""

    def setUp(self) -> None:
        self.sessions = Sessions()
        self.clients: list[socket.socket] = []

    def listen(self, text: str, **changes: Any) -> Listener:
        """Take a place until the end of the test."""
        listener = self.take(text, **changes)
        self.addCleanup(listener.close)
        return listener

    def take(self, text: str, **changes: Any) -> Listener:
        """Take a place that the test gives up by itself."""
        listener = Listener(text, self.sessions, **{"reactor": reactor, **changes})
        self.addCleanup(self._leave)
        return listener

    def _leave(self) -> Deferred[None]:
        for client in self.clients:
            client.close()
        return self.sessions.until(lambda: self.sessions.open == 0)

    def assert_refused(self, text: str, cause: str, **changes: Any) -> None:
        """The place cannot be had, and one line says why."""
        error = self.assertRaises(ConfigError, self.take, text, **changes)
        self.assertEqual((error.path, error.cause), ("listen_interface", cause))

    def connect(self, address: IAddress | str) -> socket.socket:
        """Become a client, whom the kernel keeps for the time being."""
        if isinstance(address, str):
            client = socket.socket(socket.AF_UNIX)
            client.connect(address)
        else:
            assert isinstance(address, (IPv4Address, IPv6Address))
            client = socket.create_connection((address.host, address.port), 10)
        client.settimeout(10)
        self.clients.append(client)
        return client

"""The network that fails when it is told to."""

from __future__ import annotations

import contextlib
import socket
from contextlib import closing
from threading import Thread

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.daemon_process import wait_until
from tests.integration.network import Network
from tests.integration.programs import DEADLINE


class Echo:
    """Says whatever it hears, and remembers it."""

    def __init__(self) -> None:
        self.heard = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.close = self._listener.close
        Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(65536):
                self.heard += data
                connection.sendall(data)


class NetworkTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.echo = Echo()
        self.addCleanup(self.echo.close)
        self.network = Network(self.echo.port)
        self.addCleanup(self.network.close)

    def connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.network.port), DEADLINE)
        self.addCleanup(connection.close)
        return connection

    def say(self, connection: socket.socket, octets: bytes) -> bytes:
        """:returns: what comes back, as much or up to the end."""
        said = b""
        connection.sendall(octets)
        while len(said) < len(octets) and (data := connection.recv(65536)):
            said += data
        return said

    def is_over(self, connection: socket.socket) -> bool:
        try:
            return not connection.recv(1)
        except ConnectionResetError:
            return True

    def test_works(self) -> None:
        octets = bytes(range(256)) * 1000
        self.assertEqual(self.say(self.connect(), octets), octets)

    def test_the_end_gets_through(self) -> None:
        with closing(self.connect()) as connection:
            connection.sendall(b"x")
            connection.shutdown(socket.SHUT_WR)
            self.assertEqual(connection.recv(2), b"x")
            self.assertEqual(connection.recv(2), b"")

    def test_is_cut_and_mended(self) -> None:
        connection = self.connect()
        self.say(connection, b"x")
        self.network.begin("is cut", 1)
        self.assertTrue(self.is_over(connection))
        self.assertTrue(self.is_over(self.connect()))
        self.network.end()
        self.assertEqual(self.say(self.connect(), b"y"), b"y")

    def test_delays(self) -> None:
        self.network.begin("delays", 1)
        self.assertEqual(self.say(self.connect(), b"late"), b"late")

    def test_drops(self) -> None:
        """A connection that has lost something brings nothing more, and is over in the end."""
        self.network.begin("drops", 1)
        connections = [self.connect() for _ in range(20)]
        for connection in connections:
            connection.sendall(b"x")
        wait_until(lambda: self.echo.heard)
        self.network.end()
        self.assertTrue(any(map(self.is_over, connections)))

    def test_halves(self) -> None:
        self.network.begin("halves", 1)
        cut = 0
        for _ in range(100):
            try:
                said = self.say(self.connect(), b"halves")
            except ConnectionResetError:
                said = b""
            self.assertTrue(b"halves".startswith(said))
            cut += said != b"halves"
        self.assertGreater(cut, 0)
        self.assertLess(cut, 100)

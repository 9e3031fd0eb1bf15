"""A place's life: taken, held back, answered, let go."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

from twisted.internet import reactor
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import CannotListenError
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from guerrilla_tw.listening.sockets import BACKLOG
from guerrilla_tw.users import SAME_USER, User
from tests.listening.support import GREETING, ListenerTestCase

ANY_PORT = "127.0.0.1:0"
HINT = (
    ": no right to ports below 1024; use twistd's --uid, CAP_NET_BIND_SERVICE or a systemd socket"
)
HINT_AFTER_ROOT = (
    ": no right any more to ports below 1024; "
    "restart, or use CAP_NET_BIND_SERVICE or a systemd socket"
)


class LifeTests(ListenerTestCase):
    async def test_nobody_is_answered_before_it_is_told(self) -> None:
        listener = self.listen(ANY_PORT)
        self.successResultOf(listener.ready())
        client = self.connect(listener.address)
        for _ in range(3):
            await deferLater(reactor, 0)
        self.assertEqual(self.sessions.begun, 0)
        listener.answer()
        self.assertEqual(await deferToThread(client.recv, 100), GREETING)

    async def test_later_clients(self) -> None:
        listener = self.listen(ANY_PORT)
        listener.answer()
        for _ in range(2):
            client = self.connect(listener.address)
            self.assertEqual(await deferToThread(client.recv, 100), GREETING)

    async def test_those_who_wait_are_taken_in_before_the_end(self) -> None:
        """More than Twisted takes at once."""
        listener = self.take(ANY_PORT)
        clients = [self.connect(listener.address) for _ in range(150)]
        listener.accept_waiting()
        await listener.close()
        self.assertEqual(self.sessions.begun, 150)
        greetings = await deferToThread(lambda: [client.recv(100) for client in clients])
        self.assertEqual(greetings, [GREETING] * 150)

    async def test_free_again(self) -> None:
        listener = self.take(ANY_PORT)
        listener.answer()
        name = listener.name
        await listener.close()
        again = self.listen(name)
        self.assertEqual(again.name, name)

    async def test_its_factory_is_told(self) -> None:
        listener = self.take(ANY_PORT)
        self.assertEqual(self.sessions.numPorts, 1)
        await listener.close()
        self.assertEqual(self.sessions.numPorts, 0)


class AddressTests(ListenerTestCase):
    async def test_port_0(self) -> None:
        for text, begin in [
            (ANY_PORT, "127.0.0.1:"),
            ("localhost:0", "127.0.0.1:"),
            ("tcp:0:interface=127.0.0.1", "127.0.0.1:"),
            (":0", "0.0.0.0:"),
        ]:
            listener = self.listen(text)
            address = listener.address
            assert isinstance(address, IPv4Address)
            self.assertGreater(address.port, 0)
            self.assertEqual(listener.name, f"{begin}{address.port}")

    def test_clients_that_the_kernel_keeps(self) -> None:
        kept = []

        class Recording(FailingReactor):
            def listenTCP(self, port: int, factory: object, backlog: int, interface: str) -> None:
                kept.append(backlog)
                super().listenTCP(port, factory, backlog, interface)

        for text in ("tcp:25:backlog=5", "tcp:25"):
            reactor = Recording(errno.EADDRINUSE)
            self.assertRaises(ValueError, self.take, text, reactor=reactor)
        self.assertEqual(kept, [5, BACKLOG])

    async def test_ipv6(self) -> None:
        for text in ("[::1]:0", r"tcp6:0:interface=\:\:1"):
            listener = self.listen(text)
            address = listener.address
            assert isinstance(address, IPv6Address)
            self.assertEqual(listener.name, f"[::1]:{address.port}")
            listener.answer()
            client = self.connect(address)
            self.assertEqual(await deferToThread(client.recv, 100), GREETING)


class FailingReactor:
    """
    Cannot listen.

    :param code: the errno.
    """

    def __init__(self, code: int) -> None:
        self._error = OSError(code, os.strerror(code))

    def listenTCP(self, port: int, factory: Any, backlog: int, interface: str) -> None:
        """:raises CannotListenError: always."""
        raise CannotListenError(interface, port, self._error)


class RefusalTests(ListenerTestCase):
    def test_in_use(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            for text in (
                f"127.0.0.1:{taken.getsockname()[1]}",
                f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1",
            ):
                self.assert_refused(text, f"cannot listen on {text}: Address already in use")

    def test_name_that_is_none(self) -> None:
        """It has an empty label: that is no host's, whatever a resolver says."""
        error = self.assertRaises(ValueError, self.take, "a..b:25")
        self.assertRegex(str(error), r"^listen_interface: cannot listen on a\.\.b:25: .")

    def test_no_right_to_a_low_port(self) -> None:
        self.patch(os, "geteuid", lambda: 1000)
        for code in (errno.EACCES, errno.EPERM):
            cause = f"cannot listen on 127.0.0.1:25: {os.strerror(code)}{HINT}"
            self.assert_refused("127.0.0.1:25", cause, reactor=FailingReactor(code))
            cause = cause.replace(HINT, HINT_AFTER_ROOT)
            user = User(1000, 1000)
            self.assert_refused("127.0.0.1:25", cause, reactor=FailingReactor(code), user=user)
        for port, code, root in [
            (1024, errno.EACCES, 1000),
            (25, errno.EACCES, 0),
            (25, errno.EADDRINUSE, 1000),
        ]:
            self.patch(os, "geteuid", lambda root=root: root)
            cause = f"cannot listen on 127.0.0.1:{port}: {os.strerror(code)}"
            self.assert_refused(f"127.0.0.1:{port}", cause, reactor=FailingReactor(code))

    def test_hint_is_not_cut_off(self) -> None:
        """A message of the configuration has a greatest length."""
        self.patch(os, "geteuid", lambda: 1000)
        text = "[2001:db8:1111:2222:3333:4444:5555:6666]:1023"
        for user, hint in ((SAME_USER, HINT), (User(1000, 1000), HINT_AFTER_ROOT)):
            failing = FailingReactor(errno.EACCES)
            error = self.assertRaises(ValueError, self.take, text, reactor=failing, user=user)
            self.assertTrue(str(error).endswith(hint), error)

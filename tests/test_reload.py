"""A reload in one process, with real connections: what it does, and what it leaves alone."""

from __future__ import annotations

import errno
import gc
import json
import os
import resource
import socket
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from guerrilla_tw import ConfigError, Guerrilla, IBackendService, initialize_with, process_with
from guerrilla_tw.backends.gateway import InitializationError
from guerrilla_tw.backends.registry import Decorator
from guerrilla_tw.listening import Listener, PlaceInUse
from guerrilla_tw.logs import Logs
from guerrilla_tw.process import check_file_limit
from guerrilla_tw.servers import listening_server as servers_module
from tests.integration.daemon_process import free_port
from tests.reload_support import ANY_PORT, MixedClock, ReloadTestCase, config, new_interface, server
from tests.smtp.certificates import issue
from tests.smtp.session import FakeBackend


def taken_port() -> tuple[socket.socket, str]:
    """:returns: a socket that listens, and where."""
    other = socket.create_server(("127.0.0.1", 0))
    return other, f"127.0.0.1:{other.getsockname()[1]}"


class ServerTests(ReloadTestCase):
    """Servers come and go; their clients stay."""

    async def test_add_and_remove(self) -> None:
        first, second = new_interface(), new_interface()
        await self.start(server(first))
        client = await self.greeted()
        await self.reload(server(first), server(second))
        self.assertIn(f"listening on {second}", self.lines())
        added = await self.greeted(self.port(1))
        self.assertEqual((await added.deliver("added"))[:3], "250")
        await self.reload(server(second))
        self.assertIn(
            f"no longer listening on {first}; 1 clients are served to their end", self.lines()
        )
        with self.assertRaises(ConnectionRefusedError):
            await self.connect(int(first.rpartition(":")[2]))
        self.assertEqual((await client.deliver("left"))[:3], "250")
        self.assertEqual((await added.deliver("stays"))[:3], "250")
        self.assertEqual(self.store.subjects, ["added", "left", "stays"])

    async def test_port_that_stays_is_not_closed(self) -> None:
        """Who has connected, and was not greeted yet, keeps his place."""
        await self.start(server())
        before = self.daemon.addresses
        with socket.create_connection(("127.0.0.1", self.port())) as waiting:
            await self.reload(server(max_size=1000), server(new_interface()))
            waiting.settimeout(0)
            self.assertEqual(self.daemon.addresses[:1], before)
            client = await self.greeted()
            self.assertEqual(waiting.recv(4), b"220 ")
        self.assertIn("SIZE 1000", await client.command("EHLO again"))

    async def test_disable_and_enable(self) -> None:
        interface = new_interface()
        port = int(interface.rpartition(":")[2])
        await self.start(server(), server(interface))
        client = await self.greeted(port)
        await self.reload(server(), server(interface, is_enabled=False))
        with self.assertRaises(ConnectionRefusedError):
            await self.connect(port)
        self.assertEqual((await client.command("NOOP"))[:3], "250")
        await self.reload(server(), server(interface))
        self.assertEqual((await self.send("again", port))[:3], "250")
        self.assertEqual(self.changes(), [f"server {interface} (is_enabled)"] * 2)

    async def test_move_to_a_place_that_overlaps(self) -> None:
        """Both at once cannot be: the kernel has one port number for them."""
        port = free_port()
        await self.start(server(f"127.0.0.1:{port}"))
        client = await self.greeted()
        for interface in (f"0.0.0.0:{port}", f"127.0.0.1:{port}"):
            await self.reload(server(interface))
            self.assertEqual((await self.send("moved", port))[:3], "250")
        self.assertEqual((await client.deliver("from before"))[:3], "250")

    async def test_unix_socket(self) -> None:
        path = self.mktemp()
        await self.start(server(f"unix:{path}"))
        other = self.mktemp()
        await self.reload(server(f"unix:{other}"))
        await self.send("moved", f"unix:{other}")
        self.assertFalse(os.path.exists(path))
        await self.reload(server(f"unix:{path}"))
        await self.send("back", f"unix:{path}")
        self.assertEqual(self.store.subjects, ["moved", "back"])

    async def test_remove_and_add_in_one_turn(self) -> None:
        """Twisted lets a port go in its next turn; the second reload has to wait for that."""
        interface = new_interface()
        await self.start(server(), server(interface))
        done = self.daemon.reload(config(server()))
        again = self.daemon.reload(config(server(), server(interface)))
        await done
        await again
        self.assertEqual((await self.send("back", self.port(1)))[:3], "250")

    async def test_who_waits_at_a_removed_server_is_served(self) -> None:
        interface = new_interface()
        port = int(interface.rpartition(":")[2])
        await self.start(server(), server(interface))
        # The reactor has not run since, so that only the kernel knows of them.
        waiting = [socket.create_connection(("127.0.0.1", port)) for _ in range(5)]
        await self.reload(server())
        self.assertEqual(self.daemon.clients, 5)
        await self.greeted()
        for client in waiting:
            with client:
                client.settimeout(0)
                self.assertEqual(client.recv(4), b"220 ")

    async def test_clients_of_a_removed_server_are_waited_for_at_the_end(self) -> None:
        interface = new_interface()
        await self.start(server(), server(interface))
        client = await self.greeted(self.port(1))
        await client.begin()
        await self.reload(server())
        self.assertEqual(self.daemon.clients, 1)
        stopped = self.daemon.stopService()
        self.assertNoResult(stopped)
        self.assertEqual((await client.finish("at the end"))[:3], "250")
        self.assertEqual((await client.reply())[:9], "421 4.3.2")
        await stopped
        self.assertEqual(self.store.subjects, ["at the end"])

    async def test_clients_of_a_removed_server_are_forgotten_when_they_leave(self) -> None:
        interface = new_interface()
        await self.start(server(), server(interface))
        client = await self.greeted(self.port(1))
        await self.reload(server())
        removed = weakref.ref(self.daemon._house.clients[0].server)  # type: ignore[attr-defined]
        self.assertEqual((await client.command("QUIT"))[:3], "221")
        self.assertEqual(await client.reply(), "")
        await deferLater(reactor, 0)
        self.assertEqual(self.daemon.clients, 0)
        gc.collect()
        self.assertIsNone(removed())

    async def test_server_that_comes_back_has_its_own_clients(self) -> None:
        """Those of its first life are not counted against its max_clients."""
        interface = new_interface()
        await self.start(server(), server(interface, max_clients=1))
        first = await self.greeted(self.port(1))
        await self.reload(server())
        await self.reload(server(), server(interface, max_clients=1))
        second = await self.greeted(self.port(1))
        third = await self.connect(self.port(1))
        self.assertEqual((await third.reply())[:9], "421 4.7.0")
        for client in (first, second):
            self.assertEqual((await client.command("NOOP"))[:3], "250")


class SessionTests(ReloadTestCase):
    """What a connection keeps, and what it does not."""

    async def test_keeps_what_it_was_promised(self) -> None:
        await self.start(server(host_name="old.example", max_size=2000, max_recipients=200))
        old = await self.greeted()
        promised = await old.command("EHLO c.example")
        await self.reload(server(host_name="new.example", max_size=1000, max_recipients=100))
        new = await self.connect()
        self.assertEqual((await new.hello())[:15], "250-new.example")
        self.assertEqual(await old.command("EHLO c.example"), promised)
        self.assertEqual((await old.command("MAIL FROM:<> SIZE=1500"))[:3], "250")
        self.assertEqual((await new.command("MAIL FROM:<> SIZE=1500"))[:9], "552 5.3.4")

    async def test_allowed_hosts_hold_at_once(self) -> None:
        await self.start(allowed_hosts=["old.example"])
        client = await self.greeted()
        await client.command("MAIL FROM:<>")
        await self.reload(allowed_hosts=["new.example"])
        self.assertEqual((await client.command("RCPT TO:<a@old.example>"))[:9], "550 5.7.1")
        self.assertEqual((await client.command("RCPT TO:<a@new.example>"))[:3], "250")

    async def test_fewer_clients_than_there_are(self) -> None:
        """Nobody is thrown out, and nobody comes in before there is room."""
        await self.start(server(max_clients=3))
        clients = [await self.greeted() for _ in range(3)]
        await self.reload(server(max_clients=2))
        for client in clients:
            self.assertEqual((await client.deliver("stays"))[:3], "250")
        for _ in range(2):
            refused = await self.connect()
            self.assertEqual((await refused.reply())[:9], "421 4.7.0")
            await clients[0].command("QUIT")
            await clients.pop(0).reply()
        self.assertEqual((await self.send("room"))[:3], "250")

    async def test_more_clients(self) -> None:
        await self.start(server(max_clients=1))
        await self.greeted()
        await self.reload(server(max_clients=2))
        await self.greeted()

    async def test_a_message_that_is_coming(self) -> None:
        await self.start(backend={"mark": "1"})
        client = await self.greeted()
        await client.begin()
        client.send(b"Subject: half\r\n")
        await self.reload(backend={"mark": "2"}, spill_size=1, max_inflight_bytes=1)
        self.assertEqual((await client.finish("other half"))[:3], "250")
        # What came of it before counts: it is the first subject.
        self.assertEqual(self.store.subjects, ["half"])
        self.assertIn("keep 2", self.store.happened)


class BackendTests(ReloadTestCase):
    """One Gateway in the place of another."""

    async def test_new_beside_the_old(self) -> None:
        await self.start(backend={"mark": "1"})
        await self.send("first")
        await self.reload(backend={"mark": "2"})
        await self.send("second")
        await self.daemon.stopService()
        self.assertEqual(
            self.store.happened,
            ["open 1", "take 1", "keep 1", "open 2", "close 1", "take 2", "keep 2", "close 2"],
        )

    async def test_the_same_is_left_alone(self) -> None:
        await self.start(backend={"mark": "1"})
        await self.reload(server(max_size=1000), backend={"mark": "1"})
        self.assertEqual(self.store.happened, ["open 1"])

    async def test_message_in_work_ends_in_the_old(self) -> None:
        """And one that waits for a slot there, too."""
        holding = self.store.holdings["1"] = Deferred()
        entered = self.store.entered["1"] = Deferred()
        await self.start(backend={"mark": "1", "save_workers_size": 1})
        in_work = await self.greeted()
        await in_work.begin()
        replies = [in_work.finish("in work")]
        await entered
        waiting = await self.greeted()
        await waiting.begin()
        replies.append(waiting.finish("waiting"))
        # A question that is answered later tells that what was said before has arrived.
        other = await self.greeted()
        await self.reload(backend={"mark": "2"})
        self.assertEqual((await other.deliver("new"))[:3], "250")
        self.assertNotIn("close 1", self.store.happened)
        for reply in replies:
            self.assertNoResult(reply)
        holding.callback(None)
        for reply in replies:
            self.assertEqual((await reply)[:3], "250")
        self.assertEqual(self.store.subjects, ["new", "in work", "waiting"])
        self.assertEqual(self.store.happened[-3:], ["take 1", "keep 1", "close 1"])
        self.assertIn("the backend that was replaced has finished its work", self.lines())

    async def test_several_end_at_once(self) -> None:
        marks = ("1", "2", "3")
        held = []
        await self.start(backend={"mark": "1"})
        for mark in marks:
            self.store.holdings[mark] = Deferred()
            entered = self.store.entered[mark] = Deferred()
            client = await self.greeted()
            await client.begin()
            held.append(client.finish(mark))
            await entered
            await self.reload(backend={"mark": str(int(mark) + 1)})
        stopped = self.daemon.stopService()
        for mark in reversed(marks):
            self.store.holdings[mark].callback(None)
        for reply in held:
            self.assertEqual((await reply)[:3], "250")
        await stopped
        closed = [line for line in self.store.happened if line.startswith("close")]
        self.assertEqual(closed, ["close 3", "close 2", "close 1", "close 4"])

    async def test_initializer_fails(self) -> None:
        await self.start(backend={"mark": "1"})
        self.store.openings["2"] = fail(OSError("no such volume"))
        reason = await self.refuse(backend={"mark": "2"}, allowed_hosts=["other.example"])
        self.assertEqual(reason, "Store: no such volume")
        self.assertEqual((await self.send("still"))[:3], "250")
        self.assertEqual(self.store.happened, ["open 1", "open 2", "close 2", "take 1", "keep 1"])

    async def test_chain_that_cannot_be_made(self) -> None:
        await self.start()
        reason = await self.refuse(backend={"save_process": "Stoer"})
        self.assertEqual(
            reason,
            "backend_config.save_process: unknown processor 'Stoer' (did you mean store?)",
        )

    async def test_warnings_are_logged(self) -> None:
        await self.start()
        await self.reload(backend={"save_process": "HeadersParser"})
        self.assertTrue(any("NO PROCESSOR STORES MAIL" in line for line in self.lines()))

    async def test_file_that_a_processor_reads(self) -> None:
        """Also where only its content has changed."""
        recipients = Path(self.mktemp())
        recipients.write_text("bob@example.org\n")
        backend = {"validate_process": "Wildcard", "wildcard_file": str(recipients)}
        await self.start(backend=backend)
        client = await self.greeted()
        self.assertEqual(await client.begin("new@example.org"), "550 5.1.1 no such user")
        await self.reload(backend=backend)
        recipients.write_text("new@example.org\n")
        self.assertEqual(
            await client.command("RCPT TO:<new@example.org>"), "550 5.1.1 no such user"
        )
        await self.reload(backend=backend)
        self.assertEqual((await client.command("RCPT TO:<new@example.org>"))[:3], "250")
        self.assertEqual(self.changes(), ["nothing has changed", "backend_config"])

    async def test_own_backend_cannot_be_changed(self) -> None:
        backend = FakeBackend()
        self.make(config(), backend=backend)
        await self.daemon.startService()
        self.assertEqual(
            await self.refuse(backend={"mark": "2"}, allowed_hosts=["other.example"]),
            "backend_config: a reload cannot change it, since the backend is the program's own",
        )
        await self.reload(allowed_hosts=["example.org"])
        await self.send("to my own")
        self.assertEqual(len(backend.saved), 1)


class CertificateTests(ReloadTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.directory = Path(self.mktemp())
        self.directory.mkdir()

    async def shown(self) -> str:
        """:returns: the name in the certificate that a new connection sees."""
        client = await self.greeted()
        await client.start_tls()
        assert client.certificate is not None
        name = str(client.certificate.get_subject().CN)
        client.leave()
        return name

    async def test_other_settings(self) -> None:
        old = issue("old.example").write(self.directory, "old")
        new = issue("new.example").write(self.directory, "new")
        await self.start(server(tls={"start_tls_on": True, **old}))
        client = await self.greeted()
        await self.reload(server(tls={"start_tls_on": True, **new}))
        self.assertEqual(await self.shown(), "new.example")
        # It was offered that one, so to speak.
        await client.start_tls()
        assert client.certificate is not None
        self.assertEqual(client.certificate.get_subject().CN, "old.example")

    async def test_only_the_content(self) -> None:
        """Also with the size and the times of the old files, which only root can set."""
        tls: dict[str, Any] = {
            "start_tls_on": True,
            **issue("old.example").write(self.directory, "it"),
        }
        await self.start(server(tls=tls))
        self.assertEqual(await self.shown(), "old.example")
        files = [Path(tls[name]) for name in ("private_key_file", "public_key_file")]
        before = [file.stat() for file in files]
        while [file.stat().st_size for file in files] != [status.st_size for status in before] or (
            files[0].stat() == before[0]
        ):
            issue("new.example").write(self.directory, "it")
        for file, status in zip(files, before, strict=True):
            os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
            self.assertEqual(file.stat().st_mtime_ns, status.st_mtime_ns)
        await self.reload(server(tls=tls))
        self.assertEqual(await self.shown(), "new.example")
        place = ANY_PORT
        self.assertEqual(
            self.changes(),
            [f"server {place} (tls)"],
        )
        await self.reload(server(tls=tls))
        self.assertEqual(self.changes()[1:], ["nothing has changed"])

    async def test_files_that_were_only_touched(self) -> None:
        """Whatever was done to them, what they hold is in force already."""
        tls: dict[str, Any] = {
            "start_tls_on": True,
            **issue("old.example").write(self.directory, "it"),
        }
        recipients = Path(self.mktemp())
        recipients.write_text("bob@example.org\n")
        backend = {"validate_process": "Wildcard", "wildcard_file": str(recipients)}
        await self.start(server(tls=tls), backend=backend)
        key = Path(tls["private_key_file"])
        os.utime(recipients, (0, 0))
        os.utime(tls["public_key_file"], (0, 0))
        key.chmod(0o600)
        key.with_suffix(".new").write_bytes(key.read_bytes())
        key.with_suffix(".new").replace(key)
        await self.reload(server(tls=tls), backend=backend)
        self.assertEqual(self.changes(), ["nothing has changed"])
        self.assertEqual(self.store.happened, ["open "])

    async def test_key_that_cannot_be_read_any_more(self) -> None:
        """As after root's rights were given up; it is the same, so nobody needs to."""
        tls: dict[str, Any] = {
            "start_tls_on": True,
            **issue("old.example").write(self.directory, "it"),
        }
        await self.start(server(tls=tls))
        usual = os.open

        def refuse(path: Any, *arguments: Any, **more: Any) -> Any:
            if path == tls["private_key_file"]:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return usual(path, *arguments, **more)

        self.patch(os, "open", refuse)
        await self.reload(server(tls=tls, max_size=1000))
        self.assertEqual(await self.shown(), "old.example")
        reason = await self.refuse(server(tls={**tls, "curves": ["P256"]}))
        self.assertRegex(reason, r"^servers\[0\]\.tls\.private_key_file: .*: Permission denied$")

    async def test_key_of_another_certificate(self) -> None:
        tls: dict[str, Any] = {
            "start_tls_on": True,
            **issue("old.example").write(self.directory, "it"),
        }
        await self.start(server(tls=tls))
        other = issue("other.example").write(self.directory, "other")
        Path(tls["public_key_file"]).write_bytes(Path(other["public_key_file"]).read_bytes())
        self.assertEqual(
            await self.refuse(server(tls=tls), allowed_hosts=["x.example"]),
            "servers[0].tls.private_key_file: "
            "is not the key of the first certificate in public_key_file",
        )
        self.assertEqual(await self.shown(), "old.example")


class RefusalTests(ReloadTestCase):
    """What cannot be done changes nothing."""

    async def test_port_in_use(self) -> None:
        """And nothing of all else that would have changed, and was ready."""
        other, taken = taken_port()
        self.addCleanup(other.close)
        before = {"pid_file": self.mktemp(), "log_file": self.mktemp()}
        after = {"pid_file": self.mktemp(), "log_file": self.mktemp()}
        free = new_interface()
        self.make(config(server(), backend={"mark": "1"}, **before), logs=Logs())
        await self.daemon.startService()
        with self.assertRaises(ConfigError) as caught:
            await self.reload(
                server(max_size=1000),
                server(free),
                server(taken),
                backend={"mark": "2"},
                allowed_hosts=["other.example"],
                **after,
            )
        reason = f"servers[2].listen_interface: cannot listen on {taken}: Address already in use"
        self.assertEqual(str(caught.exception), reason)
        self.assertEqual(len(self.daemon.addresses), 1)
        with self.assertRaises(ConnectionRefusedError):
            await self.connect(int(free.rpartition(":")[2]))
        client = await self.connect()
        self.assertNotIn("SIZE 1000", await client.hello())
        self.assertEqual((await client.deliver("still here"))[:3], "250")
        self.assertEqual(self.store.happened, ["open 1", "open 2", "close 2", "take 1", "keep 1"])
        self.assertEqual(Path(before["pid_file"]).read_text(), f"{os.getpid()}\n")
        self.assertFalse(os.path.exists(after["pid_file"]))
        lines = Path(before["log_file"]).read_text()
        self.assertIn(f"#error] reload refused, nothing has changed: {reason}\n", lines)
        self.assertEqual(Path(after["log_file"]).read_text(), "")

    async def test_who_came_to_a_new_port_meanwhile_is_told(self) -> None:
        """The kernel has connected him, and nobody has answered."""
        other, taken = taken_port()
        self.addCleanup(other.close)
        free = new_interface()
        await self.start()
        came: list[socket.socket] = []

        class ListenerWithClient(Listener):
            def __init__(self, text: str, *arguments: Any) -> None:
                if text == taken:
                    place = ("127.0.0.1", int(free.rpartition(":")[2]))
                    came.append(socket.create_connection(place, 10))
                super().__init__(text, *arguments)

        self.patch(servers_module, "Listener", ListenerWithClient)
        await self.refuse(server(), server(free), server(taken))
        with came[0] as client:
            self.assertEqual(await deferToThread(client.recv, 9), b"421 4.3.2")

    async def test_place_that_overlaps_is_taken_back(self) -> None:
        """The old place was let go for the new one, and then something else failed."""
        port = free_port()
        old = f"127.0.0.1:{port}"
        other, taken = taken_port()
        self.addCleanup(other.close)
        await self.start(server(old))
        client = await self.greeted()
        await self.refuse(server(f"0.0.0.0:{port}"), server(taken))
        self.assertEqual((await self.send("new", port))[:3], "250")
        self.assertEqual((await client.deliver("old"))[:3], "250")

    async def test_place_that_overlaps_and_may_not_be_taken(self) -> None:
        """Such as a port below 1024, which a daemon that was root would never have again."""
        port = free_port()
        await self.start(server(f"127.0.0.1:{port}"))
        self.refuse_to_listen("Permission denied")
        await self.refuse(server(f"0.0.0.0:{port}"))
        self.assertEqual((await self.send("still here", port))[:3], "250")

    async def test_place_that_overlaps_and_is_another_programs(self) -> None:
        port = free_port()
        other = socket.create_server(("127.0.0.2", port))
        self.addCleanup(other.close)
        await self.start(server(f"127.0.0.1:{port}"))
        reason = await self.refuse(server(f"0.0.0.0:{port}"))
        self.assertRegex(reason, "Address already in use")
        self.assertEqual((await self.send("still here", port))[:3], "250")

    async def test_one_place_that_overlaps_two(self) -> None:
        port = free_port()
        await self.start(server(f"0.0.0.0:{port}"))
        places = f"127.0.0.1:{port}", f"127.0.0.2:{port}"
        self.refuse_to_listen("Address already in use", places[1])
        await self.refuse(*map(server, places))
        self.assertFalse(any("it was open before" in line for line in self.lines()))
        self.assertEqual((await self.send("still here", port))[:3], "250")

    async def test_place_that_cannot_be_taken_back(self) -> None:
        """Somebody was faster. It is said, the rest goes on, and a later reload tries again."""
        port = free_port()
        old = f"127.0.0.1:{port}"
        await self.start(server(), server(old))
        client = await self.greeted(port)
        other, taken = taken_port()
        self.addCleanup(other.close)
        allow = self.refuse_to_listen("Address already in use", old)
        with self.assertRaises(ConfigError):
            await self.reload(server(), server(f"0.0.0.0:{port}"), server(taken))
        self.assertEqual(len(self.daemon.addresses), 1)
        lost = f"cannot listen on {old}: Address already in use; it was open before"
        self.assertTrue(any(lost in line for line in self.lines()))
        self.assertEqual((await client.deliver("from before"))[:3], "250")
        self.assertEqual(self.daemon.clients, 1)
        with self.assertRaises(ConfigError):
            await self.reload(server(), server(old))
        allow()
        await self.reload(server(), server(old))
        self.assertEqual((await self.send("again", port))[:3], "250")

    async def test_addresses_while_a_place_is_let_go(self) -> None:
        port = free_port()
        await self.start(server(), server(f"127.0.0.1:{port}"))
        done = self.daemon.reload(config(server(), server(f"0.0.0.0:{port}")))
        self.assertNoResult(done)
        self.assertEqual(len(self.daemon.addresses), 1)
        await done
        self.assertEqual(len(self.daemon.addresses), 2)

    def refuse_to_listen(self, cause: str, *places: str) -> Callable[[], None]:
        """
        Let the daemon listen nowhere any more.

        :param cause: why.
        :param places: only there, if any are given.
        :returns: what allows it again.
        """
        refusing = [True]

        class Refusing(Listener):
            def __init__(self, text: str, *arguments: Any) -> None:
                if refusing and (text in places or not places):
                    kind = PlaceInUse if "in use" in cause else ConfigError
                    raise kind(f"cannot listen on {text}: {cause}", "listen_interface")
                super().__init__(text, *arguments)

        self.patch(servers_module, "Listener", Refusing)
        return refusing.clear

    async def test_pid_file_that_cannot_be_written(self) -> None:
        path = self.mktemp()
        await self.start(pid_file=path)
        reason = await self.refuse(pid_file=os.path.join(self.mktemp(), "pid"))
        self.assertRegex(reason, "^pid_file: .*cannot be written: No such file or directory$")
        self.assertTrue(os.path.exists(path))

    async def test_pid_file_of_another(self) -> None:
        """It is written when nothing can fail any more."""
        path = Path(self.mktemp())
        path.write_text("1\n")
        other, taken = taken_port()
        self.addCleanup(other.close)
        await self.start()
        await self.refuse(server(taken), pid_file=str(path))
        self.assertEqual(path.read_text(), "1\n")

    async def test_pid_file_by_a_relative_name(self) -> None:
        """It stays where it is when the program goes to another directory."""
        path = Path(self.mktemp()).absolute()
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(path.parent)
        await self.start(pid_file=path.name)
        os.chdir(path.parent.parent)
        await self.reload(pid_file=path.name, allowed_hosts=["x.example"])
        self.assertTrue(path.exists())
        self.assertFalse(os.path.exists(path.name))
        await self.daemon.stopService()
        self.assertFalse(path.exists())

    async def test_pid_file_under_another_name(self) -> None:
        path = self.mktemp()
        await self.start(pid_file=path)
        await self.reload(pid_file=os.path.join(".", path))
        self.assertEqual(Path(path).read_text(), f"{os.getpid()}\n")
        await self.daemon.stopService()
        self.assertFalse(os.path.exists(path))

    async def test_before_a_backend_is_opened(self) -> None:
        """Which may take a while, and may leave traces."""
        await self.start(backend={"mark": "1"})
        for place, settings in (
            (server(trusted_proxies=["nonsense"]), {}),
            (server("nonsense:place=here"), {}),
            (server(), {"spill_dir": "no/such/directory"}),
            (server(), {"spill_dir": __file__}),
            (server(), {"allowed_hosts": ["[300.1.1.1]"]}),
            (server(), {"pid_file": "no/such/directory/pid"}),
        ):
            await self.refuse(place, backend={"mark": "2"}, **settings)
        self.assertEqual(self.store.happened, ["open 1"])

    async def test_more_clients_than_files(self) -> None:
        """As the daemon of twistd judges it."""
        self.patch(resource, "getrlimit", lambda _: (200, 200))
        self.patch(Guerrilla, "check_limits", lambda _, config: check_file_limit(config))
        await self.start()
        reason = await self.refuse(server(max_clients=500))
        self.assertIn("max_clients of all are 500 together", reason)

    async def test_more_clients_than_files_in_a_program(self) -> None:
        """The limits are the program's own, so that it is advice."""
        self.patch(resource, "getrlimit", lambda _: (200, 200))
        await self.start()
        await self.reload(server(max_clients=500))
        self.assertTrue(any("max_clients of all are 500 together" in line for line in self.lines()))

    async def test_file(self) -> None:
        path = Path(self.mktemp())
        path.write_text(json.dumps(config()))
        self.make(str(path))
        await self.daemon.startService()
        for text, reason in (
            ("{", "not JSON"),
            ("", "the file is empty"),
            (json.dumps(config(colour="red")), "colour: unknown setting"),
            (json.dumps(config(server(max_size=-1))), "servers[0].max_size: is not from"),
        ):
            path.write_text(text)
            with self.assertRaises(ConfigError) as caught:
                await self.daemon.reload()
            self.assertIn(f"{path}: {reason}", str(caught.exception))
        path.unlink()
        with self.assertRaises(ConfigError):
            await self.daemon.reload()
        self.assertEqual(len(self.refusals()), 5)
        self.assertEqual((await self.send("still here"))[:3], "250")


class SlowPlaceTests(ReloadTestCase):
    """An endpoint of a plugin may take a while."""

    def setUp(self) -> None:
        super().setUp()
        self.slow = new_interface()
        #: Of the slow place; fires when it is there.
        self.there: Deferred[None] = Deferred()
        slow, there = self.slow, self.there

        class SlowListener(Listener):
            def __init__(self, text: str, *arguments: Any) -> None:
                super().__init__(text, *arguments)
                self._slow = text == slow

            @property
            def is_ready(self) -> bool:
                return there.called if self._slow else super().is_ready

            def ready(self) -> Deferred[None]:
                return there if self._slow else super().ready()

        self.patch(servers_module, "Listener", SlowListener)

    async def assert_free(self) -> None:
        """Nobody listens in the slow place."""
        with self.assertRaises(ConnectionRefusedError):
            await self.connect(int(self.slow.rpartition(":")[2]))

    async def test_start(self) -> None:
        self.make(config(server(), server(self.slow)))
        started = self.daemon.startService()
        client = await self.connect()
        self.assertEqual((self.store.happened, self.lines()), ([], []))
        self.there.callback(None)
        await started
        self.assertEqual((await client.hello())[:3], "250")
        self.assertEqual((await self.send("slow", self.port(1)))[:3], "250")

    async def test_start_that_fails(self) -> None:
        pid_file = self.mktemp()
        self.make(config(server(), server(self.slow), pid_file=pid_file))
        started = self.daemon.startService()
        port = self.port()
        self.there.errback(ConfigError("is not there", "listen_interface"))
        with self.assertRaises(ConfigError) as caught:
            await started
        self.assertEqual(str(caught.exception), "servers[1].listen_interface: is not there")
        with self.assertRaises(ConnectionRefusedError):
            await self.connect(port)
        await self.assert_free()
        self.assertEqual((self.store.happened, os.path.exists(pid_file)), ([], False))

    async def test_stop_before_the_start(self) -> None:
        """As by twistd, when another service of the same program cannot have what it needs."""
        self.make(config(server(self.slow)))
        self.daemon.privilegedStartService()
        await self.daemon.stopService()
        await self.assert_free()
        # What was cancelled was dealt with: Twisted would log it now.
        gc.collect()

    async def test_stop_during_the_start(self) -> None:
        self.make(config(server(), server(self.slow)))
        started = self.daemon.startService()
        await self.daemon.stopService()
        with self.assertRaises(CancelledError):
            await started
        await self.assert_free()
        self.assertEqual(self.daemon.addresses, [])

    async def test_reload(self) -> None:
        await self.start()
        done = self.daemon.reload(config(server(host_name="new.example"), server(self.slow)))
        client = await self.connect()
        self.assertIn("mx.example", await client.reply())
        self.assertNoResult(done)
        self.assertEqual(len(self.daemon.addresses), 1)
        self.there.callback(None)
        await done
        self.assertEqual((await self.send("slow", self.port(1)))[:3], "250")

    async def test_reload_that_fails(self) -> None:
        await self.start(backend={"mark": "1"})
        done = self.daemon.reload(config(server(), server(self.slow), backend={"mark": "2"}))
        self.there.errback(ConfigError("is not there", "listen_interface"))
        with self.assertRaises(ConfigError) as caught:
            await done
        self.assertEqual(str(caught.exception), "servers[1].listen_interface: is not there")
        await self.assert_free()
        self.assertEqual(self.store.happened, ["open 1", "open 2", "close 2"])

    async def test_stop_during_a_reload(self) -> None:
        await self.start(backend={"mark": "1"})
        done = self.daemon.reload(config(server(), server(self.slow), backend={"mark": "2"}))
        await self.daemon.stopService()
        with self.assertRaises(CancelledError):
            await done
        await self.assert_free()
        self.assertEqual(self.store.happened, ["open 1", "open 2", "close 2", "close 1"])


class SourceTests(ReloadTestCase):
    """Where the configuration comes from."""

    def write(self, **settings: Any) -> str:
        path = str(self.mktemp())
        Path(path).write_text(json.dumps(config(**settings)))
        return path

    async def test_file_is_read_again(self) -> None:
        path = self.write()
        self.make(path)
        await self.daemon.startService()
        Path(path).write_text(json.dumps(config(allowed_hosts=["other.example"])))
        await self.daemon.reload()
        self.assertEqual(self.daemon.config.allowed_hosts, ("other.example",))

    async def test_file_by_a_relative_name(self) -> None:
        """The program may have gone to another directory since."""
        path = os.path.relpath(self.write())
        self.make(path)
        await self.daemon.startService()
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir("/")
        await self.daemon.reload()

    async def test_without_a_file(self) -> None:
        await self.start()
        with self.assertRaises(ConfigError) as caught:
            await self.daemon.reload()
        self.assertEqual(str(caught.exception), "there is no file to read again")

    async def test_another_file(self) -> None:
        """From then on that one is read again."""
        await self.start()
        path = self.write(allowed_hosts=["other.example"])
        await self.daemon.reload(Path(path))
        self.assertEqual(self.daemon.config.allowed_hosts, ("other.example",))
        Path(path).write_text(json.dumps(config(allowed_hosts=["third.example"])))
        await self.daemon.reload()
        self.assertEqual(self.daemon.config.allowed_hosts, ("third.example",))

    async def test_another_file_that_is_refused(self) -> None:
        path = self.write(allowed_hosts=["first.example"])
        self.make(path)
        await self.daemon.startService()
        with self.assertRaises(ConfigError):
            await self.daemon.reload(self.write(log_level="loud"))
        Path(path).write_text(json.dumps(config(allowed_hosts=["second.example"])))
        await self.daemon.reload()
        self.assertEqual(self.daemon.config.allowed_hosts, ("second.example",))

    async def test_typed(self) -> None:
        path = self.write(allowed_hosts=["other.example"])
        other = Guerrilla(path).config
        await self.start()
        await self.daemon.reload(other)
        self.assertEqual(self.daemon.config, other)

    async def test_warnings(self) -> None:
        await self.start()
        await self.reload(backend={"no_such_setting": 1})
        self.assertTrue(any("no_such_setting" in line for line in self.lines()))


class TurnTests(ReloadTestCase):
    """One at a time, and when."""

    async def test_before_the_start(self) -> None:
        self.make(config())
        with self.assertRaises(RuntimeError):
            await self.daemon.reload(config())
        self.daemon.privilegedStartService()
        with self.assertRaises(RuntimeError):
            await self.daemon.reload(config(allowed_hosts=["other.example"]))
        await self.daemon.startService()
        self.assertEqual(self.daemon.config.allowed_hosts, (".",))

    async def test_during_the_start(self) -> None:
        opening = self.store.openings["1"] = Deferred()
        self.make(config(backend={"mark": "1"}))
        started = self.daemon.startService()
        done = self.daemon.reload(config(backend={"mark": "2"}))
        self.assertNoResult(done)
        opening.callback(None)
        await started
        await done
        self.assertEqual(self.store.happened, ["open 1", "open 2", "close 1"])

    async def test_after_the_end(self) -> None:
        await self.start()
        await self.daemon.stopService()
        with self.assertRaises(RuntimeError):
            await self.daemon.reload(config())
        self.assertEqual(self.daemon.addresses, [])

    async def test_during_a_start_that_fails(self) -> None:
        opening = self.store.openings["1"] = Deferred()
        self.make(config(backend={"mark": "1"}))
        started = self.daemon.startService()
        done = self.daemon.reload(config(backend={"mark": "2"}))
        opening.errback(OSError("no such volume"))
        with self.assertRaises(InitializationError):
            await started
        with self.assertRaises(RuntimeError):
            await done

    async def test_two_at_once(self) -> None:
        opening = self.store.openings["2"] = Deferred()
        await self.start(backend={"mark": "1"})
        first = self.daemon.reload(config(backend={"mark": "2"}, allowed_hosts=["2.example"]))
        second = self.daemon.reload(config(backend={"mark": "3"}, allowed_hosts=["3.example"]))
        self.assertEqual(self.store.happened, ["open 1", "open 2"])
        self.assertEqual((await self.send("meanwhile"))[:3], "250")
        opening.callback(None)
        await first
        await second
        self.assertEqual(self.daemon.config.allowed_hosts, ("3.example",))
        await self.daemon.stopService()
        opened = [line for line in self.store.happened if line[:1] in "oc"]
        self.assertEqual(opened, ["open 1", "open 2", "close 1", "open 3", "close 2", "close 3"])

    async def test_second_after_one_that_is_refused(self) -> None:
        opening = self.store.openings["2"] = Deferred()
        await self.start(backend={"mark": "1"})
        first = self.daemon.reload(config(backend={"mark": "2"}))
        second = self.daemon.reload(config(backend={"mark": "3"}))
        opening.errback(OSError("no such volume"))
        with self.assertRaises(InitializationError):
            await first
        await second
        self.assertEqual((await self.send("third"))[:3], "250")
        self.assertIn("keep 3", self.store.happened)

    async def test_stop_while_a_backend_opens(self) -> None:
        """The reload fails, and so does the one that waits behind it."""
        self.store.openings["2"] = Deferred()
        pid_files = self.mktemp(), self.mktemp()
        await self.start(backend={"mark": "1"}, pid_file=pid_files[0])
        first = self.daemon.reload(config(backend={"mark": "2"}, pid_file=pid_files[1]))
        second = self.daemon.reload(config(backend={"mark": "3"}))
        await self.daemon.stopService()
        with self.assertRaises(CancelledError):
            await first
        with self.assertRaises(RuntimeError):
            await second
        self.assertEqual(self.store.happened, ["open 1", "open 2", "close 2", "close 1"])
        self.assertEqual([os.path.exists(path) for path in pid_files], [False, False])
        self.assertEqual((self.daemon.addresses, self.daemon.config.pid_file), ([], pid_files[0]))

    async def test_stop_while_a_reload_is_undone(self) -> None:
        """The rest is undone all the same."""
        other, taken = taken_port()
        self.addCleanup(other.close)
        pid_file, log_file = self.mktemp(), self.mktemp()
        self.make(config(backend={"mark": "1"}), logs=Logs())
        await self.daemon.startService()
        done = self.daemon.reload(
            config(
                server(),
                server(new_interface()),
                server(taken),
                backend={"mark": "2"},
                pid_file=pid_file,
                log_file=log_file,
            )
        )
        # Nothing is waited for but a port that is let go.
        self.assertNoResult(done)
        await self.daemon.stopService()
        with self.assertRaises(ConfigError):
            await done
        self.assertEqual(self.store.happened, ["open 1", "open 2", "close 2", "close 1"])
        self.assertFalse(os.path.exists(pid_file))

    async def test_stop_while_a_backend_opens_in_a_thread_that_hangs(self) -> None:
        hung = threading.Event()
        self.addCleanup(hung.set)
        limit = threading.Timer(20, hung.set)
        limit.start()
        self.addCleanup(limit.cancel)

        def hang(svc: IBackendService) -> Decorator:
            def wait() -> None:
                hung.wait()

            svc.add_initializer(initialize_with(lambda _: svc.defer_to_worker(wait)))
            return process_with(svc, lambda *_: None)

        await self.start()
        self.daemon.add_processor("Hang", hang)
        done = self.daemon.reload(config(backend={"save_process": "Hang"}))
        await self.daemon.stopService()
        self.assertFalse(hung.is_set())
        with self.assertRaises(CancelledError):
            await done

    async def test_cancelled(self) -> None:
        """By the program, which goes on with what it had."""
        self.store.openings["2"] = Deferred()
        await self.start(backend={"mark": "1"})
        done = self.daemon.reload(config(backend={"mark": "2"}))
        done.cancel()
        with self.assertRaises(CancelledError):
            await done
        self.assertEqual((await self.send("still here"))[:3], "250")
        await self.reload(backend={"mark": "3"})
        self.assertEqual((await self.send("third"))[:3], "250")

    async def test_cancelled_while_a_place_is_let_go(self) -> None:
        port = free_port()
        await self.start(server(f"127.0.0.1:{port}"))
        done = self.daemon.reload(config(server(f"0.0.0.0:{port}")))
        self.assertNoResult(done)
        done.cancel()
        with self.assertRaises(CancelledError):
            await done
        self.assertEqual((await self.send("still here", port))[:3], "250")
        self.assertEqual(len(self.daemon.addresses), 1)

    async def test_stop_while_the_old_backend_ends(self) -> None:
        """Its work is hung: it has as long as work has at the end, and no longer."""
        clock = MixedClock()
        self.store.holdings["1"] = Deferred()
        entered = self.store.entered["1"] = Deferred()
        self.make(config(backend={"mark": "1"}), reactor=clock)
        await self.daemon.startService()
        client = await self.greeted()
        await client.begin()
        reply = client.finish("hung")
        await entered
        await self.daemon.reload(config(backend={"mark": "2"}, shutdown_timeout="5s"))
        stopped = self.daemon.stopService()
        clock.advance(4)
        self.assertNoResult(stopped)
        clock.advance(1)
        await deferLater(reactor, 0.05)
        self.assertNoResult(stopped)
        clock.advance(10)
        await stopped
        self.assertEqual(self.store.happened, ["open 1", "take 1", "open 2", "close 2", "close 1"])
        self.assertEqual(await reply, "")

    async def test_old_backend_whose_work_hangs(self) -> None:
        """It is closed all the same, when each client has long had an answer."""
        clock = MixedClock()
        self.store.holdings["1"] = Deferred()
        entered = self.store.entered["1"] = Deferred()
        self.make(config(backend={"mark": "1", "gw_save_timeout": "20s"}), reactor=clock)
        await self.daemon.startService()
        client = await self.greeted()
        await client.begin()
        reply = client.finish("hung")
        await entered
        await self.daemon.reload(config(backend={"mark": "2"}))
        clock.advance(20)
        self.assertEqual((await reply)[:9], "451 4.3.0")
        clock.advance(9.9)
        self.assertNotIn("close 1", self.store.happened)
        clock.advance(0.1)
        self.assertIn("close 1", self.store.happened)

"""What comes before what in a reload and at the end, and what is left of it afterwards."""

from __future__ import annotations

import gc
import os
import weakref
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import deferLater
from twisted.logger import Logger, LogLevel

from guerrilla_tw import ConfigError
from guerrilla_tw.logs import Logs
from tests.reload_support import ReloadTestCase, config, new_interface, server
from tests.smtp.session import FakeBackend


class LogFileTests(ReloadTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.first, self.second = self.mktemp(), self.mktemp()

    async def start_with_files(self, **settings: Any) -> None:
        self.make(config(log_file=self.first, **settings), observer=None)
        await self.daemon.startService()

    def files(self) -> set[str]:
        """:returns: which files this process has open."""
        links = Path("/proc/self/fd").iterdir()
        return {os.readlink(link) for link in links if link.exists()}

    async def test_line_of_a_new_server_is_in_the_new_file(self) -> None:
        await self.start_with_files()
        place = new_interface()
        await self.reload(server(), server(place), log_file=self.second)
        self.assertIn(f"listening on {place}", Path(self.second).read_text())
        self.assertNotIn(place, Path(self.first).read_text())

    async def test_file_that_was_moved_is_made_anew(self) -> None:
        """As with go-guerrilla, whose users tell logrotate to send SIGHUP."""
        await self.start_with_files()
        moved = self.mktemp()
        os.rename(self.first, moved)
        await self.reload(log_file=self.first)
        self.assertIn("reloaded: nothing has changed", Path(self.first).read_text())
        self.assertNotIn("reloaded", Path(moved).read_text())

    async def test_refused_reload_leaves_no_file_open(self) -> None:
        await self.start_with_files()
        with self.assertRaises(ConfigError):
            await self.reload(server("127.0.0.1:1x"), log_file=self.second)
        self.store.openings["2"] = fail(OSError("no such volume"))
        with self.assertRaises(Exception) as caught:
            await self.reload(log_file=self.second, backend={"mark": "2"})
        self.assertIn("no such volume", str(caught.exception))
        self.assertNotIn(os.path.abspath(self.second), self.files())
        self.assertIn(os.path.abspath(self.first), self.files())

    async def test_logs_of_the_program_stay_open(self) -> None:
        logs = Logs()
        self.make(config(log_file=self.first), logs=logs)
        await self.daemon.startService()
        await self.daemon.stopService()
        self.daemon.log.info("after the end")
        self.assertIn("after the end", Path(self.first).read_text())
        logs.close()

    async def test_level_holds_for_whom_it_is_told_of(self) -> None:
        """Also for the clients of a server that is no more."""
        await self.start(server(), server(new_interface()), log_level="warn")
        client = await self.greeted(self.port(1))
        await self.send("not told")
        await self.reload(server(), log_level="info")
        await client.deliver("told")
        told = [line for line in self.lines() if line.startswith("message ")]
        self.assertEqual(len(told), 1)

    async def test_line_is_not_even_made_where_nobody_reads_it(self) -> None:
        await self.start(log_level="warn")
        made: list[str] = []

        def emit(log: Logger, level: LogLevel, *_: object, **__: object) -> None:
            made.append(log.namespace)

        self.patch(Logger, "emit", emit)
        await self.send("quiet")
        await deferLater(reactor, 0)
        self.assertNotIn("guerrilla_tw", made)


class WarningTests(ReloadTestCase):
    async def test_older_names(self) -> None:
        """They are told of at the start, at a reload, and when a configuration is only judged."""
        older = config()
        older["backend_config"]["process_stack"] = older["backend_config"].pop("save_process")
        daemon = self.make(older)
        warning = "backend_config.process_stack: older name of backend_config.save_process"
        self.assertTrue(any(warning in line for line in daemon.check()))
        await daemon.startService()
        await daemon.reload(older)
        self.assertEqual(sum(warning in line for line in self.lines()), 2)


class OrderTests(ReloadTestCase):
    async def test_bad_key_is_found_before_a_store_is_opened(self) -> None:
        await self.start()
        bad = {"start_tls_on": True, "private_key_file": "/no", "public_key_file": "/no"}
        await self.refuse(server(tls=bad), backend={"mark": "2"})
        self.assertEqual(self.store.happened, ["open "])

    async def test_pid_file_outlives_the_work(self) -> None:
        path = self.mktemp()
        backend = FakeBackend()
        ended: Deferred[None] = Deferred()
        self.patch(backend, "shutdown", lambda: ended)
        self.make(config(pid_file=path), backend=backend)
        await self.daemon.startService()
        stopped = self.daemon.stopService()
        await deferLater(reactor, 0)
        self.assertTrue(os.path.exists(path))
        ended.callback(None)
        await stopped
        self.assertFalse(os.path.exists(path))

    async def test_own_backend_that_cannot_begin_is_ended(self) -> None:
        """Once, and not again at the end."""
        backend = FakeBackend()
        ends: list[bool] = []
        usual = backend.shutdown

        def end() -> Deferred[None]:
            ends.append(True)
            return usual()

        self.patch(backend, "shutdown", end)
        self.patch(backend, "initialize", lambda _: fail(OSError("no such volume")))
        self.make(config(), backend=backend)
        with self.assertRaises(OSError):
            await self.daemon.startService()
        await self.daemon.stopService()
        self.assertEqual(ends, [True])

    async def test_own_backend_that_never_began_is_not_ended(self) -> None:
        backend = FakeBackend()
        self.patch(backend, "shutdown", lambda: fail(AssertionError("it never began")))
        self.make(config(), backend=backend)
        self.daemon.privilegedStartService()
        await self.daemon.stopService()
        self.assertEqual(self.daemon.addresses, [])


class LeftoverTests(ReloadTestCase):
    """A daemon runs for years; nothing of what it has replaced may stay."""

    async def test_backend_and_server(self) -> None:
        place = new_interface()
        await self.start(server(), server(place))
        client = await self.greeted(self.port(1))
        house = self.daemon._house
        removed = weakref.ref(house._servers.all[1])
        replaced = weakref.ref(house._shared.backend)
        await self.reload(server(), backend={"mark": "2"})
        self.assertEqual((await client.deliver("still here"))[:3], "250")
        await client.command("QUIT")
        client.leave()
        while self.daemon.clients:
            await deferLater(reactor, 0)
        del client
        await deferLater(reactor, 0)
        gc.collect()
        self.assertIsNone(replaced())
        self.assertIsNone(removed())


class MappedAddressTests(ReloadTestCase):
    async def test_client_by_ipv4_of_a_server_for_both(self) -> None:
        """It is known by its own address, and trusted by it."""
        await self.start(server("[::]:0", xclient_on=True))
        client = await self.connect()
        self.assertIn("XCLIENT", await client.hello())
        await client.command("QUIT")
        while self.daemon.clients:
            await deferLater(reactor, 0)
        connection = next(line for line in self.lines() if line.startswith("connection "))
        self.assertIn("client_ip=127.0.0.1 ", connection)

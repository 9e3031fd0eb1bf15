"""The start and the end: what is taken is given back, whatever happens."""

from __future__ import annotations

import gc
import os
import socket
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import deferLater

from guerrilla_tw import ConfigError
from guerrilla_tw import pid_file as pid_file_module
from guerrilla_tw.logs import Logs
from guerrilla_tw.pid_file import PidFile
from tests.reload_support import ReloadTestCase, config, server


class StartTests(ReloadTestCase):
    async def assert_free(self, port: int) -> None:
        """Nobody listens there."""
        with self.assertRaises(ConnectionRefusedError):
            await self.connect(port)

    async def test_stopped_before_it_serves(self) -> None:
        """As by twistd, when another service of the same program cannot have what it needs."""
        pid_file = self.mktemp()
        self.make(config(pid_file=pid_file))
        self.daemon.privilegedStartService()
        port = self.port()
        self.assertTrue(os.path.exists(pid_file))
        await self.daemon.stopService()
        await self.assert_free(port)
        self.assertEqual((os.path.exists(pid_file), self.daemon.addresses), (False, []))
        await self.daemon.startService()
        self.assertEqual((await self.send("later"))[:3], "250")

    async def test_port_in_use(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            taken = f"127.0.0.1:{other.getsockname()[1]}"
            self.make(config(server(), server(taken), backend={"mark": "1"}))
            with self.assertRaises(ConfigError) as caught:
                await self.daemon.startService()
        self.assertIn(
            f"servers[1].listen_interface: cannot listen on {taken}", str(caught.exception)
        )
        self.assertEqual(self.store.happened, [])
        # What failed was dealt with: Twisted would log it now.
        gc.collect()

    async def test_pid_file_that_cannot_be_written_after_all(self) -> None:
        """The disk may be full. The store is open by then."""

        class FullDisk(PidFile):
            def write(self) -> None:
                raise ConfigError("cannot be written: No space left on device", "pid_file")

        self.patch(pid_file_module, "PidFile", FullDisk)
        pid_file = self.mktemp()
        self.make(config(backend={"mark": "1"}, pid_file=pid_file))
        self.daemon.privilegedStartService()
        port = self.port()
        with self.assertRaises(ConfigError):
            await self.daemon.startService()
        self.assertEqual(self.store.happened, ["open 1", "close 1"])
        self.assertFalse(os.path.exists(pid_file))
        await self.assert_free(port)

    async def test_warnings(self) -> None:
        await self.start(backend={"save_process": "HeadersParser"})
        self.assertTrue(any("NO PROCESSOR STORES MAIL" in line for line in self.lines()))


class EndTests(ReloadTestCase):
    async def test_order(self) -> None:
        """Clients, then the backend, then the pid file."""
        pid_file = self.mktemp()
        await self.start(backend={"mark": "1"}, pid_file=pid_file)
        client = await self.greeted()
        await client.begin()
        port = self.port()
        stopped = self.daemon.stopService()
        await deferLater(reactor, 0)
        with self.assertRaises(ConnectionRefusedError):
            await self.connect(port)
        self.assertTrue(os.path.exists(pid_file))
        self.assertEqual((await client.finish("last"))[:3], "250")
        await stopped
        self.assertEqual(self.store.happened, ["open 1", "take 1", "keep 1", "close 1"])
        self.assertFalse(os.path.exists(pid_file))


class LogTests(ReloadTestCase):
    async def test_moved(self) -> None:
        """As by logrotate: then by :meth:`reopen_logs`, and by any reload, as in go-guerrilla."""
        path = Path(self.mktemp())
        self.make(config(log_file=str(path)), logs=Logs())
        await self.daemon.startService()
        for by_reload in (False, True):
            path.rename(path.with_suffix(f".{by_reload}"))
            await self.send("before")
            self.assertFalse(path.exists())
            if by_reload:
                await self.reload(log_file=str(path))
            else:
                self.daemon.reopen_logs()
            await self.send("after")
            self.assertEqual(path.read_text().count("message client_ip"), 1)

    async def test_refused_reload(self) -> None:
        """A file that was opened for it does not stay open."""
        path = Path(self.mktemp()).absolute()
        self.make(config(), logs=Logs())
        await self.daemon.startService()
        with self.assertRaises(ConfigError):
            await self.reload(log_file=str(path), pid_file="no/such/directory/pid")
        opened = [
            os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")
        ]
        self.assertNotIn(str(path), opened)

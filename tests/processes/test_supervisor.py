"""A supervisor in a program of somebody's own; its workers are real."""

from __future__ import annotations

import errno
import os
import re
import signal
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.process import ProcessReader
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import LogEvent, formatEvent
from twisted.trial.unittest import SynchronousTestCase, TestCase

from guerrilla_tw import ConfigError, Guerrilla, Supervisor
from guerrilla_tw.processes import worker_process
from guerrilla_tw.processes.supervisor import number_of_processes
from tests.integration.client import MESSAGE, Client
from tests.reload_support import new_interface, server

CHAIN = {"save_process": "HeadersParser|Hasher|Header"}


def config(*servers: dict[str, Any], **settings: Any) -> dict[str, Any]:
    """:returns: a configuration of two processes."""
    return {
        "processes": 2,
        "allowed_hosts": ["."],
        "backend_config": CHAIN,
        "servers": list(servers) or [server()],
        **settings,
    }


class SupervisorTestCase(TestCase):
    timeout = 60

    def make(self, configuration: Any) -> Supervisor:
        """Make one that is stopped when the test is over, and logs to ``self.events``."""
        self.events: list[LogEvent] = []
        daemon = Supervisor(configuration, observer=self.events.append)
        self.addCleanup(lambda: daemon.stopService() if daemon.running else None)
        return daemon

    async def start(self, *servers: dict[str, Any], **settings: Any) -> Supervisor:
        daemon = self.make(config(*servers, **settings))
        await daemon.startService()
        return daemon

    def lines(self) -> list[str]:
        return [formatEvent(event) for event in self.events]

    def port(self, daemon: Supervisor) -> int:
        return next(getattr(address, "port", 0) for address in daemon.addresses)

    def workers(self) -> list[int]:
        return [int(n) for n in re.findall(r"serves, process ([0-9]+)", "\n".join(self.lines()))]

    async def send(self, port: int) -> str:
        """:returns: the reply to a message."""

        def deliver() -> str:
            with Client(port) as client:
                client.hello()
                return client.deliver(MESSAGE)

        reply: str = await deferToThread(deliver)
        return reply

    async def until(self, condition: Any) -> None:
        while not condition():
            await deferLater(reactor, 0.01)


class LifeTests(SupervisorTestCase):
    async def test_serves(self) -> None:
        daemon = await self.start()
        port = self.port(daemon)
        for _ in range(10):
            self.assertEqual((await self.send(port))[:3], "250")
        messages = [event for event in self.events if event["log_format"] == "{log_text}"]
        # The fields are there as well as the text.
        self.assertTrue(any(event.get("client_ip") == "127.0.0.1" for event in messages))
        await daemon.stopService()
        self.assertEqual(self.lines()[-1], "stopped")
        self.assertEqual(daemon.addresses, [])
        for pid in self.workers():
            self.assertRaises(ProcessLookupError, os.kill, pid, 0)

    async def test_clients_of_all_processes(self) -> None:
        daemon = await self.start()

        def come(count: int) -> list[Client]:
            clients = [Client(self.port(daemon)) for _ in range(count)]
            for client in clients:
                client.hello()
            return clients

        clients = await deferToThread(come, 9)
        self.assertEqual(daemon.clients, 9)
        for client in clients[:5]:
            await deferToThread(client.command, "QUIT")
        await self.until(lambda: daemon.clients == 4)
        await daemon.stopService()
        self.assertEqual(daemon.clients, 0)

    async def test_order_that_is_long(self) -> None:
        """What is sent in pieces is the same there."""
        hosts = [f"host{number}.example.com" for number in range(10_000)]
        place = new_interface()
        daemon = await self.start(server(place), allowed_hosts=hosts)
        hosts.append("example.com")
        await daemon.reload(config(server(place), allowed_hosts=hosts))
        self.assertEqual((await self.send(self.port(daemon)))[:3], "250")

    async def test_files_that_are_open(self) -> None:
        """No more of them after reloads, and after workers that have ended."""
        place, other = new_interface(), new_interface()
        daemon = await self.start(server(place))

        async def change_all() -> int:
            await daemon.reload(config(server(place), server(other)))
            os.kill(self.workers()[-1], signal.SIGKILL)
            count = len(self.workers()) + 1
            await self.until(lambda: len(self.workers()) == count)
            await daemon.reload(config(server(place)))
            return len(os.listdir("/proc/self/fd"))

        before = await change_all()
        self.assertEqual(await change_all(), before)
        self.assertEqual(await change_all(), before)

    async def test_again(self) -> None:
        daemon = await self.start()
        await daemon.stopService()
        await daemon.startService()
        self.assertEqual((await self.send(self.port(daemon)))[:3], "250")

    async def test_processor_that_is_an_object(self) -> None:
        daemon = self.make(config())
        with self.assertRaises(TypeError) as caught:
            daemon.add_processor("Mine", lambda svc: lambda following: following)
        self.assertIn("offer it as a plugin", str(caught.exception))

    async def test_value_that_is_an_object(self) -> None:
        daemon = self.make(config(backend_config={**CHAIN, "mine": object()}))
        with self.assertRaises(ConfigError) as caught:
            await daemon.startService()
        self.assertEqual(caught.exception.path, "backend_config.mine")
        self.assertEqual(daemon.addresses, [])

    async def test_store_that_cannot_be_opened(self) -> None:
        """Whatever was begun is ended again."""
        store = {"save_process": "Hasher|Sql", "sql_dsn": "no/such/mail.sqlite3", "mail_table": "m"}
        daemon = self.make(config(backend_config=store))
        with self.assertRaises(Exception) as caught:
            await daemon.startService()
        self.assertRegex(str(caught.exception), "^Sql: ")
        self.assertEqual(self.workers(), [])
        self.assertEqual(len([line for line in self.lines() if "cannot start" in line]), 1)
        self.assertEqual(daemon.addresses, [])

    async def test_no_more_processes(self) -> None:
        """Those that there are already are ended, and nothing stays open."""
        spawn = reactor.spawnProcess
        started: list[Any] = []

        def spawn_one(*arguments: Any, **settings: Any) -> Any:
            if started:
                raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
            started.append(spawn(*arguments, **settings))
            return started[0]

        self.patch(reactor, "spawnProcess", spawn_one)
        daemon = self.make(config())
        opened = []
        for _ in range(3):
            with self.assertRaises(Exception) as caught:
                await daemon.startService()
            self.assertRegex(str(caught.exception), "^no process for worker 2: .*unavailable$")
            self.assertIsNone(started.pop().pid)
            self.assertEqual(daemon.addresses, [])
            opened.append(len(os.listdir("/proc/self/fd")))
        self.assertEqual(opened[1], opened[2])

    async def test_stopped_while_it_starts(self) -> None:
        daemon = self.make(config())
        started = daemon.startService()
        started.addErrback(lambda _: None)
        await daemon.stopService()
        self.assertEqual(self.workers(), [])
        self.assertEqual(daemon.addresses, [])

    async def test_endpoint_of_a_plugin(self) -> None:
        daemon = self.make(config(server("mine:x=1")))
        with self.assertRaises(ConfigError) as caught:
            daemon.check()
        self.assertIn("set processes to 1", str(caught.exception))

    async def test_worker_that_ends(self) -> None:
        daemon = await self.start()
        os.kill(self.workers()[0], signal.SIGKILL)
        await self.until(lambda: len(self.workers()) == 3)
        self.assertEqual((await self.send(self.port(daemon)))[:3], "250")

    async def test_worker_that_leaves_a_process(self) -> None:
        """Which has the worker's streams for as long as it likes."""
        start = "import subprocess; print(subprocess.Popen(['sleep', '1000']).pid, flush=True); "
        self.patch(worker_process, "_PROGRAM", start + worker_process._PROGRAM)
        daemon = await self.start()

        async def kill_all() -> None:
            for pid in re.findall(r"worker [0-9]: ([0-9]+)", "\n".join(self.lines())):
                os.kill(int(pid), signal.SIGKILL)
            # The reactor sees the ends of their streams in some later turn.
            readers: Any = reactor
            await self.until(
                lambda: not any(isinstance(each, ProcessReader) for each in readers.getReaders())
            )

        self.addCleanup(lambda: Deferred.fromCoroutine(kill_all()))
        os.kill(self.workers()[0], signal.SIGKILL)
        await self.until(lambda: len(self.workers()) == 3)
        await daemon.stopService()
        self.assertEqual(self.lines()[-1], "stopped")


class ReloadTests(SupervisorTestCase):
    async def test_events(self) -> None:
        place = new_interface()
        daemon = await self.start(server(place))
        told: list[Any] = []
        daemon.subscribe("server_change:max_clients", told.append)
        await daemon.reload(config(server(place, max_clients=7)))
        self.assertEqual([each.max_clients for each in told], [7])
        self.assertEqual(daemon.config.servers[0].max_clients, 7)

    async def test_refused_by_a_worker(self) -> None:
        place, new = new_interface(), new_interface()
        daemon = await self.start(server(place))
        store = {"save_process": "Hasher|Sql", "sql_dsn": "no/such/mail.sqlite3", "mail_table": "m"}
        for _ in range(2):
            with self.assertRaises(Exception) as caught:
                await daemon.reload(config(server(new), backend_config=store))
            self.assertRegex(str(caught.exception), "^Sql: ")
        self.assertEqual(len(daemon.addresses), 1)
        self.assertEqual((await self.send(self.port(daemon)))[:3], "250")

    async def test_odd_chain(self) -> None:
        """It is told once, as at the start."""
        place = new_interface()
        daemon = await self.start(server(place))
        self.assertEqual(self.warnings(), 1)
        await daemon.reload(config(server(place), backend_config={"save_process": "Header"}))
        self.assertEqual(self.warnings(), 2)
        await daemon.reload(
            config(server(place, max_size=1), backend_config={"save_process": "Header"})
        )
        self.assertEqual(self.warnings(), 2)

    def warnings(self) -> int:
        return len([line for line in self.lines() if "NO PROCESSOR STORES MAIL" in line])

    async def test_refused_by_the_supervisor(self) -> None:
        daemon = await self.start()
        with self.assertRaises(ConfigError):
            await daemon.reload(config(pid_file="no/such/directory/pid"))
        self.assertEqual((await self.send(self.port(daemon)))[:3], "250")

    async def test_stopped_meanwhile(self) -> None:
        daemon = await self.start()
        reloaded = daemon.reload(config(backend_config={"save_process": "Header"}))
        reloaded.addErrback(lambda _: None)
        await daemon.stopService()
        self.assertEqual(self.lines()[-1], "stopped")

    async def test_file_that_has_changed(self) -> None:
        """Each worker finds that out, and it is told once."""
        file = Path(self.mktemp()).absolute()
        file.write_text("a@example.com\n")
        backend = {**CHAIN, "validate_process": "Wildcard", "wildcard_file": str(file)}
        place = new_interface()
        daemon = await self.start(server(place), backend_config=backend)
        told: list[Any] = []
        daemon.subscribe("config_change:backend_config", told.append)
        await daemon.reload(config(server(place), backend_config=backend))
        self.assertEqual(told, [])
        file.write_text("a@example.com\nb@example.com\n")
        await daemon.reload(config(server(place), backend_config=backend))
        self.assertEqual(len(told), 1)
        self.assertIn("reloaded: backend_config", self.lines())


class OneProcessTests(SynchronousTestCase):
    def test_guerrilla_says_where_there_are_several(self) -> None:
        daemon = Guerrilla(config(), observer=lambda _: None)
        self.assertTrue(any("a Supervisor has several" in line for line in daemon.check()))

    def test_number(self) -> None:
        self.assertEqual(number_of_processes(Supervisor(config()).config), 2)
        expected = len(os.sched_getaffinity(0))
        self.assertEqual(number_of_processes(Supervisor(config(processes=0)).config), expected)

"""The daemon's own part: ports, pid file, and what it refuses."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase, TestCase

import guerrilla_tw
from guerrilla_tw import Config, ConfigError, Guerrilla, ServerConfig

NULL_CHAIN = {"save_process": "HeadersParser"}
ANY_PORT = "127.0.0.1:0"


class PidFileTests(TestCase):
    async def test_is_there_while_it_serves(self) -> None:
        path = self.mktemp()
        daemon = Guerrilla(make_config(pid_file=path))
        await daemon.startService()
        with open(path, encoding="ascii") as file:
            self.assertEqual(file.read(), f"{os.getpid()}\n")
        await daemon.stopService()
        self.assertFalse(os.path.exists(path))

    async def test_somebody_else_removed_it(self) -> None:
        path = self.mktemp()
        daemon = Guerrilla(make_config(pid_file=path))
        await daemon.startService()
        os.unlink(path)
        await daemon.stopService()

    async def test_cannot_be_written(self) -> None:
        daemon = Guerrilla(make_config(pid_file=os.path.join(self.mktemp(), "pid")))
        with self.assertRaises(ConfigError) as caught:
            await daemon.startService()
        self.assertEqual(
            str(caught.exception), "pid_file: cannot be written: No such file or directory"
        )
        self.assertEqual(daemon.addresses, [])


class ServerTests(TestCase):
    async def test_only_what_is_enabled_listens(self) -> None:
        servers = (
            ServerConfig(is_enabled=True, listen_interface=ANY_PORT),
            ServerConfig(is_enabled=False, listen_interface="127.0.0.1:1"),
        )
        daemon = Guerrilla(make_config(servers=servers))
        await daemon.startService()
        self.assertEqual(len(daemon.addresses), 1)
        await daemon.stopService()


class CheckTests(SynchronousTestCase):
    def test_allowed_host_that_is_no_address(self) -> None:
        daemon = Guerrilla(make_config(allowed_hosts=("[300.1.1.1]",)))
        error = self.assertRaises(ConfigError, daemon.check)
        self.assertIn("allowed_hosts: '300.1.1.1'", str(error))

    def test_names_for_embedders(self) -> None:
        for name in dir(guerrilla_tw):
            self.assertIsNotNone(getattr(guerrilla_tw, name))
        with self.assertRaises(AttributeError):
            guerrilla_tw.no_such_name  # noqa: B018


def make_config(
    pid_file: str = "",
    allowed_hosts: tuple[str, ...] = (".",),
    servers: tuple[ServerConfig, ...] = (ServerConfig(is_enabled=True, listen_interface=ANY_PORT),),
) -> Config:
    return Config(
        pid_file=pid_file,
        allowed_hosts=allowed_hosts,
        servers=servers,
        backend_config=NULL_CHAIN,
    )

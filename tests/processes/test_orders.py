"""A configuration goes to another process and is the same there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.config import Config, ConfigError, Duration, ServerConfig, load_config
from guerrilla_tw.logs.elsewhere import Places
from guerrilla_tw.processes.orders import make_order, read_order

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"
LOGS = Places("/var/log", {"stderr": ""})


def there_and_back(config: Config, processes: int = 1) -> Config:
    return read_order(make_order(config, LOGS, {}, processes)).config


class OrderTests(SynchronousTestCase):
    def assert_same(self, config: Config) -> None:
        there = there_and_back(config)
        self.assertEqual(there.processes, 1)
        expected = msgspec.structs.replace(config, processes=1, pid_file="")
        self.assertEqual(there, expected)

    def test_examples(self) -> None:
        for file in EXAMPLES.glob("*.json"):
            self.assert_same(load_config(str(file)).config)

    def test_durations(self) -> None:
        for seconds in (0.1, 1 / 3, 1e-9, 90.0, 86400.0 * 365):
            self.assert_same(Config(shutdown_timeout=Duration(seconds)))

    def test_typed(self) -> None:
        servers = (ServerConfig(is_enabled=True, reject_early_talkers=Duration(0.25)),)
        backend = {"save_process": "Header", "list": ["a", {"b": None}], "wait": "1s", "n": 1.5}
        self.assert_same(Config(servers=servers, backend_config=backend))

    def test_what_is_the_supervisors(self) -> None:
        config = Config(pid_file="/run/pid", max_inflight_bytes=1000, processes=3)
        there = there_and_back(config, 3)
        self.assertEqual((there.pid_file, there.max_inflight_bytes), ("", 333))
        self.assertEqual(there_and_back(Config(max_inflight_bytes=1), 3).max_inflight_bytes, 1)

    def test_the_rest(self) -> None:
        order = read_order(make_order(Config(), LOGS, {"/key": b"\xff"}, 1))
        self.assertEqual((order.logs, order.files), (LOGS, {"/key": b"\xff"}))

    def test_what_cannot_cross(self) -> None:
        for value, path in (
            (object(), "backend_config.mine"),
            ([b"bytes"], "backend_config.mine[0]"),
            ({"deep": {1, 2}}, "backend_config.mine.deep"),
        ):
            backend: dict[str, Any] = {"save_process": "Header", "mine": value}
            error = self.assertRaises(ConfigError, there_and_back, Config(backend_config=backend))
            self.assertEqual(
                str(error), f"{path}: cannot be handed to another process, as what JSON has can"
            )

    def test_text_that_is_none(self) -> None:
        for value in ("\udc80", 2**80):
            config = Config(backend_config={"save_process": "Header", "mine": value})
            error = self.assertRaises(ConfigError, there_and_back, config)
            self.assertIn("cannot be handed to another process", str(error))

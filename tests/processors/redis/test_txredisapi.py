"""What we rely on in txredisapi, some of which it does not document: a release may take it away."""

from __future__ import annotations

import inspect
from typing import Any

from twisted.trial.unittest import SynchronousTestCase


class ContractTests(SynchronousTestCase):
    def setUp(self) -> None:
        # Here and not above: it installs a reactor.
        import txredisapi  # type: ignore[import-untyped]

        self.library: Any = txredisapi

    def assert_takes(self, owner: type, name: str, *parameters: str, **options: object) -> None:
        """A method can be called as we call or override it."""
        there = inspect.signature(getattr(owner, name)).parameters
        self.assertEqual(tuple(there)[: len(parameters) + 1], ("self", *parameters), name)
        for option, default in options.items():
            self.assertEqual(there[option].default, default, f"{name}: {option}")
        for parameter in [*there.values()][len(parameters) + 1 :]:
            self.assertIsNot(parameter.default, parameter.empty, f"{name}: {parameter}")

    def test_errors(self) -> None:
        self.assertTrue(issubclass(self.library.RedisError, Exception))
        self.assertTrue(issubclass(self.library.ConnectionError, self.library.RedisError))

    def test_factory(self) -> None:
        factory = self.library.RedisFactory
        self.assert_takes(factory, "__init__", "uuid", "dbid", "poolsize", charset="utf-8")
        self.assert_takes(factory, "startConnecting", "endpoint")
        self.assert_takes(factory, "addConnection", "conn")
        self.assert_takes(factory, "delConnection", "conn")
        self.assert_takes(factory, "getConnection")
        self.assert_takes(factory, "disconnect")
        self.assert_takes(factory, "retryDelay", "attempt")
        made = factory(None, None, 1, isLazy=True, charset=None)
        self.assertEqual((made.pool, made.size, made.disconnectCalled), ([], 0, False))
        self.assertGreater(made.maxDelay, made.initialDelay)
        queue = made.connectionQueue
        queue.put("connection")
        self.assertEqual(list(queue.pending), ["connection"])
        queue.remove("connection")
        self.assertEqual(list(queue.pending), [])

    def test_protocol(self) -> None:
        protocol = self.library.RedisProtocol
        self.assertTrue(issubclass(self.library.RedisFactory.protocol, protocol))
        self.assert_takes(protocol, "connectionMade")
        self.assert_takes(protocol, "connectionLost", "why")
        self.assert_takes(protocol, "dataReceived", "data")
        self.assert_takes(protocol, "rawDataReceived", "data")
        self.assert_takes(protocol, "setex", "key", "time", "value")
        self.assert_takes(protocol, "sentinel_get_master_addr_by_name", "service_name")
        kinds = [
            parameter.kind
            for parameter in inspect.signature(protocol.execute_command).parameters.values()
        ]
        self.assertIn(inspect.Parameter.VAR_POSITIONAL, kinds)

"""A server that is no Redis, or does not speak like one."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import inlineCallbacks
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import Logger, LogPublisher
from twisted.trial.unittest import TestCase

from guerrilla_tw.config import convert_settings
from guerrilla_tw.processors.redis.settings import RedisConfig, RedisUnavailable


class Answering(Protocol):
    """Says the same to everything."""

    answer = b""

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(self.answer)


class GarbageTests(TestCase):
    @inlineCallbacks
    def check(self, answer: bytes):
        from guerrilla_tw.processors.redis.client import RedisClient

        kind = type("Garbage", (Answering,), {"answer": answer})
        here: Any = reactor
        port = here.listenTCP(0, Factory.forProtocol(kind), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        settings = {"redis_interface": f"127.0.0.1:{port.getHost().port}"}
        target = convert_settings(settings, RedisConfig).target()
        log = Logger("test", observer=LogPublisher())
        client = RedisClient(target, 1, 5.0, reactor, log)
        error = yield self.assertFailure(client.open(), RedisUnavailable)
        self.assertIn("what answers is not Redis", str(error))
        # No traceback of it anywhere.
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_not_utf8(self):
        return self.check(b"-ERR \xe9\r\n")

    def test_octets_without_end(self):
        return self.check(b"$100000000000\r\n" + b"x" * 70000)

    def test_another_protocol(self):
        return self.check(b"+PONG\r\n")

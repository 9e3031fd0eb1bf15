"""Redis: connections that are lost, that hang, or that lead to somebody else."""

from __future__ import annotations

import socket
from contextlib import closing
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults, inlineCallbacks
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import Logger

from guerrilla_tw.backends.gateway import Gateway
from guerrilla_tw.backends.registry import Registry
from guerrilla_tw.processors import BUILTIN
from guerrilla_tw.processors.redis import client, pool
from tests.integration.test_redis import RedisTestCase, Steps
from tests.processors.support import make_envelope
from tests.servers.redis import HOST, RedisServer, SentinelServer

HERE: Any = reactor
# Longer than any patience.
LONG_UPTIME = 1000.0


class LaterReactor:
    """The reactor, whose clock can be put forward; what it calls later it calls in time."""

    def __init__(self) -> None:
        self.later = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)

    def seconds(self) -> float:
        now: float = HERE.seconds()
        return now + self.later


class Silent(Protocol):
    """Answers nothing, and stays."""

    def connectionMade(self) -> None:
        self.factory.met.callback(self.transport)


class Queueing(Protocol):
    """Takes what it is tried with, and only says that it would do more."""

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(b"+OK\r\n" if b"PSETEX" in data else b"+QUEUED\r\n")


class PoolTests(RedisTestCase):
    reactor: Any = reactor

    def gateway(self) -> Gateway:
        observer: Any = self.events.append
        return Gateway(Registry(BUILTIN), self.reactor, Logger("test", observer=observer))

    def server(self) -> RedisServer:
        """:returns: one that runs."""
        server = RedisServer()
        self.addCleanup(server.close)
        server.start()
        return server

    def be_quick(self) -> None:
        """Give up a connection soon on which nobody answers; no message's time ends by that."""
        self.patch(client, "_CONNECT_TIMEOUT", 0.3)

    @inlineCallbacks
    def test_only_connection_hangs(self) -> Steps:
        server = self.server()
        gateway = yield self.start(
            redis_interface=server.address, redis_pool_size=1, gw_save_timeout="1500ms"
        )
        yield self.save(gateway, make_envelope())
        server.pause()
        try:
            yield self.refuse(gateway)
        finally:
            server.go_on()
        yield self.save(gateway, make_envelope())

    @inlineCallbacks
    def test_wait_for_one_that_is_busy_is_no_wait_for_redis(self) -> Steps:
        self.patch(pool, "PATIENCE", 0.0)
        server = self.server()
        gateway = yield self.start(
            redis_interface=server.address, redis_pool_size=1, save_workers_size=8
        )
        yield gatherResults([self.save(gateway, make_envelope()) for _ in range(40)])
        self.assertEqual(self.count("not stored"), 0)

    @inlineCallbacks
    def test_quick_restart_after_long_uptime_refuses_nobody(self) -> Steps:
        server = self.server()
        clock = LaterReactor()
        self.reactor = clock
        # By the UNIX socket: to look a name up is the real reactor's business.
        gateway = yield self.start(redis_interface=str(server.socket_path), redis_pool_size=1)
        yield self.save(gateway, make_envelope())
        clock.later = LONG_UPTIME
        server.kill()
        server.start()
        yield self.save(gateway, make_envelope())

    @inlineCallbacks
    def test_sentinel_that_never_answers(self) -> Steps:
        self.be_quick()
        master = self.server()
        sentinel = SentinelServer(master)
        self.addCleanup(sentinel.close)
        sentinel.start()
        with closing(socket.create_server((HOST, 0))) as silent:
            gateway = yield self.start(
                redis_sentinels=[f"{HOST}:{silent.getsockname()[1]}", sentinel.address],
                redis_sentinel_master="mail",
                redis_pool_size=1,
                gw_save_timeout="3s",
            )
            key = yield self.save(gateway, make_envelope())
        self.assertIsNotNone(master.ask("GET", key))

    @inlineCallbacks
    def test_somebody_silent_in_its_place_for_a_while(self) -> Steps:
        self.be_quick()
        server = self.server()
        gateway = yield self.start(redis_interface=server.address, redis_pool_size=1)
        yield self.save(gateway, make_envelope())
        server.kill()
        silent: Any = Factory.forProtocol(Silent)
        silent.met = Deferred()
        port = HERE.listenTCP(server.port, silent, interface=HOST)
        connection = yield silent.met
        self.addCleanup(connection.abortConnection)
        # What was accepted stays open, and nothing tells that nobody will answer.
        yield port.stopListening()
        server.start()
        key = yield self.save_at_last(gateway)
        self.assertIsNotNone(server.ask("GET", key))

    @inlineCallbacks
    def test_answer_that_is_not_ok(self) -> Steps:
        port = HERE.listenTCP(0, Factory.forProtocol(Queueing), interface=HOST)
        self.addCleanup(port.stopListening)
        gateway = yield self.start(redis_interface=f"{HOST}:{port.getHost().port}")
        line = yield self.refuse(gateway)
        self.assertIn("what answers is not Redis", line)

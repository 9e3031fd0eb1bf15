"""Redis: what is acknowledged is in it; and what the client is told when it is away."""

from __future__ import annotations

import os
import socket
import zlib
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    gatherResults,
    inlineCallbacks,
    maybeDeferred,
    succeed,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.logger import LogEvent, Logger, formatEvent
from twisted.trial.unittest import TestCase

from guerrilla_tw.backends.gateway import Gateway, InitializationError
from guerrilla_tw.backends.registry import Registry
from guerrilla_tw.backends.results import STORE_UNAVAILABLE
from guerrilla_tw.interfaces import IResult, Task
from guerrilla_tw.mail.envelope import Envelope
from guerrilla_tw.processors import BUILTIN
from guerrilla_tw.processors.redis import pool
from guerrilla_tw.processors.redis.processor import redis_if_available
from tests.integration.daemon_process import free_port, wait_until
from tests.integration.programs import DEADLINE
from tests.processors.support import make_envelope
from tests.servers.redis import HOST, RedisRefusal, RedisServer, SentinelServer, start_replica
from tests.smtp.certificates import issue

Steps = Generator[Deferred[Any], Any, None]
CHAIN = "HeadersParser|Hasher|Header|Redis"
# Of what must not be waited for; and of what is waited for in vain, in seconds.
LONG, SHORT = "30s", "1s"
MEGABYTE = 2**20


class RedisTestCase(TestCase):
    """A test with a Gateway of its own on the real reactor."""

    timeout = DEADLINE

    def setUp(self) -> None:
        self.events: list[LogEvent] = []

    def gateway(self) -> Gateway:
        """:returns: a new one, whose log is kept."""
        observer: Any = self.events.append
        registry = Registry(BUILTIN)
        registry.add("RedisIfAvailable", redis_if_available)
        log = Logger("test", observer=observer)
        return Gateway(registry, reactor, log)  # type: ignore[arg-type]

    def hurry(self) -> None:
        """Let messages wait less for a Redis that is away."""
        self.patch(pool, "PATIENCE", 0.2)

    @inlineCallbacks
    def start(self, **settings: object) -> Generator[Deferred[Any], Any, Gateway]:
        """:returns: a Gateway that runs until the test is over."""
        gateway = self.gateway()
        config = {"save_process": CHAIN, "save_workers_size": 2, "gw_save_timeout": LONG}
        yield gateway.initialize({**config, **settings})
        self.addCleanup(gateway.shutdown)
        gateway.start()
        return gateway

    @inlineCallbacks
    def why_not_started(self, **settings: object) -> Generator[Deferred[Any], Any, str]:
        """:returns: the reason."""
        error = yield self.assertFailure(self.start(**settings), InitializationError)
        return str(error)

    def send(self, gateway: Gateway, envelope: Envelope) -> Deferred[IResult]:
        """:returns: what the client is told."""
        result = gateway.process(envelope, Task.SAVE_MAIL)
        return result if isinstance(result, Deferred) else succeed(result)

    @inlineCallbacks
    def save(self, gateway: Gateway, envelope: Envelope) -> Generator[Deferred[Any], Any, str]:
        """:returns: the key of a message that must be taken."""
        result = yield self.send(gateway, envelope)
        self.assertEqual(result.code, 250, [result.text, *self.lines()])
        self.assertEqual(envelope.stored_as, envelope.hashes[0])
        self.assertEqual(envelope.values["redis"], envelope.hashes[0])
        self.assertIn(envelope.hashes[0], result.text)
        return envelope.hashes[0]

    @inlineCallbacks
    def refuse(self, gateway: Gateway) -> Generator[Deferred[Any], Any, str]:
        """:returns: the one line that is logged of a message that must not be taken for now."""
        envelope = make_envelope()
        result = yield self.send(gateway, envelope)
        self.assertEqual((result.code, result.enhanced), (451, "4.3.0"))
        self.assertIn("storage", result.text)
        (line,) = [line for line in self.lines() if envelope.queued_id in line]
        return line

    @inlineCallbacks
    def save_at_last(self, gateway: Gateway) -> Generator[Deferred[Any], Any, str]:
        """:returns: the key of the first message that is taken; trial's timeout ends the trying."""
        while True:
            envelope = make_envelope()
            result = yield self.send(gateway, envelope)
            if result.code == 250:
                return envelope.stored_as
            self.assertEqual(result.code, 451)
            yield deferLater(reactor, 0.02)

    def lines(self) -> list[str]:
        return [formatEvent(event) for event in self.events]

    def count(self, text: str) -> int:
        return sum(text in line for line in self.lines())


def set_variable(name: str, value: str | None) -> None:
    """Set a variable of the environment, or take it away."""
    if value is None:
        del os.environ[name]
    else:
        os.environ[name] = value


class StoreTests(RedisTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.server = RedisServer()
        self.addCleanup(self.server.close)
        self.server.start()

    def start_here(self, **settings: object) -> Deferred[Gateway]:
        return self.start(redis_interface=self.server.address, **settings)

    @inlineCallbacks
    def test_header_and_message(self) -> Steps:
        gateway = yield self.start_here()
        envelope = make_envelope(b"Subject: x\r\n\r\n\0\xe9\xff\r\n123\r\n")
        key = yield self.save(gateway, envelope)
        stored = self.server.ask("GET", key)
        self.assertEqual(stored, envelope.delivery_header.encode() + envelope.data)
        self.assertTrue(stored.startswith(b"Delivered-To: bob@example.org\r\n"))

    @inlineCallbacks
    def test_compressed(self) -> Steps:
        gateway = yield self.start_here(save_process="Hasher|Header|Compressor|Redis")
        for size in (10, 2 * MEGABYTE):
            envelope = make_envelope(b"x" * size)
            key = yield self.save(gateway, envelope)
            stored = self.server.ask("GET", key)
            self.assertEqual(zlib.decompress(stored), envelope.delivered_data)

    @inlineCallbacks
    def test_expires(self) -> Steps:
        gateway = yield self.start_here(redis_expire_seconds=100)
        key = yield self.save(gateway, make_envelope())
        self.assertTrue(90 < self.server.ask("TTL", key) <= 100)

    @inlineCallbacks
    def test_longest_expiry(self) -> Steps:
        gateway = yield self.start_here(redis_expire_seconds=2**53 - 1)
        key = yield self.save(gateway, make_envelope())
        self.assertGreater(self.server.ask("TTL", key), 2**52)

    @inlineCallbacks
    def test_once_for_all_recipients(self) -> Steps:
        gateway = yield self.start_here()
        envelope = make_envelope(recipients=(b"<a@example.org>", b"<b@example.org>"))
        key = yield self.save(gateway, envelope)
        self.assertEqual(self.server.ask("GET", key), envelope.delivered_data)
        self.assertIsNone(self.server.ask("GET", envelope.hashes[1]))

    @inlineCallbacks
    def test_large(self) -> Steps:
        gateway = yield self.start_here()
        envelope = make_envelope(os.urandom(20 * MEGABYTE))
        key = yield self.save(gateway, envelope)
        self.assertEqual(self.server.ask("GET", key), envelope.delivered_data)

    @inlineCallbacks
    def test_many_at_once_on_few_connections(self) -> Steps:
        gateway = yield self.start_here(save_workers_size=8, redis_pool_size=2)
        envelopes = [make_envelope(b"%d\r\n" % number) for number in range(40)]
        keys = yield gatherResults([self.save(gateway, envelope) for envelope in envelopes])
        for key, envelope in zip(keys, envelopes, strict=True):
            self.assertEqual(self.server.ask("GET", key), envelope.delivered_data)

    @inlineCallbacks
    def test_pool_size(self) -> Steps:
        before = self.clients()
        yield self.start_here(save_workers_size=3)
        while self.clients() < before + 3:
            yield deferLater(reactor, 0.01)
        yield self.start_here(save_workers_size=3, redis_pool_size=1)
        self.assertEqual(self.clients(), before + 4)

    def clients(self) -> int:
        """:returns: how many there are by TCP."""
        listed: bytes = self.server.ask("CLIENT", "LIST", "TYPE", "normal")
        return listed.count(b" laddr=" + self.server.address.encode())

    @inlineCallbacks
    def test_database(self) -> Steps:
        url = f"redis://{self.server.address}/4"
        for number, settings in (
            (3, {"redis_interface": self.server.address, "redis_db": 3}),
            (4, {"redis_interface": url}),
        ):
            gateway = yield self.start(**settings)
            key = yield self.save(gateway, make_envelope())
            self.assertIsNone(self.server.ask("GET", key))
            self.assertEqual(self.server.ask("COPY", key, key + "0", "DB", 0), 0)
            self.assertEqual(self.server.ask("SWAPDB", 0, number), b"OK")
            self.assertIsNotNone(self.server.ask("GET", key))

    @inlineCallbacks
    def test_no_such_database(self) -> Steps:
        why = yield self.why_not_started(redis_interface=self.server.address, redis_db=99)
        self.assertEqual(why, f"Redis: redis at {self.server.address}: DB index is out of range")

    @inlineCallbacks
    def test_unix_socket(self) -> Steps:
        for interface in (str(self.server.socket_path), f"unix:{self.server.socket_path}"):
            gateway = yield self.start(redis_interface=interface)
            key = yield self.save(gateway, make_envelope())
            self.assertIsNotNone(self.server.ask("GET", key))

    @inlineCallbacks
    def test_host_name(self) -> Steps:
        gateway = yield self.start(redis_interface=f"localhost:{self.server.port}")
        yield self.save(gateway, make_envelope())

    @inlineCallbacks
    def test_trial_leaves_nothing(self) -> Steps:
        self.server.ask("FLUSHALL")
        yield self.start_here()
        while self.server.ask("KEYS", "*"):
            yield deferLater(reactor, 0.01)

    @inlineCallbacks
    def test_too_large_for_redis(self) -> Steps:
        gateway = yield self.start_here()
        self.server.ask("CONFIG", "SET", "proto-max-bulk-len", MEGABYTE)
        envelope = make_envelope(b"x" * 2 * MEGABYTE)
        result = yield self.send(gateway, envelope)
        self.assertEqual((result.code, result.enhanced), (552, "5.3.4"))
        self.assertEqual(self.count(f"{envelope.queued_id}: not stored"), 1)
        yield self.save(gateway, make_envelope(b"x" * (MEGABYTE // 2)))

    @inlineCallbacks
    def test_recipients_are_no_business_of_it(self) -> Steps:
        gateway = yield self.start_here(validate_process="Hasher|Redis")
        result = yield gateway.validate_rcpt(make_envelope())
        self.assertEqual(result.code, 250)

    @inlineCallbacks
    def test_out_of_memory(self) -> Steps:
        gateway = yield self.start_here()
        self.server.ask("CONFIG", "SET", "maxmemory", 1)
        try:
            line = yield self.refuse(gateway)
            self.assertIn("OOM command not allowed", line)
        finally:
            self.server.ask("CONFIG", "SET", "maxmemory", 0)
        yield self.save_at_last(gateway)
        self.assertEqual(self.count("connection lost: OOM"), 1)
        self.assertEqual(self.count("connected again"), 1)

    @inlineCallbacks
    def test_becomes_a_replica(self) -> Steps:
        self.hurry()
        gateway = yield self.start_here()
        self.server.ask("REPLICAOF", HOST, free_port())
        try:
            line = yield self.refuse(gateway)
            self.assertIn("READONLY", line)
            # Also those connections that were idle, and new ones, are not used any more.
            for _ in range(3):
                line = yield self.refuse(gateway)
                self.assertIn("no connection: READONLY", line)
        finally:
            self.server.ask("REPLICAOF", "NO", "ONE")
        yield self.save_at_last(gateway)
        self.assertEqual(self.count("connection lost"), 1)

    @inlineCallbacks
    def test_no_secret_in_what_redis_repeats(self) -> Steps:
        self.server.ask("ACL", "SETUSER", "poor", "on", ">pass", "~*", "+psetex")
        url = f"redis://poor:pass@{self.server.address}"
        gateway = yield self.start(redis_interface=url)
        line = yield self.refuse(gateway)
        self.assertIn("NOPERM", line)
        self.assertNotIn("Subject", line)

    @inlineCallbacks
    def test_user_and_password(self) -> Steps:
        self.server.ask("ACL", "SETUSER", "mail", "on", ">p@ss/ w\u00f6rd", "~*", "+@all")
        url = f"redis://mail:p%40ss%2F%20w%C3%B6rd@{self.server.address}/0"
        gateway = yield self.start(redis_interface=url)
        yield self.save(gateway, make_envelope())
        self.server.ask("ACL", "DELUSER", "mail")
        why = yield self.why_not_started(redis_interface=url)
        self.assertIn(f"redis at {self.server.address}: WRONGPASS", why)
        self.assertNotIn("p@ss", why)

    @inlineCallbacks
    def test_goes_on_if_available(self) -> Steps:
        database = str(Path(self.mktemp()).absolute())
        gateway = yield self.start_here(
            save_process="HeadersParser|Hasher|Header|RedisIfAvailable|Sql",
            sql_dsn=database,
            mail_table="mail",
        )
        yield self.save(gateway, make_envelope())
        self.server.ask("CONFIG", "SET", "maxmemory", 1)
        try:
            envelope = make_envelope()
            result = yield self.send(gateway, envelope)
        finally:
            self.server.ask("CONFIG", "SET", "maxmemory", 0)
        self.assertEqual(result.code, 250)
        self.assertNotIn("redis", envelope.values)
        self.assertEqual(self.count(f"{envelope.queued_id}: not stored in redis"), 1)


class FakeRedis(Factory):
    """
    Says the same on each connection.

    :param replies: one for each command. At the next it closes.

    .. attribute:: at_a_loss

        If it is set, it is fired at that next command, which stays without a reply.
    """

    noisy = False

    def __init__(self, *replies: bytes) -> None:
        self.replies = replies
        self.at_a_loss: Deferred[None] | None = None
        self.connections: list[Parrot] = []
        listening: Any = reactor
        self._port = listening.listenTCP(0, self, interface=HOST)
        self.address = f"{HOST}:{self._port.getHost().port}"

    def buildProtocol(self, _: object) -> Protocol:
        self.connections.append(Parrot(self))
        return self.connections[-1]

    def close(self) -> Deferred[None]:
        """End as a server does that is killed."""
        for connection in self.connections:
            connection.transport.abortConnection()
        return maybeDeferred(self._port.stopListening)


class Parrot(Protocol):
    """A connection of such a Redis."""

    transport: Any

    def __init__(self, fake: FakeRedis) -> None:
        self._fake = fake
        self._replies = iter(fake.replies)

    def dataReceived(self, data: bytes) -> None:
        reply = next(self._replies, None)
        if reply is not None:
            self.transport.write(reply)
        elif self._fake.at_a_loss is None:
            self.transport.loseConnection()
        elif not self._fake.at_a_loss.called:
            self._fake.at_a_loss.callback(None)


class FailureTests(RedisTestCase):
    """A server for each, since it has to suffer."""

    def server(self, *options: str) -> RedisServer:
        """:returns: one that runs."""
        server = RedisServer(*options)
        self.addCleanup(server.close)
        server.start()
        return server

    @inlineCallbacks
    def test_nobody_there(self) -> Steps:
        address = f"{HOST}:{free_port()}"
        why = yield self.why_not_started(redis_interface=address)
        self.assertEqual(why, f"Redis: redis at {address}: connection refused")
        why = yield self.why_not_started(redis_interface="/nonexistent/redis.sock")
        self.assertEqual(
            why, "Redis: redis at unix:/nonexistent/redis.sock: no such file or directory"
        )

    @inlineCallbacks
    def test_not_redis(self) -> Steps:
        with closing(socket.create_server((HOST, 0))) as silent:
            address = f"{HOST}:{silent.getsockname()[1]}"
            why = yield self.why_not_started(redis_interface=address, gw_save_timeout="500ms")
        self.assertEqual(why, f"Redis: redis at {address}: no answer")

    @inlineCallbacks
    def test_start_is_given_up(self) -> Steps:
        silent = self.fake()
        address = silent.address
        for settings in (
            {"redis_interface": address},
            {"redis_sentinels": [address, address], "redis_sentinel_master": "mail"},
        ):
            silent.at_a_loss = Deferred()
            starting = self.start(**settings)
            yield silent.at_a_loss
            starting.cancel()
            yield self.assertFailure(starting, CancelledError)

    @inlineCallbacks
    def test_something_else_answers(self) -> Steps:
        why = yield self.why_not_started(redis_interface=self.fake(b"+HELLO\r\n").address)
        self.assertIn("what answers is not Redis", why)

    @inlineCallbacks
    def test_every_write_is_cut_off(self) -> Steps:
        gateway = yield self.start(redis_interface=self.fake(b"+OK\r\n").address)
        line = yield self.refuse(gateway)
        self.assertIn("Lost connection", line)

    @inlineCallbacks
    def test_nothing_of_the_message_in_the_log(self) -> Steps:
        repeated = (
            b"-ERR unknown command 'SETEX', with args beginning with: 'key' 'Subject: hello\r\n"
        )
        gateway = yield self.start(redis_interface=self.fake(b"+OK\r\n", repeated).address)
        line = yield self.refuse(gateway)
        self.assertIn(": unknown command 'SETEX'", line)
        self.assertNotIn("Subject", line)

    def fake(self, *replies: bytes) -> FakeRedis:
        """:returns: one that listens."""
        fake = FakeRedis(*replies)
        self.addCleanup(fake.close)
        return fake

    @inlineCallbacks
    def test_killed_and_restarted(self) -> Steps:
        server = self.server("--appendonly", "yes", "--appendfsync", "always")
        # One connection, since a second may be made, and lost, just when Redis ends.
        gateway = yield self.start(redis_interface=server.address, redis_pool_size=1)
        first = yield self.save(gateway, make_envelope())
        server.kill()
        line = yield self.refuse(gateway)
        self.assertIn(f"not stored in redis at {server.address}: no connection: ", line)
        # From now on nobody waits.
        lines = yield gatherResults([self.refuse(gateway) for _ in range(50)])
        self.assertIn("no connection: connection refused", lines[-1])
        server.start()
        second = yield self.save_at_last(gateway)
        self.assertIsNotNone(server.ask("GET", first))
        self.assertIsNotNone(server.ask("GET", second))
        self.assertEqual(self.count("connection lost"), 1)
        self.assertEqual(self.count("connected again"), 1)

    @inlineCallbacks
    def test_quick_restart_refuses_nobody(self) -> Steps:
        server = self.server()
        gateway = yield self.start(redis_interface=server.address)
        yield self.save(gateway, make_envelope())
        server.kill()
        server.start()
        yield self.save(gateway, make_envelope())

    @inlineCallbacks
    def test_killed_within_a_message(self) -> Steps:
        self.hurry()
        fake = self.fake(b"+OK\r\n")
        fake.at_a_loss = Deferred()
        gateway = yield self.start(redis_interface=fake.address, save_workers_size=1)
        line = self.refuse(gateway)
        yield fake.at_a_loss
        yield fake.close()
        self.assertIn("not stored", (yield line))

    @inlineCallbacks
    def test_what_waited_for_its_slot_is_not_stored_too_late(self) -> Steps:
        server = self.server()
        gateway = yield self.start(
            redis_interface=server.address, save_workers_size=1, gw_save_timeout=SHORT
        )
        server.pause()
        # The second one begins when the first one is given up, and has less time.
        envelopes = [make_envelope(), make_envelope()]
        results = yield gatherResults([self.send(gateway, envelope) for envelope in envelopes])
        self.assertEqual(results, [STORE_UNAVAILABLE] * 2)
        server.go_on()
        yield self.save_at_last(gateway)
        self.assertIsNone(server.ask("GET", envelopes[1].hashes[0]))

    @inlineCallbacks
    def test_too_large_for_redis_that_stays_connected(self) -> Steps:
        too_large = b"-ERR Protocol error: invalid bulk length\r\n"
        fake = self.fake(b"+OK\r\n", too_large)
        gateway = yield self.start(
            redis_interface=fake.address, save_workers_size=1, gw_save_timeout=SHORT
        )
        for _ in range(3):
            result = yield self.send(gateway, make_envelope())
            self.assertEqual((result.code, result.enhanced), (552, "5.3.4"))

    @inlineCallbacks
    def test_paused(self) -> Steps:
        server = self.server()
        gateway = yield self.start(redis_interface=server.address, gw_save_timeout=SHORT)
        yield self.save(gateway, make_envelope())
        server.pause()
        line = yield self.refuse(gateway)
        self.assertRegex(line, r"not done within 0\.[78] seconds")
        server.go_on()
        key = yield self.save_at_last(gateway)
        self.assertIsNotNone(server.ask("GET", key))

    @inlineCallbacks
    def test_paused_if_available(self) -> Steps:
        server = self.server()
        gateway = yield self.start(
            save_process="Hasher|RedisIfAvailable|Sql",
            redis_interface=server.address,
            sql_dsn=str(Path(self.mktemp()).absolute()),
            mail_table="mail",
            gw_save_timeout=SHORT,
        )
        server.pause()
        envelope = make_envelope()
        result = yield self.send(gateway, envelope)
        self.assertEqual(result.code, 250)
        self.assertEqual(self.count("not done within 0."), 1)

    @inlineCallbacks
    def test_shutdown_while_paused(self) -> Steps:
        server = self.server()
        gateway = yield self.start(redis_interface=server.address, gw_save_timeout=SHORT)
        server.pause()
        refused = self.send(gateway, make_envelope(b"x" * 4 * MEGABYTE))
        yield gateway.shutdown()
        self.assertEqual((yield refused).code, 451)

    @inlineCallbacks
    def test_shutdown_while_away(self) -> Steps:
        self.hurry()
        server = self.server()
        gateway = yield self.start(redis_interface=server.address)
        server.kill()
        yield self.refuse(gateway)
        yield gateway.shutdown()

    @inlineCallbacks
    def test_wrong_password(self) -> Steps:
        server = self.server("--requirepass", "right")
        for password, why in (("wrong", "WRONGPASS"), ("", "NOAUTH")):
            reason = yield self.why_not_started(
                redis_interface=server.address, redis_password=password
            )
            self.assertIn(f"redis at {server.address}: {why}", reason)
        gateway = yield self.start(redis_interface=server.address, redis_password="right")
        yield self.save(gateway, make_envelope())

    @inlineCallbacks
    def test_password_changes(self) -> Steps:
        self.hurry()
        server = self.server("--requirepass", "right")
        gateway = yield self.start(redis_interface=server.address, redis_password="right")
        server.kill()
        server.options[-1] = "other"
        server.start()
        for _ in range(2):
            line = yield self.refuse(gateway)
            self.assertIn("no connection: WRONGPASS", line)
            self.assertNotIn("right", line)
        server.kill()
        server.options[-1] = "right"
        server.start()
        yield self.save_at_last(gateway)

    @inlineCallbacks
    def test_tls(self) -> Steps:
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        authority = issue("authority", authority=True)
        files = issue("redis.example.com", authority).write(directory, "redis")
        trusted = directory / "authority.pem"
        trusted.write_bytes(authority.certificate_pem)
        port = free_port()
        self.server(
            *("--tls-port", str(port), "--tls-auth-clients", "no"),
            *("--tls-cert-file", files["public_key_file"]),
            *("--tls-key-file", files["private_key_file"]),
            *("--tls-ca-cert-file", str(trusted)),
        )
        why = yield self.why_not_started(redis_interface=f"rediss://{HOST}:{port}")
        self.assertIn("certificate verify failed", why)
        # Where OpenSSL looks for authorities. Not a patch, which OpenSSL would not see.
        before = os.environ.get("SSL_CERT_FILE")
        self.addCleanup(set_variable, "SSL_CERT_FILE", before)
        set_variable("SSL_CERT_FILE", str(trusted))
        gateway = yield self.start(redis_interface=f"rediss://{HOST}:{port}")
        envelope = make_envelope(os.urandom(3 * MEGABYTE))
        yield self.save(gateway, envelope)
        why = yield self.why_not_started(redis_interface=f"rediss://localhost:{port}")
        self.assertIn("VerificationError", why)


class SentinelTests(RedisTestCase):
    @inlineCallbacks
    def test_failover(self) -> Steps:
        master, replica = RedisServer(), RedisServer()
        sentinel = SentinelServer(master)
        for server in (master, replica, sentinel):
            self.addCleanup(server.close)
        master.start()
        start_replica(master, replica)
        sentinel.start()
        wait_until(sentinel.knows_a_replica)
        settings = {
            # The first is not there.
            "redis_sentinels": [f"{HOST}:{free_port()}", sentinel.address],
            "redis_sentinel_master": "mail",
        }
        gateway = yield self.start(**settings)
        key = yield self.save(gateway, make_envelope())
        self.assertIsNotNone(master.ask("GET", key))
        self.assertRaises(RedisRefusal, replica.ask, "SET", "x", "y")
        master.kill()
        key = yield self.save_at_last(gateway)
        self.assertEqual(self.count("redis master 'mail': connection lost"), 1)
        self.assertEqual(self.count("redis master 'mail': connected again"), 1)
        self.assertIsNotNone(replica.ask("GET", key))
        sentinel.kill()
        yield self.save(gateway, make_envelope())
        why = yield self.why_not_started(**settings)
        self.assertIn(f"Sentinel at {sentinel.address}: connection refused", why)

    @inlineCallbacks
    def test_unknown_master(self) -> Steps:
        master = RedisServer()
        sentinel = SentinelServer(master)
        for server in (master, sentinel):
            self.addCleanup(server.close)
            server.start()
        why = yield self.why_not_started(
            redis_sentinels=[sentinel.address], redis_sentinel_master="other"
        )
        self.assertEqual(
            why,
            "Redis: redis master 'other': "
            f"Sentinel at {sentinel.address}: does not know the master",
        )

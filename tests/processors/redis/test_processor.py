"""Redis: its settings, and what goes before it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyClass, verifyObject

from guerrilla_tw.backends.chain import DefaultProcessor
from guerrilla_tw.backends.results import STORE_UNAVAILABLE
from guerrilla_tw.config import ConfigError
from guerrilla_tw.config.listen import Interface
from guerrilla_tw.interfaces import IInitializer, IProcessor, IResult, IShutdowner, Task
from guerrilla_tw.processors.redis.processor import RedisStore, redis
from guerrilla_tw.processors.redis.settings import RedisConfig, RedisTarget, RedisUnavailable
from tests.processors.support import Chain, make_envelope

ROOT = Path(__file__).resolve().parents[3]
SECRET = "s3cr3t"


class SettingsTests(SynchronousTestCase):
    def chain(self, **settings: object) -> Chain:
        return Chain(self, "Hasher|Redis", **settings)

    def target(self, **settings: object) -> RedisTarget:
        return RedisConfig(**settings).target()  # type: ignore[arg-type]

    def assert_refused(self, setting: str, cause: str, **settings: object) -> None:
        error = self.assertRaises(ConfigError, self.chain, **settings)
        self.assertEqual(str(error), f"backend_config.{setting}: {cause}")

    def test_defaults(self) -> None:
        self.chain()
        self.assertEqual(self.target(), RedisTarget(Interface("127.0.0.1", 6379)))
        self.assertEqual(RedisConfig().redis_expire_seconds, 7200)

    def test_interface(self) -> None:
        for text, interface, name in (
            ("127.0.0.1:7", Interface("127.0.0.1", 7), "redis at 127.0.0.1:7"),
            ("Cache.example.com:7", Interface("cache.example.com", 7), None),
            (":7", Interface("127.0.0.1", 7), None),
            ("[::1]:7", Interface("::1", 7), "redis at [::1]:7"),
            ("unix:run/redis.sock", Interface(path="run/redis.sock"), None),
            ("/run/redis.sock", Interface(path="/run/redis.sock"), "redis at unix:/run/redis.sock"),
            ("redis://h", Interface("h", 6379), None),
            ("redis://[::1]:7/", Interface("::1", 7), None),
        ):
            target = self.target(redis_interface=text)
            self.assertEqual(target, RedisTarget(interface))
            self.assertEqual(str(target), name or str(target))

    def test_url(self) -> None:
        interface = Interface("h", 6379)
        for text, target in (
            ("redis://:pass@h", RedisTarget(interface, password="pass")),
            ("redis://:p%40%2F%3a@h/0", RedisTarget(interface, password="p@/:")),
            ("rediss://u:p@h/12", RedisTarget(interface, True, "u", "p", 12)),
        ):
            self.assertEqual(self.target(redis_interface=text), target)

    def test_password_and_db_of_their_own(self) -> None:
        interface = Interface("h", 6379)
        for url, settings, target in (
            ("redis://h/3", {"redis_password": "p"}, RedisTarget(interface, password="p", db=3)),
            ("redis://:p@h", {"redis_db": 3}, RedisTarget(interface, password="p", db=3)),
        ):
            self.assertEqual(self.target(redis_interface=url, **settings), target)

    def test_not_an_interface(self) -> None:
        for text in (
            "127.0.0.1",
            "127.0.0.1:0",
            "127.0.0.1:99999",
            "300.0.0.1:7",
            "a b:7",
            "::1:7",
            "unix:",
            "/" + "x" * 107,
            "http://h",
            "redis://",
            "redis://h:0",
            "redis://h:x",
            "redis://h:99999",
            "redis://[::1",
            "redis://h/x",
            "redis://h/-1",
            "redis://h/1/2",
            "redis://h/\u0663",
            "redis://h/9999999999",
            "redis://h?db=1",
            "redis://h#1",
            "redis://user@h",
            f"redis://:{SECRET}\n@h",
            f"redis://:{SECRET}/@h",
            f"redis://:{SECRET}@h:x",
            f"redis://:{SECRET}%ff@h",
            f"redis://:{SECRET}@[h",
        ):
            error = self.assertRaises(ConfigError, self.chain, redis_interface=text)
            self.assertEqual(error.path, "backend_config.redis_interface", text)
            self.assertNotIn(SECRET, str(error))

    def test_said_twice(self) -> None:
        url = "redis://:p@h/1"
        twice = "redis_interface has one too"
        self.assert_refused("redis_password", twice, redis_interface=url, redis_password=SECRET)
        self.assert_refused("redis_db", twice, redis_interface=url, redis_db=2)

    def test_numbers(self) -> None:
        self.assert_refused("redis_db", "is below 0", redis_db=-1)
        for size in (-1, 1001):
            self.assert_refused("redis_pool_size", "is not from 0 to 1000", redis_pool_size=size)
        for seconds in (0, -1, 2**53):
            self.assert_refused(
                "redis_expire_seconds",
                "is not from 1 to 9007199254740991",
                redis_expire_seconds=seconds,
            )
        self.assert_refused(
            "redis_password", "expected a string, got a whole number", redis_password=1
        )

    def test_sentinels(self) -> None:
        target = self.target(
            redis_sentinels=("a:1", "[::1]:2"),
            redis_sentinel_master="mail",
            redis_password="p",
            redis_db=3,
        )
        sentinels = (Interface("a", 1), Interface("::1", 2))
        self.assertEqual(
            target, RedisTarget(password="p", db=3, sentinels=sentinels, master="mail")
        )
        self.assertEqual(str(target), "redis master 'mail'")

    def test_bad_sentinels(self) -> None:
        some: dict[str, object] = {"redis_sentinels": ["a:1"], "redis_sentinel_master": "mail"}
        self.assert_refused("redis_sentinel_master", "is missing", redis_sentinels=["a:1"])
        self.assert_refused("redis_sentinels", "is missing", redis_sentinel_master="mail")
        self.assert_refused(
            "redis_interface",
            "is for redis_sentinels to say: leave it out",
            **some,
            redis_interface="127.0.0.1:6379",
        )
        for bad in ("a", "a:0"):
            error = self.assertRaises(
                ConfigError, self.chain, **{**some, "redis_sentinels": ["b:1", bad]}
            )
            self.assertEqual(error.path, "backend_config.redis_sentinels[1]")


class SilentClient:
    """Stands in for RedisClient: takes what is to be written, and never answers."""

    def __init__(self, *_: object) -> None:
        self.written: list[bytes] = []
        self.opened: Deferred[None] = succeed(None)
        self.closed = 0

    def open(self) -> Deferred[None]:
        return self.opened

    def setex(self, key: str, seconds: int, data: bytes) -> Deferred[None]:
        self.written.append(data)
        return Deferred()

    def close(self) -> Deferred[None]:
        self.closed += 1
        return succeed(None)


class StoreTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        # Here and not above: it installs a reactor.
        from guerrilla_tw.processors.redis import client

        self.client = SilentClient()
        self.patch(client, "RedisClient", lambda *_: self.client)
        self.chain = Chain(self, "Hasher|Redis")

    def store(self, required: bool = True) -> RedisStore:
        return RedisStore(RedisConfig(), self.chain.services[1], required)


class DeadlineTests(StoreTestCase):
    def save(self, store: RedisStore, seconds: float) -> Deferred[IResult | None]:
        """Begin with a message whose client is answered after so many seconds at last."""
        self.successResultOf(store.initialize({}))
        envelope = make_envelope()
        envelope.hashes = ["hash"]
        envelope.answer_by = self.chain.reactor.seconds() + seconds
        return store.save(envelope)

    def assert_ends_after(self, seconds: float, saved: Deferred[IResult | None]) -> IResult | None:
        self.chain.reactor.advance(seconds - 0.1)
        self.assertNoResult(saved)
        self.chain.reactor.advance(0.1)
        (line,) = self.chain.lines()
        self.assertIn(f"not done within {seconds:.1f} seconds", line)
        return self.successResultOf(saved)

    def test_before_the_client_is_answered(self) -> None:
        for left, deadline in ((100.0, 24.0), (10.0, 8.0)):
            self.chain.events.clear()
            result = self.assert_ends_after(deadline, self.save(self.store(), left))
            self.assertEqual(result, STORE_UNAVAILABLE)

    def test_half_of_it_where_another_store_follows(self) -> None:
        saved = self.save(self.store(required=False), 10.0)
        self.assertIsNone(self.assert_ends_after(4.0, saved))

    def test_no_time_left(self) -> None:
        """Nothing is sent: the client was told to try again."""
        for required, expected in ((True, STORE_UNAVAILABLE), (False, None)):
            self.chain.events.clear()
            saved = self.save(self.store(required), 0.0)
            self.assertEqual(self.successResultOf(saved), expected)
            (line,) = self.chain.lines()
            self.assertIn("no time is left", line)
        self.assertEqual(self.client.written, [])


class ShutdownTests(StoreTestCase):
    def test_what_was_opened_is_closed(self) -> None:
        store = self.store()
        self.successResultOf(store.initialize({}))
        closed = store.shutdown()
        assert closed is not None
        self.successResultOf(closed)
        self.assertEqual(self.client.closed, 1)

    def test_what_was_not_opened_is_left_alone(self) -> None:
        never = self.store()
        failed = self.store()
        self.client.opened = fail(RedisUnavailable("not there"))
        self.failureResultOf(failed.initialize({}), RedisUnavailable)
        for store in (never, failed):
            self.assertIsNone(store.shutdown())
        self.assertEqual(self.client.closed, 0)


class ChainTests(SynchronousTestCase):
    def test_needs_hashes(self) -> None:
        for chain in ("Redis", "Redis|Hasher"):
            error = self.assertRaises(ConfigError, Chain, self, chain)
            self.assertEqual(
                str(error),
                "save_process: Redis needs the hashes: put Hasher before it",
            )

    def test_is_a_store(self) -> None:
        self.assertTrue(Chain(self, "Hasher|Redis").services[1].stores)

    def test_passes_recipients_on(self) -> None:
        result = Chain(self, "Hasher|Redis").process(make_envelope(), Task.VALIDATE_RCPT)
        self.assertEqual(result.code, 250)

    def test_interfaces(self) -> None:
        verifyObject(IProcessor, redis(Chain(self, "Hasher|Redis").services[1])(DefaultProcessor()))
        verifyClass(IInitializer, RedisStore)
        verifyClass(IShutdowner, RedisStore)

    def test_installs_no_reactor(self) -> None:
        """An embedder may have yet to choose one."""
        program = "import sys, guerrilla_tw.processors.redis.processor; print(*sys.modules)"
        modules = subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.split()
        self.assertNotIn("twisted.internet.reactor", modules)
        self.assertNotIn("txredisapi", modules)

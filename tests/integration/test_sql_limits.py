"""Sql with a MariaDB that hangs or is locked, and what is left of it after the end."""

from __future__ import annotations

import atexit
import time
from contextlib import closing
from functools import cache
from threading import Timer
from typing import Any

from twisted.internet.defer import inlineCallbacks
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.backends.errors import StoreError
from guerrilla_tw.backends.results import STORE_UNAVAILABLE
from guerrilla_tw.mail.envelope import Envelope
from guerrilla_tw.processors.sql.schema import create_tables
from tests.integration.daemon_process import wait_until
from tests.integration.sql_support import OpenStore
from tests.integration.test_redis import RedisTestCase, Steps
from tests.processors.support import make_envelope
from tests.servers.mariadb import DATABASE, MariaDb
from tests.servers.redis import RedisServer

USER = "limited"
# More than what a kernel keeps for a server that does not read.
LARGE = 7_000_000


@cache
def running_server() -> MariaDb:
    """:returns: one for all tests: trial has no setUpClass."""
    server = MariaDb("--max-allowed-packet=64M", fsync=False)
    atexit.register(server.close)
    server.start()
    server.execute(f"CREATE USER {USER}")
    server.execute(f"GRANT ALL ON {DATABASE}.* TO {USER}")
    return server


def settings(server: MariaDb, processor: str) -> dict[str, Any]:
    """:returns: those for a fresh table, which is made."""
    server.execute("DROP TABLE IF EXISTS new_mail")
    made = {
        "save_process": processor,
        "mysql_host": f"127.0.0.1:{server.port}",
        "mysql_db": DATABASE,
        "mysql_user": USER,
        "sql_driver": "mysql",
        "sql_dsn": f"{USER}@tcp(127.0.0.1:{server.port})/{DATABASE}",
        "mail_table": "new_mail",
    }
    create_tables(made)
    return made


def hashed(name: str, data: bytes = b"Subject: x\r\n\r\nx\r\n") -> Envelope:
    """:returns: an envelope as it comes from HeadersParser and Hasher."""
    envelope = make_envelope(data)
    envelope.parse_headers()
    envelope.hashes = [name]
    return envelope


class WaitTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.server = running_server()
        self.settings = settings(self.server, "Sql")

    def store(self, timeout: float) -> OpenStore:
        return OpenStore(self, self.settings, timeout)

    def test_server_that_does_not_read(self) -> None:
        store = self.store(2.0)
        envelope = hashed("large", b"Subject: x\r\n\r\n" + b"x" * LARGE)
        # Else a store without a limit would wait for ever.
        rescue = Timer(5.0, self.server.go_on)
        self.server.pause()
        try:
            rescue.start()
            started = time.monotonic()
            self.assertEqual(store.save_all([envelope]), [STORE_UNAVAILABLE])
            self.assertLess(time.monotonic() - started, 2.0)
        finally:
            rescue.cancel()
            self.server.go_on()
        self.assertEqual(store.save_all([hashed("after")]), [None])

    def test_row_that_somebody_else_has_not_committed(self) -> None:
        # The server waits for a lock in whole seconds, and must be the first to say so.
        store = self.store(6.0)
        self.server.execute("ALTER TABLE new_mail ADD UNIQUE (hash)")
        self.assertEqual(store.save_all([hashed("first")]), [None])
        with closing(self.server.connect(autocommit=False)) as other, other.cursor() as cursor:
            cursor.execute("UPDATE new_mail SET hash = 'second'")
            self.assertEqual(store.save_all([hashed("second")]), [STORE_UNAVAILABLE])
            other.rollback()
        (line,) = store.lines()
        self.assertIn("lock wait timeout", line.lower())
        self.assertEqual(store.save_all([hashed("second")]), [None])


class EndTests(RedisTestCase):
    @inlineCallbacks
    def test_no_session_is_left(self) -> Steps:
        server = running_server()
        redis = RedisServer()
        self.addCleanup(redis.close)
        redis.start()
        backend_config = settings(server, "GuerrillaDbRedis")

        def sessions() -> int:
            statement = "SELECT count(*) FROM information_schema.processlist WHERE user = %s"
            ((number,),) = server.execute(statement, USER)
            return int(number)

        # Another test's may be about to end.
        wait_until(lambda: not sessions())
        gateway = yield self.start(**backend_config, redis_interface=redis.address)
        yield self.save(gateway, make_envelope())
        self.assertGreater(sessions(), 0)
        yield gateway.shutdown()
        wait_until(lambda: not sessions())
        # Until here, so that no connection ends because nobody remembers it.
        self.assertIsNotNone(gateway)


class CreateTableTests(SynchronousTestCase):
    def test_half_a_table_does_not_stay(self) -> None:
        """Without its indexes it would be taken for the whole the next time."""
        server = running_server()
        server.execute("DROP TABLE IF EXISTS new_mail")
        server.execute("CREATE OR REPLACE USER maker")
        server.execute(f"GRANT SELECT, INSERT, CREATE, DROP ON {DATABASE}.* TO maker")
        config = {
            "save_process": "Sql",
            "sql_driver": "mysql",
            "sql_dsn": f"maker@tcp(127.0.0.1:{server.port})/{DATABASE}",
            "mail_table": "new_mail",
        }
        error = self.assertRaises(StoreError, create_tables, config)
        self.assertIn("INDEX command denied", str(error))
        self.assertEqual(server.execute("SHOW TABLES LIKE 'new_mail'"), [])
        server.execute(f"GRANT INDEX ON {DATABASE}.* TO maker")
        (line,) = create_tables(config)
        self.assertTrue(line.endswith(" is made"), line)

"""The example of go-guerrilla's documentation, as written, with a real MySQL and a real Redis."""

from __future__ import annotations

import json
import sqlite3
import sys
import zlib
from collections.abc import Callable
from contextlib import closing
from typing import Any

from tests.integration.client import Client, queue_id
from tests.integration.daemon_process import DaemonTestCase, Process
from tests.integration.programs import DEADLINE
from tests.integration.test_delivery import DELIVERY_HEADER
from tests.servers.mariadb import MariaDb
from tests.servers.postgresql import DATABASE, PASSWORD, PostgreSql
from tests.servers.redis import RedisServer

# Nothing is changed but the ports.
EXAMPLE = """
{
    "allowed_hosts": ["."],
    "servers": [{"is_enabled": true, "listen_interface": "127.0.0.1:0"}],
    "backend_config": {
      "save_process": "HeadersParser|Debugger|Hasher|Header|Compressor|Redis|MySql",
      "save_workers_size": 1, "log_received_mails": true,
      "mysql_db": "gmail_mail", "mysql_host": "127.0.0.1:3306", "mysql_pass": "ok", "mysql_user": "root",
      "mail_table": "new_mail", "redis_interface": "127.0.0.1:6379", "redis_expire_seconds": 7200,
      "primary_mail_host": "sharklasers.com" }
}
"""  # noqa: E501
WITHOUT_REDIS = "HeadersParser|Debugger|Hasher|Header|Compressor|Sql"
MESSAGE = b"Subject: every octet\r\n\r\n" + bytes({*range(256)} - {10, 13}) * 50 + b"\r\n"


class ExampleTests(DaemonTestCase):
    def launch_with_table(self, config: str) -> Process:
        """Make the table as the documentation says, and start the daemon."""
        self.write_config_text(config)
        command = (sys.executable, "-m", "guerrilla_tw", "create-table", "--config", "test.json")
        maker = Process(command, self.directory)
        self.assertEqual(maker.finish(), 0, maker.output)
        process = self.launch("--config", "test.json")
        process.port()
        return process

    def deliver(self, process: Process) -> str:
        """:returns: the id that the client was told."""
        with Client(process.port()) as client:
            client.hello()
            return queue_id(client.deliver(MESSAGE))

    def assert_whole(self, compressed: bytes) -> None:
        """Delivery header and message are there, octet by octet."""
        stored = zlib.decompress(compressed)
        header = DELIVERY_HEADER.match(stored)
        assert header is not None
        self.assertIn(b"Delivered-To: b@sharklasers.com\r\n", header[0])
        self.assertEqual(stored[header.end() :], MESSAGE)

    def test_as_written(self) -> None:
        mariadb, redis = MariaDb(), RedisServer()
        for server in (mariadb, redis):
            self.addCleanup(server.close)
            server.start()
        mariadb.execute("SET PASSWORD FOR 'root'@'127.0.0.1' = PASSWORD('ok')")
        config = EXAMPLE.replace("3306", str(mariadb.port)).replace("6379", str(redis.port))
        process = self.launch_with_table(config)
        key = self.deliver(process)
        rows = mariadb.execute("SELECT hash, body, mail, recipient, subject FROM new_mail")
        self.assertEqual(rows, [(key, "redis", b"", "b@example.com", "every octet")])
        self.assert_whole(redis.ask("GET", key))
        left = redis.ask("TTL", key)
        self.assertTrue(7200 - DEADLINE < left <= 7200, left)
        # It is forgotten when its time is over.
        redis.ask("EXPIRE", key, 0)
        self.assertIsNone(redis.ask("GET", key))
        self.assert_clean(process)

    def check_without_redis(self, dsn: str, read: Callable[[str], list[Any]]) -> None:
        """The message itself is in the row."""
        config = json.loads(EXAMPLE)
        settings = config["backend_config"]
        settings.update(save_process=WITHOUT_REDIS, sql_dsn=dsn)
        for name in [*settings]:
            if name.startswith(("mysql_", "redis_")):
                del settings[name]
        process = self.launch_with_table(json.dumps(config))
        key = self.deliver(process)
        ((stored_as, body, mail),) = read("SELECT hash, body, mail FROM new_mail")
        self.assertEqual((stored_as, body), (key, "gzip"))
        self.assert_whole(mail)
        self.assert_clean(process)

    def test_postgresql_without_redis(self) -> None:
        server = PostgreSql()
        self.addCleanup(server.close)
        server.start()
        self.check_without_redis(
            f"postgres://postgres:{PASSWORD}@127.0.0.1:{server.port}/{DATABASE}", server.execute
        )

    def test_sqlite_without_redis(self) -> None:
        def read(statement: str) -> list[Any]:
            with closing(sqlite3.connect(self.directory / "mail.sqlite3")) as database:
                return database.execute(statement).fetchall()

        self.check_without_redis("mail.sqlite3", read)

"""GuerrillaDbRedis with a real Redis and a real MariaDB: batches, and what each client is told."""

from __future__ import annotations

import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import Any

from guerrilla_tw.processors.sql.schema import create_tables
from tests.integration.client import Client, queue_id
from tests.integration.daemon_process import DaemonTestCase, Process, wait_until
from tests.integration.test_delivery import DELIVERY_HEADER
from tests.servers.mariadb import DATABASE, MariaDb
from tests.servers.redis import RedisServer

CLIENTS = 20
MESSAGES = 5


def message(subject: str) -> bytes:
    return f"Subject: {subject}\r\n\r\n.text of {subject}\r\n".encode()


class GuerrillaDbRedisTests(DaemonTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.mariadb = MariaDb()
        self.addCleanup(self.mariadb.close)
        self.mariadb.start()
        self.redis = RedisServer()
        self.addCleanup(self.redis.close)
        self.redis.start()

    def start_here(self, **settings: object) -> Process:
        backend_config = {
            "save_process": "GuerrillaDbRedis",
            "save_workers_size": 32,
            "mysql_host": f"127.0.0.1:{self.mariadb.port}",
            "mysql_db": DATABASE,
            "mysql_user": "root",
            "mail_table": "new_mail",
            "redis_interface": self.redis.address,
            **settings,
        }
        create_tables(backend_config)
        return self.start(backend_config=backend_config)

    def count(self, what: str) -> int:
        """:returns: how often MariaDB has done something."""
        ((_, number),) = self.mariadb.execute(f"SHOW GLOBAL STATUS LIKE 'Com_{what}'")
        return int(number)

    def row(self, subject: str) -> tuple[Any, ...]:
        """:returns: hash, body and mail of the one row with this subject."""
        statement = "SELECT hash, body, mail FROM new_mail WHERE subject = %s"
        (row,) = self.mariadb.execute(statement, subject)
        return row

    def assert_in_redis(self, subject: str, reply: str) -> None:
        self.assertEqual(self.row(subject), (queue_id(reply), "redis", b""))
        self.assert_whole(self.redis.ask("GET", queue_id(reply)), subject)

    def assert_in_row(self, subject: str, reply: str) -> None:
        key, body, mail = self.row(subject)
        self.assertEqual((key, body), (queue_id(reply), "gzip"))
        self.assert_whole(mail, subject)

    def assert_whole(self, compressed: Any, subject: str) -> None:
        """Delivery header and message are there."""
        stored = zlib.decompress(compressed)
        header = DELIVERY_HEADER.match(stored)
        assert header is not None
        self.assertEqual(stored[header.end() :], message(subject))

    def deliver(self, port: int, *subjects: str) -> list[str]:
        """:returns: the replies to messages of a client."""
        with Client(port) as client:
            client.hello()
            return [client.deliver(message(subject)) for subject in subjects]

    def deliver_at_once(self, port: int, senders: list[list[str]]) -> dict[str, str]:
        """
        Have several clients deliver at the same time.

        :param senders: the subjects of each.
        :returns: the reply to each.
        """
        replies: dict[str, str] = {}
        with ThreadPoolExecutor(len(senders)) as pool:
            told = pool.map(lambda subjects: self.deliver(port, *subjects), senders)
            for subjects, answers in zip(senders, told, strict=True):
                replies.update(zip(subjects, answers, strict=True))
        return replies

    def test_messages_of_concurrent_clients_are_written_together(self) -> None:
        process = self.start_here()
        before = self.count("commit"), self.count("insert")
        senders = [[f"{name}-{n}" for n in range(MESSAGES)] for name in range(CLIENTS)]
        replies = self.deliver_at_once(process.port(), senders)
        self.assertEqual(len(replies), CLIENTS * MESSAGES)
        for subject, reply in replies.items():
            self.assert_in_redis(subject, reply)
        self.assertEqual(self.mariadb.execute("SELECT count(*) FROM new_mail"), [(len(replies),)])
        self.assertLess(self.count("commit") - before[0], len(replies))
        self.assertLess(self.count("insert") - before[1], len(replies))
        self.assert_clean(process)

    def test_bad_row_fails_alone(self) -> None:
        # With one batch held up in the pool, nine messages make the next.
        process = self.start_here(sql_batch_size=9, sql_batch_wait="1s")
        self.mariadb.execute(
            "CREATE TRIGGER no_bad_mail BEFORE INSERT ON new_mail FOR EACH ROW "
            "IF NEW.subject = 'bad' THEN "
            "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'no bad mail'; END IF"
        )
        nine = [["bad"], *([f"good-{number}"] for number in range(8))]
        with closing(self.mariadb.connect()) as connection, ThreadPoolExecutor(2) as pool:
            cursor = connection.cursor()
            cursor.execute("LOCK TABLES new_mail WRITE")
            first = pool.submit(self.deliver, process.port(), "first")
            wait_until(partial(self.somebody_waits, 1))
            others = pool.submit(self.deliver_at_once, process.port(), nine)
            wait_until(partial(self.somebody_waits, 2))
            cursor.execute("UNLOCK TABLES")
            replies = others.result()
        self.assertRegex(replies.pop("bad"), r"^451 4\.3\.0 ")
        for subject, reply in [("first", first.result()[0]), *replies.items()]:
            self.assert_in_redis(subject, reply)
        self.assertEqual(self.mariadb.execute("SELECT count(*) FROM new_mail"), [(9,)])
        process.wait_for("not stored in new_mail: refused by a trigger")
        self.assertEqual(process.output.count("refused by a trigger"), 1)

    def somebody_waits(self, count: int) -> bool:
        """Whether so many batches wait for the lock of the table."""
        ((waiting,),) = self.mariadb.execute(
            "SELECT count(*) FROM information_schema.processlist "
            "WHERE state LIKE 'Waiting for table%'"
        )
        return bool(waiting >= count)

    def test_message_is_in_the_row_while_redis_is_away(self) -> None:
        process = self.start_here()
        port = process.port()
        (reply,) = self.deliver(port, "with redis")
        self.assert_in_redis("with redis", reply)
        self.redis.kill()
        senders = [[f"without redis {number}"] for number in range(CLIENTS)]
        for (subject,), reply in zip(
            senders, self.deliver_at_once(port, senders).values(), strict=True
        ):
            self.assert_in_row(subject, reply)
        process.wait_for(r"#warn\] .*not stored in redis")
        self.redis.start()
        process.wait_for("connected again")
        (reply,) = self.deliver(port, "with redis again")
        self.assert_in_redis("with redis again", reply)

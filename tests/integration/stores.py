"""Every store: how it is set up, what can befall it, and what it has kept."""

from __future__ import annotations

import mailbox
import os
import shutil
import sqlite3
import zlib
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from guerrilla_tw.processors.sql.schema import create_tables
from tests.integration.daemon_process import ROOT
from tests.integration.store_under_test import Fault, Stored, StoreUnderTest
from tests.servers.mariadb import DATABASE as MARIADB_DATABASE
from tests.servers.mariadb import MariaDb
from tests.servers.php_fpm import PhpFpm
from tests.servers.postgresql import DATABASE as POSTGRESQL_DATABASE
from tests.servers.postgresql import PASSWORD, PostgreSql
from tests.servers.redis import RedisServer

_SELECT = "SELECT hash, recipient, body, mail FROM new_mail"
_CLEAR = "DELETE FROM new_mail"


class SqliteStore(StoreUnderTest):
    """SQLite."""

    title = "SQLite"

    def open(self) -> None:
        directory = self.directory / "sqlite"
        directory.mkdir()
        self.keep_in(directory)
        self._path = directory / "mail.sqlite3"
        self.settings |= {
            "save_process": "HeadersParser|Hasher|Header|Compressor|Sql",
            "sql_driver": "sqlite3",
            "sql_dsn": str(self._path),
            "mail_table": "new_mail",
        }
        create_tables(self.settings)
        lock = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        self.cleanup.callback(lock.close)
        self.faults["store locked"] = Fault(
            lambda: lock.execute("BEGIN IMMEDIATE"), lambda: lock.execute("ROLLBACK")
        )

    def stored(self) -> Iterator[Stored]:
        with closing(sqlite3.connect(self._path)) as database:
            yield from _inflated(database.execute(_SELECT).fetchall())

    def clear(self) -> None:
        with closing(sqlite3.connect(self._path)) as database:
            database.execute(_CLEAR)
            database.commit()


class MaildirStore(StoreUnderTest):
    """Maildirs."""

    title = "MailDir"

    def open(self) -> None:
        directory = self.directory / "maildir"
        directory.mkdir()
        self.keep_in(directory)
        self._root = directory / "mail"
        self._root.mkdir()
        away = directory / "away"
        self.settings |= {
            "save_process": "HeadersParser|Hasher|Header|MailDir",
            "maildir_path": f"{self._root}/[user]",
        }
        self.faults["store away"] = Fault(
            lambda: self._root.rename(away), lambda: _put_back(away, self._root)
        )

    def stored(self) -> Iterator[Stored]:
        for name in os.listdir(self._root):
            box = mailbox.Maildir(self._root / name, create=False)
            for key in box.iterkeys():
                # Line ends are LF there.
                yield Stored("", name, box.get_bytes(key).replace(b"\n", b"\r\n"))

    def clear(self) -> None:
        for path in self._root.iterdir():
            shutil.rmtree(path)


class MySqlStore(StoreUnderTest):
    """MariaDB, by the settings of MySql."""

    title = "MySql"
    chain = "HeadersParser|Hasher|Header|Compressor|MySql"

    def open(self) -> None:
        self.mariadb = MariaDb()
        self.serve(self.mariadb)
        self.settings |= {
            "save_process": self.chain,
            "mysql_host": f"127.0.0.1:{self.connect(self.mariadb.port)}",
            "mysql_db": MARIADB_DATABASE,
            "mysql_user": "root",
            "mysql_pass": "",
            "mail_table": "new_mail",
        }
        create_tables(self.settings)

    def stored(self) -> Iterator[Stored]:
        yield from _inflated(self.mariadb.execute(_SELECT))

    def clear(self) -> None:
        self.mariadb.execute(_CLEAR)


class BatchedMySqlStore(MySqlStore):
    """MariaDB, with messages of several clients in one statement."""

    title = "MySql, batches"

    def open(self) -> None:
        super().open()
        self.settings["sql_batch_size"] = 50


class PostgreSqlStore(StoreUnderTest):
    """PostgreSQL."""

    title = "PostgreSQL"

    def open(self) -> None:
        self.postgresql = PostgreSql()
        self.serve(self.postgresql)
        address = f"127.0.0.1:{self.connect(self.postgresql.port)}/{POSTGRESQL_DATABASE}"
        self.settings |= {
            "save_process": "HeadersParser|Hasher|Header|Compressor|Sql",
            "sql_driver": "postgres",
            "sql_dsn": f"postgres://postgres:{PASSWORD}@{address}?sslmode=disable",
            "mail_table": "new_mail",
        }
        create_tables(self.settings)

    def stored(self) -> Iterator[Stored]:
        yield from _inflated(self.postgresql.execute(_SELECT))

    def clear(self) -> None:
        self.postgresql.execute(_CLEAR)


class BatchedPostgreSqlStore(PostgreSqlStore):
    """PostgreSQL, with messages of several clients in one statement."""

    title = "PostgreSQL, batches"

    def open(self) -> None:
        super().open()
        self.settings["sql_batch_size"] = 50


class RedisStore(StoreUnderTest):
    """Redis that writes each command to the disk before it answers."""

    title = "Redis, appendfsync always"
    options: tuple[str, ...] = ("--appendonly", "yes", "--appendfsync", "always")
    #: Whether it may lose what it has acknowledged when it is killed.
    forgets = False

    def open(self) -> None:
        self.redis = RedisServer(*self.options)
        self.serve(self.redis, forgets=self.forgets)
        self.settings |= {
            "save_process": "HeadersParser|Hasher|Header|Compressor|Redis",
            "redis_interface": f"127.0.0.1:{self.connect(self.redis.port)}",
        }

    def stored(self) -> Iterator[Stored]:
        keys = self.redis.ask("KEYS", "*")
        assert isinstance(keys, list)
        for key in keys:
            assert isinstance(key, bytes)
            # Redis looks into itself when it starts, and so may the daemon.
            if len(key) == 32:
                value = self.redis.ask("GET", key.decode())
                assert isinstance(value, bytes)
                yield Stored(key.decode(), "", zlib.decompress(value))

    def clear(self) -> None:
        self.redis.ask("FLUSHALL")


class ForgetfulRedisStore(RedisStore):
    """Redis as it comes, which saves now and then."""

    title = "Redis, default"
    options = ("--save", "3600 1 300 100 60 10000")
    forgets = True


class RedisAndMySqlStore(RedisStore):
    """The documented example: the message in Redis, what is known of it in MySQL."""

    title = "Redis and MySql, fault in Redis"
    chain = "HeadersParser|Debugger|Hasher|Header|Compressor|Redis|MySql"

    def open(self) -> None:
        self.mysql = MySqlStore(self.directory, network=self._has_network, small=self._is_small)
        self.cleanup.callback(self.mysql.close)
        super().open()
        self.settings = {**self.mysql.settings, **self.settings, "save_process": self.chain}

    def stored(self) -> Iterator[Stored]:
        """What is in both, and where GuerrillaDbRedis has a message in the row, that."""
        in_redis = {stored.key: stored.octets for stored in super().stored()}
        for key, recipient, body, mail in self.mysql.mariadb.execute(_SELECT):
            if body != "redis":
                yield from _inflated([(key, recipient, body, mail)])
            elif key in in_redis:
                yield Stored(key, recipient, in_redis[key])

    def clear(self) -> None:
        super().clear()
        self.mysql.clear()


class MySqlAndRedisStore(RedisAndMySqlStore):
    """The same, and it befalls MySQL."""

    title = "Redis and MySql, fault in MySQL"

    def open(self) -> None:
        super().open()
        self.faults = self.mysql.faults


class GuerrillaDbRedisStore(RedisAndMySqlStore):
    """All in one. Without Redis the message is in the table."""

    title = "GuerrillaDbRedis, fault in Redis"
    chain = "GuerrillaDbRedis"


class GuerrillaRedisDbStore(MySqlAndRedisStore):
    """All in one, and it befalls MySQL."""

    title = "GuerrillaDbRedis, fault in MySQL"
    chain = GuerrillaDbRedisStore.chain


class FastCgiStore(StoreUnderTest):
    """php-fpm with the script of the examples."""

    title = "FastCGI, php-fpm"

    def open(self) -> None:
        self.php = PhpFpm(workers=4)
        self.serve(self.php)
        script = Path(shutil.copy(ROOT / "examples/fastcgi/save.php", self.php.directory))
        self._mail = self.php.directory / "mail"
        self._mail.mkdir()
        user = self.php.user()
        if user is not None:
            os.chown(self._mail, user, -1)
        self.settings |= {
            "save_process": "HeadersParser|Hasher|Header|FastCGI",
            "fcgi_script_filename_save": str(script),
            **self.php.settings,
        }

    def stored(self) -> Iterator[Stored]:
        # One without a note was cut off; its client was not told that it is stored.
        for note in self._mail.glob("*.json"):
            if note.stat().st_size:
                yield Stored("", "", note.with_suffix(".eml").read_bytes())

    def clear(self) -> None:
        for path in self._mail.iterdir():
            path.unlink()


#: What the command line calls them.
STORES: Mapping[str, type[StoreUnderTest]] = {
    "sqlite": SqliteStore,
    "mysql": MySqlStore,
    "mysql-batches": BatchedMySqlStore,
    "postgresql": PostgreSqlStore,
    "postgresql-batches": BatchedPostgreSqlStore,
    "redis": RedisStore,
    "redis-default": ForgetfulRedisStore,
    "redis+mysql": RedisAndMySqlStore,
    "mysql+redis": MySqlAndRedisStore,
    "guerrilladbredis": GuerrillaDbRedisStore,
    "guerrillaredisdb": GuerrillaRedisDbStore,
    "maildir": MaildirStore,
    "fastcgi": FastCgiStore,
}


def _inflated(rows: list[Any]) -> Iterator[Stored]:
    for key, recipient, body, mail in rows:
        octets = bytes(mail)
        yield Stored(key, recipient, zlib.decompress(octets) if body == "gzip" else octets)


def _put_back(away: Path, root: Path) -> None:
    # What was made in its place, if anything was.
    if root.exists():
        for mail in [path for path in root.rglob("*") if path.is_file()]:
            raise AssertionError(f"{mail} is in a Maildir that nobody looks at")
        shutil.rmtree(root)
    away.rename(root)

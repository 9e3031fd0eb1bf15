"""
A password is in no line that anybody reads: neither in a log at any level, nor in what ``--check``
and the commands say, nor in a traceback, nor in what ``ps`` shows.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw import ConfigError, Guerrilla
from guerrilla_tw.processors.redis.settings import RedisConfig
from guerrilla_tw.processors.sql.dsn import read_source
from tests.integration.client import MESSAGE, Client
from tests.integration.daemon_process import ROOT, DaemonTestCase
from tests.integration.programs import DEADLINE
from tests.integration.test_processes import SERVES
from tests.servers.mariadb import DATABASE as MARIADB_DATABASE
from tests.servers.mariadb import MariaDb
from tests.servers.postgresql import DATABASE as POSTGRESQL_DATABASE
from tests.servers.postgresql import PostgreSql
from tests.servers.redis import RedisServer

SERVERS = [{"is_enabled": True, "listen_interface": "127.0.0.1:0"}]
SECRET = "S3CR3T-marker"
# Nobody listens there.
NOWHERE = "127.0.0.1:1"
# What is left of it where something cuts it or changes its case.
TRACES = re.compile("S3CR3T|marker", re.IGNORECASE)


def sql(**settings: object) -> dict[str, object]:
    """:returns: a ``backend_config``."""
    return {"save_process": "HeadersParser|Hasher|Sql", "mail_table": "new_mail", **settings}


def mysql(**settings: object) -> dict[str, object]:
    """:returns: a ``backend_config`` with go-guerrilla's older settings."""
    return {
        **sql(save_process="HeadersParser|Hasher|MySql", mysql_db=MARIADB_DATABASE),
        **{"mysql_host": NOWHERE, "mysql_user": "mail", **settings},
    }


def redis(**settings: object) -> dict[str, object]:
    """:returns: a ``backend_config``."""
    return {"save_process": "HeadersParser|Hasher|Redis", **settings}


def nobody_there() -> Iterator[Mapping[str, object]]:
    """:returns: what can be read, and leads nowhere."""
    yield sql(sql_driver="mysql", sql_dsn=f"mail:{SECRET}@tcp({NOWHERE})/db?tls=true")
    yield sql(sql_dsn=f"mysql://mail:{SECRET}@{NOWHERE}/db")
    yield sql(sql_driver="mysql", sql_dsn=f"mail:{SECRET}@unix(/nothing)/db")
    yield sql(sql_dsn=f"postgres://mail:{SECRET}@{NOWHERE}/db")
    yield sql(sql_driver="postgres", sql_dsn=f"host=/nothing user=mail password='{SECRET}'")
    yield mysql(mysql_pass=SECRET)
    yield redis(redis_interface=f"redis://mail:{SECRET}@{NOWHERE}/1")
    yield redis(redis_interface=f"rediss://:{SECRET}@{NOWHERE}")
    yield redis(redis_interface=NOWHERE, redis_password=SECRET)
    yield redis(redis_sentinels=[NOWHERE], redis_sentinel_master="m", redis_password=SECRET)


def misread() -> Iterator[Mapping[str, object]]:
    """:returns: what is wrong with the secret in it, or beside it."""
    for dsn in (
        f"mail:{SECRET}@tcp({NOWHERE}",
        f"mail:{SECRET}@/db?{SECRET}=1",
        f"mail:x@tcp({SECRET})/db?timeout={SECRET}",
        f"mysql://mail:{SECRET}@{NOWHERE}:x/db",
        f"mysql://mail:{SECRET}/x@{NOWHERE}/db",
        f"mysql://mail:x@{SECRET}@{NOWHERE}/db",
        f"postgres://mail:{SECRET}@[{NOWHERE}/db",
        f"postgres://mail:{SECRET}@{NOWHERE}/db?sslmode={SECRET}",
        f"oracle://mail:{SECRET}@{NOWHERE}/db",
        f"user=mail password={SECRET} port={SECRET} dbname=x",
        f"password='{SECRET}",
        f"sqlite:///mail?password={SECRET}",
    ):
        for driver in ("", "mysql", "postgres", "sqlite3", SECRET):
            yield sql(sql_driver=driver, sql_dsn=dsn)
    for value in (1, [SECRET], {"password": SECRET}, None):
        yield sql(sql_dsn=value, mysql_pass=SECRET)
        yield mysql(mysql_pass=value)
        yield redis(redis_password=value, redis_interface=f"redis://:{SECRET}@h")
    for interface in (
        f"redis://:{SECRET}@",
        f"redis://:{SECRET}@h:port",
        f"redis://:{SECRET}@[h/0",
        f"redis://{SECRET}@h",
        f"redis://u:{SECRET}@h/{SECRET}",
        f"redis://u:{SECRET}%zz\u2028@h/0?x={SECRET}",
        f"unix://u:{SECRET}@h",
        f"u:{SECRET}@h:6379",
        f"{SECRET}@h",
    ):
        yield redis(redis_interface=interface)
    yield redis(redis_interface=f"redis://:{SECRET}@h", redis_password=SECRET)
    yield redis(redis_password=SECRET, redis_pass=SECRET, sql_dsnn=SECRET, password=SECRET)
    yield {**redis(redis_password=SECRET), "save_process": ""}
    yield {**mysql(mysql_pass=SECRET), "save_process": "HeadersParser|Mysqll"}


def misread_texts() -> Iterator[str]:
    """:returns: configurations that are no JSON, or not what is wanted of it."""
    setting = json.dumps({"mysql_pass": SECRET})
    yield setting[:-1]
    yield f'{{"backend_config": {setting[:-1]}, "mysql_pass": "{SECRET}"}}}}'
    yield f'{{"backend_config": {setting}, "servers": "{SECRET}"}}'
    yield f'{{"backend_config": {setting} // "{SECRET}"'
    yield f'{{"backend_config": "{SECRET}"}}'
    yield f'{{"mysql_pass": "{SECRET}"}}'


class SecretsTests(DaemonTestCase):
    def assert_secret(self, said: str, of: object = "") -> None:
        self.assertIsNone(TRACES.search(said), f"{of}\n{said}")

    def say_all(self, configs: Iterator[Mapping[str, object]], expected: str) -> None:
        """
        Have each tried, and find no secret in all that is said.

        :param expected: what is said of each.
        """
        cases = [
            {"servers": SERVERS, "allowed_hosts": ["."], "backend_config": config}
            for config in configs
        ]
        done = self.run_module(
            "tests.integration.say_all", text="".join(f"{json.dumps(case)}\n" for case in cases)
        )
        self.assertEqual(done.returncode, 0, done.stdout)
        parts = re.split(r"(?m)^---$", done.stdout)[1:]
        self.assertEqual(len(parts), len(cases))
        for case, part in zip(cases, parts):  # noqa: B905
            self.assert_secret(part, case)
            self.assertRegex(part, expected, str(case))

    def run_module(self, *words: str, text: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            (sys.executable, "-W", "always", "-m", *words),
            cwd=self.directory,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            input=text,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DEADLINE,
        )

    def test_nobody_there(self) -> None:
        self.say_all(nobody_there(), "cannot start")

    def test_misread(self) -> None:
        self.say_all(misread(), "ConfigError|cannot start")

    def test_wrong_password(self) -> None:
        mariadb, postgresql = MariaDb(), PostgreSql()
        redis_server = RedisServer("--requirepass", "another")
        for server in (mariadb, postgresql, redis_server):
            self.addCleanup(server.close)
            server.start()

        def refused() -> Iterator[Mapping[str, object]]:
            place = f"127.0.0.1:{mariadb.port}"
            yield mysql(mysql_host=place, mysql_user="root", mysql_pass=SECRET)
            yield sql(sql_dsn=f"mysql://root:{SECRET}@{place}/{MARIADB_DATABASE}")
            place = f"127.0.0.1:{postgresql.port}/{POSTGRESQL_DATABASE}"
            yield sql(sql_dsn=f"postgres://postgres:{SECRET}@{place}")
            yield redis(redis_interface=redis_server.address, redis_password=SECRET)
            yield redis(redis_interface=f"redis://mail:{SECRET}@{redis_server.address}")

        self.say_all(refused(), "(?i)cannot start.*(denied|password)")

    def test_configuration_that_cannot_be_read(self) -> None:
        for text in misread_texts():
            name = self.write_config_text(text)
            error = self.assertRaises(ConfigError, Guerrilla, str(self.directory / name))
            self.assert_secret(f"{error} {error!r}", text)
        done = self.run_module("twisted", "guerrilla", "--check", "--config", name)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assert_secret(done.stdout)

    def test_check_and_commands(self) -> None:
        config = sql(sql_dsn=f"mysql://mail:{SECRET}@{NOWHERE}/db", mysql_pass=SECRET)
        name = self.write_config(backend_config=config)
        check = self.run_module("twisted", "guerrilla", "--check", "--config", name)
        self.assertEqual(check.returncode, 0, check.stdout)
        self.assertIn("mysql_pass", check.stdout)
        table = self.run_module("guerrilla_tw", "create-table", "--config", name)
        self.assertEqual(table.returncode, 1, table.stdout)
        shown = self.run_module("guerrilla_tw", "create-table", "--print", "--config", name)
        self.assertEqual(shown.returncode, 0, shown.stdout)
        self.assert_secret(check.stdout + table.stdout + shown.stdout)

    def test_daemon_that_serves(self) -> None:
        """With several processes, with a password that is right at first."""
        server = RedisServer("--requirepass", SECRET)
        self.addCleanup(server.close)
        server.start()
        process = self.start(
            processes=2,
            log_level="debug",
            backend_config=redis(redis_interface=server.address, redis_password=SECRET),
        )
        process.wait_for(rf"(?s){SERVES}.*{SERVES}")
        workers = map(int, re.findall(SERVES, process.output))
        for pid in (process.pid, *workers):
            shown = Path(f"/proc/{pid}/cmdline").read_text() + Path(f"/proc/{pid}/comm").read_text()
            self.assert_secret(shown + Path(f"/proc/{pid}/environ").read_text())
        with Client(process.port()) as client:
            client.hello()
            self.assertEqual(client.deliver(MESSAGE)[:3], "250")
            self.assertEqual(client.command(f"AUTH PLAIN {SECRET}")[:3], "502")
            server.ask("CONFIG", "SET", "requirepass", "another")
            server.options[-1] = "another"
            server.ask("CLIENT", "KILL", "TYPE", "normal")
            self.assertEqual(client.deliver(MESSAGE)[:3], "451")
        process.wait_for("(?i)WRONGPASS|invalid password")
        self.write_config(backend_config=redis(redis_interface="h:x", redis_password=SECRET))
        os.kill(process.pid, signal.SIGHUP)
        process.wait_for("reload refused")
        process.terminate()
        process.finish()
        self.assert_secret(process.output)


class RepresentationTests(SynchronousTestCase):
    def test_what_a_debugger_shows(self) -> None:
        """Or a failed assertion, or a log line of somebody's own."""
        target = RedisConfig(redis_interface=f"redis://u:{SECRET}@h").target()
        source = read_source("", f"mysql://u:{SECRET}@h/db")
        for thing, shown in ((target, "redis at h:6379"), (source, "mysql h:3306 database db")):
            self.assertIn(shown, repr(thing))
            self.assertIsNone(TRACES.search(repr(thing)))
            self.assertIsNone(TRACES.search(f"{[thing]} {thing}"))

"""The forms that a database's place is written in: Go's drivers', lib/pq's, SQLAlchemy's URLs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from guerrilla_tw.config import ConfigError
from guerrilla_tw.processors.sql.source import (
    DRIVERS,
    Kind,
    Source,
    mysql_source,
    postgresql_source,
    refuse_unknown,
    sqlite_source,
    wrong_dsn,
)

# Names that Go's drivers and SQLAlchemy's dialects have.
_KINDS: Final[Mapping[str, Kind]] = {
    "sqlite": "sqlite",
    "sqlite3": "sqlite",
    "mysql": "mysql",
    "mariadb": "mysql",
    "postgres": "postgresql",
    "postgresql": "postgresql",
    "pgx": "postgresql",
}
_URL: Final = re.compile(r"([A-Za-z0-9]+)(?:\+([A-Za-z0-9_]+))?://")
_GO_ADDRESS: Final = re.compile(r"(?:([a-z0-9]*)(?:\(([^()]*)\))?)?")
# A name of libpq's, and its value: in single quotes or bare. What follows a backslash is taken as
# it is.
_KEYWORD: Final = re.compile(
    r"\s*(\w+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|((?!')(?:[^\s\\]|\\.)*))", re.DOTALL
)
# What is meant for another database. As a path it would be told, with its password.
_NO_PATH: Final = re.compile(r":.*@|@[a-z0-9]*\(|\b(?:host|dbname|user|password)\s*=")

_NO_URL: Final = "is no URL; special characters in it are written %XX"


def read_source(driver: str, dsn: str) -> Source:
    """
    Read the settings ``sql_driver`` and ``sql_dsn``.

    :param driver: a name that go-guerrilla's or SQLAlchemy's drivers have, in any case; may be
        empty if ``dsn`` is a URL or the path of a SQLite file.
    :param dsn: a URL, or in the form of go-sql-driver/mysql or lib/pq, or a path for SQLite.
    :raises ConfigError: it names no database that can be used.
    """
    kind = _KINDS.get(driver.lower())
    if driver and kind is None:
        raise ConfigError("is none of sqlite3, mysql, postgres", "sql_driver")
    if url := _URL.match(dsn):
        return _read_url(kind, dsn, *url.groups())
    if kind is None and _NO_PATH.search(dsn):
        raise ConfigError("is missing; sql_dsn is no path of a file", "sql_driver")
    if kind == "sqlite" and _NO_PATH.search(dsn):
        raise wrong_dsn("is no path of a file, but for another database")
    if kind == "mysql":
        return _read_go_mysql(dsn)
    if kind == "postgresql":
        return _read_keywords(dsn)
    return sqlite_source(dsn)


def _read_url(kind: Kind | None, dsn: str, scheme: str, driver: str | None) -> Source:
    named = _KINDS.get(scheme.lower())
    if named is None:
        raise wrong_dsn("the URL's scheme is none of sqlite, mysql, postgresql")
    if kind not in (None, named):
        raise ConfigError("is for another database than the URL", "sql_driver")
    if driver not in (None, DRIVERS[named]):
        raise wrong_dsn(f"the driver for {named} is {DRIVERS[named]}")
    try:
        url = make_url(dsn)
    except (ArgumentError, ValueError):
        # Their texts hold parts of the URL, which may be those of the password.
        raise wrong_dsn(_NO_URL) from None
    if named != "sqlite" and re.search(r"[@\s]", f"{url.host}{url.database}"):
        # The first @ ends the password: what stands before the second would be told.
        raise wrong_dsn(_NO_URL)
    given = {name: value for name, value in url.query.items() if isinstance(value, str)}
    if named == "sqlite":
        refuse_unknown("sqlite", given)
        return sqlite_source(url.database or "")
    address = {
        "host": url.host or "",
        "port": str(url.port or ""),
        "user": url.username or "",
        "password": url.password or "",
        "dbname": url.database or "",
    }
    if named == "postgresql":
        # Both may be in the query, for a UNIX socket.
        return postgresql_source({**address, **given})
    host = given.pop("unix_socket", "") or url.host or "127.0.0.1"
    port = f":{url.port}" if url.port and not host.startswith("/") else ""
    host = f"[{host}]" if ":" in host else host
    return mysql_source(
        host + port, address["dbname"], address["user"], address["password"], parameters=given
    )


def _read_go_mysql(dsn: str) -> Source:
    """Of ``[user[:password]@][protocol[(address)]]/dbname[?parameters]``, cut as Go does it."""
    front, slash, back = dsn.rpartition("/")
    if not slash:
        raise wrong_dsn("lacks the / before the database's name")
    name, _, query = back.partition("?")
    account, _, address = front.rpartition("@")
    user, _, password = account.partition(":")
    match = _GO_ADDRESS.fullmatch(address)
    if match is None or match[1] not in ("", "tcp", "tcp6", "unix", None):
        raise wrong_dsn("the address is none of tcp(host:port), unix(/path)")
    where = match[2] or ""
    if match[1] == "unix" and not where.startswith("/"):
        raise wrong_dsn("the address is none of tcp(host:port), unix(/path)")
    parameters = dict(parse_qsl(query, keep_blank_values=True))
    return mysql_source(where or "127.0.0.1", name, user, password, parameters=parameters)


def _read_keywords(dsn: str) -> Source:
    """Of lib/pq's ``name=value`` pairs, by libpq's rules (PostgreSQL's manual, 34.1.1.1)."""
    dsn = dsn.rstrip()
    keywords = {}
    end = 0
    while end < len(dsn):
        match = _KEYWORD.match(dsn, end)
        if match is None:
            break
        keywords[match[1]] = re.sub(r"\\(.)", r"\1", match[2] or match[3] or "", flags=re.DOTALL)
        end = match.end()
    if not keywords or end < len(dsn):
        raise wrong_dsn("is neither a URL nor in the form host=... user=... dbname=...")
    return postgresql_source(keywords)

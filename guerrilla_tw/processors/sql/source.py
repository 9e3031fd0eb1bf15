"""Where a database is, whatever form it was written in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal

import msgspec
from sqlalchemy.engine import URL

from guerrilla_tw.config import ConfigError, parse_duration

Kind = Literal["sqlite", "mysql", "postgresql"]
# How a server's identity is made sure of.
Tls = Literal["off", "preferred", "unverified", "verified"]

#: What speaks with each of them.
DRIVERS: Final[Mapping[Kind, str]] = {
    "sqlite": "pysqlite",
    "mysql": "pymysql",
    "postgresql": "pg8000",
}
_LAST_PORT: Final = 65535
_PORTS: Final[Mapping[Kind, int]] = {"sqlite": 0, "mysql": 3306, "postgresql": 5432}
_MYSQL_TLS: Final[Mapping[str, Tls]] = {
    "": "off",
    "false": "off",
    "true": "verified",
    "skip-verify": "unverified",
    "preferred": "preferred",
}
_SSLMODES: Final[Mapping[str, Tls]] = {
    "": "preferred",
    "disable": "off",
    "allow": "preferred",
    "prefer": "preferred",
    "require": "unverified",
    "verify-full": "verified",
}
_MYSQL_TIMEOUTS: Final = ("timeout", "readTimeout", "writeTimeout")
# Parameters of Go's drivers for what is the same here whatever they say. A connection always
# speaks utf8mb4, which holds what any other character set does.
_WITHOUT_MEANING: Final[Mapping[str, frozenset[str]]] = {
    "mysql": frozenset(
        {"allowAllFiles", "allowCleartextPasswords", "allowFallbackToPlaintext", "charset"}
        | {"allowNativePasswords", "allowOldPasswords", "checkConnLiveness", "clientFoundRows"}
        | {"collation", "columnsWithAlias", "compress", "connectionAttributes", "strict", "loc"}
        | {"interpolateParams", "maxAllowedPacket", "multiStatements", "parseTime"}
        | {"rejectReadOnly", "serverPubKey", "timeTruncate"}
    ),
    "postgresql": frozenset(
        {"application_name", "binary_parameters", "client_encoding", "fallback_application_name"}
        | {"statement_cache_capacity"}
    ),
}
_HOST_AND_PORT: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\s\[\]]*))(?::([0-9]{1,5}))?")


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """
    Where a database is, and how to speak with it.

    :param kind: of database.
    :param database: its name; the file's path for SQLite.
    :param host: of the server.
    :param port: of the server.
    :param socket: path of the server's UNIX socket, in place of host and port.
    :param user: to be there.
    :param password: of the user. It is in no text of ours.
    :param tls: whether the connection is encrypted.
    :param longest_wait: seconds that the server may take for an answer; 0 if nothing was said.
    """

    kind: Kind
    database: str
    host: str = ""
    port: int = 0
    socket: str = ""
    user: str = ""
    password: str = ""
    tls: Tls = "off"
    longest_wait: float = 0

    def __repr__(self) -> str:
        """Without the password, which the parent would show."""
        return f"<{self.where}>"

    @property
    def where(self) -> str:
        """What to call it in a log line."""
        if self.kind == "sqlite":
            return self.database
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.kind} {self.socket or f'{host}:{self.port}'} database {self.database}"

    @property
    def url(self) -> URL:
        """For SQLAlchemy: without what :func:`.open_database` tells the driver itself."""
        name = f"{self.kind}+{DRIVERS[self.kind]}"
        return URL.create(name, database=self.database)


def sqlite_source(path: str) -> Source:
    """
    :param path: of the database file.
    :raises ConfigError: it is no path. What is in memory only is not stored.
    """
    # What Go's driver takes beside a path would be part of the file's name here.
    if path in ("", ":memory:") or path.startswith("file:") or "\0" in path or "?" in path:
        raise wrong_dsn("is not the path of a file")
    return Source(kind="sqlite", database=path)


def mysql_source(
    address: str,
    database: str,
    user: str,
    password: str,
    *,
    parameters: Mapping[str, str] | None = None,
    setting: str = "sql_dsn",
) -> Source:
    """
    :param address: ``host:port``, ``host``, or the path of a UNIX socket.
    :param parameters: of the form of go-sql-driver/mysql.
    :param setting: the one that the address comes from.
    :raises ConfigError: it cannot be used.
    """
    given = dict(parameters or {})
    tls = given.pop("tls", "").lower()
    if tls not in _MYSQL_TLS:
        raise wrong_dsn("tls is none of true, skip-verify, preferred, false")
    waits = [_seconds(name, given.pop(name)) for name in _MYSQL_TIMEOUTS if name in given]
    refuse_unknown("mysql", given)
    if not database:
        raise wrong_dsn("names no database")
    host, port, socket = _split_address("mysql", address, setting)
    return Source(
        kind="mysql",
        database=database,
        host=host,
        port=port,
        socket=socket,
        user=user,
        password=password,
        tls="off" if socket else _MYSQL_TLS[tls],
        longest_wait=min((wait for wait in waits if wait), default=0),
    )


def postgresql_source(keywords: Mapping[str, str]) -> Source:
    """
    :param keywords: those of lib/pq, with their values.
    :raises ConfigError: they cannot be used.
    """
    given = dict(keywords)
    sslmode = given.pop("sslmode", "")
    if sslmode not in _SSLMODES:
        raise wrong_dsn("sslmode is none of disable, allow, prefer, require, verify-full")
    host, port = given.pop("host", "") or "localhost", given.pop("port", "") or "5432"
    user, password = given.pop("user", ""), given.pop("password", "")
    if not user:
        raise wrong_dsn("names no user")
    database = given.pop("dbname", "") or user
    wait = given.pop("connect_timeout", "") or "0"
    if not re.fullmatch("[0-9]{1,9}", wait):
        raise wrong_dsn("connect_timeout is no number of seconds")
    refuse_unknown("postgresql", given)
    # As libpq has it: the directory that the socket is in.
    directory, host = (host, "") if host.startswith("/") else ("", host)
    if not re.fullmatch("[0-9]{1,5}", port) or not 1 <= int(port) <= _LAST_PORT:
        raise wrong_dsn("port is not from 1 to 65535")
    return Source(
        kind="postgresql",
        database=database,
        host=host,
        port=int(port),
        socket=f"{directory}/.s.PGSQL.{port}" if directory else "",
        user=user,
        password=password,
        tls="off" if directory else _SSLMODES[sslmode],
        longest_wait=float(wait),
    )


def _split_address(kind: Kind, address: str, setting: str) -> tuple[str, int, str]:
    """:returns: host, port, and path of a UNIX socket."""
    if address.startswith("/"):
        return "", 0, address
    match = _HOST_AND_PORT.fullmatch(address)
    if match is None or not (match[1] or match[2]):
        raise ConfigError("the address is neither host:port nor the path of a socket", setting)
    port = int(match[3] or _PORTS[kind])
    if not 1 <= port <= _LAST_PORT:
        raise ConfigError("the port is not from 1 to 65535", setting)
    return match[1] or match[2], port, ""


def _seconds(name: str, text: str) -> float:
    # go-guerrilla's documentation leaves the unit out.
    if re.fullmatch("[0-9]{1,9}", text):
        return float(text)
    try:
        return parse_duration(text)
    except ValueError as error:
        raise wrong_dsn(f"{name}: {error}") from None


def refuse_unknown(kind: Kind, given: Mapping[str, str]) -> None:
    """
    :param given: parameters that nobody had a use for.
    :raises ConfigError: one of them is not known to be without a meaning here.
    """
    for name in given:
        if name not in _WITHOUT_MEANING.get(kind, ()):
            shown = name if re.fullmatch(r"[A-Za-z_]{1,40}", name) else "a parameter"
            raise wrong_dsn(f"{shown} is not known here")


def wrong_dsn(cause: str) -> ConfigError:
    """:returns: what to raise for the setting ``sql_dsn``."""
    return ConfigError(cause, "sql_dsn")

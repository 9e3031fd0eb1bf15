"""The drivers: how each connects, and what a new connection is told first."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final

from guerrilla_tw.processors.sql.patience import Patience
from guerrilla_tw.processors.sql.source import Kind, Source

#: In a connection's ``info``: the server's number for it.
SESSION: Final = "session"


def _sqlite_arguments(source: Source, limits: Patience) -> dict[str, Any]:
    return {"connect_args": {"timeout": limits.lock}}


class _Refuse:
    """A plugin of PyMySQL's for a way to log in that is not gone."""

    def __init__(self, connection: Any) -> None:
        pass

    def authenticate(self, packet: Any) -> None:
        raise PermissionError("the server asks for the password in clear text")


def _mysql_arguments(source: Source, limits: Patience) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "user": source.user,
        "password": source.password,
        "charset": "utf8mb4",
        "connect_timeout": limits.operation,
        "read_timeout": limits.operation,
        "write_timeout": limits.operation,
    }
    if source.socket:
        arguments["unix_socket"] = source.socket
    else:
        arguments.update(host=source.host, port=source.port)
    if source.tls not in ("unverified", "verified"):
        # Whoever answers may ask for the password as it is. As Go's driver does, we do not tell.
        arguments["auth_plugin_map"] = {"mysql_clear_password": _Refuse}
    if source.tls == "off":
        arguments["ssl_disabled"] = True
    elif source.tls != "preferred":
        arguments["ssl"] = _tls_context(source)
    return {"connect_args": arguments}


def _postgresql_connector(source: Source, limits: Patience) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "user": source.user,
        # Never None, which it would fail on, were one wanted.
        "password": source.password,
        "database": source.database,
        "timeout": limits.operation,
        "application_name": "guerrilla_tw",
    }
    if source.socket:
        arguments.update(host=None, unix_sock=source.socket)
    else:
        arguments.update(host=source.host, port=source.port)
    if source.tls == "off":
        arguments["ssl_context"] = False
    elif source.tls != "preferred":
        arguments["ssl_context"] = _tls_context(source)
    return {"creator": partial(_connect_postgresql, arguments, _postgresql_connection())}


def _postgresql_connection() -> type[Any]:
    """:returns: the type of a connection."""
    from pg8000 import Connection, InterfaceError  # type: ignore[import-untyped]

    class PostgreSqlConnection(Connection):  # type: ignore[misc]
        """With what pg8000 does in another way than a store needs it."""

        def commit(self) -> None:
            # In one round trip; pg8000 takes three, as for a statement with values.
            self.execute_simple("commit")

        def close(self) -> None:
            # To close what is lost already is no error that anybody should hear of.
            with suppress(InterfaceError):
                super().close()

    return PostgreSqlConnection


def _connect_postgresql(arguments: dict[str, Any], connection: type[Any]) -> Any:
    from pg8000 import InterfaceError

    if arguments["host"] is None:
        return connection(**arguments)
    try:
        server = socket.create_connection(
            (arguments["host"], arguments["port"]), arguments["timeout"]
        )
    except OSError as error:
        raise InterfaceError(f"cannot connect: {error}") from error
    # It writes a row of more than 8 KB, and so a batch, in pieces: the last would wait until the
    # server has acknowledged the one before, and the server for it, 40 milliseconds each time.
    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        return connection(**arguments, sock=server)
    except BaseException:
        server.close()
        raise


def _tls_context(source: Source) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if source.tls == "unverified":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _prepare_sqlite(cursor: Any, limits: Patience, source: Source, info: dict[str, Any]) -> None:
    # With the write-ahead log a commit costs one fsync, and readers do not stop it; FULL makes
    # that fsync happen before the commit returns.
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")


def _prepare_mysql(cursor: Any, limits: Patience, source: Source, info: dict[str, Any]) -> None:
    # Whole seconds only.
    seconds = max(1, int(limits.lock))
    cursor.execute(
        "SET time_zone = '+00:00', innodb_lock_wait_timeout = %s, lock_wait_timeout = %s,"
        # Else what is too long for a column is cut, and a part of the message kept for all of it.
        " sql_mode = CONCAT_WS(',', @@sql_mode, 'STRICT_ALL_TABLES')",
        (seconds, seconds),
    )
    cursor.execute("SELECT CONNECTION_ID()")
    (info[SESSION],) = cursor.fetchone()
    if source.tls in ("unverified", "verified"):
        # Older PyMySQL goes on in plain text with a server that offers no TLS.
        cursor.execute("SHOW STATUS LIKE 'Ssl_cipher'")
        if not cursor.fetchone()[1]:
            raise ssl.SSLError("the server offers no TLS")


def _prepare_postgresql(
    cursor: Any, limits: Patience, source: Source, info: dict[str, Any]
) -> None:
    milliseconds = max(1, int(limits.lock * 1000))
    cursor.execute(f"SET TIME ZONE 'UTC'; SET lock_timeout = {milliseconds}")
    cursor.execute("SELECT pg_backend_pid()")
    (info[SESSION],) = cursor.fetchone()


#: For each kind of database, SQLAlchemy's arguments for ``create_engine`` that connect to it.
CONNECT: Final[Mapping[Kind, Callable[[Source, Patience], dict[str, Any]]]] = {
    "sqlite": _sqlite_arguments,
    "mysql": _mysql_arguments,
    "postgresql": _postgresql_connector,
}
#: And what is done with each new connection: ``(cursor, limits, source, info of the connection)``.
PREPARE: Final[Mapping[Kind, Callable[[Any, Patience, Source, dict[str, Any]], None]]] = {
    "sqlite": _prepare_sqlite,
    "mysql": _prepare_mysql,
    "postgresql": _prepare_postgresql,
}

"""A database opened: SQLAlchemy's Engine with a pool, and with limits to every wait."""

from __future__ import annotations

import logging
import os
import socket
import ssl
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from typing import Any, Final

import msgspec
from sqlalchemy import Engine, create_engine, event

from guerrilla_tw.config import ConfigError
from guerrilla_tw.processors.sql.errors import is_lost
from guerrilla_tw.processors.sql.source import Kind, Source

# Module, and the distribution that brings it.
_PACKAGES: Final = {"mysql": ("pymysql", "PyMySQL"), "postgresql": ("pg8000", "pg8000")}
# Of svc.timeout, of which a store has four fifths. A server that hangs may do so once more, on a
# fresh connection, also when the message has waited for a worker.
_OPERATION: Final = 0.25
# A server that waits for a lock says so before it is given up.
_LOCK: Final = 0.2
_SQLITE_LOCK: Final = 0.8
# Seconds. SQLite counts milliseconds in 32 bits, and takes what overflows for none at all.
_LONGEST_WAIT: Final = 3600.0
#: In a connection's ``info``: the server's number for it.
SESSION: Final = "session"


class Patience(msgspec.Struct, frozen=True):
    """
    How long a store waits, at most.

    :param operation: seconds for one answer of a server; 0 if there is none.
    :param lock: seconds for a lock, or a connection of the pool, that somebody else has.
    """

    operation: float
    lock: float


def patience(timeout: float, source: Source) -> Patience:
    """
    :param timeout: seconds until the Gateway gives the message up.
    :param source: may ask for less patience.
    """
    timeout = min(timeout, _LONGEST_WAIT)
    if source.kind == "sqlite":
        # It answers at once, or waits for a lock, and tries again by itself until then.
        return Patience(0, timeout * _SQLITE_LOCK)
    operation = min(timeout * _OPERATION, source.longest_wait or timeout)
    return Patience(operation, operation * _LOCK / _OPERATION)


class PoolSize(msgspec.Struct, frozen=True):
    """
    How many connections there are.

    :param open: at most; 0 for as many as are asked for.
    :param idle: kept while nobody uses them, at most; 0 for all.
    :param lifetime: seconds until one is replaced; 0 for ever.
    """

    open: int = 0
    idle: int = 0
    lifetime: float = 0

    def arguments(self, workers: int) -> dict[str, Any]:
        """
        :param workers: that may ask for a connection at once.
        :returns: those of SQLAlchemy's ``create_engine``.
        """
        # By default each thread of the pool has one of its own (0: as many as are asked for).
        size, overflow = 0, 0
        if self.open or self.idle:
            most = self.open or workers
            size = min(self.idle or most, most)
            overflow = most - size
        return {
            "pool_size": size,
            "max_overflow": overflow,
            "pool_recycle": self.lifetime or -1,
        }


def check_driver(kind: Kind, setting: str) -> None:
    """
    :param setting: that names the database.
    :raises ConfigError: what speaks with this kind of database is not installed.
    """
    if kind != "sqlite":
        module, name = _PACKAGES[kind]
        if find_spec(module) is None:
            raise ConfigError(f"needs {name}: pip install {name}", setting)


def open_database(source: Source, limits: Patience, size: PoolSize, workers: int) -> Engine:
    """
    Make an engine. It connects when it is first used.

    :param source: where the database is.
    :param limits: of waiting.
    :param size: of its pool.
    :param workers: that use it at once.
    """
    if source.kind == "sqlite":
        # It holds other people's mail; the files beside it take its mode.
        os.close(os.open(source.database, os.O_CREAT | os.O_RDWR, 0o600))
    _silence()
    connector = {
        "sqlite": _sqlite_arguments,
        "mysql": _mysql_arguments,
        "postgresql": _postgresql_connector,
    }[source.kind](source, limits)
    engine = create_engine(
        source.url,
        **connector,
        # A value of a message is in no error's text.
        hide_parameters=True,
        pool_timeout=limits.lock,
        # All that is begun here is ended here; to say it again would cost a round trip.
        pool_reset_on_return=None,
        **size.arguments(workers),
    )
    prepare = {
        "sqlite": _prepare_sqlite,
        "mysql": _prepare_mysql,
        "postgresql": _prepare_postgresql,
    }[source.kind]

    @event.listens_for(engine, "connect")
    def connected(connection: Any, record: Any) -> None:
        cursor = connection.cursor()
        prepare(cursor, limits, source, record.info)
        cursor.close()
        connection.commit()

    @event.listens_for(engine, "handle_error")
    def failed(context: Any) -> None:
        # SQLAlchemy then throws away this connection, and all older ones when they are next used.
        if context.connection is not None:
            context.is_disconnect = is_lost(context.original_exception)

    return engine


def _silence() -> None:
    """Keep what SQLAlchemy says of lost connections, with tracebacks, from standard error."""
    logger = logging.getLogger("sqlalchemy")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())


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

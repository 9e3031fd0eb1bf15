"""A database opened: SQLAlchemy's Engine with a pool, and with limits to every wait."""

from __future__ import annotations

import errno
import logging
import os
from contextlib import suppress
from importlib.util import find_spec
from threading import Lock
from typing import Any, Final

import msgspec
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import DisconnectionError

from guerrilla_tw.config import ConfigError
from guerrilla_tw.processors.sql.drivers import CONNECT, PREPARE
from guerrilla_tw.processors.sql.errors import is_lost
from guerrilla_tw.processors.sql.patience import Patience
from guerrilla_tw.processors.sql.source import Kind, Source

# Module, and the distribution that brings it.
_PACKAGES: Final = {"mysql": ("pymysql", "PyMySQL"), "postgresql": ("pg8000", "pg8000")}
# In the ``info`` of a connection to SQLite: which file it has open.
_FILE: Final = "file"


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
    _silence()
    engine = create_engine(
        source.url,
        **CONNECT[source.kind](source, limits),
        # A value of a message is in no error's text.
        hide_parameters=True,
        pool_timeout=limits.lock,
        # All that is begun here is ended here; to say it again would cost a round trip.
        pool_reset_on_return=None,
        **size.arguments(workers),
    )
    if source.kind == "sqlite":
        _keep_file(engine, source.database)
    prepare = PREPARE[source.kind]

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


def _keep_file(engine: Engine, path: str) -> None:
    """
    Make SQLite's file for our eyes only, and notice when it is removed or another takes its place:
    what is written to a file without a name is lost.
    """

    making = Lock()

    @event.listens_for(engine, "do_connect")
    def make(*_: Any) -> None:
        # It holds other people's mail. The files beside it take its mode. One that is there is
        # left alone, and one at a time makes it: to close a file gives up all locks that the
        # process has on it, those of SQLite's other connections too. Then the next program that
        # closes the database takes itself for the last one, and removes the write-ahead log, with
        # all that is still written into it.
        if os.path.isdir(path):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        with making, suppress(FileExistsError):
            flags = os.O_CREAT | os.O_EXCL | os.O_RDWR
            os.close(os.open(os.path.realpath(path), flags, 0o600))

    @event.listens_for(engine, "connect")
    def note(connection: Any, record: Any) -> None:
        record.info[_FILE] = _identity(path)

    @event.listens_for(engine, "checkout")
    def compare(connection: Any, record: Any, proxy: Any) -> None:
        if record.info[_FILE] != _identity(path):
            # The pool opens what is there now.
            raise DisconnectionError("the file is another one")


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _silence() -> None:
    """Keep what SQLAlchemy says of lost connections, with tracebacks, from standard error."""
    logger = logging.getLogger("sqlalchemy")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())

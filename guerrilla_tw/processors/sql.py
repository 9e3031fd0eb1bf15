"""Sql: keeps messages in a table, a row for each recipient."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import Engine, create_engine, event, false, insert, select
from sqlalchemy.engine import URL
from sqlalchemy.exc import DataError, SQLAlchemyError
from twisted.internet.defer import Deferred
from zope.interface import implementer

from guerrilla_tw.backends.chain import process_with
from guerrilla_tw.backends.registry import Decorator
from guerrilla_tw.backends.results import STORE_UNAVAILABLE, TOO_LARGE_FOR_STORE, Result
from guerrilla_tw.config import ConfigError, check_host_name
from guerrilla_tw.interfaces import IBackendService, IInitializer, IShutdowner, Task
from guerrilla_tw.mail.envelope import Envelope
from guerrilla_tw.processors.mail_table import mail_rows, mail_table

# Seconds. SQLite counts milliseconds in 32 bits, and takes what overflows for none at all.
_LONGEST_WAIT = 3600.0
_TABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")


class SqlConfig(msgspec.Struct, frozen=True):
    """
    Settings, under go-guerrilla's names.

    :param sql_driver: ``sqlite3``.
    :param sql_dsn: path of the database file.
    :param mail_table: the table's name. It is made if it is missing.
    :param primary_mail_host: stands in for a missing Message-ID's host.
    """

    sql_dsn: str
    mail_table: str
    sql_driver: str = "sqlite3"
    primary_mail_host: str = ""

    def __post_init__(self) -> None:
        if self.sql_driver != "sqlite3":
            raise ConfigError("only sqlite3 is supported yet", "sql_driver")
        # What is in memory only is not stored.
        if self.sql_dsn in ("", ":memory:") or "\0" in self.sql_dsn:
            raise ConfigError("is not the path of a file", "sql_dsn")
        if not _TABLE_NAME.fullmatch(self.mail_table):
            raise ConfigError("is not a table's name", "mail_table")
        check_host_name(self, "primary_mail_host")


class StoreError(Exception):
    """The database cannot be used. The text is one line and says why."""


@implementer(IInitializer, IShutdowner)
class SqlStore:
    """
    The database, its table, and how a message becomes rows.

    :param config: settings.
    :param svc: of the processor.
    """

    def __init__(self, config: SqlConfig, svc: IBackendService) -> None:
        self._config = config
        self._svc = svc
        self._table = mail_table(config.mail_table)
        # Below the gateway's own deadline, so that a locked database answers before that.
        self._engine = _sqlite_engine(config.sql_dsn, timeout=min(svc.timeout * 0.8, _LONGEST_WAIT))

    def initialize(self, config: Mapping[str, object]) -> Deferred[None]:
        """
        Open the database; make the table if there is none.

        :raises StoreError: no row could ever be written.
        """
        return self._svc.defer_to_worker(self._prepare)

    def _prepare(self) -> None:
        columns = self._table.columns
        # Writes no row, but needs all that a row needs: every column, and leave to write.
        probe = insert(self._table).from_select(columns.keys(), select(*columns).where(false()))
        try:
            self._table.metadata.create_all(self._engine)
            with self._engine.begin() as connection:
                connection.execute(probe)
        except SQLAlchemyError as error:
            self._engine.dispose()
            where = f"table {self._config.mail_table} in {self._config.sql_dsn}"
            raise StoreError(f"cannot store in {where}: {_cause(error)}") from error

    def shutdown(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def save(self, envelope: Envelope, task: Task) -> Result | None:
        """
        Store a message, for all its recipients or for none. Runs in the pool.

        :returns: None when the rows are committed and on the disk.
        """
        if task is not Task.SAVE_MAIL:
            return None
        try:
            with self._engine.begin() as connection:
                rows = mail_rows(envelope, self._config.primary_mail_host)
                connection.execute(insert(self._table), rows)
        except DataError as error:
            return self._refuse(envelope, error, TOO_LARGE_FOR_STORE)
        except SQLAlchemyError as error:
            return self._refuse(envelope, error, STORE_UNAVAILABLE)
        if envelope.hashes:
            envelope.stored_as = envelope.hashes[0]
            self._svc.log.debug(
                "{queued_id}: stored as {stored_as}",
                queued_id=envelope.queued_id,
                stored_as=envelope.stored_as,
            )
        return None

    def _refuse(self, envelope: Envelope, error: SQLAlchemyError, result: Result) -> Result:
        self._svc.log.error(
            "{queued_id}: not stored in {table}: {cause}",
            queued_id=envelope.queued_id,
            table=self._config.mail_table,
            cause=_cause(error),
        )
        return result


def sql(svc: IBackendService) -> Decorator:
    """
    Make the processor (go-guerrilla: ``Sql``).

    Stores the delivery header and the message, as the Compressor made them if there is one before
    it. The row's ``hash`` is the recipient's of the Hasher, and the first becomes the id in the
    reply. Without a HeadersParser before it, what comes from the header stays empty.
    """
    store = SqlStore(svc.extract_config(svc.config, SqlConfig), svc)
    svc.declare_store()
    svc.add_initializer(store)
    svc.add_shutdowner(store)
    return process_with(svc, store.save)


def _cause(error: SQLAlchemyError) -> str:
    """The text of the error itself holds the statement, and that the whole message."""
    return str(getattr(error, "orig", None) or type(error).__name__)


def _sqlite_engine(path: str, timeout: float) -> Engine:
    """
    :param path: of the database file.
    :param timeout: seconds to wait for another writer.
    """
    # Each thread of the pool has a connection of its own (0: as many as are asked for), so that
    # none waits for a connection and then for the database.
    engine = create_engine(
        URL.create("sqlite", database=path), connect_args={"timeout": timeout}, pool_size=0
    )

    @event.listens_for(engine, "connect")
    def make_durable(connection: Any, _: object) -> None:
        # With the write-ahead log a commit costs one fsync, and readers do not stop it; FULL
        # makes that fsync happen before the commit returns.
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")

    return engine

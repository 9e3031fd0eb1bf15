"""A table of mail as a store: opened, checked, written, closed."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from threading import Lock

import msgspec
from sqlalchemy import Connection, Engine, column, false, insert, select, table
from sqlalchemy.exc import SQLAlchemyError
from twisted.internet.defer import Deferred
from zope.interface import implementer

from guerrilla_tw.backends.errors import StoreError
from guerrilla_tw.backends.results import (
    PROCESSING_FAILED,
    STORE_UNAVAILABLE,
    TOO_LARGE_FOR_STORE,
    Result,
)
from guerrilla_tw.interfaces import IBackendService, IInitializer, IResult, IShutdowner, Task
from guerrilla_tw.mail.address import Address
from guerrilla_tw.mail.envelope import Envelope
from guerrilla_tw.processors.sql.database import check_driver, open_database
from guerrilla_tw.processors.sql.errors import Trouble, cause
from guerrilla_tw.processors.sql.insert_statement import insert_as_written, insert_into
from guerrilla_tw.processors.sql.mail_table import mail_rows, mail_table
from guerrilla_tw.processors.sql.patience import patience
from guerrilla_tw.processors.sql.settings import TableConfig
from guerrilla_tw.processors.sql.table_fit import TableError, TableFit, fit_table
from guerrilla_tw.processors.sql.writer import TOO_LONG, NotWritten, Row, Writer


class _Message(msgspec.Struct, frozen=True):
    """
    A message on its way into the table.

    :param envelope: of the message.
    :param rows: of it.
    :param until: when to give up (time.monotonic).
    """

    envelope: Envelope
    rows: list[Row]
    until: float


@implementer(IInitializer, IShutdowner)
class SqlStore:
    """
    A database with its table, where messages become rows.

    :param config: settings.
    :param svc: of the processor.
    """

    def __init__(self, config: TableConfig, svc: IBackendService) -> None:
        self._config = config
        self._svc = svc
        self._table = mail_table(config.mail_table)
        self._source = config.source()
        check_driver(self._source.kind, f"backend_config.{config.driver_setting()}")
        self._limits = patience(svc.timeout, self._source)
        self._engine: Engine | None = None
        # Nobody may wait for the opening any more, and it go on in its thread.
        self._opening = Lock()
        self._fit: TableFit | None = None
        self._writer: Writer

    def initialize(self, config: Mapping[str, object]) -> Deferred[None]:
        """
        Open the database, and look whether rows can be written to the table.

        :raises StoreError: no row could ever be written.
        """
        return self._svc.defer_to_worker(self._open)

    def _open(self) -> None:
        try:
            with self._opening:
                self._connect()
        except BaseException as error:
            self._close()
            if not isinstance(error, (SQLAlchemyError, OSError, TableError)):
                raise
            why = str(error) if isinstance(error, TableError) else cause(error)
            where = f"table {self._config.mail_table} in {self._source.where}"
            raise StoreError(f"cannot store in {where}: {why}") from error

    def _connect(self) -> None:
        self._engine = open_database(
            self._source, self._limits, self._config.pool_size(), self._svc.workers
        )
        if self._source.kind == "sqlite":
            self._table.metadata.create_all(self._engine)
        with self._engine.connect() as connection:
            self._prepare(connection, self._engine)

    def _prepare(self, connection: Connection, engine: Engine) -> None:
        raw = (self._config.sql_insert, self._config.sql_values)
        if any(raw):
            statement = insert_as_written(self._table, *raw, engine.dialect)
            # It is planned, and access to the table checked, but not done.
            row = mail_rows(_example(), "")[0]
            plan, values = f"EXPLAIN {statement.text(1)}", statement.parameters([row])
            connection.exec_driver_sql(plan, values)
            self._writer = Writer(engine, self._limits, statement, None)
        else:
            self._fit = fit_table(connection, self._table)
            for warning in self._fit.warnings:
                self._svc.log.warn(
                    "table {table} {warning}", table=self._config.mail_table, warning=warning
                )
            names = tuple(self._fit.fitters)
            self._probe(connection, names)
            statement = insert_into(self._table, names, engine.dialect)
            self._writer = Writer(engine, self._limits, statement, self._table)
        self._writer.learn_limits(connection)
        connection.rollback()

    def _probe(self, connection: Connection, names: Sequence[str]) -> None:
        """Write no row, but need all that a row needs: every column, and leave to write."""
        there = table(self._table.name, *map(column, names), schema=self._table.schema)
        nothing = select(*there.columns).where(false())
        connection.execute(insert(there).from_select(names, nothing))

    def shutdown(self) -> Deferred[None]:
        """Close all connections, also those that are being opened."""
        return self._svc.defer_to_worker(self._close)

    def _close(self) -> None:
        with self._opening:
            if self._engine is not None:
                self._engine.dispose()

    def save(self, envelope: Envelope, task: Task) -> IResult | None:
        """
        Store a message, for all its recipients or for none. Runs in the pool.

        :returns: None when the rows are committed and on the disk.
        """
        return self.save_all([envelope])[0] if task is Task.SAVE_MAIL else None

    def save_all(self, envelopes: Sequence[Envelope]) -> list[IResult | None]:
        """
        Store messages in one transaction; or if that fails because of one of them, each in its
        own. Runs in the pool.

        :returns: a result for each, in order; None where :meth:`save` would return it.
        """
        results: dict[str, IResult | None] = {}
        messages = []
        for envelope in envelopes:
            try:
                messages.append(self._accept(envelope))
            except NotWritten as error:
                results[envelope.queued_id] = self._refuse(envelope, error)
            except Exception as error:
                # Of a processor that somebody wrote, or of an embedder: it is not as we expect it.
                self._log_refusal(envelope, f"no row can be made of it: {type(error).__name__}")
                results[envelope.queued_id] = PROCESSING_FAILED
        if messages:
            self._store(messages, results)
        return [results[envelope.queued_id] for envelope in envelopes]

    def _accept(self, envelope: Envelope) -> _Message:
        """
        Take a message into a batch.

        :raises NotWritten: it cannot be written, or is so late that others should not hurry for it.
        """
        until = time.monotonic() + self._svc.time_for(envelope)
        rows = self._rows(envelope)
        if self._writer.is_too_large(rows):
            raise NotWritten(Trouble.TOO_LARGE, "it is larger than the server takes")
        if not self._writer.is_time(until):
            raise NotWritten(Trouble.BUSY, TOO_LONG)
        return _Message(envelope, rows, until)

    def _rows(self, envelope: Envelope) -> list[Row]:
        rows = mail_rows(envelope, self._config.primary_mail_host)
        return [row if self._fit is None else self._fit.fit(row) for row in rows]

    def _store(self, messages: list[_Message], results: dict[str, IResult | None]) -> None:
        rows = [row for message in messages for row in message.rows]
        doubtful = [
            row for message in messages if message.envelope.may_be_stored for row in message.rows
        ]
        try:
            self._writer.write(rows, min(message.until for message in messages), doubtful)
        except NotWritten as error:
            if len(messages) > 1 and error.kind in (Trouble.REFUSED, Trouble.TOO_LARGE):
                for message in messages:
                    self._store([message], results)
            else:
                for message in messages:
                    envelope = message.envelope
                    results[envelope.queued_id] = self._refuse(envelope, error)
        else:
            for message in messages:
                results[message.envelope.queued_id] = None
                self._name(message.envelope)

    def _name(self, envelope: Envelope) -> None:
        """Tell the client the id that the message has in the table."""
        if envelope.hashes:
            envelope.stored_as = envelope.hashes[0]
            self._svc.log.debug(
                "{queued_id}: stored as {stored_as}",
                queued_id=envelope.queued_id,
                stored_as=envelope.stored_as,
            )

    def _refuse(self, envelope: Envelope, error: NotWritten) -> Result:
        self._log_refusal(envelope, str(error))
        return TOO_LARGE_FOR_STORE if error.kind is Trouble.TOO_LARGE else STORE_UNAVAILABLE

    def _log_refusal(self, envelope: Envelope, cause: str) -> None:
        self._svc.log.error(
            "{queued_id}: not stored in {table}: {cause}",
            queued_id=envelope.queued_id,
            table=self._config.mail_table,
            cause=cause,
        )


def _example() -> Envelope:
    """A message that is never stored."""
    envelope = Envelope("192.0.2.1")
    envelope.rcpt_to = [Address("postmaster", "example.com")]
    return envelope

"""How rows get into a table: all of them once, whatever happens to the connection meanwhile."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any, Final

from sqlalchemy import Connection, Engine, Table, column, func, select, table
from sqlalchemy.exc import DBAPIError

from guerrilla_tw.processors.sql.drivers import SESSION
from guerrilla_tw.processors.sql.errors import Trouble, cause, trouble
from guerrilla_tw.processors.sql.insert_statement import InsertStatement
from guerrilla_tw.processors.sql.patience import Patience

Row = Mapping[str, Any]

# Octets of a statement, when there are more rows.
_STATEMENT: Final = 2**20
# PostgreSQL's largest value, and message of its protocol.
_LARGEST_POSTGRESQL: Final = 2**30
# A connection is fresh after the first is lost. Other sessions may be killed too, but not for ever.
_MOST_LOSSES: Final = 3
# Seconds, about, until what was in the way may be gone.
_PAUSE: Final = 0.02
# What ends another session of the same user, and what counts it while it is there.
_SESSIONS: Final = {
    "mysql": ("KILL CONNECTION {}", "processlist", "information_schema", "id"),
    "postgresql": ("SELECT pg_terminate_backend({})", "pg_stat_activity", "pg_catalog", "pid"),
}
# PostgreSQL: transactions of the same user that have written something.
_WRITING: Final = (
    "SELECT backend_xid::text FROM pg_stat_activity WHERE backend_xid IS NOT NULL"
    " AND usename = current_user AND datname = current_database() AND pid <> pg_backend_pid()"
)
#: The cause when a deadline is over, or too near.
TOO_LONG: Final = "it takes too long"
_UNKNOWN: Final = "the connection was lost in COMMIT, so that nobody knows whether it is stored"


class NotWritten(Exception):
    """
    The rows are not in the table, or nobody knows. The text is one line and says why.

    :param kind: of trouble.
    """

    def __init__(self, kind: Trouble, cause: str) -> None:
        super().__init__(cause)
        self.kind = kind


class Writer:
    """
    Writes rows. Its methods run in the pool, several at once.

    :param engine: of the database.
    :param limits: of waiting.
    :param statement: for the rows.
    :param table: whose hash and recipient tell whether a row is there; None if the statement is
        somebody else's.
    """

    def __init__(
        self, engine: Engine, limits: Patience, statement: InsertStatement, table: Table | None
    ) -> None:
        self.engine = engine
        self.limits = limits
        self._statement = statement
        self._table = table
        self._largest: int | None = None

    def learn_limits(self, connection: Connection) -> None:
        """Ask the server how large a row may be, before it is sent one."""
        if self.engine.dialect.name == "mysql":
            # It ends the session of who sends more.
            answer = connection.exec_driver_sql("SELECT @@max_allowed_packet").scalar()
            self._largest = int(answer or 0)
        elif self.engine.dialect.name == "postgresql":
            self._largest = _LARGEST_POSTGRESQL

    def is_too_large(self, rows: Sequence[Row]) -> bool:
        """:returns: whether the server never takes one of these rows."""
        if self._largest is None:
            return False
        longest = max(self._statement.octets(row) for row in rows)
        return longest + len(self._statement.text(1)) >= self._largest

    def is_time(self, until: float) -> bool:
        """:returns: whether what is begun now ends until then, also if the server hangs."""
        return time.monotonic() + self.limits.operation <= until

    def limit_wait(self, connection: Connection, until: float) -> None:
        """Have SQLite wait for a lock until then; a server knows how long since it is connected."""
        if self.engine.dialect.name == "sqlite":
            seconds = min(self.limits.lock, max(0, until - time.monotonic()))
            connection.exec_driver_sql(f"PRAGMA busy_timeout = {int(seconds * 1000)}")

    def write(self, rows: Sequence[Row], until: float, doubtful: Sequence[Row] = ()) -> None:
        """
        Write rows in one transaction, all or none.

        :param rows: as the table takes them; one at least.
        :param until: when to give up (time.monotonic).
        :param doubtful: those of them that may be there already; they are looked for before.
        :raises NotWritten: they are not there, as far as can be known.
        """
        _Transaction(self, rows, until, [row for row in doubtful if self.can_find(row)]).run()

    def pieces(self, rows: Sequence[Row]) -> Iterator[tuple[str, tuple[Any, ...]]]:
        """:returns: the statements that write these rows, and their values."""
        octets = min(_STATEMENT, self._largest or _STATEMENT)
        for piece in self._statement.cut(rows, octets):
            yield self._statement.text(len(piece)), self._statement.parameters(piece)

    def can_find(self, row: Row) -> bool:
        """:returns: whether :meth:`is_there` knows this row from others."""
        return self._table is not None and bool(row["hash"])

    def is_there(self, connection: Connection, row: Row) -> bool:
        """:returns: whether the table has this row."""
        assert self._table is not None
        found = (
            select(func.count())
            .select_from(self._table)
            .where(column("hash") == row["hash"], column("recipient") == row["recipient"])
        )
        if connection.dialect.name == "mysql":
            # It waits for a transaction that has written the row and not ended yet.
            found = found.with_for_update(read=True)
        return bool(connection.execute(found).scalar())


class _Transaction:
    """
    One transaction, tried again while that makes sense.

    :param writer: whose it is.
    :param rows: to write.
    :param until: when to give up (time.monotonic).
    :param doubtful: those of them that may be there already.
    """

    def __init__(
        self, writer: Writer, rows: Sequence[Row], until: float, doubtful: Sequence[Row]
    ) -> None:
        self._writer = writer
        self._rows = rows
        self._until = until
        self._doubtful = doubtful
        # The session whose COMMIT was sent and not answered.
        self._unknown: int | None = None
        self._losses = 0

    def run(self) -> None:
        """:raises NotWritten: see :meth:`Writer.write`."""
        self._check_time()
        for attempt in count(1):
            try:
                with self._connect() as connection:
                    self._write(connection)
                return
            except NotWritten:
                raise
            except Exception as error:
                self._judge(error, attempt)

    def _connect(self) -> Connection:
        try:
            return self._writer.engine.connect()
        except Exception as error:
            # A server that is away is not waited for.
            raise NotWritten(Trouble.LOST, self._say(error)) from error

    def _write(self, connection: Connection) -> None:
        if self._unknown is not None and self._was_committed(connection, self._unknown):
            return
        self._unknown = None
        if self._doubtful:
            self._rows = self._missing(connection)
            if not self._rows:
                connection.rollback()
                return
        for statement, values in self._writer.pieces(self._rows):
            self._check_time()
            self._writer.limit_wait(connection, self._until)
            connection.exec_driver_sql(statement, values)
        self._check_time()
        self._writer.limit_wait(connection, self._until)
        session = connection.info.get(SESSION)
        try:
            connection.commit()
        except Exception as error:
            # Else the server has answered, and that was no.
            if trouble(error) is Trouble.LOST:
                self._unknown = session
            # The transaction may be open still, and nobody would end it: it must not be there for
            # the next message to commit.
            connection.invalidate()
            raise

    def _judge(self, error: Exception, attempt: int) -> None:
        """:raises NotWritten: it makes no sense to try again."""
        kind = trouble(error)
        self._losses += kind is Trouble.LOST
        again = kind is Trouble.BUSY or (kind is Trouble.LOST and self._losses < _MOST_LOSSES)
        if self._unknown is not None:
            again = again and self._writer.can_find(self._rows[0])
        if not again or not self._is_time():
            # What may be there is not to be written by anybody once more.
            final = kind if self._unknown is None else Trouble.LOST
            raise NotWritten(final, self._say(error)) from error
        if kind is Trouble.BUSY:
            time.sleep(random.uniform(0.5, 1.5) * _PAUSE * min(attempt, 10))  # noqa: S311

    def _say(self, error: Exception) -> str:
        return cause(error) if self._unknown is None else _UNKNOWN

    def _is_time(self) -> bool:
        return self._writer.is_time(self._until)

    def _check_time(self) -> None:
        if not self._is_time():
            raise NotWritten(Trouble.BUSY, TOO_LONG)

    def _missing(self, connection: Connection) -> list[Row]:
        """:returns: the rows that are not there."""
        try:
            if connection.dialect.name == "postgresql":
                self._let_others_end(connection)
            there = {id(row) for row in self._doubtful if self._writer.is_there(connection, row)}
        except DBAPIError as error:
            if trouble(error) is not Trouble.REFUSED:
                raise
            # We may only write: then nobody can tell, and twice is better than never.
            connection.rollback()
            self._doubtful, there = (), set()
        return [row for row in self._rows if id(row) not in there]

    def _let_others_end(self, connection: Connection) -> None:
        """
        Wait for transactions of ours that write just now: one of them may have the row. It is of a
        process that is no more, or whose connection was lost, and nobody sees it before its end.

        :raises NotWritten: they do not end.
        """
        waiting: set[object] | None = None
        while waiting is None or waiting:
            found = set(connection.exec_driver_sql(_WRITING).scalars())
            # PostgreSQL shows the same sessions all through a transaction.
            connection.rollback()
            waiting = found if waiting is None else waiting & found
            if waiting:
                self._check_time()
                time.sleep(_PAUSE)

    def _was_committed(self, connection: Connection, session: int) -> bool:
        """
        Ask whether the transaction was committed when we lost the connection.

        :param session: that it was in. It may be there still, in the middle of COMMIT.
        """
        # A server that was started again gives the same numbers again.
        if session != connection.info.get(SESSION):
            self._end(connection, session)
        # What was committed since this transaction began is seen by the next only.
        connection.rollback()
        return self._writer.is_there(connection, self._rows[0])

    def _end(self, connection: Connection, session: int) -> None:
        """
        End another session, and wait until it has ended.

        :raises NotWritten: it does not.
        """
        end, view, schema, number = _SESSIONS[connection.dialect.name]
        try:
            connection.exec_driver_sql(end.format(int(session)))
        except DBAPIError as error:
            # Else there is no such session any more.
            if trouble(error) is not Trouble.REFUSED:
                raise
        sessions = table(view, column(number), schema=schema)
        same = select(func.count()).select_from(sessions).where(column(number) == session)
        # PostgreSQL shows the same sessions all through a transaction.
        connection.rollback()
        while connection.execute(same).scalar():
            connection.rollback()
            if not self._is_time():
                raise NotWritten(Trouble.LOST, _UNKNOWN)
            time.sleep(_PAUSE)

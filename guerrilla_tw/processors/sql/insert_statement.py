"""The statement that writes rows: of a table's columns, or as somebody wrote it in the settings."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import Dialect, Table

from guerrilla_tw.config import ConfigError

#: What the ``?`` of ``sql_values`` stand for, in go-guerrilla's order.
RAW_VALUES: Final = (
    *("to", "from", "subject", "body", "mail", "hash", "content_type", "recipient", "ip_addr"),
    *("return_path", "is_tls", "message_id", "reply_to", "sender"),
)
# go-guerrilla's own statement names them in this order.
_RAW_COLUMNS: Final = (
    *("date", "to", "from", "subject", "body", "mail", "spam_score", "hash", "content_type"),
    *("recipient", "has_attach", "ip_addr", "return_path", "is_tls", "message_id", "reply_to"),
    "sender",
)
_RAW_LITERALS: Final = {"date": "CURRENT_TIMESTAMP", "spam_score": "0", "has_attach": "0"}
# Text between quotes, a mark, or what drivers take for the beginning of one.
_MARK: Final = re.compile(r"""('[^']*'|"[^"]*"|`[^`]*`)|\?|%""")
# Rows of one statement. Older versions of SQLite take 999 values.
_MOST_ROWS: Final = 50


class InsertStatement:
    """
    An INSERT of any number of rows.

    :param front: up to and with VALUES.
    :param row: the values of a row in parentheses, with a ``?`` for each bound one.
    :param names: of the bound values, in order.
    :param dialect: of the database.
    """

    def __init__(self, front: str, row: str, names: Sequence[str], dialect: Dialect) -> None:
        self._front = _for_driver(front, dialect)
        self._row = _for_driver(row, dialect)
        self._names = tuple(names)
        self.text = lru_cache(_MOST_ROWS)(self._text)

    def _text(self, rows: int) -> str:
        return f"{self._front} " + ", ".join([self._row] * rows)

    def parameters(self, rows: Sequence[Mapping[str, Any]]) -> tuple[Any, ...]:
        """:returns: the values of these rows for :meth:`text` of as many."""
        return tuple(row[name] for row in rows for name in self._names)

    def octets(self, row: Mapping[str, Any]) -> int:
        """:returns: what a row adds to the statement at most, as it is sent to a server."""
        return len(self._row) + sum(_octets(row[name]) for name in self._names)

    def cut(
        self, rows: Sequence[Mapping[str, Any]], octets: int
    ) -> list[Sequence[Mapping[str, Any]]]:
        """
        Say which rows go into a statement together.

        :param octets: of a statement at most; a larger row is alone.
        """
        pieces: list[list[Mapping[str, Any]]] = []
        left = 0
        for row in rows:
            size = self.octets(row)
            if not pieces or size > left or len(pieces[-1]) == _MOST_ROWS:
                pieces.append([])
                left = octets - len(self._front)
            pieces[-1].append(row)
            left -= size
        return list(pieces)


def _octets(value: object) -> int:
    if isinstance(value, bytes):
        # PyMySQL and pg8000 write it in hexadecimal digits.
        return 2 * len(value) + 16
    # UTF-8, and an escape before each.
    return 8 * len(value) if isinstance(value, str) else 32


def insert_into(table: Table, names: Sequence[str], dialect: Dialect) -> InsertStatement:
    """
    Make the statement of a table's columns.

    :param names: of the columns.
    """
    marks = ", ".join("?" * len(names))
    return InsertStatement(_front(table, names, dialect), f"({marks})", names, dialect)


def insert_as_written(
    table: Table, sql_insert: str, sql_values: str, dialect: Dialect
) -> InsertStatement:
    """
    Make the statement that somebody wrote; of what is empty, go-guerrilla's own.

    :param sql_insert: up to and with VALUES.
    :param sql_values: the values of one row, with as many ``?`` as :data:`RAW_VALUES`.
    """
    literals = {**_RAW_LITERALS}
    if dialect.name == "postgresql":
        literals["has_attach"] = "FALSE"
    row = ", ".join(literals.get(name, "?") for name in _RAW_COLUMNS)
    return InsertStatement(
        sql_insert or _front(table, _RAW_COLUMNS, dialect),
        sql_values or f"({row})",
        RAW_VALUES,
        dialect,
    )


def check_raw_statement(sql_insert: str, sql_values: str) -> None:
    """
    :raises ConfigError: the two have not as many ``?`` as there are values.
    """
    if _count_marks(sql_insert):
        raise ConfigError("holds a ?; values belong to sql_values", "sql_insert")
    marks = _count_marks(sql_values)
    if sql_values and marks != len(RAW_VALUES):
        raise ConfigError(f"has {marks} ?, not {len(RAW_VALUES)}", "sql_values")


def _count_marks(sql: str) -> int:
    return sum(match[0] == "?" for match in _MARK.finditer(sql))


def _front(table: Table, names: Sequence[str], dialect: Dialect) -> str:
    quote = dialect.identifier_preparer
    columns = ", ".join(quote.quote_identifier(name) for name in names)
    return f"INSERT INTO {quote.format_table(table)} ({columns}) VALUES"


def _for_driver(sql: str, dialect: Dialect) -> str:
    """Write the marks as the driver wants them: ``?`` or ``%s``."""
    if dialect.paramstyle == "qmark":
        return sql
    # pg8000 leaves what is in quotes alone, PyMySQL does not.
    in_quotes = "%%" if dialect.name == "mysql" else "%"

    def write(match: re.Match[str]) -> str:
        if match[1]:
            return match[1].replace("%", in_quotes)
        return "%s" if match[0] == "?" else "%%"

    return _MARK.sub(write, sql)

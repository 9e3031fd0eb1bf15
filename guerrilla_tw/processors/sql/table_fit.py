"""A table as it is there, and how the values of a message fit into it."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Table, inspect, text
from sqlalchemy.types import Boolean, String

Fitter = Callable[[Any], Any]

# Without these nobody finds a message again.
_NEEDED: Final = ("mail", "body", "hash", "recipient")
# Of older tables of go-guerrilla.
_OLDER: Final = "charset"
_BOOLEANS: Final = ("has_attach", "is_tls")
# What MySQL and PostgreSQL call otherwise than Python; utf8mb3 is UTF-8 of three octets at most.
_MYSQL_ENCODINGS: Final = {
    **dict.fromkeys(("utf8mb4", "utf8mb3", "utf8", "ucs2"), "utf-8"),
    "latin1": "cp1252",
}
_POSTGRESQL_ENCODINGS: Final = {"sql_ascii": "utf-8"}
_MYSQL_SHORT: Final = frozenset({"utf8", "utf8mb3", "ucs2"})
# Octets that MySQL's smallest text holds, whatever its character set; it has no length of its own.
_TINYTEXT: Final = 255
_BEYOND_SHORT: Final = re.compile("[^\0-\uffff]")
# Of MySQL: what a transaction means nothing to.
_WITHOUT_TRANSACTIONS: Final = frozenset({"aria", "archive", "csv", "memory", "myisam"})


class TableError(Exception):
    """The table cannot be used. The text is one line and says why."""


class TableFit(msgspec.Struct, frozen=True):
    """
    What a table takes.

    :param fitters: for each column that is written, what makes a value of it.
    :param warnings: a line for each thing that is odd.
    """

    fitters: Mapping[str, Fitter]
    warnings: tuple[str, ...]

    def fit(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """:returns: what of a row the table takes, as it takes it."""
        return {name: fitter(row[name]) for name, fitter in self.fitters.items()}


def fit_table(connection: Connection, table: Table) -> TableFit:
    """
    Look at a table of our name, which somebody else may have made.

    :param table: ours.
    :raises TableError: no message can be written to it.
    """
    inspector = inspect(connection)
    if not inspector.has_table(table.name, table.schema):
        raise TableError(
            "the table is missing; python -m guerrilla_tw create-table --config FILE makes it"
        )
    found = {str(column["name"]): column for column in inspector.get_columns(*_key(table))}
    ours = [column.name for column in table.columns if not column.primary_key]
    for name in _NEEDED:
        if name not in found:
            raise TableError(f"the table has no column {name}")
    for name, column in found.items():
        if name not in (*ours, _OLDER) and not _fills_itself(connection, column):
            raise TableError(
                f"the column {name} needs a value, and has no default; sql_insert can give it one"
            )
    database = connection.dialect.name
    if database == "postgresql":
        _check_sequences(connection, table)
    charsets = _charsets(connection, table)
    fitters = {
        name: _fitter(name, found[name]["type"], charsets.get(name, charsets[""]), database)
        for name in (*ours, _OLDER)
        if name in found
    }
    missing = [name for name in ours if name not in found]
    warnings = [f"has no column {', '.join(missing)}"] if missing else []
    if database == "mysql":
        engine = inspector.get_table_options(*_key(table)).get("mysql_engine", "")
        if engine.lower() in _WITHOUT_TRANSACTIONS:
            warnings.append(f"is kept by {engine}, which knows no transactions")
    return TableFit(fitters, tuple(warnings))


def _check_sequences(connection: Connection, table: Table) -> None:
    """:raises TableError: the user may not number a row."""
    # An INSERT that writes no row does not use them. A column that is an identity has none that
    # needs a right.
    name = connection.dialect.identifier_preparer.format_table(table)
    sequences = connection.execute(
        text(
            "SELECT s.relname FROM pg_attrdef d JOIN pg_depend p ON p.objid = d.oid"
            " AND p.classid = 'pg_attrdef'::regclass AND p.refclassid = 'pg_class'::regclass"
            " JOIN pg_class s ON s.oid = p.refobjid WHERE d.adrelid = to_regclass(:name)"
            # In this order, since it is an error for what is no sequence.
            " AND CASE s.relkind WHEN 'S'"
            " THEN NOT has_sequence_privilege(s.oid, 'USAGE, UPDATE') ELSE FALSE END"
        ),
        {"name": name},
    )
    for (sequence,) in sequences:
        raise TableError(f"permission denied for sequence {sequence}")


def _key(table: Table) -> tuple[str, str | None]:
    return table.name, table.schema


def _fills_itself(connection: Connection, column: Mapping[str, Any]) -> bool:
    # SQLite gives its rows a number, and says nothing of it.
    by_number = column.get("primary_key") and connection.dialect.name == "sqlite"
    return bool(
        column["nullable"]
        or column.get("default") is not None
        or column.get("autoincrement") is True
        or column.get("identity")
        or column.get("computed")
        or by_number
    )


def _charsets(connection: Connection, table: Table) -> dict[str, str]:
    """:returns: the character set of each column, and under "" that of all others."""
    if connection.dialect.name == "postgresql":
        return {"": str(connection.execute(text("SHOW server_encoding")).scalar()).lower()}
    if connection.dialect.name == "sqlite":
        return {"": "utf-8"}
    rows = connection.execute(
        text(
            "SELECT column_name, character_set_name FROM information_schema.columns"
            " WHERE table_name = :name AND table_schema = COALESCE(:schema, DATABASE())"
            " AND character_set_name IS NOT NULL"
        ),
        {"name": table.name, "schema": table.schema},
    )
    return {"": "ascii", **{str(name): str(charset).lower() for name, charset in rows}}


def _fitter(name: str, kind: Any, charset: str, database: str) -> Fitter:
    is_text = isinstance(kind, String)
    if name == "mail":
        if is_text and database != "sqlite":
            raise TableError("the column mail is for text; a message needs one for octets")
        return bytes
    if name == "ip_addr":
        is_inet = kind.__visit_name__ == "INET"
        return _ip_as_text(_Text(kind, charset, database)) if is_text or is_inet else bytes
    if name in _BOOLEANS:
        return bool if isinstance(kind, Boolean) else int
    return _Text(kind, charset, database) if is_text and name != "date" else _unchanged


def _unchanged(value: Any) -> Any:
    return value


def _ip_as_text(fit: Fitter) -> Fitter:
    return lambda packed: fit(str(ip_address(packed)) if packed else "")


class _Text:
    """
    Makes a text fit into a column. What the column cannot hold becomes ``?``: better than to lose
    the message.

    :param kind: of the column.
    :param charset: of the column, as the database calls it.
    :param database: its kind.
    """

    def __init__(self, kind: Any, charset: str, database: str) -> None:
        self._length: int | None = getattr(kind, "length", None)
        self._octets = _TINYTEXT if kind.__visit_name__ == "TINYTEXT" else None
        self._is_short = database == "mysql" and charset in _MYSQL_SHORT
        names = _MYSQL_ENCODINGS if database == "mysql" else _POSTGRESQL_ENCODINGS
        try:
            self._encoding = codecs.lookup(names.get(charset, charset)).name
        except LookupError:
            self._encoding = "ascii"

    def __call__(self, value: str) -> str:
        # PostgreSQL knows no NUL in a text.
        value = value.replace("\0", "?")[: self._length]
        if value.isascii():
            return value[: self._octets]
        if self._is_short:
            value = _BEYOND_SHORT.sub("?", value)
        octets = value.encode(self._encoding, "replace")[: self._octets]
        return octets.decode(self._encoding, "ignore")

"""The tables that a configuration needs, made or shown."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from sqlalchemy import Engine, Table, inspect
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.schema import CreateIndex, CreateTable

from guerrilla_tw.backends.errors import StoreError
from guerrilla_tw.config import ConfigError, convert_settings
from guerrilla_tw.processors.sql.database import PoolSize, check_driver, open_database
from guerrilla_tw.processors.sql.errors import cause
from guerrilla_tw.processors.sql.mail_table import mail_table
from guerrilla_tw.processors.sql.patience import patience
from guerrilla_tw.processors.sql.settings import MySqlConfig, SqlConfig, TableConfig
from guerrilla_tw.processors.sql.source import Source
from guerrilla_tw.trust import who_else_writes
from guerrilla_tw.users import SAME_USER, User, user_with

# Seconds for the whole of it; nobody waits but who gave the command.
_TIMEOUT: Final = 60.0
_PROCESSORS: Final = frozenset({"sql", "mysql", "guerrilladbredis", "guerrillaredisdb"})


def create_tables(backend_config: Mapping[str, object]) -> list[str]:
    """
    Make the tables that the processors of ``save_process`` store in, where there are none.

    :returns: a line for each table, for people.
    :raises ConfigError: no processor stores in a table, or its settings are wrong.
    :raises StoreError: a table cannot be made.
    """
    return [_create(config) for config in _configs(backend_config)]


def table_ddl(backend_config: Mapping[str, object]) -> list[str]:
    """
    Show the statements that make these tables, in the SQL of their databases.

    :raises ConfigError: as :func:`create_tables`.
    """
    statements = []
    for config in _configs(backend_config):
        dialect: Any = config.source().url.get_dialect()()
        table = mail_table(config.mail_table)
        indexes = sorted(table.indexes, key=lambda index: str(index.name))
        elements: list[Any] = [CreateTable(table), *map(CreateIndex, indexes)]
        statements += [str(element.compile(dialect=dialect)).strip() for element in elements]
    return statements


def _configs(backend_config: Mapping[str, object]) -> list[TableConfig]:
    chain = str(backend_config.get("save_process", "")).lower().split("|")
    names = _PROCESSORS.intersection(map(str.strip, chain))
    if not names:
        raise ConfigError("names no processor that stores in SQL", "backend_config.save_process")
    kinds = dict.fromkeys(_settings_of(name, backend_config) for name in sorted(names))
    return [convert_settings(backend_config, kind) for kind in kinds]


def _settings_of(name: str, backend_config: Mapping[str, object]) -> type[TableConfig]:
    if name == "sql" or (name != "mysql" and "sql_dsn" in backend_config):
        return SqlConfig
    return MySqlConfig


def _create(config: TableConfig) -> str:
    source = config.source()
    check_driver(source.kind, f"backend_config.{config.driver_setting()}")
    # With the owner's rights the interpreter's modules need not be readable.
    source.url.get_dialect().import_dbapi()
    table = mail_table(config.mail_table)
    where = f"table {config.mail_table} in {source.where}"
    try:
        # Closed with these rights too: SQLite removes files then.
        with _owner(source).rights():
            is_made = _make_if_missing(table, source)
    except (SQLAlchemyError, OSError) as error:
        raise StoreError(f"cannot make {where}: {cause(error)}") from error
    return f"{where} is made" if is_made else f"{where} is there already"


def _owner(source: Source) -> User:
    """
    Find out with whose rights SQLite's file is made by root: links of its owner must not lead
    further than he gets himself, and it is to be his.

    :raises StoreError: others can have another file there.
    """
    if source.kind != "sqlite" or os.geteuid():
        return SAME_USER
    path = source.database
    # A daemon writes beside the file, too, and so in a directory of its user.
    owner = os.stat(os.path.dirname(os.path.realpath(path))).st_uid
    stranger = who_else_writes(path, {owner})
    if stranger is not None:
        raise StoreError(f"cannot make {path} as root: {stranger}; do it as the daemon's user")
    return user_with(owner)


def _make_if_missing(table: Table, source: Source) -> bool:
    """:returns: whether it was missing."""
    engine = open_database(source, patience(_TIMEOUT, source), PoolSize(), workers=1)
    try:
        if inspect(engine).has_table(table.name, table.schema):
            return False
        _make(table, engine)
    finally:
        engine.dispose()
    return True


def _make(table: Table, engine: Engine) -> None:
    """Make a table with its indexes, or nothing: half of it would be taken for the whole later."""
    try:
        table.metadata.create_all(engine)
    except SQLAlchemyError:
        with suppress(SQLAlchemyError):
            table.metadata.drop_all(engine)
        raise

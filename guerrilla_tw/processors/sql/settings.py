"""The settings of what keeps messages in SQL."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from guerrilla_tw.config import ConfigError, Duration, check_host_name, set_default
from guerrilla_tw.processors.sql.database import PoolSize
from guerrilla_tw.processors.sql.dsn import read_source
from guerrilla_tw.processors.sql.insert_statement import check_raw_statement
from guerrilla_tw.processors.sql.source import Source, mysql_source

_NAME: Final = "[A-Za-z_][A-Za-z0-9_]{0,62}"
_TABLE_NAME: Final = re.compile(rf"(?:{_NAME}\.)?{_NAME}")
_LONGEST_BATCH: Final = 1000
_LONGEST_BATCH_WAIT: Final = 1.0


class TableConfig(msgspec.Struct, frozen=True, kw_only=True):
    """
    What all databases have in common.

    :param mail_table: the table's name; a schema may stand before it, with a dot.
    :param primary_mail_host: stands in for a missing Message-ID's host.
    :param sql_insert: SQL up to and with VALUES, to write another table.
    :param sql_values: the values of a row in parentheses, with fourteen ``?``.
    :param sql_max_open_conns: connections at most; 0 for as many as there are workers.
    :param sql_max_idle_conns: connections that are kept while nobody uses them; 0 for all.
    :param sql_max_conn_lifetime: after which a connection is replaced; by default never.
    :param sql_batch_size: messages that are written together, at most; 1 for each alone.
    :param sql_batch_wait: how long a message waits for others to be written with.
    """

    mail_table: str
    primary_mail_host: str = ""
    sql_insert: str = ""
    sql_values: str = ""
    sql_max_open_conns: int = 0
    sql_max_idle_conns: int = 0
    sql_max_conn_lifetime: Duration = Duration(0)
    sql_batch_size: int = 1
    sql_batch_wait: Duration = Duration(0.005)

    def __post_init__(self) -> None:
        if not _TABLE_NAME.fullmatch(self.mail_table):
            raise ConfigError("is not a table's name", "mail_table")
        check_host_name(self, "primary_mail_host")
        check_raw_statement(self.sql_insert, self.sql_values)
        for name in ("sql_max_open_conns", "sql_max_idle_conns"):
            if getattr(self, name) < 0:
                raise ConfigError("is below 0", name)
        set_default(self, "sql_batch_size", 1)
        if not 1 <= self.sql_batch_size <= _LONGEST_BATCH:
            raise ConfigError(f"is not between 1 and {_LONGEST_BATCH}", "sql_batch_size")
        set_default(self, "sql_batch_wait", Duration(0.005))
        if self.sql_batch_wait > _LONGEST_BATCH_WAIT:
            raise ConfigError("is longer than a second", "sql_batch_wait")
        self.source()

    def source(self) -> Source:
        """:returns: where the database is."""
        raise NotImplementedError

    def driver_setting(self) -> str:
        """:returns: the setting that says what kind of database it is."""
        return "sql_driver"

    def pool_size(self) -> PoolSize:
        """:returns: how many connections there are."""
        return PoolSize(
            self.sql_max_open_conns, self.sql_max_idle_conns, self.sql_max_conn_lifetime
        )


class SqlConfig(TableConfig, frozen=True, kw_only=True):
    """
    Settings beside those of :class:`TableConfig`, under go-guerrilla's names.

    :param sql_driver: ``sqlite3``, ``mysql`` or ``postgres``; by default what the URL in
        ``sql_dsn`` says, or else ``sqlite3``.
    :param sql_dsn: where the database is: a URL, or as Go's drivers have it.
    """

    sql_dsn: str
    sql_driver: str = ""

    def source(self) -> Source:
        """See :meth:`TableConfig.source`."""
        return read_source(self.sql_driver, self.sql_dsn)


class MySqlConfig(TableConfig, frozen=True, kw_only=True):
    """
    Settings beside those of :class:`TableConfig`, under go-guerrilla's older names.

    :param mysql_host: ``host:port`` of the server, or the path of its UNIX socket.
    :param mysql_db: the database's name.
    :param mysql_user: the user to be there.
    :param mysql_pass: his password.
    """

    mysql_db: str
    mysql_user: str
    mysql_host: str = "127.0.0.1:3306"
    mysql_pass: str = ""

    def source(self) -> Source:
        """See :meth:`TableConfig.source`."""
        if not self.mysql_db:
            raise ConfigError("is empty", "mysql_db")
        return mysql_source(
            self.mysql_host or "127.0.0.1:3306",
            self.mysql_db,
            self.mysql_user,
            self.mysql_pass,
            setting="mysql_host",
        )

    def driver_setting(self) -> str:
        """See :meth:`TableConfig.driver_setting`."""
        return "mysql_host"

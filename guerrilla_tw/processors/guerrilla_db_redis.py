"""GuerrillaDbRedis: go-guerrilla's all-in-one, composed of the others."""

from __future__ import annotations

from guerrilla_tw.backends.batching import process_batches_with
from guerrilla_tw.backends.registry import Decorator
from guerrilla_tw.config import set_default
from guerrilla_tw.interfaces import IBackendService, IProcessor
from guerrilla_tw.processors.compressor import compressor
from guerrilla_tw.processors.hasher import hasher
from guerrilla_tw.processors.header import header
from guerrilla_tw.processors.headers_parser import headers_parser
from guerrilla_tw.processors.redis import redis_if_available
from guerrilla_tw.processors.sql_settings import MySqlConfig
from guerrilla_tw.processors.sql_store import SqlStore

# Rows of a batch of go-guerrilla's.
_BATCH_SIZE = 50


class GuerrillaDbRedisConfig(MySqlConfig, frozen=True, kw_only=True):
    """
    Settings beside those of Redis and of Header: those of MySql, with other defaults.

    :param mysql_host: ``host:port`` of the server, or the path of its UNIX socket.
    :param mysql_db: the database's name.
    :param mysql_user: the user to be there.
    :param mysql_pass: his password.
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

    sql_batch_size: int = _BATCH_SIZE

    def __post_init__(self) -> None:
        set_default(self, "sql_batch_size", _BATCH_SIZE)
        super().__post_init__()


def guerrilla_db_redis(svc: IBackendService) -> Decorator:
    """
    Keep messages in Redis, and a row of each in MySQL (go-guerrilla: ``GuerrillaDbRedis``).

    Does what ``HeadersParser|Hasher|Header|Compressor|Redis|MySql`` does, and writes the rows of
    messages that come at the same time together. What Redis does not take is kept in the row.
    """
    preparing = [constructor(svc) for constructor in (headers_parser, hasher, header, compressor)]
    # MySQL before Redis, since initializers run in this order: only Redis would keep connections
    # open, and make them anew for ever, if the other could not be opened.
    in_mysql = _mysql_in_batches(svc)
    in_redis = redis_if_available(svc)

    def decorate(following: IProcessor) -> IProcessor:
        for decorator in (in_mysql, in_redis, *reversed(preparing)):
            following = decorator(following)
        return following

    return decorate


def _mysql_in_batches(svc: IBackendService) -> Decorator:
    config = svc.extract_config(svc.config, GuerrillaDbRedisConfig)
    store = SqlStore(config, svc)
    svc.declare_store()
    svc.add_initializer(store)
    svc.add_shutdowner(store)
    return process_batches_with(
        svc, store.save_all, size=config.sql_batch_size, wait=config.sql_batch_wait
    )

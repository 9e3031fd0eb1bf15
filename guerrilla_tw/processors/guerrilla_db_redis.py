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
from guerrilla_tw.processors.redis.processor import redis_if_available
from guerrilla_tw.processors.sql.settings import MySqlConfig, SqlConfig, TableConfig
from guerrilla_tw.processors.sql.store import SqlStore

# Rows of a batch of go-guerrilla's.
_BATCH_SIZE = 50


class MySqlInBatches(MySqlConfig, frozen=True, kw_only=True):
    """Those of MySql, with another default."""

    sql_batch_size: int = _BATCH_SIZE

    def __post_init__(self) -> None:
        set_default(self, "sql_batch_size", _BATCH_SIZE)
        super().__post_init__()


class SqlInBatches(SqlConfig, frozen=True, kw_only=True):
    """Those of Sql, with another default."""

    sql_batch_size: int = _BATCH_SIZE

    def __post_init__(self) -> None:
        set_default(self, "sql_batch_size", _BATCH_SIZE)
        super().__post_init__()


def guerrilla_db_redis(svc: IBackendService) -> Decorator:
    """
    Keep messages in Redis, and a row of each in MySQL (go-guerrilla: ``GuerrillaDbRedis``).

    Does what ``HeadersParser|Hasher|Header|Compressor|Redis|MySql`` does, or with Sql if there is a
    ``sql_dsn``, and writes the rows of
    messages that come at the same time together. What Redis does not take is kept in the row.
    """
    # What each declares is known to those after it.
    decorators = [
        constructor(svc)
        for constructor in (
            headers_parser,
            hasher,
            header,
            compressor,
            redis_if_available,
            _rows_in_batches,
        )
    ]

    def decorate(following: IProcessor) -> IProcessor:
        for decorator in reversed(decorators):
            following = decorator(following)
        return following

    return decorate


def _rows_in_batches(svc: IBackendService) -> Decorator:
    config: TableConfig
    # go-guerrilla had the first in its older years, and the second later.
    if "sql_dsn" in svc.config:
        config = svc.extract_config(svc.config, SqlInBatches)
    else:
        config = svc.extract_config(svc.config, MySqlInBatches)
    store = SqlStore(config, svc)
    svc.declare_store()
    svc.add_initializer(store)
    svc.add_shutdowner(store)
    return process_batches_with(
        svc, store.save_all, size=config.sql_batch_size, wait=config.sql_batch_wait
    )

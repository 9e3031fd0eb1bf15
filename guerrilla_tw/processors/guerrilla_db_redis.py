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
from guerrilla_tw.processors.sql.settings import MySqlConfig
from guerrilla_tw.processors.sql.store import SqlStore

# Rows of a batch of go-guerrilla's.
_BATCH_SIZE = 50


class GuerrillaDbRedisConfig(MySqlConfig, frozen=True, kw_only=True):
    """Settings beside those of Redis and of Header: those of MySql, with other defaults."""

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

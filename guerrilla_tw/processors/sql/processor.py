"""Sql and MySql: keep messages in a table, a row for each recipient."""

from __future__ import annotations

from guerrilla_tw.backends.batching import process_batches_with
from guerrilla_tw.backends.chain import process_with
from guerrilla_tw.backends.registry import Decorator
from guerrilla_tw.interfaces import IBackendService
from guerrilla_tw.processors.sql.settings import MySqlConfig, SqlConfig, TableConfig
from guerrilla_tw.processors.sql.store import SqlStore


def sql(svc: IBackendService) -> Decorator:
    """
    Keep messages in SQLite, MySQL, MariaDB or PostgreSQL (go-guerrilla: ``Sql``).

    Stores the delivery header and the message, as the Compressor made them if there is one before
    it; or where Redis has them, only what is known of the message. The row's ``hash`` is the
    recipient's of the Hasher, and the first becomes the id in the reply. Without a HeadersParser
    before it, what comes from the header stays empty.
    """
    return _store(svc, svc.extract_config(svc.config, SqlConfig))


def mysql(svc: IBackendService) -> Decorator:
    """
    Keep messages in MySQL or MariaDB, by go-guerrilla's older settings (``MySql``).

    Does what :func:`sql` does.
    """
    return _store(svc, svc.extract_config(svc.config, MySqlConfig))


def _store(svc: IBackendService, config: TableConfig) -> Decorator:
    store = SqlStore(config, svc)
    svc.declare_store()
    if not svc.is_set_before("header"):
        svc.warn("without HeadersParser before it, what comes from the header stays empty")
    if not svc.is_set_before("hashes"):
        svc.warn("without Hasher before it, rows have no hash, and the id in a reply is in no row")
    if config.sql_batch_size > 1 and svc.workers == 1:
        svc.warn("sql_batch_size has no effect with a single worker (save_workers_size)")
    svc.add_initializer(store)
    svc.add_shutdowner(store)
    if config.sql_batch_size > 1:
        return process_batches_with(
            svc, store.save_all, size=config.sql_batch_size, wait=config.sql_batch_wait
        )
    return process_with(svc, store.save)

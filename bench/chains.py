"""Chains, with the stores that they need, each with its usual durability."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.contenders.ours import NULL_CHAIN
from tests.integration.stores import STORES

NULL = "null"


@dataclass(frozen=True)
class Chain:
    """
    A chain of processors.

    :param name: for the command line.
    :param title: for the table.
    :param store: of the tests' stores; empty for none.
    :param clients: that send at the same time.
    :param settings: of ``backend_config``, beside those of the store.
    """

    name: str
    title: str
    store: str = ""
    clients: int = 20
    settings: Mapping[str, object] = field(default_factory=lambda: {"save_workers_size": 20})


def batched(name: str, title: str, store: str, clients: int, size: int) -> Chain:
    """:returns: a chain with 32 workers that writes so many messages at once at most."""
    settings = {"save_workers_size": 32, "sql_batch_size": size}
    return Chain(
        name, f"{title}, {clients} clients, sql_batch_size {size}", store, clients, settings
    )


_REDIS = "HeadersParser|Hasher|Header|Redis"

#: By the names that they have on the command line.
CHAINS: Mapping[str, Chain] = {
    chain.name: chain
    for chain in (
        Chain(NULL, "none (HeadersParser, Hasher, Header)"),
        Chain(
            "redis",
            "Redis, default persistence",
            "redis-default",
            settings={"save_workers_size": 20, "save_process": _REDIS},
        ),
        Chain("redis-compressed", "the same, with Compressor", "redis-default"),
        Chain("redis-always", "the same, appendfsync always", "redis"),
        Chain("sqlite", "SQLite", "sqlite"),
        Chain("mysql", "MySql (MariaDB)", "mysql"),
        Chain("postgresql", "PostgreSQL", "postgresql"),
        Chain("redis+mysql", "Redis and MySql", "redis+mysql"),
        Chain("guerrilladbredis", "GuerrillaDbRedis", "guerrilladbredis"),
        Chain("maildir", "MailDir", "maildir"),
        Chain("fastcgi", "FastCGI, php-fpm with 4 processes", "fastcgi"),
        batched("mysql-1", "MySql", "mysql", 32, 1),
        batched("mysql-50", "MySql", "mysql", 32, 50),
        batched("postgresql-1", "PostgreSQL", "postgresql", 32, 1),
        batched("postgresql-50", "PostgreSQL", "postgresql", 32, 50),
    )
}


@contextmanager
def backends(chains: Iterable[Chain]) -> Iterator[Mapping[str, Mapping[str, object]]]:
    """Have the stores of chains run for a while. :returns: the ``backend_config`` of each name."""
    chains = list(chains)
    with ExitStack() as stack:
        stores: dict[str, Mapping[str, Any]] = {"": NULL_CHAIN}
        for name in sorted({chain.store for chain in chains} - set(stores)):
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-"))
            store = STORES[name](Path(directory))
            stack.callback(store.close)
            stores[name] = store.settings
        yield {chain.name: {**stores[chain.store], **chain.settings} for chain in chains}

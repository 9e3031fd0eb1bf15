"""
What it brings to write messages in batches: messages a second and processor time of the daemon.

Messages of 2 KB go into a database by 32 workers, with sql_batch_size 1 and 50. With one client
and with few it shows what a batch costs that nobody else is in; with as many as workers, and with
more, what batches are for. How much that is depends on the disk, so the time of an fsync there is
measured too. Otherwise as stores.py.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time

from compare import SMTP_SOURCE
from stores import Figures, Row, measure, stores, table

CLIENTS = (1, 8, 32, 64)
WORKERS = 32
SIZES = (1, 50)
# Of the same file, each after an octet was written.
_FSYNCS = 200


def fsync_time() -> float:
    """:returns: median of what an fsync takes where the databases are, in microseconds."""
    taken = []
    with tempfile.TemporaryFile(buffering=0) as file:
        for _ in range(_FSYNCS):
            file.write(b"x")
            began = time.perf_counter()
            os.fsync(file.fileno())
            taken.append(time.perf_counter() - began)
    return statistics.median(taken) * 1e6


def _row(store: str, clients: int, size: int) -> Row:
    settings = {"save_workers_size": WORKERS, "sql_batch_size": size}
    return Row(f"{store}, {clients} clients, sql_batch_size {size}", store, clients, settings)


def _gain(alone: list[Figures], together: list[Figures]) -> float:
    rates = [statistics.median(figures.rate for figures in each) for each in (alone, together)]
    return rates[1] / rates[0]


def main() -> None:
    """Measure all numbers of clients."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="default: 5")
    parser.add_argument("--messages", type=int, default=3000, metavar="N", help="default: 3000")
    parser.add_argument("--store", default="mysql", help="as stores.py has it (default: mysql)")
    arguments = parser.parse_args()
    if min(arguments.rounds, arguments.messages // 10) < 1:
        parser.error("at least 1 round of at least 10 messages")
    if SMTP_SOURCE is None:
        parser.error("smtp-source is not installed; Debian has it in the package postfix")
    store = arguments.store
    rows = {(clients, size): _row(store, clients, size) for clients in CLIENTS for size in SIZES}
    results: dict[str, list[Figures]] = {row.title: [] for row in rows.values()}
    with stores({store}) as settings:
        for number in range(arguments.rounds):
            for row in rows.values():
                figures = measure(row, settings[store], arguments.messages)
                results[row.title].append(figures)
                said = f"round {number + 1}, {row.title}: {figures.rate:,.0f} messages a second"
                print(said, file=sys.stderr, flush=True)
    print(table(results))
    for clients in CLIENTS:
        alone, together = (results[rows[clients, size].title] for size in SIZES)
        print(f"{clients} clients: {_gain(alone, together):.1f} times as many in batches")
    print(f"an fsync: {fsync_time():,.0f} microseconds")


if __name__ == "__main__":
    main()

"""
What a message costs with each store: messages a second, and processor time of the daemon.

smtp-source (Debian's postfix package) sends messages of 2 KB over kept connections. The databases
are private ones with their usual durability, in the directory for temporary files, which should be
on a real disk. The rows take turns, with a fresh daemon for each round, which is warmed up first.
Processor time is that of the daemon alone, user and system, so it is Linux only. The result is a
table of medians in reStructuredText.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from compare import SMTP_SOURCE, processor_seconds
from daemon import running

from tests.integration.stores import STORES

SIZE = 2_000
_NOTHING = "nothing"


class Row(NamedTuple):
    """
    What is measured.

    :ivar title: for the table.
    :ivar store: of :data:`STORES`.
    :ivar clients: of smtp-source.
    :ivar settings: beside those of the store.
    """

    title: str
    store: str
    clients: int = 20
    settings: Mapping[str, object] = {"save_workers_size": 20}


def _batched(title: str, store: str, size: int) -> Row:
    settings = {"save_workers_size": 32, "sql_batch_size": size}
    return Row(f"{title}, 32 clients, sql_batch_size {size}", store, 32, settings)


ROWS = (
    Row("none (HeadersParser, Hasher, Header)", _NOTHING),
    Row("Redis, default persistence", "redis-default"),
    Row("Redis, appendfsync always", "redis"),
    Row("SQLite", "sqlite"),
    Row("MySql (MariaDB)", "mysql"),
    Row("PostgreSQL", "postgresql"),
    Row("Redis and MySql", "redis+mysql"),
    Row("GuerrillaDbRedis", "guerrilladbredis"),
    Row("MailDir", "maildir"),
    Row("FastCGI, php-fpm with 4 processes", "fastcgi"),
    _batched("MySql", "mysql", 1),
    _batched("MySql", "mysql", 50),
    _batched("PostgreSQL", "postgresql", 1),
    _batched("PostgreSQL", "postgresql", 50),
)


class Figures(NamedTuple):
    """
    What came out.

    :ivar rate: messages a second.
    :ivar cost: microseconds of the daemon's processor time a message.
    """

    rate: float
    cost: float


@contextmanager
def stores(names: set[str]) -> Iterator[dict[str, dict[str, Any]]]:
    """Have stores run for a while. :returns: the settings of each."""
    with ExitStack() as stack:
        settings = {_NOTHING: {"save_process": "HeadersParser|Hasher|Header"}}
        for name in sorted(names.difference(settings)):
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="guerrilla-"))
            store = STORES[name](Path(directory))
            stack.callback(store.close)
            settings[name] = store.settings
        yield settings


def send(port: int, clients: int, messages: int) -> None:
    """Send messages to 127.0.0.1, and fail unless all of them are accepted."""
    assert SMTP_SOURCE is not None
    options = ["-d", "-s", str(clients), "-m", str(messages), "-l", str(SIZE)]
    options += ["-f", "a@example.com", "-t", "b@example.com", "-M", "client.example.com"]
    command = [SMTP_SOURCE, *options, f"127.0.0.1:{port}"]
    subprocess.run(command, check=True)  # noqa: S603  (the command is ours)


def measure(row: Row, settings: Mapping[str, object], messages: int) -> Figures:
    """Have a daemon take messages."""
    with running({}, backend_config={**settings, **row.settings}) as daemon:
        send(daemon.port, row.clients, messages // 10)
        used, began = processor_seconds(daemon.pid), time.monotonic()
        send(daemon.port, row.clients, messages)
        seconds = time.monotonic() - began
        cost = (processor_seconds(daemon.pid) - used) / messages
        return Figures(messages / seconds, cost * 1e6)


def table(results: Mapping[str, list[Figures]]) -> str:
    """:returns: medians as reStructuredText."""
    rows: list[tuple[str, ...]] = [("Store", "Messages a second", "Microseconds a message")]
    for title, figures in results.items():
        medians = [statistics.median(column) for column in zip(*figures, strict=True)]
        rows.append((title, *(f"{median:,.0f}" for median in medians)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = "  ".join("=" * width for width in widths)
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join([rule, lines[0], rule, *lines[1:], rule])


def main() -> None:
    """Measure all rows, or those that are named."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="default: 5")
    parser.add_argument("--messages", type=int, default=2000, metavar="N", help="default: 2000")
    parser.add_argument("--stores", metavar="A,B", help=f"of {_NOTHING}, {', '.join(STORES)}")
    arguments = parser.parse_args()
    if min(arguments.rounds, arguments.messages // 10) < 1:
        parser.error("at least 1 round of at least 10 messages")
    if SMTP_SOURCE is None:
        parser.error("smtp-source is not installed; Debian has it in the package postfix")
    wanted = (arguments.stores or ",".join(row.store for row in ROWS)).split(",")
    rows = [row for row in ROWS if row.store in wanted]
    results: dict[str, list[Figures]] = {row.title: [] for row in rows}
    with stores({row.store for row in rows}) as settings:
        for number in range(arguments.rounds):
            for row in rows:
                figures = measure(row, settings[row.store], arguments.messages)
                results[row.title].append(figures)
                said = f"round {number + 1}, {row.title}: {figures.rate:,.0f} messages a second"
                print(said, file=sys.stderr, flush=True)
    print(table(results))


if __name__ == "__main__":
    main()

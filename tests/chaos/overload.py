"""
A daemon that is offered three times what its store can take.

The store takes a known number of messages a second, one after the other. First half as many come,
then for some minutes three times as many, then half as many again. Nothing may be lost; what
cannot be taken is refused for now, within ``gw_save_timeout``, or is in the spool; the queue and
the memory have a bound; and ten seconds after the load ends, answers are as fast as before.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sqlite3
import sys
import tempfile
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.arrivals import Arrivals, Told
from tests.chaos.daemon import Daemon
from tests.chaos.overload_report import picture, report
from tests.chaos.slow_store import PLUGIN
from tests.chaos.spool import SpoolUnderTest
from tests.integration.daemon_process import free_port
from tests.integration.messages import message, token_of
from tests.integration.reload_daemon import look_at
from tests.integration.test_delivery import DELIVERY_HEADER

# Of what the store can take.
_NORMAL, _OVERLOAD = 0.5, 3.0
# Seconds that normal load lasts, before and after.
_BEFORE, _AFTER = 20.0, 30.0
# Seconds between two looks.
_LOOK = 1.0
# Octets; so that a spool is full, too.
_SPOOL = 8 * 2**20


@dataclass
class Overloaded:
    """
    What came of it.

    :ivar begin: when the overload began, in seconds from the beginning.
    :ivar end: when it ended.
    :ivar timeout: ``gw_save_timeout`` in seconds.
    :ivar told: what clients were told.
    :ivar looks: the time, messages that were not answered then, and MiB of memory.
    :ivar lost: acknowledged, and not in the store in the end.
    :ivar doubled: in the store more than once.
    :ivar damaged: in the store, and not as they were sent.
    :ivar left: not acknowledged, and in the store.
    :ivar wrong: all that should not be, besides.
    """

    begin: float = 0.0
    end: float = 0.0
    timeout: float = 0.0
    told: list[Told] = field(default_factory=list)
    looks: list[tuple[float, int, float]] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


class Overload:
    """
    One run.

    :param directory: where the daemon runs.
    :param seconds: how long the overload lasts.
    :param rate: messages a second that the store can take.
    :param timeout: ``gw_save_timeout`` in seconds.
    :param spool: the mode of a spool; empty for none.
    :param seed: of when messages come.
    """

    def __init__(
        self, directory: Path, seconds: float, rate: float, timeout: float, spool: str, seed: int
    ) -> None:
        self.found = Overloaded(timeout=timeout)
        self._directory = directory
        self._seconds = seconds
        self._rate = rate
        self._spool = SpoolUnderTest(directory / "spool", small=False) if spool else None
        backend = _backend(rate, timeout)
        if self._spool:
            backend |= {**self._spool.settings(spool), "spool_max_bytes": _SPOOL}
        port = free_port()
        server = {
            "is_enabled": True,
            "listen_interface": f"127.0.0.1:{port}",
            "timeout": 600,
            "max_clients": 1000,
        }
        self._daemon = Daemon(
            directory, {"processes": 1, "backend_config": backend, "servers": [server]}, PLUGIN
        )
        self._arrivals = Arrivals(port, seed)

    def run(self) -> Overloaded:
        """:raises AssertionError: something hangs."""
        try:
            self._daemon.start()
            asyncio.run(self._load())
            if self._spool:
                print("waiting for the spool to be empty", file=sys.stderr, flush=True)
                self._spool.wait_until_delivered(4 * _SPOOL / 1000 / self._rate)
                self.found.wrong += self._spool.given_up()
            self._daemon.terminate()
            self._compare()
        finally:
            self._daemon.close()
        return self.found

    async def _load(self) -> None:
        found, arrivals = self.found, self._arrivals
        looking = asyncio.create_task(self._look())
        await arrivals.come(_NORMAL * self._rate, _BEFORE)
        found.begin = arrivals.now
        await arrivals.come(_OVERLOAD * self._rate, self._seconds)
        found.end = arrivals.now
        await arrivals.come(_NORMAL * self._rate, _AFTER)
        looking.cancel()
        await arrivals.finish()
        found.told = arrivals.told

    async def _look(self) -> None:
        while True:
            (pid,) = self._daemon.pids()
            arrivals = self._arrivals
            look = arrivals.now, arrivals.outstanding, look_at(pid).memory / 1024
            self.found.looks.append(look)
            if len(self.found.looks) % 10 == 0:
                counts = Counter(told.reply[:3] or "none" for told in arrivals.told)
                print(
                    f"{look[0]:.0f} s: {look[1]} wait, {look[2]:.0f} MiB, {dict(counts)}",
                    file=sys.stderr,
                    flush=True,
                )
            await asyncio.sleep(_LOOK)

    def _compare(self) -> None:
        found = self.found
        stored: Counter[str] = Counter()
        with closing(sqlite3.connect(self._directory / "mail.sqlite3")) as database:
            for (mail,) in database.execute("SELECT mail FROM new_mail"):
                header = DELIVERY_HEADER.match(mail)
                octets = mail[header.end() :] if header else mail
                token = token_of(octets) or "unknown"
                stored[token] += 1
                if octets != message(token):
                    found.damaged.append(token)
        accepted = {told.token for told in found.told if told.reply.startswith("250 ")}
        found.lost = sorted(accepted - stored.keys())
        found.left = sorted(stored.keys() - accepted)
        found.doubled = [token for token, count in stored.items() if count > 1]
        found.wrong += self._daemon.complaints()


def _backend(rate: float, timeout: float) -> dict[str, Any]:
    return {
        "save_process": "HeadersParser|Hasher|Header|SlowStore|Sql",
        "save_workers_size": 8,
        "gw_save_timeout": f"{timeout}s",
        "slow_store_rate": rate,
        "sql_driver": "sqlite3",
        "sql_dsn": "mail.sqlite3",
        "mail_table": "new_mail",
    }


def main() -> int:
    """:returns: the exit status: 1 if it has not stood it."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.overload", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--rate", type=float, default=40, help="of the store; default: 40")
    parser.add_argument("--timeout", type=float, default=5, help="gw_save_timeout; default: 5")
    parser.add_argument("--spool", choices=("fallback", "always"), default="")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="a file for all that was measured")
    parser.add_argument("--svg", type=Path, help="a file for a picture of it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="guerrilla-") as directory:
        overload = Overload(
            Path(directory),
            options.minutes * 60,
            options.rate,
            options.timeout,
            options.spool,
            options.seed,
        )
        found = overload.run()
    if options.json:
        options.json.write_text(json.dumps(vars(found)))
    if options.svg:
        options.svg.write_text(picture(found))
    lines, is_bad = report(found)
    print("\n".join(lines))
    return int(is_bad)


if __name__ == "__main__":
    sys.exit(main())

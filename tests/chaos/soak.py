"""
A daemon under moderate load for a long time: nothing of it may grow.

Clients of all sorts, good and bad, send at a pace that leaves about half a processor to others. The
daemon is told to read its configuration again, and its logs are rotated, again and again. Its
processes are looked at every few seconds. What is stored is compared with what was sent.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.chaos.census import PLUGIN, ask
from tests.chaos.daemon import Daemon
from tests.chaos.mixed_crowd import MixedCrowd
from tests.chaos.soak_report import Found, picture, report
from tests.integration.daemon_process import free_port
from tests.integration.messages import message, token_of
from tests.integration.reload_daemon import look_at
from tests.integration.reload_record import Record
from tests.integration.test_delivery import DELIVERY_HEADER
from tests.smtp.certificates import issue

_HOST = "127.0.0.1"
# Seconds between two samples, two reloads, two rotations of the log.
_SAMPLE, _RELOAD, _ROTATION = 10.0, 45.0, 120.0
# Seconds that it may take to become what it stays; of a short run a quarter.
_WARM_UP = 300.0


class Soak:
    """
    One run.

    :param directory: where the daemon runs.
    :param seconds: how long.
    :param processes: of the daemon.
    :param rate: messages a second.
    :param clients: how many.
    """

    def __init__(
        self, directory: Path, seconds: float, processes: int, rate: float, clients: int
    ) -> None:
        self.found = Found()
        self._directory = directory
        self._seconds = seconds
        self._record = Record()
        self._stored: Counter[str] = Counter()
        self._broken: list[str] = []
        smtp, smtps = free_port(), free_port()
        lmtp = str(directory / "lmtp")
        self._daemon = Daemon(directory, _config(directory, processes, smtp, smtps, lmtp), PLUGIN)
        self._crowd = MixedCrowd(self._record, (_HOST, smtp), (_HOST, smtps), lmtp, clients, rate)

    def run(self) -> Found:
        """:raises AssertionError: something hangs."""
        try:
            self._daemon.start()
            self._crowd.start()
            self._watch()
            self._crowd.stop()
            self._collect()
            self._daemon.terminate()
            self._judge()
        finally:
            self._daemon.close()
        return self.found

    def _watch(self) -> None:
        began = time.monotonic()
        due = {
            self._sample: (_SAMPLE, _SAMPLE),
            self._reload: (_RELOAD, _RELOAD),
            self._rotate: (_ROTATION, _ROTATION),
        }
        while (now := time.monotonic() - began) < self._seconds:
            for action, (at, interval) in due.items():
                if now >= at:
                    action(now)
                    due[action] = at + interval, interval
            time.sleep(min(1.0, max(0.0, self._seconds - now)))

    def _sample(self, now: float) -> None:
        pids = self._daemon.pids()
        looks = [look_at(pid) for pid in pids]
        counts: Counter[str] = Counter()
        for pid in pids:
            counts.update(ask(self._directory, pid) or {})
        values = {
            "memory, MiB": sum(look.memory for look in looks) / 1024,
            "open files": sum(look.files for look in looks),
            "threads": sum(look.threads for look in looks),
            **counts,
        }
        self.found.seconds.append(now)
        for name, samples in self.found.samples.items():
            samples.append(values[name])
        told = (
            f"{now / 60:.1f} of {self._seconds / 60:.1f} min, {len(self._record.outcomes)} messages"
        )
        what = ", ".join(f"{name} {value:,.0f}" for name, value in values.items())
        print(f"{told}: {what}", file=sys.stderr, flush=True)

    def _reload(self, now: float) -> None:
        self._daemon.reload()
        self._record.reloaded()
        self._collect()

    def _rotate(self, now: float) -> None:
        """As logrotate does."""
        log = self._directory / "journal.log"
        log.rename(self._directory / "journal.log.1")
        self._daemon.open_logs_anew()

    def _collect(self) -> None:
        """Take what is stored out of the store, which does not grow so."""
        with closing(sqlite3.connect(self._directory / "mail.sqlite3", timeout=30)) as database:
            rows = database.execute("SELECT mail_id, mail FROM new_mail").fetchall()
            for number, mail in rows:
                database.execute("DELETE FROM new_mail WHERE mail_id = ?", (number,))
                header = DELIVERY_HEADER.match(mail)
                octets = mail[header.end() :] if header else mail
                token = token_of(octets) or "unknown"
                self._stored[token] += 1
                if octets != message(token):
                    self._broken.append(token)
            database.commit()

    def _judge(self) -> None:
        outcomes = self._record.outcomes
        accepted = {outcome.token for outcome in outcomes if outcome.reply.startswith("250 ")}
        self.found.figures = {"messages": len(accepted), "reloads": self._record.reloads}
        self.found.faults = {
            "lost": sorted(accepted - self._stored.keys()),
            "not acknowledged, and stored": sorted(self._stored.keys() - accepted),
            "doubled": [token for token, count in self._stored.items() if count > 1],
            "damaged": self._broken,
            "replies other than expected": self._record.odd,
            "connections lost": self._record.lost,
            "log": self._daemon.complaints(),
        }


def _config(directory: Path, processes: int, smtp: int, smtps: int, lmtp: str) -> dict[str, Any]:
    identity = issue("mail.example.com")
    key, certificate = directory / "key.pem", directory / "certificate.pem"
    key.write_bytes(identity.key_pem())
    certificate.write_bytes(identity.certificate_pem)
    tls = {"private_key_file": str(key), "public_key_file": str(certificate)}
    common = {"is_enabled": True, "log_file": "journal.log"}
    return {
        "processes": processes,
        "spill_size": 50_000,
        "backend_config": {
            "save_process": "HeadersParser|Hasher|Header|Census|Sql",
            "save_workers_size": 10,
            "census_dir": str(directory),
            "sql_driver": "sqlite3",
            "sql_dsn": "mail.sqlite3",
            "mail_table": "new_mail",
        },
        "servers": [
            {**common, "listen_interface": f"{_HOST}:{smtp}", "tls": {"start_tls_on": True, **tls}},
            {
                **common,
                "listen_interface": f"{_HOST}:{smtps}",
                "tls": {"tls_always_on": True, **tls},
            },
            {**common, "listen_interface": f"unix:{lmtp}", "protocol": "lmtp"},
            # The main log tells when it listens, and that is when all others do.
            {"is_enabled": True, "listen_interface": f"{_HOST}:{free_port()}"},
        ],
    }


def main() -> int:
    """:returns: the exit status: 1 if something grows, or is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--rate", type=float, default=120, help="messages a second; default: 120")
    parser.add_argument("--clients", type=int, default=22)
    parser.add_argument("--json", type=Path, help="a file for all that was measured")
    parser.add_argument("--svg", type=Path, help="a file for a picture of it")
    options = parser.parse_args()
    seconds = options.minutes * 60
    warm_up = min(_WARM_UP, seconds / 4)
    with tempfile.TemporaryDirectory(prefix="guerrilla-") as directory:
        soak = Soak(Path(directory), seconds, options.processes, options.rate, options.clients)
        found = soak.run()
    trends = found.trends(warm_up)
    if options.json:
        measured = {**vars(found), "trends": {n: t._asdict() for n, t in trends.items()}}
        options.json.write_text(json.dumps(measured, indent=1))
    if options.svg:
        options.svg.write_text(picture(found, warm_up))
    return report(found, trends)


if __name__ == "__main__":
    sys.exit(main())

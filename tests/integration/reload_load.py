"""
A daemon that is told to be another one, over and over, while clients of all sorts keep sending.

``python -m tests.integration.reload_load --reloads 100 --seed 1`` prints what became of them.
"""

from __future__ import annotations

import argparse
import random
import signal
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread

from tests.integration.daemon_process import wait_until
from tests.integration.messages import message, token_of
from tests.integration.programs import DEADLINE
from tests.integration.reload_changes import HOST, Configuration
from tests.integration.reload_clients import Crowd
from tests.integration.reload_daemon import ReloadedDaemon, Sample, stored
from tests.integration.reload_record import Record, Talk, Trouble

# Messages that are answered before the first reload, between two, and without any.
_BEFORE = 100
_BETWEEN = 10
_WITHOUT = 2000
# Clients that came to a server before it went.
_VISITORS = 3
# Reloads from one look at the process to the next.
_LOOK = 10
# Seconds between two that knock: what is closed stays in the kernel's tables, which have an end.
_KNOCKING = 0.005


@dataclass
class Figures:
    """
    What came of a load.

    :ivar record: what the clients have seen.
    :ivar applied: how many changes of each kind there were.
    :ivar refused: how many faults of each kind there were.
    :ivar answered: how many messages were answered 250.
    :ivar missing: tokens of those of them that no store has.
    :ivar doubled: tokens of messages that are stored more than once.
    :ivar broken: tokens of messages that are not stored as they were sent.
    :ivar foreign: tokens of messages that are stored, and were not answered 250.
    :ivar complaints: what is wrong besides.
    :ivar reload_times: seconds from the signal to the line in the log.
    :ivar samples: of the process; the last when nobody is there any more.
    :ivar unreached: how many that knocked at the server that moves were not greeted.
    :ivar unreachable: for how many seconds at most nobody was.
    """

    record: Record
    applied: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    answered: int = 0
    missing: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    reload_times: list[float] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    unreached: int = 0
    unreachable: float = 0.0

    def faults(self) -> dict[str, list[str]]:
        """:returns: all that should be empty."""
        names = ("missing", "doubled", "broken", "foreign", "complaints")
        return {
            **{name: getattr(self, name) for name in names},
            "replies other than expected": self.record.odd,
            "connections lost": self.record.lost,
        }

    def count(self, messages: Counter[str], broken: list[str]) -> None:
        """
        Compare what is stored with what clients were told.

        :param messages: how often each token is stored.
        :param broken: tokens of messages that are not what was sent.
        """
        outcomes = self.record.outcomes
        accepted = {outcome.token for outcome in outcomes if outcome.reply.startswith("250 ")}
        self.answered = len(accepted)
        self.missing = sorted(accepted - messages.keys())
        self.foreign = sorted(messages.keys() - accepted)
        self.doubled = sorted(token for token, count in messages.items() if count > 1)
        self.broken = sorted(broken)


class Knocker:
    """
    Comes again and again to the server that moves.

    :param port: that it has wherever it is.
    """

    def __init__(self, port: int) -> None:
        self.unreached = 0
        self.unreachable = 0.0
        self._port = port
        self._stopping = Event()
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Come no more."""
        self._stopping.set()
        self._thread.join(DEADLINE)

    def _run(self) -> None:
        last = time.monotonic()
        failing = False
        while not self._stopping.wait(_KNOCKING):
            if not self._is_greeted():
                self.unreached += 1
                failing = True
                continue
            now = time.monotonic()
            if failing:
                self.unreachable = max(self.unreachable, now - last)
            failing, last = False, now

    def _is_greeted(self) -> bool:
        try:
            with socket.create_connection((HOST, self._port), DEADLINE) as knocking:
                return knocking.recv(3) == b"220"
        except OSError:
            return False


class ReloadLoad:
    """
    One run.

    :param directory: where the daemon runs.
    :param seed: of chance.
    :param clients: how many.
    :param processes: how many serve.
    """

    def __init__(self, directory: Path, seed: int, clients: int, processes: int = 1) -> None:
        self.chance = random.Random(seed)
        self.config = Configuration(directory, self.chance, processes)
        self._directory = directory
        self._clients = clients
        self._record = Record()
        self._figures = Figures(self._record)
        self._visitors: list[Talk] = []

    def run(self, kinds: Sequence[str]) -> Figures:
        """
        Reload, while clients send.

        :param kinds: of changes and faults, in this order; ``logrotate`` is one, too.
        """
        config = self.config
        (self._directory / "mail").mkdir()
        config.write()
        self._daemon = ReloadedDaemon(self._directory, config.path)
        try:
            # The last of the servers that stay.
            self._daemon.wait_for(f"listening on .*{config.moving}", 0)
            self._load(kinds)
            self._end()
        finally:
            self._daemon.kill()
            config.close()
        return self._figures

    def _load(self, kinds: Sequence[str]) -> None:
        config, record = self.config, self._record
        crowd = Crowd(record, (HOST, config.smtp), (HOST, config.smtps), config.lmtp, self._clients)
        crowd.start()
        record.wait_for_messages(_BEFORE)
        knocker = Knocker(config.moving)
        for number, kind in enumerate(kinds):
            self._do(kind)
            self._visit(number)
            record.wait_for_messages(_BETWEEN)
            if number % _LOOK == 0:
                self._figures.samples.append(self._daemon.sample())
        if not kinds:
            record.wait_for_messages(_WITHOUT)
        knocker.stop()
        self._figures.unreached = knocker.unreached
        self._figures.unreachable = knocker.unreachable
        while self._visitors:
            self._send_away(self._visitors.pop())
        crowd.stop()

    # Reloads

    def _do(self, kind: str) -> None:
        if kind in self.config.faults:
            self._refuse(kind)
            return
        if kind == "logrotate":
            self._daemon.rotate(str(self.config.whole["log_file"]))
        else:
            self.config.changes[kind]()
            self.config.write()
            applied, text = self._reload()
            if not applied:
                self._complain(f"{kind} was refused: {text}")
        self._figures.applied[kind] += 1

    def _refuse(self, fault: str) -> None:
        before = self._daemon.held()
        self.config.spoil(fault)
        applied, text = self._reload()
        if applied or self.config.faults[fault][1] not in text:
            self._complain(f"{fault} was not refused as it should be: {text}")
        self.config.write()
        after = self._daemon.held()
        if after != before:
            self._complain(f"{fault} has changed {before} to {after}")
        self._figures.refused[fault] += 1

    def _reload(self) -> tuple[bool, str]:
        began = time.monotonic()
        done = self._daemon.reload()
        self._figures.reload_times.append(time.monotonic() - began)
        self._record.reloaded()
        return done

    def _complain(self, what: str) -> None:
        self._figures.complaints.append(what)

    # Visitors

    def _visit(self, number: int) -> None:
        """Come to the server that comes and goes, and stay when it is gone."""
        for index, talk in enumerate(self._visitors):
            with suppress(Trouble):
                talk.deliver(f"visitor-{number}-{index}")
        if self.config.takes_visitors:
            with suppress(Trouble):
                talk = Talk(self._record, "visitor", (HOST, self.config.visited))
                talk.command("EHLO client.example.com")
                self._visitors.append(talk)
        if len(self._visitors) > _VISITORS:
            self._send_away(self._visitors.pop(0))

    def _send_away(self, talk: Talk) -> None:
        with closing(talk), suppress(Trouble):
            talk.command("QUIT", "221")

    # The end

    def _end(self) -> None:
        """The daemon is empty: see what it has kept, and end it."""
        wait_until(lambda: not self._daemon.has_clients())
        self._figures.samples.append(self._daemon.sample())
        status = self._daemon.terminate()
        if status != -signal.SIGTERM:
            self._complain(f"it ended with {status}")
        self._figures.complaints += self._daemon.complaints()
        messages: Counter[str] = Counter()
        broken = []
        for octets in stored(self._directory):
            token = token_of(octets) or "unknown"
            messages[token] += 1
            if octets != message(token):
                broken.append(token)
        self._figures.count(messages, broken)


def all_kinds(config: Configuration) -> list[str]:
    """:returns: the kinds of changes and faults, for :meth:`ReloadLoad.run`."""
    return [*config.changes, *config.faults, "logrotate"]


def _choose(load: ReloadLoad, count: int) -> list[str]:
    """:returns: kinds, each about as often as the others, in any order."""
    kinds = all_kinds(load.config)
    chosen = kinds * (count // len(kinds)) + load.chance.sample(kinds, count % len(kinds))
    load.chance.shuffle(chosen)
    return chosen


def _run(reloads: int, seed: int, clients: int, processes: int) -> Figures:
    with tempfile.TemporaryDirectory(prefix="guerrilla-") as directory:
        load = ReloadLoad(Path(directory), seed, clients, processes)
        return load.run(_choose(load, reloads))


def _report(quiet: Figures, figures: Figures) -> None:
    applied, refused = figures.applied.total(), figures.refused.total()
    print(f"{applied} reloads applied, {refused} refused; {figures.answered} messages answered 250")
    for name, found in figures.faults().items():
        print(f"{name}: {len(found)}", *found[:5])
    times = sorted(figures.reload_times)
    print(f"a reload takes {times[len(times) // 2]:.3f} s, {times[-1]:.3f} s at most")
    print(
        f"not greeted where a server moved: {figures.unreached}, "
        f"for {figures.unreachable:.3f} s at most"
    )
    for name in ("commands", "messages"):
        print(f"longest wait for the reply to {name}, in seconds, without and with reloads:")
        before, after = (getattr(each.record, name) for each in (quiet, figures))
        for sort, waits in sorted(after.items()):
            without = f"{max(before[sort]):.3f}" if sort in before else "-"
            print(f"    {sort}: {without}, {max(waits):.3f}")
    print("memory in KiB, open files, threads, without reloads and with them:")
    for sample in (*quiet.samples, *figures.samples):
        print("   ", *sample)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reloads", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    load = (options.seed, options.clients, options.processes)
    quiet = _run(0, *load)
    _report(quiet, _run(options.reloads, *load))


if __name__ == "__main__":
    main()

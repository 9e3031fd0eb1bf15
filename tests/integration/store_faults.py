"""
What becomes of mail when a store hangs, dies or comes again, while clients deliver.

In a round, one daemon takes the mail of 20 clients, and one fault after the other befalls its
store, in a random order; the daemon itself is killed last. Each message is recorded with its reply,
and at the end compared with what is in the store. The result is a table in reStructuredText.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.integration.daemon_process import FOREGROUND, Process, free_port
from tests.integration.store_load import Load, message, token_of
from tests.integration.store_under_test import Fault, StoreUnderTest
from tests.integration.stores import STORES
from tests.integration.test_delivery import DELIVERY_HEADER

CLIENTS = 20
# Of all stores together.
FAULTS = ("paused", "killed", "restarted", "locked", "full", "away")
#: The fault of the daemon, which every store has.
DAEMON_KILLED = "daemon killed"
_NO_FAULT = "none"
_TRACEBACK = re.compile(r"Traceback|Unhandled|#critical\]")


@dataclass
class Tally:
    """
    What became of the messages that were answered while a fault lasted, and after it.

    :ivar replies: how many by the first digit of the reply; an empty one where there was none.
    :ivar lost: were told 250 and are not in the store.
    :ivar unasked: are in the store and were told to try again, so that a sender stores them twice.
    :ivar back: seconds from the end of the fault to the next 250, at most.
    """

    replies: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    unasked: int = 0
    back: float = 0.0

    def add(self, other: Tally) -> None:
        """Take another round into account."""
        self.replies += other.replies
        self.lost += other.lost
        self.unasked += other.unasked
        self.back = max(self.back, other.back)


class Round:
    """
    A daemon, its store and its clients.

    :param store: that is looked at; it runs.
    :param seed: names the messages.
    :param timeout: the daemon's ``gw_save_timeout``.
    """

    def __init__(self, store: StoreUnderTest, seed: int, timeout: str = "3s") -> None:
        self.tallies: dict[str, Tally] = {}
        self.wrong: list[str] = []
        self._store = store
        self._faults = {
            **store.faults,
            DAEMON_KILLED: Fault(self._kill_daemon, self._start_daemon, meanwhile=None),
        }
        self._port = free_port()
        self._load = Load(self._port, f"m{seed}", CLIENTS)
        self._processes: list[Process] = []
        config = {
            "log_file": "stderr",
            "allowed_hosts": ["."],
            "backend_config": {**store.settings, "gw_save_timeout": timeout},
            "servers": [{"is_enabled": True, "listen_interface": f"127.0.0.1:{self._port}"}],
        }
        (store.directory / "faults.json").write_text(json.dumps(config))

    def _start_daemon(self) -> None:
        command = [*FOREGROUND, "guerrilla", "--config", "faults.json"]
        self._processes.append(Process(command, self._store.directory))
        self._processes[-1].port()
        self._load.serving.set()

    def _kill_daemon(self) -> None:
        self._load.serving.clear()
        self._processes[-1].kill()

    def run(self, names: Sequence[str]) -> None:
        """
        Have it all happen, and judge it.

        :param names: of the faults, in order.
        :raises AssertionError: clients were not served, or not after a fault.
        """
        try:
            self._start_daemon()
            self._enter(_NO_FAULT)
            self._load.start()
            self._load.wait_for("2", 2 * CLIENTS)
            for name in names:
                self._befall(name)
            self._load.stop()
            self._processes[-1].terminate()
            self._expect(self._processes[-1].finish() == -signal.SIGTERM, "the daemon's status")
            self._judge(names)
        finally:
            for process in self._processes:
                process.kill()

    def _enter(self, name: str) -> None:
        self.tallies[name] = Tally()
        self._load.enter(name)

    def _befall(self, name: str) -> None:
        fault = self._faults[name]
        self._enter(name)
        fault.begin()
        try:
            if fault.meanwhile:
                self._load.wait_for(fault.meanwhile, CLIENTS)
        finally:
            fault.end()
        # A phase of its own, or messages from before the fault would count.
        self._load.enter(name + " after")
        began = time.monotonic()
        self._load.wait_for("2", 1)
        self.tallies[name].back = time.monotonic() - began
        # More than may have been on their way.
        self._load.wait_for("2", 3 * CLIENTS)

    def _expect(self, right: bool, what: str) -> None:
        if not right:
            self.wrong.append(what)

    def _judge(self, names: Sequence[str]) -> None:
        stored = self._read_store()
        excuses = self._excuses(names)
        for outcome in self._load.outcomes:
            name = outcome.phase.removesuffix(" after")
            tally = self.tallies[name]
            tally.replies[outcome.kind] += 1
            key = stored.pop(outcome.token, None)
            if outcome.kind == "2":
                excuse = excuses.get(outcome.phase)
                self.tallies[excuse or name].lost += key is None
                self._expect(bool(key is not None or excuse), f"{name}: {outcome} is lost")
                self._expect(not key or outcome.reply.endswith(key), f"{outcome} is under {key}")
            else:
                tally.unasked += key is not None
                broken = outcome.kind == "" and name == DAEMON_KILLED
                self._expect(broken or outcome.kind == "4", f"{name}: {outcome}")
        self._expect(not stored, f"nobody has sent {list(stored)}")
        for process in self._processes:
            for line in process.output.splitlines():
                self._expect(not _TRACEBACK.search(line), f"the daemon logged: {line}")

    def _excuses(self, names: Sequence[str]) -> dict[str, str]:
        """:returns: by phase, the fault that may have made the store forget what it had then."""
        phases = [_NO_FAULT]
        excuses: dict[str, str] = {}
        for name in names:
            phases.append(name)
            if self._faults[name].forgets:
                excuses |= {phase: name for phase in phases if phase not in excuses}
            phases.append(name + " after")
        return excuses

    def _read_store(self) -> dict[str, str]:
        """:returns: the key of each message by its token."""
        found: dict[str, str] = {}
        for key, octets in self._store.stored():
            header = DELIVERY_HEADER.match(octets)
            content = octets[header.end() :] if header else b""
            token = token_of(content)
            if token is None or content != message(token):
                self.wrong.append(f"stored under {key}, and damaged: {octets[:200]!r}")
                continue
            self._expect(token not in found, f"stored twice: {token}")
            found[token] = key
        return found


def run_round(
    store: StoreUnderTest, seed: int, faults: Iterable[str] = (), timeout: str = "3s"
) -> Round:
    """
    Have a store's faults happen under load.

    :param store: that runs; it may be used for several rounds.
    :param seed: of the order.
    :param faults: those that are wanted; all by default.
    :param timeout: the daemon's ``gw_save_timeout``.
    :returns: the round, with what is wrong in ``wrong``.
    """
    wanted = set(faults)
    names = [name for name in store.faults if not wanted or name in wanted]
    random.Random(seed).shuffle(names)
    if not wanted or DAEMON_KILLED in wanted:
        names.append(DAEMON_KILLED)
    a_round = Round(store, seed, timeout)
    a_round.run(names)
    return a_round


_COLUMNS = (
    *("Store", "Fault", "Rounds", "250", "4xx", "No reply", "5xx"),
    *("Lost", "Stored, not told", "Back after"),
)


def table(results: dict[tuple[str, str], list[Tally]]) -> str:
    """:returns: what was found by store and fault, as reStructuredText."""
    rows: list[tuple[str, ...]] = [_COLUMNS]
    for (store, fault), tallies in results.items():
        total = Tally()
        for tally in tallies:
            total.add(tally)
        counts = [total.replies[kind] for kind in ("2", "4", "", "5")]
        back = f"{total.back:.1f} s" if fault != _NO_FAULT else ""
        numbers = [len(tallies), *counts, total.lost, total.unasked]
        rows.append((store, fault, *(f"{number:,}" for number in numbers), back))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = "  ".join("=" * width for width in widths)
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join([rule, lines[0], rule, *lines[1:], rule])


def main() -> int:
    """:returns: the exit status: 1 if something was wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=1, help="for each store (default: 1)")
    parser.add_argument("--seed", type=int, default=1, help="of the first round (default: 1)")
    parser.add_argument("--stores", default=",".join(STORES), help="default: %(default)s")
    parser.add_argument("--faults", default="", help="of those that a store has; default: all")
    parser.add_argument("--timeout", default="3s", help="gw_save_timeout (default: 3s)")
    arguments = parser.parse_args()
    names = arguments.stores.split(",")
    if unknown := set(names).difference(STORES):
        parser.error(f"no such store: {', '.join(unknown)}")
    faults = [name for name in arguments.faults.split(",") if name]
    if unknown := set(faults).difference(FAULTS):
        parser.error(f"no such fault: {', '.join(unknown)}; there are: {', '.join(FAULTS)}")
    results: dict[tuple[str, str], list[Tally]] = {}
    wrong = 0
    for number in range(arguments.rounds):
        for name in names:
            seed = arguments.seed + number
            with tempfile.TemporaryDirectory(prefix="guerrilla-") as directory:
                store = STORES[name](Path(directory))
                try:
                    result = run_round(store, seed, faults, arguments.timeout)
                finally:
                    store.close()
            for fault, tally in result.tallies.items():
                results.setdefault((store.title, fault), []).append(tally)
            summary = "; ".join(result.wrong[:5]) or "all right"
            print(f"{name}, seed {seed}: {summary}", file=sys.stderr, flush=True)
            wrong += len(result.wrong)
    print(table(results))
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())

"""What is going to happen in a round: all out of its seed."""

from __future__ import annotations

import random
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.chaos.processor import TROUBLES
from tests.integration.network import FAULTS as NETWORK_FAULTS

NONE = "none"
#: Without a fault of the store's, by the number of processes that they need; 0 for any.
DAEMON_FAULTS = {
    NONE: 0,
    "daemon killed": 1,
    "worker killed": 2,
    "supervisor killed": 2,
    "out of descriptors": 0,
    **{f"processor {trouble}": 0 for trouble in TROUBLES},
    "reload": 0,
    "shutdown": 0,
}
# Of those, in which there is no daemon.
_AWAY = ("daemon killed", "supervisor killed", "shutdown")
_PAUSES = ("store paused", "store killed", "store restarted")
_SERVER = (
    *_PAUSES,
    *(f"network {fault}" for fault in NETWORK_FAULTS),
    "disk full",
)
_FILES = ("disk full", "files too large")
#: Of each store.
STORE_FAULTS = {
    "sqlite": ("store locked", *_FILES),
    "mysql": _SERVER,
    "postgresql": _SERVER,
    "redis": _SERVER,
    "maildir": ("store away", *_FILES),
    # Those that the rounds of all stores are without, unless they are named.
    "mysql-batches": _SERVER,
    "postgresql-batches": _SERVER,
    "redis-default": _SERVER,
    "redis+mysql": _SERVER,
    "mysql+redis": _SERVER,
    "guerrilladbredis": _SERVER,
    "guerrillaredisdb": _SERVER,
    "fastcgi": _PAUSES,
}
_STORES = ("sqlite", "mysql", "postgresql", "redis", "maildir")
SPOOL_DISK_FULL = "spool disk full"
#: With a spool before a store that is another one each time, by the mode of the spool.
SPOOLS = {"spool-fallback": "fallback", "spool-always": "always"}
#: Those that a run has unless it is told otherwise.
MAIN_STORES = (*_STORES, *SPOOLS)
#: Of what may be named on the command line.
ROWS = (*STORE_FAULTS, *SPOOLS)
FAULTS = tuple(
    dict.fromkeys(
        [*DAEMON_FAULTS, *_SERVER, *_FILES, "store locked", "store away", SPOOL_DISK_FULL]
    )
)


@dataclass(frozen=True)
class Plan:
    """
    A round.

    :ivar seed: of it.
    :ivar row: of the table: a store, or a spool before any.
    :ivar store: by its name.
    :ivar spool: its mode; empty where there is none.
    :ivar fault: that happens.
    :ivar processes: of the daemon.
    :ivar clients: that send.
    :ivar workers: of the daemon, in each process.
    :ivar spill_size: of the daemon.
    :ivar before: messages that are acknowledged before it happens.
    :ivar times: how often it happens.
    :ivar seconds: how long it lasts at most, unless enough messages are over before.
    """

    seed: int
    row: str
    store: str
    spool: str
    fault: str
    processes: int
    clients: int
    workers: int
    spill_size: int
    before: int
    times: int
    seconds: float

    @property
    def replay(self) -> str:
        """The command that has the same again."""
        return (
            f"python -m tests.chaos --rounds 1 --seed {self.seed} --store {self.row} "
            f"--fault {shlex.quote(self.fault)}"
        )


def make_plan(seed: int, row: str, fault: str) -> Plan:
    """:returns: the round of a seed."""
    chance = random.Random(f"{seed} {row} {fault}")
    store = row
    if row in SPOOLS:
        store = chance.choice([each for each in _STORES if fault in _faults_of(each, row)])
    return Plan(
        seed,
        row,
        store,
        SPOOLS.get(row, ""),
        fault,
        processes=DAEMON_FAULTS.get(fault, 0) or chance.choice((1, 2)),
        clients=chance.randint(4, 16),
        workers=chance.choice((2, 8, 16)),
        spill_size=chance.choice((1_000, 20_000, 10**6)),
        before=chance.randint(1, 40),
        times=chance.choice((1, 1, 2, 3)),
        # Where nobody answers there is nothing to see.
        seconds=chance.uniform(0, 0.5) if fault in _AWAY else chance.uniform(0.2, 3.0),
    )


def _faults_of(store: str, row: str) -> list[str]:
    """:returns: what can befall a store, in a row of the table."""
    faults = [*DAEMON_FAULTS, *STORE_FAULTS[store]]
    return [*faults, SPOOL_DISK_FULL] if row in SPOOLS else faults


def cells(rows: Sequence[str], faults: Sequence[str]) -> list[tuple[str, str]]:
    """:returns: what can be had of these rows and faults."""
    return [
        (row, fault)
        for row in rows
        for fault in faults
        if any(fault in _faults_of(store, row) for store in (_STORES if row in SPOOLS else [row]))
    ]


def make_plans(
    seed: int, rounds: int, rows: Sequence[str], faults: Sequence[str]
) -> Iterator[Plan]:
    """
    Make a run of rounds. Each fault of each store comes as often as any other, within one.

    :param seed: of the first round; the second has the next, and so on.
    :raises ValueError: there is none of these faults in any of these stores.
    """
    every = cells(rows, faults)
    if not every:
        raise ValueError("none of these stores has any of these faults")
    chance = random.Random(seed)
    waiting: list[tuple[str, str]] = []
    for number in range(seed, seed + rounds):
        if not waiting:
            waiting = chance.sample(every, len(every))
        yield make_plan(number, *waiting.pop())

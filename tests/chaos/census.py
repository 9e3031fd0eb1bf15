"""A processor that counts the objects of its process when it is asked to."""

from __future__ import annotations

import gc
import json
import os
import secrets
import socket
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol

from guerrilla_tw import IBackendService, IProcessor, initialize_with, shutdown_with
from tests.integration.programs import DEADLINE

#: As of :mod:`tests.chaos.processor`.
PLUGIN = """\
from guerrilla_tw import ProcessorPlugin

census = ProcessorPlugin("Census", "tests.chaos.census.census")
"""
# A type's name, and what it is counted as.
_COUNTED = {
    "Deferred": "deferreds",
    "Envelope": "envelopes",
    "GuerrillaESMTP": "sessions",
    "GuerrillaLMTP": "sessions",
}


class CensusConfig(msgspec.Struct, frozen=True):
    """
    Settings.

    :param census_dir: where sockets are made, one for each process and each backend of it.
    """

    census_dir: str


class _Answer(Protocol):
    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(json.dumps(count(self._reactor)).encode())
        self.transport.loseConnection()


def count(reactor: Any) -> dict[str, int]:
    """:returns: how many there are of what a daemon may leak, without what is only waste."""
    gc.collect()
    objects = gc.get_objects()
    # Not their class: some answer that with another one.
    found = Counter(_COUNTED.get(type(each).__name__, "") for each in objects)
    counts = {name: found[name] for name in sorted(set(_COUNTED.values()))}
    return {**counts, "delayed calls": len(reactor.getDelayedCalls()), "objects": len(objects)}


def census(svc: IBackendService) -> Callable[[IProcessor], IProcessor]:
    """Make the processor, which lets messages pass."""
    directory = svc.extract_config(svc.config, CensusConfig).census_dir
    # A reload has the next backend open before this one closes.
    path = f"{directory}/{os.getpid()}.{secrets.token_hex(4)}"
    listening: list[Any] = []

    def listen(_: object) -> None:
        factory = Factory.forProtocol(lambda: _Answer(svc.reactor))
        factory.noisy = False
        listening.append(svc.reactor.listenUNIX(path, factory))

    def close() -> Deferred[None]:
        closed: Deferred[None] = listening.pop().stopListening()
        return closed

    svc.add_initializer(initialize_with(listen))
    svc.add_shutdowner(shutdown_with(close))
    return lambda following: following


def ask(directory: Path, pid: int) -> dict[str, int] | None:
    """
    :param directory: the daemon's ``census_dir``.
    :param pid: of a process.
    :returns: what it counts; None if it is not there.
    """
    for path in directory.glob(f"{pid}.*"):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(DEADLINE)
            try:
                connection.connect(str(path))
                with connection.makefile("rb") as answer:
                    counts: dict[str, int] = json.loads(answer.read())
                return counts
            except (OSError, ValueError):
                # Of a backend that has just been closed.
                continue
    return None

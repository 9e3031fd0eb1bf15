"""Clients that deliver without a pause, and what each of their messages was told."""

from __future__ import annotations

import random
import re
from collections import Counter
from contextlib import suppress
from threading import Condition, Event, Thread
from typing import NamedTuple

from tests.integration.client import Client
from tests.integration.programs import DEADLINE

# Seconds that a client takes before it goes on after a refusal.
_PAUSE = 0.05
_LINE_ENDS = b"\r\n"


class Outcome(NamedTuple):
    """
    What came of a message.

    :ivar token: of the message.
    :ivar phase: of the load, when the reply came.
    :ivar reply: empty if the connection broke before there was one.
    """

    token: str
    phase: str
    reply: str

    @property
    def kind(self) -> str:
        """The first digit of the reply; empty if there was none."""
        return self.reply[:1]


def message(token: str) -> bytes:
    """
    Make a message that is like no other: 200 octets to 4 KB, one in fifty 100 KB, any octets.

    :param token: what names it. The same token makes the same message.
    """
    chance = random.Random(token)
    size = 100_000 if chance.random() < 0.02 else chance.randrange(200, 4000)
    lines = [f"Subject: {token}".encode(), b"", token.encode()]
    while size > 0:
        # Short, so that some begin with a dot.
        line = chance.randbytes(chance.randrange(78)).translate(None, _LINE_ENDS)
        lines.append(line)
        size -= len(line) + 2
    return b"".join(line + b"\r\n" for line in lines)


def token_of(stored: bytes) -> str | None:
    """:returns: the token of a message without its delivery header; None if it has none."""
    match = re.match(rb"Subject: ([\w-]+)\r\n", stored)
    return match and match[1].decode()


class Load:
    """
    Clients at work, each in a thread, until they are stopped.

    :param port: of the daemon on 127.0.0.1.
    :param name: begins each token.
    :param clients: how many.
    """

    def __init__(self, port: int, name: str, clients: int) -> None:
        self.outcomes: list[Outcome] = []
        self.clients = clients
        # Cleared while nobody listens.
        self.serving = Event()
        self.serving.set()
        self._port = port
        self._phase = "start"
        self._counts: Counter[tuple[str, str]] = Counter()
        self._changed = Condition()
        self._stop = Event()
        self._failures: list[BaseException] = []
        self._threads = [
            Thread(target=self._run, args=(f"{name}-{number}",), daemon=True)
            for number in range(clients)
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """
        Let each client finish the message in hand.

        :raises AssertionError: one of them had no answer for too long.
        """
        self._stop.set()
        self.serving.set()
        for thread in self._threads:
            thread.join(DEADLINE)
        assert not self._failures, self._failures
        assert not any(thread.is_alive() for thread in self._threads)

    def enter(self, phase: str) -> None:
        """Count what comes from now on under another name."""
        with self._changed:
            self._phase = phase

    def wait_for(self, kind: str, count: int) -> None:
        """
        Wait until so many messages had an outcome in this phase.

        :param kind: see :attr:`Outcome.kind`.
        :raises AssertionError: they had not before the deadline.
        """

        def enough() -> bool:
            return bool(self._failures) or self._counts[self._phase, kind] >= count

        with self._changed:
            came = self._changed.wait_for(enough, DEADLINE)
        assert not self._failures, self._failures
        assert came, f"in {self._phase!r} waited in vain for {kind}xx: {self._counts}"

    def _run(self, name: str) -> None:
        try:
            number = 0
            while not self._stop.is_set():
                number = self._session(name, number)
        except BaseException as failure:
            with self._changed:
                self._failures.append(failure)
                self._changed.notify_all()

    def _session(self, name: str, number: int) -> int:
        """:returns: the number of the next message, which needs another connection."""
        self.serving.wait(DEADLINE)
        with suppress(ConnectionError), Client(self._port) as client:
            if client.hello()[:3] != "250":
                return number
            reply = "250"
            while reply[:3] not in ("", "421") and not self._stop.is_set():
                token = f"{name}-{number}"
                number += 1
                reply = client.deliver(message(token))
                self._record(token, reply)
                if reply[:1] != "2":
                    self._stop.wait(_PAUSE)
        return number

    def _record(self, token: str, reply: str) -> None:
        with self._changed:
            outcome = Outcome(token, self._phase, reply)
            self.outcomes.append(outcome)
            self._counts[self._phase, outcome.kind] += 1
            self._changed.notify_all()

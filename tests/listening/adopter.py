"""
A program with sockets of systemd's. Its arguments are listen_interfaces.

It listens on all of them, answers a client on each, lets all go, and takes all again. What became
of each the first time and the second is written as JSON: a name or an error.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import react

from guerrilla_tw.config import ConfigError
from guerrilla_tw.listening import Listener
from tests.listening.support import Sessions


def take(texts: Sequence[str], sessions: Sessions) -> tuple[list[Listener], list[str]]:
    """:returns: those that can be had, and what became of each."""
    listeners, told = [], []
    for text in texts:
        try:
            listener = Listener(text, sessions, reactor)
        except ConfigError as error:
            told.append(error.cause)
        else:
            listeners.append(listener)
            told.append(listener.name)
    return listeners, told


async def main(_: Any, *texts: str) -> None:
    """All of it."""
    sessions = Sessions()
    listeners, first = take(texts, sessions)
    for listener in listeners:
        listener.answer()
    await sessions.until(lambda: sessions.begun == len(listeners))
    for listener in listeners:
        await listener.close()
    await sessions.until(lambda: sessions.open == 0)
    listeners, second = take(texts, sessions)
    for listener in listeners:
        await listener.close()
    print(json.dumps([first, second]))


if __name__ == "__main__":
    react(main, sys.argv[1:])

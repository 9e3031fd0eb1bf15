"""
How the other processes of a daemon log.

They open log files themselves: each line is appended in one piece. What would go to the log of the
program, or to a stream that they do not have, is handed to the daemon's first process.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, TextIO

import msgspec
from twisted.logger import ILogObserver, LogEvent, LogLevel
from zope.interface import implementer

from guerrilla_tw.logs.lines import json_value, message_of, traceback_of, whole

_LONGEST_TEXT: Final = 5_000
_LONGEST_EVENT: Final = 60_000


class Places(msgspec.Struct, frozen=True):
    """
    Where another process logs.

    :param directory: where relative names of log files begin.
    :param streams: what ``stderr`` and ``stdout`` are: the path of a file, or empty for the
        process's own, which it has inherited; what is not here is handed over.
    :param are_none: whether all is handed over, also what is for files.
    """

    directory: str
    streams: dict[str, str]
    are_none: bool = False

    def open_streams(self) -> Mapping[str, TextIO | str]:
        """:returns: for :class:`.Logs`, in the other process."""
        return {name: path or getattr(sys, name) for name, path in self.streams.items()}


@implementer(ILogObserver)
class HandOver:
    """
    An observer that hands events over.

    :param send: an event, in no more octets than fit into a message between processes.
    """

    def __init__(self, send: Callable[[bytes], object]) -> None:
        self._send = send

    def __call__(self, event: LogEvent) -> None:
        self._send(pack(event))


class HandedFailure:
    """
    What is left of a failure in another process.

    :param traceback: its text.
    """

    def __init__(self, traceback: str) -> None:
        self._traceback = traceback

    def getTraceback(self) -> str:
        """As of a Failure."""
        return self._traceback


def pack(event: LogEvent) -> bytes:
    """
    Write down an event: its text, and what it is made of if that is not too long.

    :param event: may hold anything.
    """
    level = event.get("log_level")
    packed: dict[str, Any] = {
        "log_text": message_of(event)[:_LONGEST_TEXT],
        "log_level": level.name if level is not None else "info",
        "log_namespace": str(event.get("log_namespace", "-")),
        "log_time": event.get("log_time"),
    }
    if "log_failure" in event:
        packed["log_failure"] = traceback_of(event)[-_LONGEST_TEXT:]
    values = {n: json_value(value) for n, value in event.items() if not n.startswith("log_")}
    written = msgspec.json.encode(whole({**packed, **values}))
    return written if len(written) <= _LONGEST_EVENT else msgspec.json.encode(whole(packed))


def unpack(written: bytes) -> LogEvent:
    """:returns: the event that :func:`pack` wrote."""
    event: LogEvent = msgspec.json.decode(written)
    event["log_level"] = LogLevel.levelWithName(event["log_level"])
    event["log_format"] = "{log_text}"
    if "log_failure" in event:
        event["log_failure"] = HandedFailure(event["log_failure"])
    return event

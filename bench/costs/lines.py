"""What a line of the log costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.logger import LogEvent, Logger

from bench.costs.memory import Gatherer, filled_envelope, make_server, make_sessions
from bench.costs.sessions import MAIL, RCPT, connect, say
from bench.costs.timing import Effort, Row, rows, smallest
from guerrilla_tw.logs.files import LogFile
from guerrilla_tw.logs.lines import JSONLines, TextLines
from guerrilla_tw.smtp.journal import Arrival

_REPLY = b"250 2.0.0 OK: queued as 0123456789abcdef0123456789abcdef\r\n"


def _session(reactor: Any, log: Logger, *, told: bool) -> tuple[Any, Arrival]:
    """:returns: a session that has received a message, and the message."""
    session = make_sessions(make_server(reactor, log=log, told=told))()
    for act in (connect, say(b"EHLO client.example.com\r\n"), say(MAIL), say(RCPT)):
        act(session)
    envelope = filled_envelope(session[0])
    return session[0], Arrival(envelope, envelope.size, reactor.seconds())


def _telling(session: Any, arrival: Arrival) -> dict[str, Callable[[], object]]:
    return {
        "A line for a message": lambda: session.log_message(arrival, _REPLY),
        "A line for a connection": session.log_end,
    }


def measure(reactor: Any, effort: Effort) -> Iterator[Row]:
    """Measure lines where they are told and where not, and what there is to do for one."""
    observer = Gatherer()
    log = Logger("guerrilla_tw", observer=observer)
    silent = _telling(*_session(reactor, log, told=False))
    telling = _telling(*_session(reactor, log, told=True))
    with TemporaryDirectory(prefix="bench-") as directory:
        file = LogFile(str(Path(directory, "log")), lambda *_: None)
        for group in silent:
            costs = {
                "log_level warn": smallest(silent[group], effort),
                "log_level info: made": smallest(telling[group], effort),
                **_written(observer.last, file, effort),
            }
            yield from rows(group, costs)
        file.close()


def _written(event: LogEvent, file: LogFile, effort: Effort) -> dict[str, float]:
    text, json = TextLines(), JSONLines()
    line = text(event)
    return {
        "then rendered, as text": smallest(lambda: text(event), effort),
        "or as JSON": smallest(lambda: json(event), effort),
        "then written to a file": smallest(lambda: file.write(line), effort),
    }

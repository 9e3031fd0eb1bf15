"""What a session costs, command by command."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from bench.costs.memory import MESSAGE, Transport, make_server, make_sessions
from bench.costs.timing import Effort, Row, rows, stages

MAIL = b"MAIL FROM:<a@example.com>\r\n"
RCPT = b"RCPT TO:<b@example.com>\r\n"

Session = tuple[Any, Transport]


def connect(session: Session) -> None:
    """Begin a session."""
    protocol, transport = session
    protocol.makeConnection(transport)


def say(octets: bytes) -> Callable[[Session], None]:
    """:returns: what has a session hear something."""
    return lambda session: session[0].dataReceived(octets)


# In the order of a session, by table.
_ACTS = {
    ("A connection", "made, and greeted"): connect,
    ("A connection", "EHLO"): say(b"EHLO client.example.com\r\n"),
    ("A connection", "NOOP"): say(b"NOOP\r\n"),
    ("A message of 2 KB", "MAIL"): say(MAIL),
    ("A message of 2 KB", "RCPT"): say(RCPT),
    ("A message of 2 KB", "DATA"): say(b"DATA\r\n"),
    ("A message of 2 KB", "the message and its end"): say(MESSAGE + b".\r\n"),
    ("A connection", "QUIT"): say(b"QUIT\r\n"),
    ("A connection", "lost"): lambda session: session[0].connectionLost(None),
}
_MESSAGE = "A message of 2 KB"


def measure(reactor: Any, effort: Effort) -> Iterator[Row]:
    """Measure commands."""
    sessions = make_sessions(make_server(reactor))
    _check(sessions())

    def make() -> Session:
        # It sorts away the timers of those that are gone.
        reactor.iterate(0)
        return sessions()

    costs = stages(make, {" ".join(key): act for key, act in _ACTS.items()}, effort)
    named = {key: costs[" ".join(key)] for key in _ACTS}
    for table in ("A connection", _MESSAGE):
        of_table = {name: cost for (group, name), cost in named.items() if group == table}
        # NOOP is no part of what a connection needs.
        total = sum(cost for name, cost in of_table.items() if name != "NOOP")
        yield from rows(table, {**of_table, "in all": total})


def _check(session: Session) -> None:
    """See that what is measured is what it should be."""
    for (_, name), act in _ACTS.items():
        act(session)
        said = session[1].said
        if not said.startswith((b"2", b"354")):
            raise ValueError(f"{name} is answered {said!r}")

"""What a supervisor and its workers say to each other (AMP, on a pair of UNIX sockets)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Final

from twisted.protocols.amp import (
    Boolean,
    Command,
    Descriptor,
    Float,
    Integer,
    ListOf,
    String,
    Unicode,
)

#: The descriptor that a worker finds open, beside the standard streams.
CONTROL: Final = 3
# Octets that AMP takes in a value.
_LONGEST: Final = 60_000
_LONGEST_REASON: Final = 2_000


class Refusal(Exception):
    """
    What a worker cannot do.

    :param reason: one line.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason[:_LONGEST_REASON])


class TakeSocket(Command):
    """Keep a listening socket for a server of the order to come, which has this number."""

    arguments: ClassVar = [
        (b"place", Unicode()),
        (b"socket", Descriptor()),
        (b"server", Integer()),
    ]


class TakePiece(Command):
    """Keep a piece of an order."""

    arguments: ClassVar = [(b"piece", String())]


class Prepare(Command):
    """
    Do all that can fail for the order whose pieces have come. Then wait for what follows.

    What is renewed though its settings are not: servers by their ``listen_interface``, and whether
    the backend is.
    """

    response: ClassVar = [(b"servers", ListOf(Unicode())), (b"backend", Boolean())]
    errors: ClassVar = {Refusal: b"REFUSAL"}


class Ping(Command):
    """Show that you do not hang."""


class Commit(Command):
    """Put in force what is prepared. The answer comes when places that were left are free."""


class Abandon(Command):
    """Undo what is prepared, or being prepared. The answer comes when that is done."""


class ReopenLogs(Command):
    """Open every log file anew by its name."""


class Stop(Command):
    """Stop listening, let clients and work finish, and end."""

    arguments: ClassVar = [(b"timeout", Float())]


class Log(Command):
    """Have the supervisor log something. To a supervisor."""

    arguments: ClassVar = [(b"event", String())]
    requiresAnswer = False


def pieces_of(order: bytes) -> Iterator[bytes]:
    """:returns: an order in pieces that :class:`TakePiece` takes."""
    for start in range(0, len(order), _LONGEST):
        yield order[start : start + _LONGEST]

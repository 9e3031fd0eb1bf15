"""What the generator is told, and what it tells."""

from __future__ import annotations

from typing import NamedTuple

#: Ways to have TLS: by a command, or from the first octet on. Empty is without.
STARTTLS, IMPLICIT = "starttls", "implicit"


class Spec(NamedTuple):
    """
    What is to be sent, and where.

    :ivar host: of the server.
    :ivar port: of the server.
    :ivar messages: how many in all. 0 is for clients that connect, say EHLO, and wait.
    :ivar clients: how many at a time.
    :ivar size: octets of a message.
    :ivar kept: whether messages follow each other on a connection.
    :ivar pipelined: whether MAIL, RCPT and DATA are sent together (RFC 2920).
    :ivar tls: :data:`STARTTLS`, :data:`IMPLICIT` or empty.
    :ivar recipients: of a message.
    :ivar rate: messages a second, which begin when they are due, whatever became of the others;
        0 is for a client that sends its next one when it has the reply to the last.
    """

    host: str
    port: int
    messages: int
    clients: int = 20
    size: int = 2_000
    kept: bool = True
    pipelined: bool = False
    tls: str = ""
    recipients: int = 1
    rate: float = 0


class Sent(NamedTuple):
    """
    What came of it.

    :ivar seconds: that it took.
    :ivar processor: seconds of processor time that the generator needed meanwhile.
    :ivar latencies: seconds of each message, from when it was due, or else from its MAIL command,
        or from the connect where it has a connection of its own, to the reply to it.
    """

    seconds: float
    processor: float
    latencies: list[float]

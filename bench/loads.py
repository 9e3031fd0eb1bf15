"""Loads: what is sent, and how it is asked for on the command line."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bench.generator.spec import IMPLICIT, STARTTLS

#: Octets of a message that is sent where nothing else is said.
SIZE = 2_000


@dataclass(frozen=True)
class Load:
    """
    What is sent.

    :param name: for the command line.
    :param title: for the table.
    :param messages: how many, so that a good server needs a second or more.
    :param size: octets of a message.
    :param clients: at a time.
    :param kept: whether messages follow each other on a connection.
    :param pipelined: whether MAIL, RCPT and DATA come together.
    :param tls: ``starttls``, ``implicit`` or empty.
    :param recipients: of a message.
    :param is_timed: whether to know of every message how long it takes.
    """

    name: str
    title: str
    messages: int
    size: int = SIZE
    clients: int = 20
    kept: bool = True
    pipelined: bool = False
    tls: str = ""
    recipients: int = 1
    is_timed: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether smtp-source can send it. Its clients do not wait until all are connected."""
        return not (self.pipelined or self.tls or self.is_timed) and self.clients <= 200


LOADS = {
    load.name: load
    for load in (
        Load("kept", "2 KB, kept connections", 10_000),
        Load("new", "2 KB, a connection each", 5_000, kept=False),
        Load("pipelined", "2 KB, pipelined", 10_000, pipelined=True),
        Load("64k", "64 KB", 3_000, size=64_000),
        Load("1m", "1 MB", 300, size=1_000_000),
        Load("10m", "10 MB", 40, size=10_000_000),
        Load("starttls", "2 KB, STARTTLS, kept sessions", 5_000, tls=STARTTLS),
        Load("starttls-new", "2 KB, STARTTLS, a session each", 1_000, kept=False, tls=STARTTLS),
        Load("tls", "2 KB, implicit TLS, kept sessions", 5_000, tls=IMPLICIT),
        Load("tls-new", "2 KB, implicit TLS, a session each", 1_000, kept=False, tls=IMPLICIT),
        Load("1-client", "2 KB, 1 client", 3_000, clients=1),
        Load("200-clients", "2 KB, 200 clients", 10_000, clients=200),
        Load("5000-clients", "2 KB, 5,000 clients", 20_000, clients=5_000),
    )
}
#: What a quick run has.
QUICK = ("kept", "new", "1m", "tls")


def chosen(names: Iterable[str]) -> list[Load]:
    """
    :returns: the loads of these names.
    :raises KeyError: there is none of that name.
    """
    return [LOADS[name] for name in names]

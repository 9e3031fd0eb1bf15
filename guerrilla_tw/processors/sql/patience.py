"""How long a store waits for its database."""

from __future__ import annotations

from typing import Final

import msgspec

from guerrilla_tw.processors.sql.source import Source

# Of svc.timeout, of which a store has four fifths. A server that hangs may do so once more, on a
# fresh connection, also when the message has waited for a worker.
_OPERATION: Final = 0.25
# A server that waits for a lock says so before it is given up.
_LOCK: Final = 0.2
_SQLITE_LOCK: Final = 0.8
# Seconds. SQLite counts milliseconds in 32 bits, and takes what overflows for none at all.
_LONGEST_WAIT: Final = 3600.0


class Patience(msgspec.Struct, frozen=True):
    """
    How long a store waits, at most.

    :param operation: seconds for one answer of a server; 0 if there is none.
    :param lock: seconds for a lock, or a connection of the pool, that somebody else has.
    """

    operation: float
    lock: float


def patience(timeout: float, source: Source) -> Patience:
    """
    :param timeout: seconds until the Gateway gives the message up.
    :param source: may ask for less patience.
    """
    timeout = min(timeout, _LONGEST_WAIT)
    if source.kind == "sqlite":
        # It answers at once, or waits for a lock, and tries again by itself until then.
        return Patience(0, timeout * _SQLITE_LOCK)
    operation = min(timeout * _OPERATION, source.longest_wait or timeout)
    return Patience(operation, operation * _LOCK / _OPERATION)

"""Ports of several processes that listen by the same socket."""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet import tcp


class PausablePort(Protocol):
    """A port that may be told not to look for clients for a while."""

    def pause(self) -> None:
        """Leave clients to others."""

    def resume(self) -> None:
        """Look for clients again."""


class Rota(Protocol):
    """Says which process accepts the next client."""

    def join(self, port: PausablePort) -> None:
        """A port is to be read: now, or when it is resumed."""

    def leave(self, port: PausablePort) -> None:
        """A port is not to be read any more."""

    def is_ours(self) -> bool:
        """Tell whether to accept a client that waits; if not, all ports are paused."""

    def have_accepted(self) -> None:
        """A client was accepted."""


# Twisted has hardly any types for what the class below is mixed into.
_Port: Any = object


class InTurns(_Port):  # type: ignore[misc]
    """A port that accepts when it is this process's turn, one client at a time."""

    rota: Rota
    sessionno: int

    def startReading(self) -> None:
        """As the parent, when it is time."""
        self.rota.join(self)

    def stopReading(self) -> None:
        """As the parent."""
        self.rota.leave(self)
        super().stopReading()

    def pause(self) -> None:
        """Leave clients to others."""
        super().stopReading()

    def resume(self) -> None:
        """Look for clients again."""
        super().startReading()

    def doRead(self) -> None:
        """Accept a client, if it is ours. If more wait, the reactor comes again."""
        if self.rota.is_ours():
            self.accept(1)

    def accept(self, most: int) -> None:
        """
        Accept clients, whosever they are.

        :param most: how many, if so many wait.
        """
        before = self.sessionno
        self.numberAccepts = most
        super().doRead()
        for _ in range(self.sessionno - before):
            self.rota.have_accepted()


class SharedTCPPort(InTurns, tcp.Port):
    """A port for TCP."""

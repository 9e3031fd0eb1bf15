"""
Which of several processes accepts the next client.

They share one listening socket, and the kernel lets whoever is first have the client. Left to
itself that may be the same one nearly always. So a process that is ahead of another leaves clients
to that one, and rings its bell. The other has a little time to come. One that hangs does not even
hear its bell: the first one goes on without it until it does. If it has heard, and yet nobody
comes, the first one goes on without it as well, each time for twice as many clients.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import inf
from typing import Any, Final

from twisted.internet.abstract import FileDescriptor

from guerrilla_tw.listening.shared_ports import PausablePort
from guerrilla_tw.processes.crowd import Member, Other

# A process is ahead of another with so many clients more, and one more for each so many of the
# other's: a difference of few means little to one who has many.
_LEAD: Final = 3
_PART: Final = 4
# And where it has as many, with so many turns more, until it is ahead no more: of connections that
# are short there may be one at a time. In a row, since each ring of a bell has its price.
_RUN: Final = 8
# Seconds that the other one has to come.
_PATIENCE: Final = 0.1
_MANY_RINGS: Final = 4096


class _Rival:
    """
    Another process, compared with this one.

    :param other: it.
    :param clock: for patience.
    """

    def __init__(self, other: Other, clock: Any) -> None:
        self._other = other
        self._clock = clock
        # When it was rung for, if it has not heard since.
        self._rung = inf
        self._heard = 0
        self._is_owed = False
        self._seen = 0
        self._grace = 0
        self._until = 0

    @property
    def turns(self) -> int:
        """See :attr:`.Other.turns`."""
        return self._other.turns

    def is_behind(self, clients: int, turns: int) -> bool:
        """
        Tell whether the next client should be its.

        That all are behind one another cannot be: whoever has the fewest clients, and of these the
        fewest turns, is ahead of nobody.

        :param clients: how many this process has.
        :param turns: that it had.
        """
        other = self._other
        if other.turns != self._seen:
            self._seen = other.turns
            self._grace = self._until = 0
            self._rung = inf
        if not other.listens or turns < self._until or self._is_deaf():
            return False
        if turns - other.turns >= _RUN:
            self._is_owed = True
        elif turns <= other.turns:
            self._is_owed = False
        theirs = other.clients
        is_ahead = clients - theirs >= _LEAD + theirs // _PART
        return is_ahead or (self._is_owed and clients >= theirs)

    def _is_deaf(self) -> bool:
        if self._other.heard != self._heard:
            self._rung = inf
        return bool(self._clock.seconds() >= self._rung + _PATIENCE)

    def ring(self) -> None:
        """Leave the next client to it: it is behind."""
        if self._rung == inf:
            self._rung, self._heard = self._clock.seconds(), self._other.heard
        self._other.ring()

    def did_not_come(self, turns: int) -> None:
        """
        Go on without it.

        :param turns: that this process had.
        """
        self._grace = 2 * self._grace or 1
        self._until = turns + self._grace


class FairShare:
    """
    Says whose turn it is, and pauses the ports of this process while it is others'.

    :param member: this process and the others.
    :param clock: for patience.
    """

    def __init__(self, member: Member, clock: Any) -> None:
        self._member = member
        self._clock = clock
        self._rivals = [_Rival(other, clock) for other in member.others]
        self._ports: set[PausablePort] = set()
        self._waiting: Any = None

    # For ports

    def join(self, port: PausablePort) -> None:
        """A port is to be read."""
        self._ports.add(port)
        self._member.tell_listening(True)
        if self._waiting is None:
            port.resume()

    def leave(self, port: PausablePort) -> None:
        """A port is not to be read any more."""
        self._ports.discard(port)
        if not self._ports:
            self._member.tell_listening(False)

    def is_ours(self) -> bool:
        """Tell whether to accept a client that waits; if not, all ports are paused."""
        if self._waiting is not None:
            # Of several ports that have clients at once it was another that found out.
            return False
        member = self._member
        clients, turns = member.clients, member.turns
        behind = [rival for rival in self._rivals if rival.is_behind(clients, turns)]
        if behind:
            self._leave_to(behind)
        return not behind

    def have_accepted(self) -> None:
        """A client was accepted."""
        # Nobody has a right to all the turns that he did not take.
        last = max((rival.turns for rival in self._rivals), default=0)
        self._member.tell_turns(max(self._member.turns, last - _RUN) + 1)

    # Waiting

    def _leave_to(self, behind: Sequence[_Rival]) -> None:
        for rival in behind:
            rival.ring()
        self._waiting = self._clock.callLater(_PATIENCE, self._give_up, behind, self._others())
        for port in self._ports:
            port.pause()

    def _others(self) -> int:
        """:returns: what is another when somebody else has accepted a client."""
        return sum(rival.turns for rival in self._rivals)

    def _give_up(self, behind: Sequence[_Rival], before: int) -> None:
        if self._others() == before:
            for rival in behind:
                rival.did_not_come(self._member.turns)
        self._go_on()

    def wake(self) -> None:
        """It may be this one's turn."""
        self._member.tell_heard()
        if self._waiting is not None:
            self._waiting.cancel()
            self._go_on()

    def _go_on(self) -> None:
        self._waiting = None
        for port in self._ports:
            port.resume()


class Bell(FileDescriptor):
    """
    Listens to a bell.

    :param descriptor: out of which something comes when it rings.
    :param rung: is called then.
    :param reactor: reads it.
    """

    def __init__(self, descriptor: int, rung: Callable[[], None], reactor: Any) -> None:
        super().__init__(reactor)
        self._descriptor = descriptor
        self._rung = rung
        self.startReading()

    def fileno(self) -> int:
        """:returns: what the reactor waits for."""
        return self._descriptor

    def doRead(self) -> None:
        """It rings."""
        with suppress(BlockingIOError):
            os.read(self._descriptor, _MANY_RINGS)
        self._rung()

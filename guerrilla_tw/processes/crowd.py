"""
What the processes of a daemon know of each other: how many clients each has.

It is in memory that they share. Each writes in a row of its own only, whole numbers of one machine
word, so that nobody waits for anybody, whatever becomes of him. And each has a bell, which the
others ring when it is its turn.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from guerrilla_tw.processes.control import CONTROL
from guerrilla_tw.smtp.server import Tally

#: Servers that can be counted at the same time; those that a reload adds beside those it removes.
MOST_SERVERS: Final = 1000
# What is in a row before the clients of each server.
_LISTENS, _CLIENTS, _TURNS, _HEARD, _SERVERS = range(5)
_WIDTH: Final = _SERVERS + MOST_SERVERS
_OCTETS: Final = 8


class _Memory:
    """
    The rows of all workers.

    :param descriptor: of the memory.
    :param size: how many workers there are.
    """

    def __init__(self, descriptor: int, size: int) -> None:
        self._mapped = mmap.mmap(descriptor, size * _WIDTH * _OCTETS)
        self.cells = memoryview(self._mapped).cast("Q")

    def close(self) -> None:
        """Have it no more."""
        self.cells.release()
        self._mapped.close()

    def row(self, number: int) -> memoryview:
        """:param number: of a worker, from 1 on."""
        return self.cells[(number - 1) * _WIDTH : number * _WIDTH]

    def column(self, index: int) -> memoryview:
        """:returns: a cell of each row."""
        return self.cells[index::_WIDTH]


class Crowd:
    """
    All of them, as the supervisor has it.

    :param size: how many workers there are.
    :raises OSError: there is no more memory, or there are no more descriptors.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._descriptors = [_open_memory(size * _WIDTH * _OCTETS)]
        try:
            self._memory = _Memory(self._descriptors[0], size)
            # Who rings does not wait, nor does who looks whether somebody has.
            for _ in range(size):
                self._descriptors += os.pipe()
            for bell in self._descriptors[1:]:
                os.set_blocking(bell, False)
        except OSError:
            self._close()
            raise

    @property
    def client_count(self) -> int:
        """How many connections all of them have."""
        return sum(self._memory.column(_CLIENTS))

    def descriptors_for(self, number: int) -> dict[int, int]:
        """
        :param number: of a worker.
        :returns: the descriptors that it is to have, by the numbers that :class:`Member` expects.
        """
        memory, *bells = self._descriptors
        own, rings = bells[::2][number - 1], bells[1::2]
        return dict(zip(_numbers(self.size), [memory, own, *rings], strict=True))

    def forget(self, number: int) -> None:
        """A worker is no more, and so are its connections."""
        row = self._memory.row(number)
        row[:] = memoryview(bytes(row.nbytes)).cast("Q")

    def close(self) -> None:
        """There are no more workers."""
        self._memory.close()
        self._close()

    def _close(self) -> None:
        while self._descriptors:
            os.close(self._descriptors.pop())


class Other:
    """
    Another worker.

    :param row: what it tells.
    :param ring: a descriptor.
    """

    def __init__(self, row: memoryview, ring: int) -> None:
        self._row = row
        self._ring = ring

    @property
    def listens(self) -> bool:
        """Whether it would take clients."""
        return bool(self._row[_LISTENS])

    @property
    def clients(self) -> int:
        """How many connections it has."""
        return self._row[_CLIENTS]

    @property
    def turns(self) -> int:
        """A number that grows with each client that it accepts."""
        return self._row[_TURNS]

    @property
    def heard(self) -> int:
        """A number that grows each time that it hears its bell."""
        return self._row[_HEARD]

    def ring(self) -> None:
        """Have it look whose turn it is."""
        # It may be no more; or it was rung for already, often, and has not looked.
        with suppress(OSError):
            os.write(self._ring, b"!")


class Member:
    """
    A worker and the others, as it sees them.

    :param number: of it, from 1 on.
    :param descriptors: of the memory, of its bell, and to ring each in the order of their numbers.
    """

    def __init__(self, number: int, descriptors: Sequence[int]) -> None:
        #: The descriptor of its bell. What comes out of it means nothing.
        self.bell: int
        memory, self.bell, *rings = descriptors
        self._memory = _Memory(memory, len(rings))
        self._row = self._memory.row(number)
        self.others: Sequence[Other] = [
            Other(self._memory.row(other), ring)
            for other, ring in enumerate(rings, 1)
            if other != number
        ]

    @classmethod
    def of_process(cls, number: int, size: int) -> Member:
        """
        Make that of the process itself, whose descriptors the supervisor has opened.

        :param number: of it, from 1 on.
        :param size: how many there are.
        """
        descriptors = _numbers(size)
        for descriptor in descriptors:
            # What a processor starts is no member.
            os.set_inheritable(descriptor, False)
        return cls(number, descriptors)

    @property
    def clients(self) -> int:
        """How many connections it has."""
        return self._row[_CLIENTS]

    @property
    def turns(self) -> int:
        """A number that grows with each client that it accepts."""
        return self._row[_TURNS]

    def tell_listening(self, listens: bool) -> None:
        """Tell the others whether it takes clients."""
        self._row[_LISTENS] = listens

    def tell_turns(self, turns: int) -> None:
        """Tell the others of a client that it has accepted."""
        self._row[_TURNS] = turns

    def tell_heard(self) -> None:
        """Tell the others that it has heard its bell."""
        self._row[_HEARD] += 1

    def tally(self, server: int) -> Tally:
        """:param server: its number, the same in all processes."""
        return _SharedTally(self._row, _SERVERS + server, self._memory)


class _SharedTally(Tally):
    """
    The clients of one server.

    :param row: of this process.
    :param index: of the server's cell in each row.
    :param memory: of all processes.
    """

    def __init__(self, row: memoryview, index: int, memory: _Memory) -> None:
        self._row = row
        self._index = index
        self._column = memory.column(index)
        self._here = 0
        self._is_closed = False

    def count(self, here: int) -> int:
        """
        As the parent.

        Told first and counted then: of two processes that have one more each at the same time, at
        least the later one sees both.
        """
        self._row[_CLIENTS] += here - self._here
        self._here = here
        if self._is_closed:
            return here
        self._row[self._index] = here
        return sum(self._column)

    def close(self) -> None:
        """As the parent."""
        self._is_closed = True
        self._row[self._index] = 0


def _numbers(size: int) -> Sequence[int]:
    """:returns: of a worker's descriptors, which follow that of the supervisor's orders."""
    return range(CONTROL + 1, CONTROL + 3 + size)


def _open_memory(octets: int) -> int:
    if hasattr(os, "memfd_create"):
        memory = os.memfd_create("guerrilla_tw")
    else:
        with tempfile.TemporaryFile() as file:
            memory = os.dup(file.fileno())
    os.ftruncate(memory, octets)
    return memory

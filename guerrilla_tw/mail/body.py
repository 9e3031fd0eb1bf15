"""The octets of messages: in memory within bounds, beyond them in temporary files."""

from __future__ import annotations

import shutil
import tempfile
from collections import deque
from io import BytesIO
from typing import BinaryIO

from guerrilla_tw.mail.spill import SpillFile


class BodyStorage:
    """
    Where the bodies of all messages in flight are kept.

    In memory within bounds, beyond them in unlinked temporary files, which are gone when nobody
    has them open any more, whatever ends the process. One thread asks for room and writes bodies;
    they may be read and dropped on any.

    :param spill_size: octets of one body in memory, at most (setting ``spill_size``).
    :param spill_dir: directory of the files (setting ``spill_dir``); empty for the system's
        directory for temporary files.
    :param max_in_memory: octets of all bodies in memory, at most (``max_inflight_bytes``).
    """

    def __init__(
        self, spill_size: int = 2**20, spill_dir: str = "", max_in_memory: int = 2**28
    ) -> None:
        self.set_limits(spill_size, spill_dir, max_in_memory)
        self._reserved = 0
        # A body is dropped on whatever thread had it last, and by the garbage collector even in
        # the middle of a call of ours: a lock could be held by that very call. Appending is atomic
        # and needs none, and only the thread that writes takes out.
        self._released: deque[int] = deque()

    def set_limits(self, spill_size: int, spill_dir: str, max_in_memory: int) -> None:
        """
        Set other limits, as for the constructor, for what comes from now on.

        Bodies stay where they are, so there may be more in memory than the new limits admit.
        """
        self._spill_size = spill_size
        self._spill_dir = spill_dir
        self._max_in_memory = max_in_memory

    def new_body(self) -> Body:
        """Make an empty body that is kept here."""
        return Body(self)

    @property
    def in_memory(self) -> int:
        """Octets of bodies in memory now."""
        self._settle()
        return self._reserved

    def _settle(self) -> None:
        while self._released:
            self._reserved -= self._released.popleft()

    def has_room(self, size: int) -> bool:
        """
        Say whether a message should be taken at all. Asks the disk only when memory is used up.

        :param size: octets that the client declared, 0 if it did not: then as many as one body
            may have in memory.
        :returns: False if neither memory nor disk has room: the reply is 452 4.3.1.
        """
        size = size or self._spill_size
        if self.in_memory + min(size, self._spill_size) <= self._max_in_memory:
            return True
        try:
            return shutil.disk_usage(self._spill_dir or tempfile.gettempdir()).free >= size
        except OSError:
            return False

    def reserve(self, held: int, more: int) -> bool:
        """
        Take memory for a body, if the bounds admit it.

        :param held: octets that it has reserved already.
        :param more: octets that it needs besides.
        """
        if held + more > self._spill_size:
            return False
        if self._released:
            self._settle()
        reserved = self._reserved + more
        if reserved > self._max_in_memory:
            return False
        self._reserved = reserved
        return True

    def release(self, held: int) -> None:
        """
        Give back what a body has reserved. May be called on any thread.

        :param held: octets.
        """
        self._released.append(held)

    def new_file(self) -> SpillFile:
        """Make a file for one body."""
        return SpillFile(self._spill_dir)


class Body:
    """
    The octets of one message: written piece by piece, then read any number of times.

    A message that comes as one piece is kept as that object, without a copy.

    :param storage: sets bounds; without one everything is kept in memory.
    """

    __slots__ = ("_buffer", "_file", "_held", "_piece", "_storage")

    def __init__(self, storage: BodyStorage | None = None) -> None:
        self._storage = storage
        self._held = 0  # octets in memory
        self._piece = b""
        # Pieces may be an octet each: from the second on they share one buffer.
        self._buffer: BytesIO | None = None
        # Once there is one, all octets are in it.
        self._file: SpillFile | None = None

    def __del__(self) -> None:
        if self._held and self._storage is not None:
            self._storage.release(self._held)

    def write(self, piece: bytes) -> None:
        """
        Append a piece of the message.

        :param piece: the next octets, dot-unstuffed.
        :raises OSError: it does not fit in memory, and cannot be written to the disk. The body
            is empty then, and each later write raises too.
        """
        if self._file is not None:
            self._file.write(piece)
            return
        size, held, storage = len(piece), self._held, self._storage
        if storage is not None and not storage.reserve(held, size):
            self._spill(storage).write(piece)
            return
        if not held:
            self._piece = piece
        else:
            self._add(piece)
        self._held = held + size

    def _add(self, piece: bytes) -> None:
        if self._buffer is None:
            self._buffer = BytesIO()
            self._buffer.write(self._piece)
            self._piece = b""
        self._buffer.write(piece)

    def _spill(self, storage: BodyStorage) -> SpillFile:
        """Move what is in memory to a file. The memory is given back even if that fails."""
        data = self.data
        storage.release(self._held)
        self._held = 0
        self._piece = b""
        self._buffer = None
        self._file = storage.new_file()
        self._file.write(data)
        return self._file

    @property
    def size(self) -> int:
        """The number of octets written."""
        return self._held if self._file is None else self._file.size

    @property
    def data(self) -> bytes:
        """All octets written, loaded if they are in a file."""
        if self._file is not None:
            return self._file.read(0, self._file.size)
        return self._piece if self._buffer is None else self._buffer.getvalue()

    def head(self, limit: int) -> bytes:
        """
        Give the beginning of what was written, without loading the rest.

        :param limit: octets, at most.
        """
        if self._file is not None:
            return self._file.read(0, limit)
        return self.data[:limit]

    def open(self) -> BinaryIO:
        """
        Open what was written for reading, from its start.

        :returns: a reader with a position of its own. It outlives the body.
        """
        if self._file is not None:
            return self._file.open()
        return BytesIO(self.data)

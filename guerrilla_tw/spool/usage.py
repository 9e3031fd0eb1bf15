"""How many octets a spool has, counted by all processes that share it."""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

_NUMBER = struct.Struct(">q")


class Usage:
    """
    A number in a file, which each process adds to before it writes, and takes from when it has
    removed something.

    A process that is killed in between leaves it wrong by what it was at, until it is counted anew.
    What comes and goes while files are counted makes it wrong by as much, until the next time.

    :param path: of the file.
    """

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        # A lock on the file is one for all threads.
        self._lock = Lock()

    def __del__(self) -> None:
        # It may not have been opened.
        if hasattr(self, "_file"):
            os.close(self._file)

    @property
    def octets(self) -> int:
        """How many there are."""
        with self._locked():
            return self._read()

    def take(self, octets: int, limit: int) -> bool:
        """
        Add octets, if there is room.

        :param limit: how many there may be then.
        :returns: whether they were added.
        """
        with self._locked():
            now = self._read() + octets
            if now > limit:
                return False
            self._write(now)
            return True

    def give_back(self, octets: int) -> None:
        """Take octets away."""
        with self._locked():
            self._write(max(0, self._read() - octets))

    def correct(self, counted: int, before: int) -> None:
        """
        Go by what was counted.

        :param counted: octets of all files.
        :param before: what :attr:`octets` was before they were counted.
        """
        with self._locked():
            self._write(max(0, counted + self._read() - before))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._lock:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def _read(self) -> int:
        octets = os.pread(self._file, _NUMBER.size, 0)
        # Else it is new, or was torn.
        return int(_NUMBER.unpack(octets)[0]) if len(octets) == _NUMBER.size else 0

    def _write(self, number: int) -> None:
        os.pwrite(self._file, _NUMBER.pack(number), 0)

"""Open files of a spool: they stay open as long as anybody reads them, and so does the claim."""

from __future__ import annotations

import fcntl
import io
import os
from collections.abc import Iterator
from contextlib import suppress

from guerrilla_tw.mail.body import Body
from guerrilla_tw.mail.spill import SpillFile

_PIECE = 2**18


class OpenFile:
    """
    A descriptor that is closed when nobody refers to it: a thread that hangs may still read, and
    the number must not be another message's by then.

    :param descriptor: its number.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __del__(self) -> None:
        os.close(self.descriptor)

    def lock(self) -> bool:
        """
        :returns: whether nobody else has it locked, in any process; now it is locked.
        :raises OSError: nothing can be locked there.
        """
        with suppress(BlockingIOError):
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        return False

    def unlock(self) -> None:
        """Let others lock it, whoever reads it still."""
        fcntl.flock(self.descriptor, fcntl.LOCK_UN)

    def is_at(self, path: str) -> bool:
        """:returns: whether the file of this name is this one."""
        try:
            there = os.stat(path, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return os.path.samestat(there, os.fstat(self.descriptor))

    def read(self, start: int, limit: int) -> bytes:
        """
        Read octets.

        :param start: the first one.
        :param limit: how many; fewer where the file ends.
        :raises OSError: the disk fails.
        """
        pieces = []
        while limit and (piece := os.pread(self.descriptor, min(limit, _PIECE), start)):
            pieces.append(piece)
            start += len(piece)
            limit -= len(piece)
        return b"".join(pieces)

    def pieces(self, start: int, size: int) -> Iterator[bytes]:
        """:returns: octets, piece by piece; fewer where the file ends."""
        while size and (piece := self.read(start, min(size, _PIECE))):
            yield piece
            start += len(piece)
            size -= len(piece)

    def write(self, octets: bytes) -> None:
        """
        Write at the position of the file.

        :raises OSError: the disk fails.
        """
        rest = memoryview(octets)
        while rest:
            rest = rest[os.write(self.descriptor, rest) :]


def open_file(path: str, flags: int) -> OpenFile:
    """
    Open a file of the spool.

    :param flags: beside those that are for all.
    :raises OSError: it cannot be opened.
    """
    return OpenFile(os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o600))


class _Section(SpillFile):
    """A part of a file, as if it were a file of its own."""

    def __init__(self, file: OpenFile, start: int, size: int) -> None:
        super().__init__("")
        self.size = size
        self._whole = file
        self._start = start

    def read(self, start: int, limit: int) -> bytes:
        wanted = max(0, min(limit, self.size - start))
        octets = self._whole.read(self._start + start, wanted)
        if len(octets) < wanted:
            raise OSError(f"the spool's file ends at {start + len(octets)} of {self.size} octets")
        return octets


class SpooledBody(Body):
    """
    A body that stays in its file.

    :param file: which has it.
    :param start: of it.
    :param size: octets.
    """

    __slots__ = ()

    def __init__(self, file: OpenFile, start: int, size: int) -> None:
        super().__init__()
        self._file = _Section(file, start, size)

    def write(self, piece: bytes) -> None:
        """:raises io.UnsupportedOperation: it is complete."""
        raise io.UnsupportedOperation("the body of a spooled message cannot be written to")

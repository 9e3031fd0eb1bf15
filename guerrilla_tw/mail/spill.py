"""A temporary file without a name, for what is too large for memory."""

from __future__ import annotations

import io
import os
import tempfile
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class SpillFile:
    """
    An unlinked temporary file that is only appended to. It is closed when nobody refers to it.

    :param directory: where it is; empty for the system's directory for temporary files.
    """

    def __init__(self, directory: str) -> None:
        self.size = 0
        self._directory = directory
        self._file: io.FileIO | None = None
        # Number and text only: the exception itself would hold on to the piece that it came with.
        self._error: tuple[int | None, str | None] | None = None

    def __del__(self) -> None:
        self._close()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, piece: bytes) -> None:
        """
        Append a piece. The first one makes the file.

        :param piece: the next octets.
        :raises OSError: now and ever after; the file is empty then.
        """
        if self._error is not None:
            raise OSError(*self._error)
        try:
            self._append(piece)
        except OSError as error:
            self._error = (error.errno, error.strerror)
            self.size = 0
            self._close()
            raise

    def _append(self, piece: bytes) -> None:
        if self._file is None:
            directory = self._directory or None
            self._file = tempfile.TemporaryFile(buffering=0, dir=directory)  # noqa: SIM115
        rest = memoryview(piece)
        while rest:
            # It may write less than it was given, and then say why at the next attempt.
            rest = rest[self._file.write(rest) :]
        self.size += len(piece)

    def read(self, start: int, limit: int) -> bytes:
        """
        Read without a position that readers would have to share.

        :param start: the first octet.
        :param limit: octets, at most.
        :raises OSError: the disk fails.
        """
        pieces = []
        rest = min(limit, self.size - start)
        while rest > 0:
            assert self._file is not None
            # Linux reads 2 GiB at once, at most.
            piece = os.pread(self._file.fileno(), rest, start)
            if not piece:
                raise OSError(f"temporary file ends at {start} of {self.size} octets")
            pieces.append(piece)
            start += len(piece)
            rest -= len(piece)
        return b"".join(pieces)

    def open(self) -> BinaryIO:
        """
        Open it for reading, from its start.

        :returns: a reader with a position of its own, which keeps the file open.
        """
        return io.BufferedReader(_Reader(self))


class _Reader(io.RawIOBase):
    """A position in a file: a second descriptor would share that of the first."""

    def __init__(self, file: SpillFile) -> None:
        self._file = file
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._file.size}
        position = origin[whence] + offset
        if position < 0:
            raise ValueError("negative position")
        self._position = position
        return position

    def readinto(self, buffer: WriteableBuffer) -> int:
        target = memoryview(buffer)
        piece = self._file.read(self._position, len(target))
        target[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

"""
Cutting the bytes of a connection into command lines and message data.

Pure: bytes in, bytes out, the same whatever pieces the network makes of them. A line ends with
CR LF and with nothing else (RFC 5321 section 2.3.8): taking a bare LF for an end of line, or of
data, lets a sender smuggle a second message through servers that see it otherwise.
"""

from __future__ import annotations

from typing import Protocol

_CRLF = b"\r\n"
_END_OF_DATA = b"\r\n.\r\n"
# What the end of a piece may be the beginning of, longest first.
_UNSETTLED = tuple(_END_OF_DATA[:length] for length in range(4, 0, -1))


class LineTooLong(Exception):
    """A command line beyond the limit; what is left of it will be skipped."""


class BadLine(Exception):
    """A command line with a bare CR, a bare LF or a NUL in it."""


class LineBuffer:
    """
    Command lines out of a stream.

    :param limit: octets of a line at most, line end included (RFC 5321 section 4.5.3.1.4).
    """

    __slots__ = ("_at", "_data", "_limit", "_skipping")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._data = b""
        self._at = 0
        self._skipping = False

    def feed(self, data: bytes) -> None:
        """Add what came from the network."""
        self._data = self._data[self._at :] + data if self._at < len(self._data) else data
        self._at = 0

    def take(self) -> bytes:
        """:returns: all that is not read yet. The buffer is empty then."""
        rest = self._data[self._at :] if self._at else self._data
        self._data = b""
        self._at = 0
        return rest

    def line(self) -> bytes | None:
        """
        :returns: the next line without its end, or None if there is no whole line yet.
        :raises LineTooLong: once for each such line, as soon as it is known.
        :raises BadLine: once for each such line; what is left of it will be skipped.
        """
        if self._skipping and not self._skip():
            return None
        end = self._data.find(b"\n", self._at)
        if end < 0:
            if len(self._data) - self._at < self._limit:
                return None
            self._skipping = True
            self._skip()
            raise LineTooLong
        line = self._data[self._at : end]
        self._at = end + 1
        # What follows a bare LF is still the same line, and not a command of its own.
        self._skipping = line[-1:] != b"\r"
        if len(line) >= self._limit:
            raise LineTooLong
        if self._skipping or b"\r" in line[:-1] or b"\0" in line:
            raise BadLine
        return line[:-1]

    def _skip(self) -> bool:
        """:returns: whether the line that is skipped has come to its end."""
        end = self._data.find(_CRLF, self._at)
        if end < 0:
            self._data = b"\r" if self._data.endswith(b"\r") else b""
            self._at = 0
            return False
        self._at = end + len(_CRLF)
        self._skipping = False
        return True


class Sink(Protocol):
    """Where message data goes."""

    def write(self, piece: bytes, /) -> object:
        """Take the next octets."""


class DataReader:
    """
    The data of one message: finds its end, takes the dots out that were stuffed in
    (RFC 5321 section 4.5.2).

    :param sink: gets the message in large pieces, as long as it is not refused.
    :param max_size: octets of the message at most, after unstuffing.
    """

    __slots__ = ("_limit", "_sink", "_size", "_unsettled", "bare_newline", "too_large")

    def __init__(self, sink: Sink, max_size: int) -> None:
        self.too_large = False
        self.bare_newline = False
        self._sink = sink
        self._limit = max_size
        # As if a line had just ended: a dot is special in the first line too. These two octets
        # are not of the message, so its size begins below zero.
        self._unsettled = _CRLF
        self._size = -len(_CRLF)

    def feed(self, data: bytes) -> bytes | None:
        """
        Add what came from the network.

        :returns: None while the data goes on; what came after its end, once it has ended.
        """
        piece = self._unsettled + data
        dot = piece.find(b"\r\n.")
        if dot >= 0:
            end = piece.find(_END_OF_DATA, dot)
            if end >= 0:
                self._write(piece[: end + 2], dotted=dot < end)
                return piece[end + len(_END_OF_DATA) :]
        self._unsettled = b""
        for beginning in _UNSETTLED:
            if piece.endswith(beginning):
                self._unsettled = beginning
                piece = piece[: -len(beginning)]
                break
        if piece:
            self._write(piece, dotted=dot >= 0)
        return None

    def _write(self, piece: bytes, dotted: bool) -> None:
        if dotted:
            piece = piece.replace(b"\r\n.", _CRLF)
        lines = piece.count(_CRLF)
        if piece.count(b"\n") != lines or piece.count(b"\r") != lines:
            self.bare_newline = True
        if self._size < 0:
            piece = piece[len(_CRLF) :]
            self._size = 0
        self._size += len(piece)
        if self._size > self._limit:
            self.too_large = True
        if not (self.too_large or self.bare_newline):
            self._sink.write(piece)

"""
Cutting the bytes of a connection into command lines, message data and chunks.

Pure: bytes in, bytes out, the same whatever pieces the network makes of them. A line ends with
CR LF and with nothing else (RFC 5321 section 2.3.8): taking a bare LF for an end of line, or of
data, lets a sender smuggle a second message through servers that see it otherwise.
"""

from __future__ import annotations

import re

from guerrilla_tw.smtp.incoming import IncomingMessage, Sink

# All that most lines need looking at.
_GOOD_LINE = re.compile(rb"([^\r\n\0]*)\r\n").match
_CRLF = b"\r\n"
_DOT = b"\r\n."
_SEARCH_DOT = re.compile(re.escape(_DOT)).search
_END_OF_DATA = b"\r\n.\r\n"
_STUFFED = ord(".")
# Octets of a piece that is worth it to look for single dots, and how many of them at most.
_LARGE = 2**14
_FEW_DOTS = 16
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

    __slots__ = ("_at", "_begun", "_data", "_limit", "_skipping")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        # The beginning of a line, searched and without an LF; then what is not searched yet.
        self._begun = bytearray()
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
        return self._with_beginning(rest) if self._begun else rest

    @property
    def pending(self) -> bool:
        """Whether there is something that is not read yet."""
        return self._at < len(self._data) or bool(self._begun)

    def first(self) -> int | None:
        """:returns: the first octet that is not read yet; it stays. None if there is none."""
        if self._begun:
            return self._begun[0]
        return self._data[self._at] if self._at < len(self._data) else None

    def line(self) -> bytes | None:
        """
        :returns: the next line without its end, or None if there is no whole line yet.
        :raises LineTooLong: once for each such line, as soon as it is known.
        :raises BadLine: once for each such line; what is left of it will be skipped.
        """
        if not (self._begun or self._skipping):
            good = _GOOD_LINE(self._data, self._at)
            if good is not None and (end := good.end()) - self._at <= self._limit:
                self._go_on_at(end)
                return good[1]
        return self._odd_line()

    def _odd_line(self) -> bytes | None:
        """As :meth:`line`, for whatever may be wrong with it or has not come yet."""
        if self._skipping and not self._skip():
            return None
        end = self._data.find(b"\n", self._at)
        if end < 0:
            if self._at < len(self._data):
                self._keep_beginning()
            return None
        line = self._data[self._at : end]
        self._go_on_at(end + 1)
        if self._begun:
            line = self._with_beginning(line)
        # What follows a bare LF is still the same line, and not a command of its own.
        self._skipping = line[-1:] != b"\r"
        if len(line) >= self._limit:
            raise LineTooLong
        if self._skipping or b"\r" in line[:-1] or b"\0" in line:
            raise BadLine
        return line[:-1]

    def _go_on_at(self, at: int) -> None:
        """Nothing is kept of what is read: the client may stay for long."""
        if at < len(self._data):
            self._at = at
        else:
            self._data = b""
            self._at = 0

    def _keep_beginning(self) -> None:
        """Put aside what need not be searched again: a line may come octet by octet."""
        if len(self._begun) + len(self._data) - self._at >= self._limit:
            self._begun.clear()
            self._skipping = True
            self._skip()
            raise LineTooLong
        self._begun += self._data[self._at :]
        self._data = b""
        self._at = 0

    def _with_beginning(self, rest: bytes) -> bytes:
        whole = bytes(self._begun + rest)
        self._begun.clear()
        return whole

    def _skip(self) -> bool:
        """:returns: whether the line that is skipped has come to its end."""
        end = self._data.find(_CRLF, self._at)
        if end < 0:
            self._data = b"\r" if self._data.endswith(b"\r") else b""
            self._at = 0
            return False
        self._go_on_at(end + len(_CRLF))
        self._skipping = False
        return True


class DataReader(IncomingMessage):
    """
    The data of one message: finds its end, takes the dots out that were stuffed in
    (RFC 5321 section 4.5.2).

    Only CR LF . CR LF is its end, and only a dot after CR LF is a stuffed one, also where bare
    newlines are normalized. The parameters are those of :class:`IncomingMessage`.
    """

    __slots__ = ()
    # A dot is special in the first line too, as if a line had just ended.
    _before = _CRLF

    def feed(self, data: bytes) -> bytes | None:
        """
        Add what came from the network.

        :returns: None while the data goes on; what came after its end, once it has ended.
        """
        if self._is_whole(data):
            self._size = 0
            self._add_text(data[:-3], True)
            return b""
        piece = self._unsettled + data
        dot = _find_dot(piece)
        end = piece.find(_END_OF_DATA, dot) if dot >= 0 else -1
        if end >= 0:
            rest = piece[end + 5 :]
            piece = piece[: end + 2]
        else:
            rest = None
            piece = self._settled(piece)
            if not piece:
                return None
        if dot != end:  # The first dot after a line's end is not the end: it was stuffed in.
            piece = piece.replace(_DOT, _CRLF)
        if self._size < 0:
            self._size = 0
            piece = piece[len(_CRLF) :]
        self._add_text(piece, rest is not None)
        return rest

    def _is_whole(self, data: bytes) -> bool:
        """:returns: whether it is all of a message, without stuffed dots, as it is of most."""
        return (
            self._size < 0
            and data.endswith(_END_OF_DATA)
            and _find_dot(data) == len(data) - len(_END_OF_DATA)
            and data[0] != _STUFFED
            and self._unsettled == self._before
        )

    def _settled(self, piece: bytes) -> bytes:
        self._unsettled = b""
        for beginning in _UNSETTLED:
            if piece.endswith(beginning):
                self._unsettled = beginning
                return piece[: -len(beginning)]
        return piece


class ChunkReader(IncomingMessage):
    """
    The chunks of one message (RFC 3030). Nothing in them is an end of data or a stuffed dot.

    :param binary: whether it was announced by BODY=BINARYMIME, and need not be made of lines. The
        other parameters are those of :class:`IncomingMessage`.
    """

    __slots__ = ("_binary", "_left")

    def __init__(
        self, sink: Sink, max_size: int, max_line: int, normalize: bool, binary: bool
    ) -> None:
        super().__init__(sink, max_size, max_line=max_line, normalize=normalize)
        self._binary = binary
        self._left = 0

    def begin(self, size: int) -> None:
        """
        Begin a chunk. The one before it must have come to its end.

        :param size: octets of the chunk, however many.
        """
        self._left = size

    def feed(self, data: bytes) -> bytes | None:
        """
        Add what came from the network. Feed a chunk of no octets too, be it with nothing.

        :returns: None while the chunk goes on; what came after it, once it has ended.
        """
        piece = data[: self._left]
        self._left -= len(piece)
        if self._binary:
            self._add(piece)
        elif piece:
            self._add_lines(piece)
        return None if self._left else data[len(piece) :]

    def finish(self) -> None:
        """The last chunk has ended, and the message with it."""
        if self._unsettled:
            self._add_text(self._unsettled, True)

    def _add_lines(self, piece: bytes) -> None:
        if self._unsettled:
            piece = self._unsettled + piece
        # The LF may come with the next piece or with the next chunk.
        self._unsettled = b"\r" if piece[-1:] == b"\r" else b""
        self._add_text(piece[:-1] if self._unsettled else piece, False)


class ChunkSkipper:
    """
    A chunk that is refused: its octets are swallowed, and never taken for commands.

    :param size: octets of the chunk, however many.
    """

    __slots__ = ("_left", "size")

    def __init__(self, size: int) -> None:
        self._left = size
        #: Octets so far.
        self.size = 0

    def feed(self, data: bytes) -> bytes | None:
        """:returns: None while the chunk goes on; what came after it, once it has ended."""
        skipped = min(self._left, len(data))
        self._left -= skipped
        self.size += skipped
        return None if self._left else data[skipped:]


def _find_dot(data: bytes) -> int:
    """
    :returns: where the first CR LF is that a dot follows; -1 if there is none.
    """
    at = 0
    # One octet is found much faster than three in a row. In large messages, which are base64 for
    # the most part, there is hardly a dot.
    for _ in range(_FEW_DOTS if len(data) > _LARGE else 0):
        at = data.find(b".", at)
        if at < 0:
            return -1
        if at >= 2 and data[at - 2 : at] == _CRLF:
            return at - 2
        at += 1
    # It takes half as long as bytes.find.
    dot = _SEARCH_DOT(data, max(at - 2, 0))
    return -1 if dot is None else dot.start()

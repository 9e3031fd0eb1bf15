"""
Command lines, message data and chunks, beside readers that see all octets at once.

An input: which reader, limits and settings, six lengths of pieces or chunks, then the octets.
"""

from __future__ import annotations

from typing import Final

from guerrilla_tw.smtp.framing import (
    BadLine,
    ChunkReader,
    ChunkSkipper,
    DataReader,
    LineBuffer,
    LineTooLong,
)
from guerrilla_tw.smtp.incoming import IncomingMessage
from tests.fuzz.targets import pieces

_HEADER: Final = 8
_CRLF: Final = b"\r\n"

MAX_LENGTH: Final = 600
TOKENS: Final = (
    b"\r\n",
    b"\r\n.\r\n",
    b"\r\n..",
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r",
    b"\r\r\n",
    b"\0",
    b"BDAT 4 LAST\r\n",
)
_STREAMS: Final = (
    b"EHLO x\r\nMAIL FROM:<a@b.example>\r\nRCPT",
    b"a\nb\r\nc\rd\r\ne\0f\r\ng\r\n\n\r\n",
    b"x" * 70 + b"\r\nQUIT\r\n",
    b"x" * 70 + b"\nNOOP\nQUIT\r\nRSET\r\n",
    b"Subject: x\r\n\r\nbody\r\n..stuffed\r\n.\r\nQUIT\r\n",
    b".\r\nQUIT\r\n",
    b"..\r\n.a\r\n.\r\n",
    b"a\n.\r\nb\r\n.\nc\r.\rd\r\n.\r\n",
    b"a\r\n.\r\r\n.\n\r\n.\r\n.\r\n",
    b"y" * 40 + b"\r\n" + b"z" * 60 + b"\r\n.\r\n",
)
SEEDS: Final = [
    bytes([kind, limits, *cuts]) + stream
    for kind in range(4)
    for limits, cuts in ((0xFF, (0,) * 6), (0x55, (0, 1, 2, 4, 8, 16)), (0x02, (60,) * 6))
    for stream in _STREAMS
]


class _Sink:
    """Has room for some octets only."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.written = b""

    def write(self, piece: bytes) -> None:
        if len(self.written) + len(piece) > self.room:
            raise OSError("no room")
        self.written += piece


class _Limits:
    """Small ones, from one octet."""

    def __init__(self, octet: int) -> None:
        self.normalize = bool(octet & 1)
        self.binary = bool(octet & 2)
        self.max_size = (1000, 20)[octet >> 2 & 1]
        self.max_line = (1000, 50, 10, 3)[octet >> 3 & 3]
        self.room = (1000, 30)[octet >> 5 & 1]
        self.max_command = (1000, 64, 12, 4)[octet >> 6]


def check(data: bytes) -> None:
    """Read the same octets in several ways."""
    if len(data) < _HEADER:
        return
    limits = _Limits(data[1])
    cuts, stream = data[2:_HEADER], data[_HEADER:]
    checks = (_check_lines, _check_data, _check_chunks, _check_skipper)
    checks[data[0] % len(checks)](stream, cuts, limits)


# Command lines


def _check_lines(stream: bytes, cuts: bytes, limits: _Limits) -> None:
    limit = limits.max_command
    expected = _expected_lines(stream, limit)
    for split in (b"", cuts):
        buffer = LineBuffer(limit)
        seen: list[object] = []
        for piece in pieces(stream, split):
            buffer.feed(piece)
            _read_lines(buffer, seen)
        assert seen == expected, (seen, expected)
        assert buffer.pending == (buffer.first() is not None)
        first, rest = buffer.first(), buffer.take()
        assert rest[:1] == (b"" if first is None else bytes([first]))
        assert len(rest) < limit, rest
        assert not buffer.pending and buffer.take() == b""


def _read_lines(buffer: LineBuffer, seen: list[object]) -> None:
    line: bytes | None = b""
    while line is not None:
        try:
            line = buffer.line()
        except (BadLine, LineTooLong) as error:
            seen.append(type(error))
        else:
            if line is not None:
                seen.append(line)


def _expected_lines(stream: bytes, limit: int) -> list[object]:
    *lines, last = stream.split(_CRLF)
    expected: list[object] = [_expected_line(line, limit) for line in lines]
    # The end of the last one has not come, but it may be known already that it is wrong.
    if b"\n" in last or len(last) >= limit:
        expected.append(_expected_line(last, limit))
    return expected


def _expected_line(line: bytes, limit: int) -> object:
    # As far as its first newline, be it a bare one.
    length = line.find(b"\n") + 1 or len(line) + len(_CRLF)
    if length > limit:
        return LineTooLong
    if any(octet in line for octet in (b"\r", b"\n", b"\0")):
        return BadLine
    return line


# Messages


def _check_data(stream: bytes, cuts: bytes, limits: _Limits) -> None:
    whole, rest = _expected_data(stream)
    for split in (b"", cuts):
        sink = _Sink(limits.room)
        reader = DataReader(sink, limits.max_size, limits.max_line, limits.normalize)
        seen_rest = None
        for piece in pieces(stream, split):
            seen_rest = reader.feed(piece) if seen_rest is None else seen_rest + piece
        assert seen_rest == rest, (seen_rest, rest)
        if whole is not None:
            _check_message(reader, sink, limits, whole, binary=False)


def _expected_data(stream: bytes) -> tuple[bytes | None, bytes | None]:
    """:returns: the message and what follows it; None where its end has not come."""
    lines = stream.split(_CRLF)
    if b"." not in lines[:-1]:
        return None, None
    end = lines.index(b".")
    kept = [line[1:] if line[:1] == b"." else line for line in lines[:end]]
    return b"".join(line + _CRLF for line in kept), _CRLF.join(lines[end + 1 :])


def _check_chunks(stream: bytes, cuts: bytes, limits: _Limits) -> None:
    # A chunk of more than 63 octets comes in two pieces, one of as many as the chunk's third.
    sizes = [cut & 0x7F for cut in cuts]
    sink = _Sink(limits.room)
    reader = ChunkReader(sink, limits.max_size, limits.max_line, limits.normalize, limits.binary)
    whole, rest = b"", stream
    for size in sizes:
        reader.begin(size)
        whole += rest[:size]
        third = size // 3 if size > 63 else 0
        left = reader.feed(rest[:third]) if third else None
        assert left is None
        rest_seen = reader.feed(rest[third:])
        if len(rest) < size:
            assert rest_seen is None
            return
        rest = rest[size:]
        assert rest_seen == rest
    reader.finish()
    _check_message(reader, sink, limits, whole, limits.binary)


def _check_message(
    reader: IncomingMessage, sink: _Sink, limits: _Limits, whole: bytes, binary: bool
) -> None:
    bare = False
    if not binary:
        *lines, last = whole.split(_CRLF)
        bare = any(b"\r" in line or b"\n" in line for line in [*lines, last])
        if bare and limits.normalize:
            bare = False
            whole = whole.replace(_CRLF, b"\n").replace(b"\r", b"\n").replace(b"\n", _CRLF)
            *lines, last = whole.split(_CRLF)
        lengths = [len(line) + len(_CRLF) for line in lines] + [len(last)]
        assert reader.line_too_long == (max(lengths) > limits.max_line)
    else:
        assert not reader.line_too_long
    assert reader.bare_newline == bare
    assert reader.size == len(whole)
    assert reader.too_large == (len(whole) > limits.max_size)
    if not (reader.too_large or reader.bare_newline or reader.line_too_long):
        assert (reader.sink_error is not None) == (len(whole) > limits.room)
        if reader.sink_error is None:
            assert sink.written == whole


def _check_skipper(stream: bytes, cuts: bytes, limits: _Limits) -> None:
    size = cuts[0] * cuts[1]
    skipper = ChunkSkipper(size)
    rest = None
    for piece in pieces(stream, cuts[2:]):
        rest = skipper.feed(piece) if rest is None else rest + piece
    if len(stream) < size or not stream:
        assert rest is None
    else:
        assert rest == stream[size:]
    assert skipper.size == min(size, len(stream))

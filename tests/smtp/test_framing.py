"""Bytes to lines, messages and chunks, whatever pieces the network makes of them."""

from __future__ import annotations

import contextlib
import errno
import random
import time
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.smtp.framing import (
    BadLine,
    ChunkReader,
    ChunkSkipper,
    DataReader,
    LineBuffer,
    LineTooLong,
)
from guerrilla_tw.smtp.incoming import IncomingMessage
from tests.smtp.reference_parts import Message, read_data, read_text

NO_LIMIT = 10**9
# Everything that means something to a reader, and something that does not.
PARTS = st.lists(st.sampled_from([b"\r", b"\n", b".", b"\r\n", b"\r\n.", b"a"]), max_size=30)


class Sink:
    """Keeps what it is given, for as long as it has room."""

    def __init__(self, room: int = NO_LIMIT) -> None:
        self.room = room
        self.pieces: list[bytes] = []

    def write(self, piece: bytes) -> None:
        if self.size + len(piece) > self.room:
            raise OSError(errno.ENOSPC, "full")
        self.pieces.append(piece)

    @property
    def size(self) -> int:
        return sum(map(len, self.pieces))

    @property
    def data(self) -> bytes:
        return b"".join(self.pieces)


def octets(stream: bytes) -> list[bytes]:
    """Cut a stream into single octets."""
    return [stream[at : at + 1] for at in range(len(stream))]


def cut(stream: bytes, source: random.Random, cuts: int = 3) -> list[bytes]:
    """Cut a stream anywhere; there may be empty pieces."""
    ends = sorted(source.choices(range(len(stream) + 1), k=cuts))
    return [stream[a:b] for a, b in zip([0, *ends], [*ends, len(stream)], strict=True)]


def result(reader: IncomingMessage, sink: Sink) -> Message:
    """:returns: what a reader made of a message; its data only where it is good."""
    good = not (reader.bare_newline or reader.line_too_long)
    return Message(sink.data if good else b"", reader.bare_newline, reader.line_too_long)


def expected_result(message: Message) -> Message:
    """:returns: as :func:`result`."""
    if message.bare_newline or message.line_too_long:
        message.data = b""
    return message


def read_message(
    pieces: Sequence[bytes],
    *,
    max_size: int = NO_LIMIT,
    max_line: int = NO_LIMIT,
    normalize: bool = False,
    room: int = NO_LIMIT,
) -> tuple[Message, bytes | None, DataReader]:
    """:returns: the message of DATA, and what came after its end, pieces not fed included."""
    sink = Sink(room)
    reader = DataReader(sink, max_size, max_line, normalize)
    rest = None
    for index, piece in enumerate(pieces):
        rest = reader.feed(piece)
        if rest is not None:
            rest += b"".join(pieces[index + 1 :])
            break
    return result(reader, sink), rest, reader


class DataReaderTests(SynchronousTestCase):
    def assert_reads(
        self, stream: bytes, data: bytes, rest: bytes = b"", *, normalize: bool = False
    ) -> None:
        for pieces in ([stream], octets(stream)):
            message, after, _ = read_message(pieces, normalize=normalize)
            self.assertEqual((message, after), (Message(data), rest))

    def test_message(self) -> None:
        self.assert_reads(b"a\r\nb\r\n.\r\n", b"a\r\nb\r\n")

    def test_what_follows_is_left(self) -> None:
        self.assert_reads(b"a\r\n.\r\nQUIT\r\n.\r\n", b"a\r\n", b"QUIT\r\n.\r\n")

    def test_empty_message(self) -> None:
        self.assert_reads(b".\r\nx", b"", b"x")

    def test_dots_are_unstuffed(self) -> None:
        self.assert_reads(b"..\r\n...\r\n.a\r\nb.\r\n.\r\n", b".\r\n..\r\na\r\nb.\r\n")

    def test_nul_and_eight_bit_are_kept(self) -> None:
        self.assert_reads(b"\0\xff\xfe\r\n.\r\n", b"\0\xff\xfe\r\n")

    def test_only_crlf_dot_crlf_ends_data(self) -> None:
        for almost in (b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\n.\r"):
            stream = b"a" + almost + b"MAIL FROM:<x>\r\n.\r\nrest"
            for pieces in ([stream], octets(stream)):
                for normalize in (False, True):
                    message, rest, _ = read_message(pieces, normalize=normalize)
                    self.assertEqual((message.bare_newline, rest), (not normalize, b"rest"), almost)

    def test_bare_newlines_are_normalized(self) -> None:
        for bare in (b"\r", b"\n"):
            self.assert_reads(b"a" + bare + b"b\r\n.\r\n", b"a\r\nb\r\n", normalize=True)
        self.assert_reads(b"\n\r\r\n\r\n.\r\n", b"\r\n" * 4, normalize=True)

    def test_a_dot_after_a_bare_newline_is_not_stuffed(self) -> None:
        for bare in (b"\r", b"\n"):
            stream = b"a" + bare + b"..b" + bare + b".\r\n.\r\n"
            self.assert_reads(stream, b"a\r\n..b\r\n.\r\n", normalize=True)
        self.assert_reads(b"a\r\r\n..b\r\n.\r\n", b"a\r\n\r\n.b\r\n", normalize=True)

    def test_size_counts_the_message_alone(self) -> None:
        stream = b"..345\r\n89\r\n.\r\n"  # Ten octets, after the stuffed dot is gone.
        for pieces in ([stream], octets(stream)):
            self.assertFalse(read_message(pieces, max_size=10)[2].too_large)
            reader = read_message(pieces, max_size=9)[2]
            self.assertTrue(reader.too_large)
            self.assertEqual(reader.size, 10)

    def test_size_counts_what_is_stored(self) -> None:
        for pieces in ([b"a\nb\r\n.\r\n"], octets(b"a\nb\r\n.\r\n")):
            self.assertFalse(read_message(pieces, max_size=6, normalize=True)[2].too_large)
            self.assertTrue(read_message(pieces, max_size=5, normalize=True)[2].too_large)

    def test_size_while_the_message_comes(self) -> None:
        reader = DataReader(Sink(), NO_LIMIT, NO_LIMIT, False)
        self.assertEqual(reader.size, 0)
        reader.feed(b"..")
        self.assertEqual(reader.size, 1)
        reader.feed(b"x" * 100)
        self.assertEqual(reader.size, 101)

    def test_line_length(self) -> None:
        """A stuffed dot does not count; the line end does, but a line may be without."""
        for line in (b"12345678\r\n", b"..2345678\r\n"):
            stream = b"1\r\n" * 4 + line + b"1\r\n" * 4 + b".\r\n"
            for pieces in ([stream], octets(stream)):
                self.assertFalse(read_message(pieces, max_line=10)[2].line_too_long)
                self.assertTrue(read_message(pieces, max_line=9)[2].line_too_long)

    def test_nothing_is_kept_of_a_message_that_is_refused(self) -> None:
        for max_size, max_line in ((100, NO_LIMIT), (NO_LIMIT, 100)):
            sink = Sink()
            reader = DataReader(sink, max_size, max_line, False)
            for _ in range(1000):
                self.assertIdentical(reader.feed(b"x" * 50), None)
            self.assertLessEqual(sink.size, 100)
            self.assertEqual(reader.size, 50_000)
            self.assertEqual(reader.feed(b"\r\n.\r\nNOOP\r\n"), b"NOOP\r\n")

    def test_sink_without_room(self) -> None:
        stream = b"0123\r\n" * 10 + b".\r\nQUIT\r\n"
        message, rest, reader = read_message(octets(stream), room=20)
        assert reader.sink_error is not None
        self.assertEqual(reader.sink_error.errno, errno.ENOSPC)
        self.assertEqual(rest, b"QUIT\r\n")
        self.assertEqual(message.data, b"0123\r\n" * 3 + b"01")
        self.assertEqual(reader.size, 60)

    def test_one_piece_is_not_copied_apart(self) -> None:
        """A message in one piece reaches the sink in one piece."""
        sink = Sink()
        DataReader(sink, NO_LIMIT, NO_LIMIT, False).feed(b"a\r\n" * 100 + b".\r\n")
        self.assertEqual(sink.pieces, [b"a\r\n" * 100])

    @settings(deadline=None, derandomize=True, max_examples=500)
    @given(PARTS)
    def test_like_the_reference(self, parts: list[bytes]) -> None:
        stream = b"".join(parts) + b"\r\n.\r\n"
        self.compare(stream, random.Random(stream))

    def test_like_the_reference_on_random_streams(self) -> None:
        source = random.Random(5321)
        for _ in range(5_000):
            length = source.randrange(1, 60)
            self.compare(bytes(source.choices(b"\r\n.a\0", (4, 4, 4, 2, 1), k=length)), source)

    def compare(self, stream: bytes, source: random.Random) -> None:
        max_line = source.choice((2, 3, 4, 8, NO_LIMIT))
        normalize = source.random() < 0.5
        found = read_data(stream)
        for pieces in ([stream], octets(stream), cut(stream, source)):
            message, rest, _ = read_message(pieces, max_line=max_line, normalize=normalize)
            case = (pieces, max_line, normalize)
            if found is None:
                self.assertIdentical(rest, None, case)
            else:
                expected = expected_result(read_text(found[0], max_line, normalize))
                self.assertEqual((message, rest), (expected, found[1]), case)


def read_chunks(
    chunks: Sequence[Sequence[bytes]],
    *,
    max_size: int = NO_LIMIT,
    max_line: int = NO_LIMIT,
    normalize: bool = False,
    binary: bool = False,
) -> tuple[Message, ChunkReader]:
    """
    Feed a reader.

    :param chunks: the pieces of each.
    """
    sink = Sink()
    reader = ChunkReader(sink, max_size, max_line, normalize, binary)
    for pieces in chunks:
        reader.begin(sum(map(len, pieces)))
        left = sum(map(len, pieces))
        for piece in pieces or [b""]:
            assert reader.feed(piece) == (b"" if (left := left - len(piece)) == 0 else None)
    reader.finish()
    return result(reader, sink), reader


class ChunkReaderTests(SynchronousTestCase):
    def assert_reads(self, stream: bytes, data: bytes, *, binary: bool = False) -> None:
        for chunks in ([[stream]], [octets(stream)], [[octet] for octet in octets(stream)]):
            message, _ = read_chunks(chunks, binary=binary)
            self.assertEqual(message, Message(data))

    def test_message(self) -> None:
        self.assert_reads(b"a\r\nb\r\n", b"a\r\nb\r\n")

    def test_dots_are_only_dots(self) -> None:
        self.assert_reads(b"..\r\n.\r\n...\r\n.", b"..\r\n.\r\n...\r\n.")

    def test_what_follows_a_chunk_is_left(self) -> None:
        sink = Sink()
        reader = ChunkReader(sink, NO_LIMIT, NO_LIMIT, False, False)
        reader.begin(3)
        self.assertEqual(reader.feed(b"abcBDAT 2\r\nde"), b"BDAT 2\r\nde")
        reader.begin(2)
        self.assertEqual(reader.feed(b"d"), None)
        self.assertEqual(reader.feed(b"eNOOP"), b"NOOP")
        self.assertEqual(sink.data, b"abcde")

    def test_empty_chunks(self) -> None:
        reader = ChunkReader(Sink(), NO_LIMIT, NO_LIMIT, False, False)
        reader.begin(0)
        self.assertEqual(reader.feed(b""), b"")
        reader.begin(0)
        self.assertEqual(reader.feed(b"NOOP"), b"NOOP")
        self.assertEqual(read_chunks([[]])[0], Message(b""))
        self.assertEqual(read_chunks([[b"a\r"], [], [b"\n"], []])[0], Message(b"a\r\n"))

    def test_bare_newlines(self) -> None:
        for text in (b"a\rb", b"a\nb", b"\n\r", b"\r\r\n", b"\n"):
            for chunks in ([[text]], [octets(text)], [[octet] for octet in octets(text)]):
                self.assertTrue(read_chunks(chunks)[0].bare_newline, text)
                self.assertEqual(read_chunks(chunks, binary=True)[0], Message(text))

    def test_cr_at_the_end_is_bare(self) -> None:
        reader = ChunkReader(Sink(), NO_LIMIT, NO_LIMIT, False, False)
        reader.begin(2)
        reader.feed(b"a\r")
        self.assertFalse(reader.bare_newline)  # There may be an LF to come.
        reader.finish()
        self.assertTrue(reader.bare_newline)
        self.assertEqual(read_chunks([[b"a\r"]], normalize=True)[0], Message(b"a\r\n"))

    def test_binary_has_no_lines(self) -> None:
        text = b"x" * 30 + b"\r\n\n\r"
        self.assertTrue(read_chunks([[text]], max_line=20)[0].line_too_long)
        for normalize in (False, True):
            found = read_chunks([[text]], max_line=20, normalize=normalize, binary=True)[0]
            self.assertEqual(found, Message(text))

    def test_size(self) -> None:
        for binary in (False, True):
            chunks = [[b"12", b"345"], [b"67890"]]
            self.assertFalse(read_chunks(chunks, max_size=10, binary=binary)[1].too_large)
            reader = read_chunks(chunks, max_size=9, binary=binary)[1]
            self.assertTrue(reader.too_large)
            self.assertEqual(reader.size, 10)

    def test_sink_without_room(self) -> None:
        for binary in (False, True):
            sink = Sink(room=3)
            reader = ChunkReader(sink, NO_LIMIT, NO_LIMIT, False, binary)
            reader.begin(10)
            for piece in (b"12", b"34", b"5"):
                self.assertIdentical(reader.feed(piece), None)
            self.assertEqual(reader.feed(b"67890QUIT"), b"QUIT")
            self.assertIsInstance(reader.sink_error, OSError)
            self.assertEqual(sink.data, b"12")

    def test_nothing_is_kept_of_a_message_that_is_refused(self) -> None:
        sink = Sink()
        reader = ChunkReader(sink, 100, NO_LIMIT, False, False)
        reader.begin(10**20)
        for _ in range(1000):
            self.assertIdentical(reader.feed(b"x" * 50), None)
        self.assertLessEqual(sink.size, 100)
        self.assertEqual(reader.size, 50_000)

    @settings(deadline=None, derandomize=True, max_examples=500)
    @given(PARTS)
    def test_like_the_reference(self, parts: list[bytes]) -> None:
        text = b"".join(parts)
        source = random.Random(text)
        max_line = source.choice((2, 3, 4, 8, NO_LIMIT))
        normalize = source.random() < 0.5
        expected = expected_result(read_text(text, max_line, normalize))
        in_chunks = [cut(chunk, source) for chunk in cut(text, source)]
        for chunks in ([[text]], [octets(text)], in_chunks):
            message, _ = read_chunks(chunks, max_line=max_line, normalize=normalize)
            self.assertEqual(message, expected, (chunks, max_line, normalize))


class ChunkSkipperTests(SynchronousTestCase):
    def test_swallows_its_octets_and_no_more(self) -> None:
        skipper = ChunkSkipper(5)
        self.assertIdentical(skipper.feed(b"QU"), None)
        self.assertEqual(skipper.size, 2)
        self.assertEqual(skipper.feed(b"IT\nNOOP\r\n"), b"NOOP\r\n")
        self.assertEqual(skipper.size, 5)

    def test_empty_chunk(self) -> None:
        self.assertEqual(ChunkSkipper(0).feed(b""), b"")
        self.assertEqual(ChunkSkipper(0).feed(b"NOOP"), b"NOOP")

    def test_any_size(self) -> None:
        skipper = ChunkSkipper(10**20)
        for _ in range(10):
            self.assertIdentical(skipper.feed(b"x" * 1000), None)
        self.assertEqual(skipper.size, 10_000)


class LineBufferTests(SynchronousTestCase):
    def lines(self, *pieces: bytes, limit: int = 20) -> list[bytes | str]:
        """:returns: the lines, and the names of what was raised instead of one."""
        buffer = LineBuffer(limit)
        found: list[bytes | str] = []
        for piece in pieces:
            buffer.feed(piece)
            while True:
                try:
                    line = buffer.line()
                except (BadLine, LineTooLong) as error:
                    found.append(type(error).__name__)
                    continue
                if line is None:
                    break
                found.append(line)
        return found

    def assert_lines(self, stream: bytes, expected: list[bytes | str]) -> None:
        self.assertEqual(self.lines(stream), expected)
        self.assertEqual(self.lines(*octets(stream)), expected)

    def test_lines(self) -> None:
        self.assert_lines(b"NOOP\r\n\r\nRSET\r\nQU", [b"NOOP", b"", b"RSET"])

    def test_bare_newlines_and_nul(self) -> None:
        self.assert_lines(b"a\nb\r\nc\r\n", ["BadLine", b"c"])
        self.assert_lines(b"a\n\n\r\rb\n\r\nc\r\n", ["BadLine", b"c"])
        self.assert_lines(b"a\rb\r\nc\r\n", ["BadLine", b"c"])
        self.assert_lines(b"a\0b\r\nc\r\n", ["BadLine", b"c"])
        self.assert_lines(b"a\r\r\nc\r\n", ["BadLine", b"c"])

    def test_longest_line(self) -> None:
        self.assert_lines(b"x" * 18 + b"\r\n", [b"x" * 18])

    def test_too_long_is_told_once_and_skipped(self) -> None:
        self.assert_lines(b"x" * 19 + b"\r\nNOOP\r\n", ["LineTooLong", b"NOOP"])
        self.assert_lines(b"x" * 500 + b"\r\nNOOP\r\n", ["LineTooLong", b"NOOP"])
        self.assert_lines(b"x" * 500 + b"\nRSET\r\nNOOP\r\n", ["LineTooLong", b"NOOP"])

    def test_input_without_a_line_end_is_not_kept(self) -> None:
        buffer = LineBuffer(20)
        buffer.feed(b"x" * 1000)
        self.assertRaises(LineTooLong, buffer.line)
        for _ in range(100):
            buffer.feed(b"x" * 1000)
            self.assertIdentical(buffer.line(), None)
            self.assertEqual(buffer.take(), b"")

    def test_take(self) -> None:
        buffer = LineBuffer(20)
        buffer.feed(b"DATA\r\nHello")
        self.assertEqual(buffer.line(), b"DATA")
        self.assertEqual(buffer.take(), b"Hello")
        self.assertEqual(buffer.take(), b"")
        buffer.feed(b"QUIT\r\n")
        self.assertEqual(buffer.line(), b"QUIT")

    def test_nothing_is_kept_of_lines_that_were_read(self) -> None:
        """Or a client could fill the memory by commands, and stay."""
        kept = 0

        class Octets(bytes):
            def __init__(self, _: bytes) -> None:
                nonlocal kept
                kept += 1

            def __del__(self) -> None:
                nonlocal kept
                kept -= 1

        for stream in (b"NOOP\r\nRSET\r\n", b"NOOP\r\n\0\r\n", b"\0\n\r\n", b"x" * 30 + b"\r\n"):
            buffer = LineBuffer(20)
            buffer.feed(Octets(stream))
            self.assertEqual(kept, 1)
            while buffer.pending:
                with contextlib.suppress(BadLine, LineTooLong):
                    buffer.line()
            self.assertEqual(kept, 0, stream)

    def test_what_is_pending(self) -> None:
        buffer = LineBuffer(20)
        self.assertFalse(buffer.pending)
        self.assertIdentical(buffer.first(), None)
        buffer.feed(b"NOOP\r\n\x16")
        self.assertEqual(buffer.first(), ord("N"))
        self.assertEqual(buffer.line(), b"NOOP")
        self.assertTrue(buffer.pending)
        self.assertEqual(buffer.first(), 0x16)
        self.assertIdentical(buffer.line(), None)  # The beginning of a line stays.
        buffer.feed(b"\x03")
        self.assertTrue(buffer.pending)
        self.assertEqual(buffer.first(), 0x16)
        self.assertEqual(buffer.take(), b"\x16\x03")
        self.assertFalse(buffer.pending)

    def test_line_that_comes_in_many_pieces(self) -> None:
        """Processor time is linear in its length: a quadratic one takes several seconds."""
        pieces = [b"x" * 16] * 2**16
        buffer = LineBuffer(2**21)
        began = time.process_time()
        for piece in pieces:
            buffer.feed(piece)
            self.assertIdentical(buffer.line(), None)
        self.assertLess(time.process_time() - began, 1.5)
        buffer.feed(b"\r\n")
        self.assertEqual(buffer.line(), b"".join(pieces))

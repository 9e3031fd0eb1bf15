"""Bytes to lines and messages, whatever pieces the network makes of them."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.mail.envelope import Body
from guerrilla_tw.smtp.framing import BadLine, DataReader, LineBuffer, LineTooLong
from tests.smtp.reference import ReadData, read_data

NO_LIMIT = 10**9


def read_in_pieces(pieces: list[bytes], max_size: int = NO_LIMIT) -> tuple[ReadData, DataReader]:
    """Feed a reader until the data ends; the rest is what came after the end, unread pieces too."""
    body = Body()
    reader = DataReader(body, max_size)
    for index, piece in enumerate(pieces):
        rest = reader.feed(piece)
        if rest is not None:
            rest += b"".join(pieces[index + 1 :])
            message = body.data if not (reader.bare_newline or reader.too_large) else b"?"
            return ReadData(message, rest, reader.bare_newline), reader
    return ReadData(), reader


def octets(stream: bytes) -> list[bytes]:
    """Cut a stream into single octets."""
    return [stream[at : at + 1] for at in range(len(stream))]


class DataReaderTests(SynchronousTestCase):
    def assert_reads(self, stream: bytes, message: bytes, rest: bytes = b"") -> None:
        for pieces in ([stream], octets(stream)):
            read, _ = read_in_pieces(pieces)
            self.assertEqual(read, ReadData(message, rest))

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
                read, _ = read_in_pieces(pieces)
                self.assertEqual((read.bare_newline, read.rest), (True, b"rest"), almost)

    def test_size_counts_the_message_alone(self) -> None:
        stream = b"..345\r\n89\r\n.\r\n"  # Ten octets, after the stuffed dot is gone.
        for pieces in ([stream], octets(stream)):
            self.assertFalse(read_in_pieces(pieces, max_size=10)[1].too_large)
            self.assertTrue(read_in_pieces(pieces, max_size=9)[1].too_large)

    def test_nothing_is_kept_of_a_message_that_is_too_large(self) -> None:
        body = Body()
        reader = DataReader(body, 100)
        for _ in range(1000):
            self.assertIdentical(reader.feed(b"x" * 50), None)
        self.assertLessEqual(body.size, 100)
        self.assertEqual(reader.feed(b"\r\n.\r\nNOOP\r\n"), b"NOOP\r\n")

    def test_one_piece_is_not_copied_apart(self) -> None:
        """A message in one piece reaches the sink in one piece."""
        pieces: list[bytes] = []

        class Sink:
            def write(self, piece: bytes) -> None:
                pieces.append(piece)

        DataReader(Sink(), NO_LIMIT).feed(b"a\r\n" * 100 + b".\r\n")
        self.assertEqual(pieces, [b"a\r\n" * 100])

    @settings(deadline=None, derandomize=True, max_examples=500)
    @given(st.lists(st.sampled_from([b"\r", b"\n", b".", b"\r\n", b"\r\n.", b"a"]), max_size=30))
    def test_like_the_reference(self, parts: list[bytes]) -> None:
        stream = b"".join(parts) + b"\r\n.\r\n"
        self.compare(stream, random.Random(stream))

    def test_like_the_reference_on_random_streams(self) -> None:
        source = random.Random(5321)
        for _ in range(5_000):
            length = source.randrange(1, 60)
            self.compare(bytes(source.choices(b"\r\n.a\0", (4, 4, 4, 2, 1), k=length)), source)

    def compare(self, stream: bytes, source: random.Random) -> None:
        expected = read_data(stream)
        cuts = sorted(source.sample(range(len(stream) + 1), min(len(stream), 3)))
        randomly = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
        for pieces in ([stream], octets(stream), randomly):
            read, _ = read_in_pieces(pieces)
            if expected.bare_newline:
                read.message = expected.message
            self.assertEqual(read, expected, pieces)


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

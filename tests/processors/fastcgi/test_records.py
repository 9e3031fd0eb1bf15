"""Records of FastCGI and the answers of CGI programs, on octets alone."""

from __future__ import annotations

import contextlib
import struct
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.processors.fastcgi.records import (
    END_OF_STDIN,
    Answer,
    Beginning,
    FastCGIError,
    Kind,
    Record,
    RecordReader,
    check_end,
    encode_request,
    parse_answer,
    record,
    stream,
)


def padded(kind: int, content: bytes, padding: int = 0) -> bytes:
    """:returns: a record as a server sends it, which may have padding."""
    header = struct.pack(">BBHHBB", 1, kind, 1, len(content), padding, 0)
    return header + content + b"\xff" * padding


def read_all(*pieces: bytes) -> list[Record]:
    reader = RecordReader()
    return [found for piece in pieces for found in reader.feed(piece)]


class WritingTests(SynchronousTestCase):
    def test_record(self) -> None:
        """Section 3.3: version 1, type, request id 1, length, no padding."""
        self.assertEqual(record(Kind.STDIN, b"abc"), b"\x01\x05\x00\x01\x00\x03\x00\x00abc")

    def test_what_is_too_long_for_a_record_is_split(self) -> None:
        data = bytes(range(256)) * 600
        self.assertEqual(
            stream(Kind.STDIN, data),
            padded(5, data[:65535]) + padded(5, data[65535:131070]) + padded(5, data[131070:]),
        )

    def test_what_just_fits_is_one_record(self) -> None:
        """One that is empty after it would end the stream."""
        self.assertEqual(stream(Kind.STDIN, b"x" * 65535), padded(5, b"x" * 65535))

    def test_request(self) -> None:
        """Begin, parameters, their end; input; its end, apart (section 5)."""
        pieces = list(encode_request({"NAME": "value", "LONG": "x" * 128}, [b"one", b"two"]))
        params = b"\x04\x05NAMEvalue" + b"\x04\x80\x00\x00\x80LONG" + b"x" * 128
        self.assertEqual(
            pieces,
            [
                # The role of a responder; the server closes the connection (flags 0).
                padded(1, b"\x00\x01" + bytes(6)) + padded(4, params) + padded(4, b""),
                padded(5, b"one"),
                padded(5, b"two"),
            ],
        )
        self.assertEqual(END_OF_STDIN, padded(5, b""))

    def test_name_of_127_octets_has_a_short_length(self) -> None:
        (first,) = encode_request({"N" * 127: ""}, [])
        self.assertIn(b"\x7f\x00" + b"N" * 127, first)


ANSWER = (
    padded(6, b"Content-type: text/html\r\n\r\n", padding=7)
    + padded(7, b"complaint")
    + padded(6, b"")
    + padded(3, bytes(8), padding=255)
)
RECORDS = [
    Record(Kind.STDOUT, b"Content-type: text/html\r\n\r\n"),
    Record(Kind.STDERR, b"complaint"),
    Record(Kind.STDOUT, b""),
    Record(Kind.END_REQUEST, bytes(8)),
]


class ReadingTests(SynchronousTestCase):
    def test_every_split_in_two(self) -> None:
        for at in range(len(ANSWER) + 1):
            self.assertEqual(read_all(ANSWER[:at], ANSWER[at:]), RECORDS)

    def test_octet_by_octet(self) -> None:
        self.assertEqual(read_all(*(ANSWER[at : at + 1] for at in range(len(ANSWER)))), RECORDS)

    @given(
        st.lists(st.tuples(st.sampled_from((3, 6, 7)), st.binary(max_size=300), st.integers(0, 9))),
        st.lists(st.integers(0, 3000)),
    )
    def test_any_records_in_any_pieces(
        self, sent: list[tuple[int, bytes, int]], cuts: list[int]
    ) -> None:
        data = b"".join(padded(*each) for each in sent)
        places = [0, *sorted(cuts), len(data)]
        pieces = (data[start:end] for start, end in pairwise(places))
        expected = [Record(Kind(kind), content) for kind, content, _ in sent]
        self.assertEqual(read_all(*pieces), expected)

    @given(st.lists(st.binary(max_size=40)))
    def test_any_octets(self, pieces: list[bytes]) -> None:
        """They are records, or an error of ours, and nothing else."""
        with contextlib.suppress(FastCGIError):
            read_all(*pieces)

    def test_what_is_no_answer(self) -> None:
        good = padded(6, b"")
        for name, octets in (
            ("version", b"\x02" + good[1:]),
            ("request id", good[:2] + b"\x00\x02" + good[4:]),
            ("record of the connection", good[:2] + b"\x00\x00" + good[4:]),
            ("type of a request", padded(5, b"")),
            ("unknown type", padded(99, b"")),
            ("HTTP", b"HTTP/1.1 400 Bad Request\r\n"),
        ):
            # At the header, before any content.
            with self.assertRaises(FastCGIError, msg=name):
                read_all(ANSWER, octets[:8])

    def test_records_before_a_malformed_one_count(self) -> None:
        found = []
        with self.assertRaises(FastCGIError):
            for each in RecordReader().feed(padded(6, b"x") + bytes(8)):
                found.append(each)
        self.assertEqual(found, [Record(Kind.STDOUT, b"x")])


class EndTests(SynchronousTestCase):
    def cause(self, content: bytes) -> str:
        with self.assertRaises(FastCGIError) as caught:
            check_end(content)
        return str(caught.exception)

    def test_good(self) -> None:
        check_end(bytes(8))

    def test_exit_status(self) -> None:
        self.assertEqual(
            self.cause(b"\x00\x00\x00\xff" + bytes(4)), "the script ended with status 255"
        )

    def test_request_not_served(self) -> None:
        """Section 5.5."""
        for status, cause in (
            (1, "it cannot serve several requests on a connection"),
            (2, "it is overloaded"),
            (3, "it is no responder"),
            (9, "protocol status 9"),
        ):
            content = bytes((0, 0, 0, 0, status, 0, 0, 0))
            self.assertEqual(self.cause(content), f"the server refuses the request: {cause}")

    def test_malformed(self) -> None:
        for size in (0, 7, 9):
            self.assertEqual(self.cause(bytes(size)), "the end of the request is malformed")


class AnswerTests(SynchronousTestCase):
    def test_text(self) -> None:
        for answer in (
            b"Content-Type: text/plain\r\n\r\nSAVED\r\n\r\nmore",
            b"Content-Type: text/plain\n\nSAVED\r\n\r\nmore",
            b"X-Status: 500\r\nContent-Type: text/plain\r\n\r\nSAVED\r\n\r\nmore",
        ):
            self.assertEqual(parse_answer(answer), Answer(200, b"SAVED\r\n\r\nmore"))

    def test_text_may_be_empty(self) -> None:
        self.assertEqual(parse_answer(b"Content-Type: text/plain\r\n\r\n"), Answer(200, b""))

    def test_status(self) -> None:
        for header in (b"Status: 404 Not Found", b"status:404", b"A: b\r\nSTATUS:\t404\r\nC: d"):
            self.assertEqual(parse_answer(header + b"\r\n\r\nx"), Answer(404, b"x"))

    def test_status_in_the_text_is_text(self) -> None:
        answer = parse_answer(b"A: b\r\n\r\n\r\nStatus: 404")
        self.assertEqual(answer, Answer(200, b"\r\nStatus: 404"))

    def test_malformed(self) -> None:
        for answer in (
            b"",
            b"SAVED",
            b"Content-Type: text/plain\r\nSAVED",
            b"Status: fine\r\n\r\n",
            b"Status:\r\n\r\n",
            b"Status: 2000\r\n\r\n",
            b"Status: 099\r\n\r\n",
        ):
            with self.assertRaises(FastCGIError, msg=repr(answer)):
                parse_answer(answer)


class BeginningTests(SynchronousTestCase):
    def test_the_rest_is_dropped(self) -> None:
        beginning = Beginning(5)
        for piece in (b"", b"abc", b"defg", b"h", b"ijk"):
            beginning.write(piece)
        self.assertEqual(bytes(beginning), b"abcde")

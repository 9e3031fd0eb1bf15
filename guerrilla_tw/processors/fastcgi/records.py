"""
FastCGI 1.0 as octets and values: records, and the answer of a CGI program in them. Pure.

The numbers of sections are those of the FastCGI specification.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from enum import IntEnum
from typing import Final, NamedTuple

# Section 3.3: version, type, request id, length of the content, length of the padding, reserved.
_HEADER: Final = struct.Struct(">BBHHBx")
_VERSION: Final = 1
# A connection has one request, so its id is always the same.
_REQUEST_ID: Final = 1
_LONGEST_CONTENT: Final = 0xFFFF
# Section 5.1: the role of a responder, and no flags: the server closes after its answer.
_RESPONDER: Final = struct.pack(">HB5x", 1, 0)
# Section 5.5: exit status of the program, and whether the request was served.
_END: Final = struct.Struct(">IB3x")
_REQUEST_COMPLETE: Final = 0
_REASONS: Final = {
    1: "it cannot serve several requests on a connection",
    2: "it is overloaded",
    3: "it is no responder",
}
_BLANK_LINE: Final = re.compile(rb"\r?\n\r?\n")
_STATUS: Final = re.compile(rb"^status:[ \t]*([^\r\n]*)", re.IGNORECASE | re.MULTILINE)
_STATUS_CODE: Final = re.compile(rb"([1-9][0-9]{2})(?: |\Z)")


class FastCGIError(Exception):
    """There is no answer that can be used. The text is one line and says why."""


class Kind(IntEnum):
    """The types of records (section 8) that a request and its answer are made of."""

    BEGIN_REQUEST = 1
    END_REQUEST = 3
    PARAMS = 4
    STDIN = 5
    STDOUT = 6
    STDERR = 7


_ANSWERS: Final = frozenset({Kind.END_REQUEST, Kind.STDOUT, Kind.STDERR})


class Record(NamedTuple):
    """A record of an answer, without its padding."""

    kind: Kind
    content: bytes


def record(kind: Kind, content: bytes) -> bytes:
    """
    Make a record.

    :param content: 65,535 octets at most; none ends a stream.
    """
    return _HEADER.pack(_VERSION, kind, _REQUEST_ID, len(content), 0) + content


#: The last record of a request.
END_OF_STDIN: Final = record(Kind.STDIN, b"")


def stream(kind: Kind, data: bytes) -> bytes:
    """
    Make the records that carry a piece of a stream: one, or as many as it needs.

    :param data: not empty, or the stream ends here.
    """
    starts = range(0, len(data), _LONGEST_CONTENT) or (0,)
    return b"".join(record(kind, data[start : start + _LONGEST_CONTENT]) for start in starts)


def encode_request(params: Mapping[str, str], stdin: Iterable[bytes]) -> Iterator[bytes]:
    """
    Give a request piece by piece, as it goes over the wire, up to :data:`END_OF_STDIN`.

    :param params: the CGI variables.
    :param stdin: pieces of what the program reads; none is empty.
    :returns: pieces somewhat larger than those of ``stdin``, so that they need not be in memory
        together.
    """
    pairs = b"".join(_pair(name.encode(), value.encode()) for name, value in params.items())
    yield (
        record(Kind.BEGIN_REQUEST, _RESPONDER)
        + stream(Kind.PARAMS, pairs)
        + record(Kind.PARAMS, b"")
    )
    for piece in stdin:
        yield stream(Kind.STDIN, piece)


def _pair(name: bytes, value: bytes) -> bytes:
    return _length(name) + _length(value) + name + value


def _length(text: bytes) -> bytes:
    """Section 3.4: one octet, or four with the highest bit set."""
    size = len(text)
    return bytes((size,)) if size < 0x80 else struct.pack(">I", size | 0x80000000)


class RecordReader:
    """Cuts an answer into records, the same for every split of its octets."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Record]:
        """
        Give the records that are whole now. At most one is held back.

        :param data: the next octets from the server.
        :raises FastCGIError: they are no record that belongs to an answer.
        """
        buffer = self._buffer
        buffer += data
        start = 0
        while len(buffer) - start >= _HEADER.size:
            version, number, request_id, size, padding = _HEADER.unpack_from(buffer, start)
            if version != _VERSION or request_id != _REQUEST_ID or number not in _ANSWERS:
                raise FastCGIError("what came is not FastCGI, or no answer to the request")
            content = start + _HEADER.size
            end = content + size + padding
            if len(buffer) < end:
                break
            yield Record(Kind(number), bytes(buffer[content : content + size]))
            start = end
        del buffer[:start]


def check_end(content: bytes) -> None:
    """
    Judge the end of a request.

    :param content: of the record of kind ``END_REQUEST``.
    :raises FastCGIError: the program was not run, or failed.
    """
    if len(content) != _END.size:
        raise FastCGIError("the end of the request is malformed")
    exit_status, protocol_status = _END.unpack(content)
    if protocol_status != _REQUEST_COMPLETE:
        reason = _REASONS.get(protocol_status, f"protocol status {protocol_status}")
        raise FastCGIError(f"the server refuses the request: {reason}")
    if exit_status:
        raise FastCGIError(f"the script ended with status {exit_status}")


class Beginning:
    """
    The beginning of a stream; what follows is dropped.

    :param limit: octets to keep.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept = bytearray()

    def write(self, data: bytes) -> None:
        """Append to the stream."""
        self._kept += data[: self._limit - len(self._kept)]

    def __bytes__(self) -> bytes:
        return bytes(self._kept)


class Answer(NamedTuple):
    """
    What a script answered (RFC 3875 section 6).

    :param status: of HTTP, 200 if the script has set none.
    :param text: what follows the header.
    """

    status: int
    text: bytes


def parse_answer(stdout: bytes) -> Answer:
    """
    Read the header that every CGI program writes before its text.

    :param stdout: its beginning is enough.
    :raises FastCGIError: there is no such header.
    """
    end = _BLANK_LINE.search(stdout)
    if end is None:
        raise FastCGIError("the script's answer has no header that ends with an empty line")
    status = _STATUS.search(stdout[: end.start()])
    if status is None:
        return Answer(200, stdout[end.end() :])
    code = _STATUS_CODE.match(status[1])
    if code is None:
        raise FastCGIError("the status in the header of the script's answer is malformed")
    return Answer(int(code[1]), stdout[end.end() :])

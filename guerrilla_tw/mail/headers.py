"""
The header of a message (RFC 5322), and the encoded words within it (RFC 2047).

Not by the standard library's email package: that costs a third of a small message's whole way, and
takes time that is quadratic in the length of a hostile value.
"""

from __future__ import annotations

import binascii
import encodings
import pkgutil
import re
from collections.abc import Iterator
from encodings.aliases import aliases

#: Octets of a header that are looked at, at most.
MAX_HEADER_BLOCK = 256 * 1024
# Decoding costs up to a third of a microsecond for each character.
_MAX_DECODED = 16 * 1024

_NAME = rb"([!-9;-~]+)[ \t]*:"
_VALUE = rb"(.*(?:\n[ \t].*)*)"
_FIELD = re.compile(rb"^" + _NAME + _VALUE, re.MULTILINE)
# Without MULTILINE, which looks at each octet.
_SUBJECT = re.compile(rb"\nsubject[ \t]*:" + _VALUE, re.IGNORECASE)
# A message from an mbox file may still have its separator line in front.
_FIRST_LINE = re.compile(rb"(?:>?From |" + _NAME + rb")")
_EMPTY_LINE = re.compile(rb"\n\r?\n")
_LINE_END = re.compile(rb"\r?\n")

# Everything in it stops at the next "?", so each octet is looked at a bounded number of times. A
# charset may be followed by a language (RFC 2231 section 5).
_WORD = re.compile(r"=\?([^\s?*]{1,40})(?:\*[^\s?]{0,40})?\?([bBqQ])\?([^?]*)\?=")
_BLANKS = " \t\r\n"
_BASE64 = re.compile(r"[A-Za-z0-9+/]*")
_UNWANTED = re.compile("[\0\ud800-\udfff]")
_LINE_BREAK = re.compile(r"[\r\n]+")

# No charsets: Python's own notations, of which some take quadratic time or yield lone surrogates.
_NOTATIONS = frozenset({"idna", "punycode", "raw_unicode_escape", "undefined", "unicode_escape"})
# Python remembers for ever each unknown name that it was asked for, and searches the disk for it:
# only names in here reach it.
_CHARSETS = (
    frozenset(module.name for module in pkgutil.iter_modules(encodings.__path__))
    | frozenset(aliases)
) - _NOTATIONS


class Headers:
    """
    The header fields of a message, parsed when the first of them is asked for.

    Field names compare in any case. A line that is no header field is skipped. Values are unfolded
    and without surrounding blanks; octets above 127 are UTF-8 where they are valid as such,
    otherwise Latin-1. No value holds a line break, a NUL or a lone surrogate.

    :param block: the octets of the header, see :func:`header_block`.
    """

    __slots__ = ("_block", "_fields")

    def __init__(self, block: bytes = b"") -> None:
        self._block = block
        self._fields: tuple[list[str], dict[str, list[bytes]]] | None = None

    def get(self, name: str) -> str | None:
        """
        Give the value of the first field of this name, its encoded words decoded.

        :param name: the field name, in any case.
        :returns: the value, or None if there is no such field.
        """
        raw = self.get_raw(name)
        return None if raw is None else decode_words(raw)

    def get_raw(self, name: str) -> str | None:
        """
        Give the value of the first field of this name, its encoded words as they came.

        :param name: the field name, in any case.
        :returns: the value, or None if there is no such field.
        """
        values = self._parsed()[1].get(name.lower())
        return None if values is None else _unfolded(values[0])

    def get_all(self, name: str) -> list[str]:
        """
        Give the values of all fields of this name in order, their encoded words decoded.

        :param name: the field name, in any case.
        """
        return [decode_words(_unfolded(value)) for value in self._parsed()[1].get(name.lower(), ())]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._parsed()[1]

    def __len__(self) -> int:
        return len(self._parsed()[0])

    def __iter__(self) -> Iterator[str]:
        return iter(self._parsed()[0])

    def _parsed(self) -> tuple[list[str], dict[str, list[bytes]]]:
        """Give the names as they came in order, and the values by lower-case name."""
        if self._fields is None:
            names: list[str] = []
            values: dict[str, list[bytes]] = {}
            for octets, value in _FIELD.findall(self._block):
                name = octets.decode("ascii")
                names.append(name)
                values.setdefault(name.lower(), []).append(value)
            # One assignment: two threads may do this at once.
            self._fields = names, values
        return self._fields


def find_subject(block: bytes) -> str:
    """
    Find the subject, and not all fields for its sake: it is asked for of each message.

    :param block: as for :class:`Headers`.
    :returns: what :meth:`Headers.get` gives; empty if there is no such field.
    """
    field = _SUBJECT.search(b"\n" + block)
    return "" if field is None else decode_words(_unfolded(field[1]))


def header_block(data: bytes) -> bytes:
    """
    Cut the header off a message.

    :param data: the message, header and body.
    :returns: the octets before the first empty line; all if there is no empty line; none if the
        first line is no header field. At most the whole lines of the first 256 KiB.
    """
    if _FIRST_LINE.match(data, 0, MAX_HEADER_BLOCK) is None:
        return b""
    empty_line = _EMPTY_LINE.search(data, 0, MAX_HEADER_BLOCK)
    if empty_line is not None:
        return data[: empty_line.start() + 1]
    if len(data) <= MAX_HEADER_BLOCK:
        return data
    return data[: data.rfind(b"\n", 0, MAX_HEADER_BLOCK) + 1]


def decode_words(text: str) -> str:
    """
    Decode the encoded words of an unfolded header value (RFC 2047).

    Blanks between two words are dropped (section 6.2), and adjacent words of one charset and
    encoding are decoded together, since many senders split a character over two of them. Octets
    that their charset does not admit become U+FFFD, and so do NUL and lone surrogates; a line
    break becomes a space. An unknown charset is read as ASCII. Only the first 16 KiB are decoded.

    :param text: the value, from :meth:`Headers.get_raw`.
    :returns: the value decoded. A word with broken base64 stays as it is.
    """
    if "=?" not in text:
        return text
    pieces: list[str] = []
    run: list[bytes] = []
    run_kind = ("", "")
    end = 0
    for word in _WORD.finditer(text, 0, _MAX_DECODED):
        kind = (word[1].lower(), word[2].lower())
        octets = _word_octets(kind[1], word[3])
        if octets is None:
            continue
        gap = text[end : word.start()]
        adjacent = bool(run) and not gap.strip(_BLANKS)
        if not adjacent or kind != run_kind:
            pieces.append(_decode(b"".join(run), run_kind[0]))
            run, run_kind = [], kind
        if not adjacent:
            pieces.append(gap)
        run.append(octets)
        end = word.end()
    pieces.append(_decode(b"".join(run), run_kind[0]))
    pieces.append(text[end:])
    return "".join(pieces)


def _word_octets(encoding: str, payload: str) -> bytes | None:
    """
    Undo the encoding of one word; None if it is broken. Blanks and padding are not insisted on.

    :param encoding: "b" or "q".
    """
    if encoding == "q":
        return binascii.a2b_qp(payload.encode("utf-8", "replace"), header=True)
    payload = "".join(payload.split()).rstrip("=")
    if _BASE64.fullmatch(payload) is None or len(payload) % 4 == 1:
        return None
    return binascii.a2b_base64(payload + "=" * (-len(payload) % 4))


def _decode(octets: bytes, charset: str) -> str:
    if not octets:
        return ""
    codec = encodings.normalize_encoding(charset).lower()
    try:
        text = octets.decode(codec if codec in _CHARSETS else "ascii", "replace")
    except (LookupError, ValueError):  # a codec that is not for text, or not for this platform
        text = octets.decode("ascii", "replace")
    return _LINE_BREAK.sub(" ", _UNWANTED.sub("\ufffd", text))


def _unfolded(value: bytes) -> str:
    if b"\n" in value:
        value = _LINE_END.sub(b"", value)
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = value.decode("latin-1")
    return text.strip(_BLANKS).replace("\r", " ").replace("\0", "\ufffd")

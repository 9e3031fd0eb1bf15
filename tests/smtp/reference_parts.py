"""
Parts of the reference that say nothing of a conversation: messages and the grammar of a line.

Slow, and plain enough to be right at sight.
"""

from __future__ import annotations

from dataclasses import dataclass

_NAME_CHARACTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:[]-"


class Refused(Exception):
    """A command is answered with no. Its text is reply code and enhanced code."""


@dataclass
class Message:
    """
    What is to be made of the octets of a message.

    :param data: as it is to be stored.
    :param bare_newline: whether it holds a CR or LF outside of CR LF.
    :param line_too_long: whether a line of it is beyond the limit.
    """

    data: bytes
    bare_newline: bool = False
    line_too_long: bool = False


def normalized(text: bytes) -> bytes:
    """:returns: the text with CR LF for each bare CR and for each bare LF."""
    lines = [
        part for line in text.split(b"\r\n") for part in line.replace(b"\r", b"\n").split(b"\n")
    ]
    return b"\r\n".join(lines)


def read_text(text: bytes, max_line: int, normalize: bool) -> Message:
    """
    Judge a message that is made of lines (RFC 5321 sections 2.3.8 and 4.5.3.1.6).

    :param text: its octets, without stuffed dots.
    :param max_line: octets of a line at most, line end included.
    :param normalize: whether bare newlines are mended, and no fault.
    """
    if normalize:
        text = normalized(text)
    *lines, rest = text.split(b"\r\n")
    return Message(
        text,
        any(b"\r" in line or b"\n" in line for line in [*lines, rest]),
        any(len(line) + 2 > max_line for line in lines) or len(rest) > max_line,
    )


def read_data(stream: bytes) -> tuple[bytes, bytes] | None:
    """
    Read the data of one message, line by line (RFC 5321 section 4.5.2).

    :param stream: what follows the reply to DATA.
    :returns: the message without stuffed dots, and what follows it; None if its end has not come.
    """
    lines = stream.split(b"\r\n")
    if b"." not in lines[:-1]:
        return None
    end = lines.index(b".")
    message = b"".join((line[1:] if line[:1] == b"." else line) + b"\r\n" for line in lines[:end])
    return message, b"\r\n".join(lines[end + 1 :])


def is_header_field(line: bytes) -> bool:
    """:returns: whether a line begins like one of RFC 5322 section 2.2: a name and a colon."""
    name, colon, _ = line.partition(b":")
    return colon == b":" and name != b"" and all(33 <= octet <= 126 for octet in name)


def is_host_name(name: bytes) -> bool:
    """:returns: whether a client may name itself so."""
    return 1 <= len(name) <= 255 and all(octet in _NAME_CHARACTERS for octet in name)


def is_parameter(word: bytes) -> bool:
    """RFC 5321 section 4.1.2: esmtp-param."""
    keyword, equals, value = word.partition(b"=")
    return (
        keyword[:1].isalnum()
        and keyword.replace(b"-", b"x").isalnum()
        and (bool(value) or not equals)
        and all(33 <= octet <= 126 and octet != ord("=") for octet in value)
    )


def mail_parameters(rest: bytes) -> dict[bytes, bytes]:
    """
    Parse what follows the path of MAIL (RFC 1870, RFC 6152, RFC 3030, RFC 6531).

    :returns: keywords in upper case, and their values; empty for those without.
    :raises Refused: malformed, unknown, or twice.
    """
    found: dict[bytes, bytes] = {}
    for word in rest.split(b" "):
        if not word:
            continue
        keyword, _, value = word.upper().partition(b"=")
        if not is_parameter(word):
            raise Refused("501 5.5.4")
        if keyword not in (b"SIZE", b"BODY", b"SMTPUTF8"):
            raise Refused("555 5.5.4")
        fits = {
            b"SIZE": value.isdigit() and len(value) <= 20,
            b"BODY": value in (b"7BIT", b"8BITMIME", b"BINARYMIME"),
            b"SMTPUTF8": word.upper() == keyword,
        }
        if not fits[keyword] or keyword in found:
            raise Refused("501 5.5.4")
        found[keyword] = value
    return found

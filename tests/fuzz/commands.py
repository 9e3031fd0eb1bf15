"""
The verbs and parameters of command lines.

An input: settings, then a line without its end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from guerrilla_tw.smtp.commands import (
    CommandError,
    parse_bdat,
    parse_host_name,
    parse_mail,
    parse_rcpt,
    refuse_argument,
    split_command,
)
from tests.fuzz.targets import check_replies

_NO_LINE: Final = b"\r\n\0"
_MAX_SIZE: Final = 1000

MAX_LENGTH: Final = 2048
TOKENS: Final = (
    b"EHLO ",
    b"MAIL FROM:<",
    b"RCPT TO:<",
    b"BDAT ",
    b" LAST",
    b"> SIZE=",
    b" BODY=BINARYMIME",
    b" BODY=8BITMIME",
    b" SMTPUTF8",
    b" RET=HDRS",
    b"[IPv6:::1]",
    b"\xc3\xa9",
    b"postmaster",
)
_LINES: Final = (
    b"EHLO mx.example.com",
    b"HELO [192.0.2.1] more",
    b"NOOP\tx",
    b"MAIL FROM:<a@example.com> SIZE=100 BODY=8BITMIME SMTPUTF8",
    b"MAIL FROM:<a@example.com> SIZE=99999999999999999999 BODY=BINARYMIME",
    b"MAIL FROM: <\xc3\xa9@\xc3\xa9.example> SMTPUTF8",
    b"MAIL FROM:<> AUTH=<> SIZE=1 SIZE=1",
    b'RCPT TO:<"a b\\"c"@[IPv6:2001:db8::1]>',
    b"RCPT TO:<@a.example,@b.example:c@example.com> NOTIFY=NEVER",
    b"RCPT TO:<postmaster>",
    b"BDAT 100 LAST",
    b"BDAT 99999999999999999999999",
    b"QUIT now",
)
SEEDS: Final = [bytes([utf8]) + line for utf8 in (0, 1) for line in _LINES]


def check(data: bytes) -> None:
    """Take a line for each of the commands."""
    utf8 = bool(data[:1] > b"\x7f" or data[:1] == b"\x01")
    verb, argument = split_command(data[1:].translate(None, _NO_LINE))
    assert b" " not in verb and verb == verb.upper()
    assert argument == argument.strip(b" \t")
    for parse in (_check_mail, _check_host_name, _check_chunk, refuse_argument):
        _check_refusal(parse, argument)
    _check_refusal(lambda argument: _check_rcpt(argument, utf8), argument)


def _check_refusal(parse: Callable[[bytes], None], argument: bytes) -> None:
    try:
        parse(argument)
    except CommandError as error:
        check_replies(error.reply)
        assert error.reply[:1] == b"5" or error.reply[:3] == b"452"


def _check_mail(argument: bytes) -> None:
    mail = parse_mail(argument, _MAX_SIZE)
    assert 0 <= mail.size <= _MAX_SIZE
    assert mail.utf8 or argument.isascii()
    keywords = [keyword for keyword, _ in mail.address.params]
    assert len(keywords) == len(set(keywords))
    assert all(keyword == keyword.upper() for keyword in keywords)
    assert mail.utf8 == ("SMTPUTF8" in keywords)


def _check_rcpt(argument: bytes, utf8: bool) -> None:
    address = parse_rcpt(argument, utf8)
    assert not address.null_path and not address.params
    assert address.host or address.user.lower() == "postmaster"
    assert utf8 or address.is_ascii


def _check_host_name(argument: bytes) -> None:
    name = parse_host_name(argument)
    assert 0 < len(name) <= 255
    assert name.isascii() and name.isprintable() and " " not in name


def _check_chunk(argument: bytes) -> None:
    size, last = parse_bdat(argument)
    assert size >= 0
    assert last == argument.upper().endswith(b"LAST")

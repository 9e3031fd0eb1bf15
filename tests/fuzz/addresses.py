"""
Paths of SMTP, mailboxes of header fields, and the labels of domains.

An input is a path, a mailbox and a domain at once. Some, chosen by their checksum, are taken many
times over: what takes more than linear time is slow only where there is much of it.
"""

from __future__ import annotations

import unicodedata
import zlib
from typing import Final

from guerrilla_tw.mail.address import (
    Address,
    AddressError,
    parse_forward_path,
    parse_mailbox,
    parse_reverse_path,
)
from guerrilla_tw.mail.domains import to_a_labels

# Nothing of these gets into a log, a header or a terminal.
_UNFIT: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})

_REPEATED: Final = 1000
_LONGEST: Final = 3000

MAX_LENGTH: Final = 300
TOKENS: Final = (
    b"<",
    b">",
    b"@",
    b'"',
    b'\\"',
    b"\\\\",
    b"[IPv6:",
    b"::ffff:192.0.2.1]",
    b"[192.0.2.1]",
    b"postmaster",
    b"@a.example:",
    b"xn--",
    b"\xc3\xa9",
    b"\xe2\x80\x8d",
    b"\xe3\x8e\xa2",
    b"\xef\xb7\xba",
    b"\xe2\x80\xae",
    b"=?utf-8?q?",
    b"?=",
)
SEEDS: Final = (
    b"<>",
    b"<postmaster>",
    b" <Postmaster> X=Y",
    b"<a.b+c@example.com> SIZE=1",
    b"a@example.com",
    b'<"a b"@example.com>',
    b'<"a\\"b\\\\"@example.com>',
    b'<""@example.com>',
    b"<@a.example,@b.example:c@d.example>",
    b"<a@[192.0.2.01]>",
    b"<a@[IPv6:2001:DB8::1]>",
    b"<a@[IPv6:::ffff:192.0.2.1]>",
    b"<a@[IPv6:1:2:3:4:5:6:7:8]>",
    b"<\xc3\xa9@b\xc3\xbccher.example>",
    b"<a@xn--bcher-kva.example>",
    b"<a@\xef\xb7\xba.example>",
    b"<a@\xe3\x8e\xa2.\xe2\x80\x8d.example>",
    b"<" + b"a" * 64 + b"@" + b"b" * 63 + b"." + b"c" * 63 + b"." + b"d" * 61 + b">",
    b"Jo <jo@example.com>, other@example.com",
    b'"a, b" (x (y)) <"q s"@[192.0.2.1]>',
    b"=?utf-8?q?a=40b=2C?= <c@example.com>",
    b"group: a@example.com, b@example.com;",
)


def check(data: bytes) -> None:
    """Parse it in every way; what is an address must be the same once it is written and read."""
    if zlib.crc32(data) % _REPEATED == 0 and data:
        data *= _LONGEST // len(data) + 1
    for parse in (parse_reverse_path, parse_forward_path):
        try:
            address, rest = parse(data)
        except AddressError as error:
            assert str(error).isascii() and str(error).isprintable()
            continue
        assert data.endswith(rest) and rest[:1] not in (b" ", b"\t")
        _check_address(address)
        again, rest = parse(b"<" + str(address).encode() + b">")
        assert again == address and not rest, (address, again)
    _check_mailbox(data)
    _check_domain(data)


def _check_address(address: Address) -> None:
    for text in (str(address), address.user, address.host, address.domain):
        assert not any(unicodedata.category(character) in _UNFIT for character in text)
    assert address.ascii_host.isascii()
    assert len(address.ascii_host) <= 255
    assert address.is_ascii == str(address).isascii()
    assert (address.ip is None) == (not address.domain.startswith("["))


def _check_mailbox(data: bytes) -> None:
    address = parse_mailbox(data.decode("utf-8", "surrogateescape"))
    if address is not None:
        _check_address(address)
        again, _ = parse_forward_path(b"<" + str(address).encode() + b">")
        assert str(again) == str(address)


def _check_domain(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    try:
        labels = to_a_labels(text)
    except ValueError as error:
        assert str(error).isascii() and str(error).isprintable()
    else:
        assert labels.isascii()
        assert to_a_labels(labels) == labels

"""
The PROXY header, and XCLIENT.

An input: four lengths of pieces, then the octets.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Final

from guerrilla_tw.smtp.commands import CommandError
from guerrilla_tw.smtp.proxy import ProxyHeaderError, ProxyHeaderReader, TrustedProxies
from guerrilla_tw.smtp.xclient import parse_xclient
from tests.fuzz.targets import check_replies, pieces

_CUTS: Final = 4
_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"

MAX_LENGTH: Final = 2048
TOKENS: Final = (
    b"PROXY TCP4 ",
    b"PROXY TCP6 ",
    b"PROXY UNKNOWN",
    b" 65535 25\r\n",
    _SIGNATURE + b"\x21\x11\0\x0c",
    _SIGNATURE + b"\x21\x21\0\x24",
    _SIGNATURE + b"\x20\0\0\0",
    b"ADDR=",
    b"NAME=",
    b"PORT=",
    b"HELO=",
    b"PROTO=ESMTP",
    b"[UNAVAILABLE]",
    b"[TEMPUNAVAIL]",
    b"IPV6:",
    b"+0D+0A",
)
_STREAMS: Final = (
    b"PROXY TCP4 192.0.2.1 192.0.2.2 40000 25\r\nEHLO x\r\n",
    b"PROXY TCP6 2001:db8::1 ::ffff:192.0.2.2 40000 25\r\nEHLO x\r\n",
    b"PROXY UNKNOWN\r\nEHLO x\r\n",
    b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 0 65536\r\n",
    b"PROXY UNKNOWN " + b"x" * 100 + b"\r\n",
    _SIGNATURE + b"\x21\x11\0\x0c\xc0\0\2\1\xc0\0\2\2\x9c\x40\0\x19EHLO x\r\n",
    _SIGNATURE + b"\x21\x21\0\x28" + bytes(range(36)) + b"\4\0\1xEHLO x\r\n",
    _SIGNATURE + b"\x21\x21\0\x24" + b"\0" * 10 + b"\xff\xff\xc0\0\2\1" + b"\0" * 20,
    _SIGNATURE + b"\x20\0\0\0EHLO x\r\n",
    _SIGNATURE + b"\x20\x31\0\7abcdefgEHLO x\r\n",
    _SIGNATURE + b"\x21\x31\0\xd8" + b"u" * 216 + b"QUIT\r\n",
    b"ADDR=192.0.2.1 PORT=40000 NAME=mail.example HELO=x PROTO=ESMTP",
    b"addr=IPV6:2001:db8::1 name=[UNAVAILABLE] login=x",
    b"ADDR=IPV6:::ffff:192.0.2.1 HELO=[192.0.2.1]",
    b"NAME=a+2Eb HELO=+0D+0Ax PORT=[TEMPUNAVAIL]",
    b"DESTADDR=127.0.0.1 DESTPORT=25",
)
SEEDS: Final = [cuts + stream for cuts in (b"\0" * 4, b"\0\7\1\x20") for stream in _STREAMS]


def check(data: bytes) -> None:
    """Read it as a header, whole and in pieces, and as the argument of XCLIENT."""
    cuts, stream = data[:_CUTS], data[_CUTS:]
    whole = _read(stream, b"")
    assert _read(stream, cuts) == whole
    _check_xclient(stream)


def _read(stream: bytes, cuts: bytes) -> tuple[str | None, bytes | None] | None:
    """:returns: the client's address and what follows the header; None for no header."""
    reader = ProxyHeaderReader()
    rest = None
    try:
        for piece in pieces(stream, cuts):
            rest = reader.feed(piece) if rest is None else rest + piece
    except ProxyHeaderError as error:
        assert str(error).isascii() and str(error).isprintable()
        return None
    if reader.source is not None:
        _check_ip(reader.source)
    return (None if rest is None else reader.source), rest


def _check_ip(ip: str) -> None:
    assert str(ip_address(ip)) == ip
    assert "%" not in ip
    assert not TrustedProxies(["192.0.2.0/24"]).trusts(ip) or ip.startswith("192.0.2.")


def _check_xclient(argument: bytes) -> None:
    try:
        client = parse_xclient(argument)
    except CommandError as error:
        check_replies(error.reply)
        assert error.reply[:3] == b"501"
        return
    if client.ip:
        _check_ip(client.ip)
    assert client.port is None or 0 <= client.port <= 65535
    for name in (client.name, client.helo):
        assert name is None or (name.isascii() and name.isprintable() and " " not in name)

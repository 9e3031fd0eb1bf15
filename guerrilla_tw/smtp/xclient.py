"""
XCLIENT, by which a proxy that speaks SMTP tells whom it speaks for. Pure.

As Postfix describes it in its ``XCLIENT_README``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import msgspec

from guerrilla_tw.smtp import replies
from guerrilla_tw.smtp.commands import CommandError, parse_host_name
from guerrilla_tw.smtp.proxy import unmapped

_ATTRIBUTE = re.compile(rb"([A-Za-z]+)=([!-~]+)")
# RFC 3461 section 4: a character that stands for itself, or "+" and two digits.
_XTEXT = re.compile(rb"(?:[!-*,-<>-~]|\+[0-9A-F]{2})+")
_HEXCHAR = re.compile(rb"\+(..)")
_PRINTABLE = re.compile(rb"[!-~]+")
_UNAVAILABLE = (b"[UNAVAILABLE]", b"[TEMPUNAVAIL]")
_IPV6_TAG = b"IPV6:"
_PORT = re.compile(rb"[0-9]{1,5}")
_HIGHEST_PORT = 65535
_PROTOCOLS = {b"SMTP": False, b"ESMTP": True}


class XClient(msgspec.Struct, frozen=True):
    """
    What a proxy says of its client. None is what it does not speak of.

    :param ip: the client's address in its usual form; empty if the proxy does not know it.
    :param name: the client's host name by reverse lookup; empty if there is none.
    :param port: the client's port; 0 if the proxy does not know it.
    :param helo: what the client called itself; empty if the proxy does not know it.
    :param extended: whether the client said EHLO, and not HELO.
    """

    ip: str | None = None
    name: str | None = None
    port: int | None = None
    helo: str | None = None
    extended: bool | None = None


def parse_xclient(argument: bytes) -> XClient:
    """
    Parse the argument of XCLIENT.

    LOGIN, DESTADDR and DESTPORT, which newer versions of Postfix and nginx know, are ignored.

    :raises CommandError: there are no attributes, or one is malformed, unknown or given twice.
    """
    attributes: dict[str, Any] = {}
    for word in argument.split(b" "):
        if not word:
            continue
        match = _ATTRIBUTE.fullmatch(word)
        if match is None:
            raise _refusal("malformed attribute")
        name = match[1].decode("ascii").upper()
        if name not in _ATTRIBUTES:
            raise _refusal("unknown attribute")
        if name in attributes:
            raise _refusal(f"attribute {name} given twice")
        try:
            attributes[name] = _ATTRIBUTES[name](match[2])
        except (ValueError, CommandError):
            raise _refusal(f"bad value for {name}") from None
    if not attributes:
        raise _refusal("syntax: XCLIENT attribute=value")
    return XClient(
        ip=attributes.get("ADDR"),
        name=attributes.get("NAME"),
        port=attributes.get("PORT"),
        helo=attributes.get("HELO"),
        extended=attributes.get("PROTO"),
    )


def _refusal(text: str) -> CommandError:
    return CommandError(replies.reply(501, f"5.5.4 {text}"))


def _decode(xtext: bytes) -> bytes:
    """
    :returns: the value, empty if the proxy has none.
    :raises ValueError: bad xtext, or it hides what is no printable ASCII.
    """
    if not _XTEXT.fullmatch(xtext):
        raise ValueError("bad xtext")
    value = _HEXCHAR.sub(lambda match: bytes.fromhex(match[1].decode("ascii")), xtext)
    if not _PRINTABLE.fullmatch(value):
        raise ValueError("not printable")
    return b"" if value.upper() in _UNAVAILABLE else value


def _host_name(xtext: bytes) -> str:
    value = _decode(xtext)
    return parse_host_name(value) if value else ""


def _ip(xtext: bytes) -> str:
    value = _decode(xtext)
    if not value:
        return ""
    if value[: len(_IPV6_TAG)].upper() != _IPV6_TAG:
        return str(IPv4Address(value.decode("ascii")))
    if b"%" in value:
        raise ValueError("a zone of another machine means nothing here")
    return str(unmapped(IPv6Address(value[len(_IPV6_TAG) :].decode("ascii"))))


def _port(xtext: bytes) -> int:
    value = _decode(xtext)
    if not value:
        return 0
    if not _PORT.fullmatch(value) or int(value) > _HIGHEST_PORT:
        raise ValueError("not a port")
    return int(value)


def _extended(xtext: bytes) -> bool:
    try:
        return _PROTOCOLS[_decode(xtext).upper()]
    except KeyError:
        raise ValueError("not a protocol") from None


def _login(value: bytes) -> bytes:
    """Any value will do: there are versions of nginx that send it as the user wrote it."""
    return value


_ATTRIBUTES: dict[str, Callable[[bytes], object]] = {
    "ADDR": _ip,
    "DESTADDR": _ip,
    "DESTPORT": _port,
    "HELO": _host_name,
    "LOGIN": _login,
    "NAME": _host_name,
    "PORT": _port,
    "PROTO": _extended,
}

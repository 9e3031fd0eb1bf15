"""
The PROXY protocol, by which a proxy tells whom it speaks for, and whom that is believed of. Pure.

The format is HAProxy's, versions 1 and 2: the sections below are of its ``proxy-protocol.txt``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import NoReturn

# Section 2.1: a line, its end included, and what may come before its end.
_LONGEST_LINE = 107
_CRLF = b"\r\n"
_KEYWORDS = (b"PROXY TCP4 ", b"PROXY TCP6 ", b"PROXY UNKNOWN ", b"PROXY UNKNOWN\r")
_LINE_SO_FAR = re.compile(rb"PROXY (?:TCP4 [0-9. ]*|TCP6 [0-9A-Fa-f:. ]*|UNKNOWN(?: [^\r\n]*)?)\r?")
_PORT = re.compile(rb"0|[1-9][0-9]{0,4}")
_HIGHEST_PORT = 65535

# Section 2.2: signature, version and command, family and transport, length.
_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_FIXED_PART = 16
_LOCAL = 0x20
_PROXY = 0x21
_TCP4 = 0x11
_TCP6 = 0x21
# By family and transport: octets of the addresses and ports, which all must be there. Those of
# unknown (0x00) and UNIX (0x31) connections do not tell who the client is.
_ADDRESSES = {0x00: 0, _TCP4: 12, _TCP6: 36, 0x31: 216}
# The client's address stands first.
_SOURCE = {_TCP4: 4, _TCP6: 16}


class ProxyHeaderError(ValueError):
    """What is no PROXY header. The message is fit for a log: no client bytes in it."""


class ProxyHeaderReader:
    """
    The header at the beginning of one connection, whatever pieces the network makes of it.

    :ivar source: once the header has ended: the client's IP address in its usual form, or None
        when the proxy speaks for itself (a health check) or does not know the client.
    """

    __slots__ = ("_held", "_to_skip", "source")

    def __init__(self) -> None:
        self.source: str | None = None
        self._held = b""
        # What is left of a header of version 2 once nothing more of it is needed.
        self._to_skip: int | None = None

    def feed(self, data: bytes) -> bytes | None:
        """
        Add what came from the network.

        :returns: None while the header goes on; what came after its end, once it has ended.
        :raises ProxyHeaderError: at the first octet that cannot be one of a header.
        """
        if self._to_skip is not None:
            return self._skip(data)
        self._held += data
        if self._held.startswith(b"P"):
            return self._read_line(self._held)
        return self._read_block(self._held)

    def _read_line(self, held: bytes) -> bytes | None:
        end = held.find(_CRLF, 0, _LONGEST_LINE)
        so_far = held[: end + 1 if end >= 0 else _LONGEST_LINE]
        if end < 0 and any(keyword.startswith(so_far) for keyword in _KEYWORDS):
            return None
        if not _LINE_SO_FAR.fullmatch(so_far):
            raise ProxyHeaderError("no PROXY header")
        if end >= 0:
            self.source = _source_of_line(held[:end])
            return held[end + len(_CRLF) :]
        if len(so_far) == _LONGEST_LINE:
            raise ProxyHeaderError("PROXY line too long")
        return None

    def _read_block(self, held: bytes) -> bytes | None:
        beginning = held[: len(_SIGNATURE)]
        if not _SIGNATURE.startswith(beginning):
            raise ProxyHeaderError("no PROXY header")
        command, family = held[12:13], held[13:14]
        if command and command[0] not in (_LOCAL, _PROXY):
            raise ProxyHeaderError("unknown version or command in a PROXY header")
        # Of a LOCAL header even the family is to be ignored.
        is_local = command == bytes([_LOCAL])
        if family and not is_local and family[0] not in _ADDRESSES:
            raise ProxyHeaderError("unknown address family or transport in a PROXY header")
        if len(held) < _FIXED_PART:
            return None
        length = int.from_bytes(held[14:_FIXED_PART], "big")
        if is_local:
            return self._skip_after(_FIXED_PART, length)
        if length < _ADDRESSES[family[0]]:
            raise ProxyHeaderError("PROXY header too short for its addresses")
        source_length = _SOURCE.get(family[0], 0)
        source = held[_FIXED_PART : _FIXED_PART + source_length]
        if len(source) < source_length:
            return None
        if source:
            self.source = str(unmapped(ip_address(source)))
        return self._skip_after(_FIXED_PART + source_length, length - source_length)

    def _skip_after(self, end: int, length: int) -> bytes | None:
        """:param length: octets of the header after ``end``."""
        rest = self._held[end:]
        self._held = b""
        self._to_skip = length
        return self._skip(rest)

    def _skip(self, data: bytes) -> bytes | None:
        assert self._to_skip is not None
        if len(data) < self._to_skip:
            self._to_skip -= len(data)
            return None
        return data[self._to_skip :]


class TrustedProxies:
    """
    Whom a word about another's address is believed of (``trusted_proxies``).

    :param networks: addresses, and networks such as ``192.0.2.0/24`` and ``2001:db8::/32``.
    :raises ValueError: one of them is neither. The text names it.
    """

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks = [_network(text) for text in networks]

    def trusts(self, ip: str) -> bool:
        """
        :param ip: the address of a peer; empty for a peer on a UNIX socket, whose file has
            permissions to guard it.
        :returns: whether the peer is believed.
        """
        if not ip:
            return True
        address = unmapped(ip_address(ip))
        return any(address in network for network in self._networks)


def unmapped(ip: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """:returns: the address; of an IPv4-mapped one (RFC 4291 section 2.5.5.2) the IPv4 address."""
    return (ip.ipv4_mapped or ip) if isinstance(ip, IPv6Address) else ip


def _source_of_line(line: bytes) -> str | None:
    """
    :param line: without its end; its keyword and its characters are right.
    :returns: the client's address, or None if the proxy does not know it.
    """
    fields = line.split(b" ")
    if fields[1] == b"UNKNOWN":
        return None
    if len(fields) != 6:
        _refuse_line()
    if not all(_PORT.fullmatch(port) and int(port) <= _HIGHEST_PORT for port in fields[4:]):
        _refuse_line()
    address_type = IPv4Address if fields[1] == b"TCP4" else IPv6Address
    try:
        source, _ = (address_type(address.decode("ascii")) for address in fields[2:4])
    except ValueError:
        _refuse_line()
    return str(unmapped(source))


def _refuse_line() -> NoReturn:
    raise ProxyHeaderError("bad addresses or ports in a PROXY line") from None


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"{text!r} is neither an IP address nor a network") from None
    try:
        ip_network(text)
    except ValueError:
        raise ValueError(f"{text!r} has bits set after its prefix: {network} is meant?") from None
    if isinstance(network, IPv6Network) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return IPv4Network((mapped, network.prefixlen - 96))
    return network

"""Which hosts a server takes mail for (go-guerrilla: ``allowed_hosts``)."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

from guerrilla_tw.mail.address import Address
from guerrilla_tw.mail.domains import to_a_labels


class AllowedHosts:
    """
    Answers whether an address is ours.

    :param patterns: host names in any case, with A-labels or U-labels (RFC 5890), which compare as
        A-labels; ``*`` stands for any run of characters, but not beside one that is not ASCII in
        the same label; ``.`` alone allows every host; ``[192.0.2.1]`` and ``[2001:db8::1]`` are
        address literals.
    :raises ValueError: what stands in brackets is no IP address, or a label is not valid. The text
        names it.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        names = [_a_labels(pattern.strip()).lower() for pattern in patterns]
        literals = {name for name in names if name.startswith("[") and name.endswith("]")}
        wild = [name for name in names if "*" in name and name not in literals]
        self._any = "." in names
        self._exact = frozenset(names)
        self._literals = frozenset(
            ip_address(name[1:-1].removeprefix("ipv6:")) for name in literals
        )
        self._wild = [name.split("*") for name in wild]

    def allows(self, address: Address) -> bool:
        """:returns: whether we take mail for the address's host."""
        if self._any:
            return True
        if address.ip is not None:
            return address.ip in self._literals
        host = address.host
        if not host.isascii():
            host = address.ascii_host
        host = host.lower()
        return host in self._exact or any(_matches(host, pieces) for pieces in self._wild)


def _a_labels(pattern: str) -> str:
    try:
        # IDNA admits no star in a label that is not ASCII.
        return to_a_labels(pattern)
    except ValueError as error:
        raise ValueError(f"{pattern!r}: {error}") from None


def _matches(host: str, pieces: list[str]) -> bool:
    """
    Not by a regular expression: with some stars, that takes a time with their number as its power.

    :param pieces: what stands between the stars of a pattern, two at least.
    """
    first, *between, last = pieces
    if not host.startswith(first):
        return False
    at = len(first)
    for piece in between:
        # The earliest place leaves the most room for the others.
        found = host.find(piece, at)
        if found < 0:
            return False
        at = found + len(piece)
    return len(host) - at >= len(last) and host.endswith(last)

"""Which hosts a server takes mail for (go-guerrilla: ``allowed_hosts``)."""

from __future__ import annotations

from collections.abc import Iterable

from guerrilla_tw.mail.address import Address
from guerrilla_tw.mail.patterns import Patterns, host_pattern


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
        names = frozenset(host_pattern(pattern.strip()) for pattern in patterns)
        self._any = "." in names
        # No pattern of hosts is one of address literals.
        self._literals = frozenset(name for name in names if name.startswith("["))
        self._hosts: Patterns[bool] = Patterns()
        for name in names - self._literals:
            self._hosts.setdefault(name, True)

    def allows(self, address: Address) -> bool:
        """:returns: whether we take mail for the address's host."""
        if self._any:
            return True
        if address.ip is not None:
            return f"[{address.ip}]" in self._literals
        host = address.host
        if not host.isascii():
            host = address.ascii_host
        return any(self._hosts.find(host.lower()))

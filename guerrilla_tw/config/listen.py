"""Where a server listens: ``listen_interface``, as Go's ``net.Listen`` takes it."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
_PORT: Final = re.compile(r"[0-9]{1,5}")
_HIGHEST_PORT: Final = 65535


def parse_interface(text: str) -> tuple[str, int]:
    """
    Read ``host:port``, ``:port`` or ``[IPv6 address]:port``.

    :param text: the setting.
    :returns: the host in its shortest form, empty for every interface; and the port, 0 to 65535,
        where 0 lets the system choose one.
    :raises ValueError: it is none of these.
    """
    host, colon, port = text.rpartition(":")
    if not colon:
        raise ValueError("has no port; write host:port, :port or [IPv6 address]:port")
    if not _PORT.fullmatch(port) or int(port) > _HIGHEST_PORT:
        raise ValueError("the port is not a number from 0 to 65535")
    return _normalize(host), int(port)


def _normalize(host: str) -> str:
    if host.startswith("[") and host.endswith("]"):
        try:
            return str(ipaddress.IPv6Address(host[1:-1]))
        except ValueError:
            raise ValueError("what is in brackets is not an IPv6 address") from None
    if ":" in host:
        raise ValueError("an IPv6 address needs [brackets]")
    if re.fullmatch(r"[0-9.]+", host):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise ValueError("the host is not an IPv4 address") from None
    if host and not _HOST.fullmatch(host):
        raise ValueError("the host is neither a name nor an address")
    return host.lower()


def overlap(one: tuple[str, int], other: tuple[str, int]) -> bool:
    """
    Tell whether two servers would listen in the same place.

    :param one: host and port, as :func:`parse_interface` gives them.
    :param other: the same of the other server.
    """
    if one == other:
        return True
    hosts = {"127.0.0.1" if host == "localhost" else host for host in (one[0], other[0])}
    if one[1] != other[1] or one[1] == 0:
        return False
    if len(hosts) == 1 or hosts & {"", "::"}:
        return True
    return "0.0.0.0" in hosts and not any(":" in host for host in hosts)  # noqa: S104

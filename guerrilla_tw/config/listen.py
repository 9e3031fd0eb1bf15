"""Where a server listens: ``listen_interface``, as Go's ``net.Listen`` takes it, or a socket."""

from __future__ import annotations

import ipaddress
import os
import re
from typing import Final, NamedTuple

_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
_PORT: Final = re.compile(r"[0-9]{1,5}")
_HIGHEST_PORT: Final = 65535
# The kernel's limit for the path of a socket is 108 octets, one of them for the end.
_LONGEST_PATH: Final = 107


class Interface(NamedTuple):
    """
    Where a server listens.

    :param host: a name or an address, empty for every interface.
    :param port: 0 lets the system choose one.
    :param path: of a UNIX socket; empty for TCP.
    """

    host: str = ""
    port: int = 0
    path: str = ""


def parse_interface(text: str) -> Interface:
    """
    Read ``host:port``, ``:port``, ``[IPv6 address]:port`` or ``unix:path``.

    :param text: the setting.
    :returns: the host in its shortest form and the port, or the path.
    :raises ValueError: it is none of these.
    """
    if text.startswith("unix:"):
        return Interface(path=_check_path(text.removeprefix("unix:")))
    host, colon, port = text.rpartition(":")
    if not colon:
        raise ValueError("has no port; write host:port, :port, [IPv6 address]:port or unix:path")
    if not _PORT.fullmatch(port) or int(port) > _HIGHEST_PORT:
        raise ValueError("the port is not a number from 0 to 65535")
    return Interface(_normalize(host), int(port))


def _check_path(path: str) -> str:
    if not path or "\0" in path or not path.isprintable():
        raise ValueError("has no path behind unix:")
    if len(os.fsencode(path)) > _LONGEST_PATH:
        raise ValueError(f"the path is longer than {_LONGEST_PATH} octets")
    return path


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


def overlap(one: Interface, other: Interface) -> bool:
    """
    Tell whether two servers would listen in the same place.

    :param one: where one listens.
    :param other: where the other does.
    """
    if one == other:
        return True
    if one.path or other.path:
        return os.path.abspath(one.path) == os.path.abspath(other.path)
    hosts = {"127.0.0.1" if host == "localhost" else host for host in (one.host, other.host)}
    if one.port != other.port or one.port == 0:
        return False
    if len(hosts) == 1 or hosts & {"", "::"}:
        return True
    return "0.0.0.0" in hosts and not any(":" in host for host in hosts)  # noqa: S104

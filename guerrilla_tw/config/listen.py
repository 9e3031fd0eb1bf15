"""Where a server listens: ``listen_interface``, as Go's ``net.Listen`` takes it, or an endpoint."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple

_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
_PORT: Final = re.compile(r"[0-9]{1,5}")
_HIGHEST_PORT: Final = 65535
_LARGEST_BACKLOG: Final = 65535
# The kernel's limit for the path of a socket is 108 octets, one of them for the end.
_LONGEST_PATH: Final = 107
# As many are kept in mind, as they are shown.
_MOST_SHOWN: Final = 256

_ENDPOINT_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9._+-]*")
# An IPv6 address without brackets has as many colons as an endpoint.
_LIKE_IPV6: Final = re.compile(r"[0-9A-Fa-f:.]*")
_ESCAPED: Final = re.compile(r"\\(.)")
_WITHOUT_LONE_BACKSLASH: Final = re.compile(r"(?:[^\\]|\\.)*")
_PART: Final = re.compile(r"(?:^|:)((?:[^\\:]|\\.)*)")
_SETTING: Final = re.compile(r"((?:[^\\=]|\\.)*)=(.*)")
_MODE: Final = re.compile(r"[0-7]{3,4}")
_INDEX: Final = re.compile(r"[0-9]{1,4}")
_DOMAINS: Final = ("INET", "INET6", "UNIX")
# Where they listen unless told.
_TCP: Final = {"tcp": "", "tcp6": "::"}
_ANOTHER_TLS: Final = "brings TLS of its own; write host:port, and set tls.tls_always_on"
# What our sessions know of TLS and of the client would be wrong there.
_REFUSED: Final = {
    "haproxy": "reads PROXY headers of its own; write host:port, and set proxyon",
    "ssl": _ANOTHER_TLS,
    "stdio": "is no place where clients come; write host:port",
    "tls": _ANOTHER_TLS,
}
_BUILT_IN: Final = frozenset(("unix", "systemd", *_TCP, *_REFUSED))


class Interface(NamedTuple):
    """
    An address.

    :param host: a name or an address, empty for every interface.
    :param port: 0 lets the system choose one.
    :param path: of a UNIX socket; empty for TCP.
    :param backlog: clients whom the kernel may keep; 0 for the default.
    """

    host: str = ""
    port: int = 0
    path: str = ""
    backlog: int = 0


class Endpoint(NamedTuple):
    """
    A server endpoint of Twisted's, other than TCP.

    :param kind: what its string begins with, in lower case: ``unix``, ``systemd``, or what a plugin
        is called.
    :param arguments: what has no name there.
    :param settings: what has one, such as ``("mode", "660")``, in alphabetical order.
    """

    kind: str
    arguments: tuple[str, ...]
    settings: tuple[tuple[str, str], ...]


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
    return Interface(_normalize(host), _parse_port(port))


def parse_listen_interface(text: str) -> Interface | Endpoint:
    """
    Read ``listen_interface``: an address of TCP, or the string of a server endpoint of Twisted's.

    ``name:number`` is a host and a port, unless Twisted itself has an endpoint of that name.

    :param text: the setting.
    :raises ValueError: it is neither, or is an endpoint that cannot be used.
    """
    kind, _, rest = text.partition(":")
    may_be_plugin = _ENDPOINT_NAME.fullmatch(kind) and re.search("[:=]", rest)
    if kind.lower() not in _BUILT_IN and (not may_be_plugin or _LIKE_IPV6.fullmatch(text)):
        return parse_interface(text)
    endpoint = _split_endpoint(text)
    kind = endpoint.kind
    if kind in _REFUSED:
        raise ValueError(f"the endpoint {kind} {_REFUSED[kind]}")
    if kind in _TCP:
        return _tcp_address(endpoint)
    if kind == "unix":
        return _unix_socket(endpoint)
    if kind == "systemd":
        _check_systemd(endpoint)
    return endpoint


def _split_endpoint(text: str) -> Endpoint:
    """Split as Twisted does: at colons, each part at its first "="; a backslash escapes."""
    if not text.isprintable():
        raise ValueError("holds a control character")
    if not _WITHOUT_LONE_BACKSLASH.fullmatch(text):
        raise ValueError("ends in a backslash")
    kind, *parts = _PART.findall(text)
    arguments: list[str] = []
    settings: dict[str, str] = {}
    for part in parts:
        setting = _SETTING.fullmatch(part)
        if setting is None:
            arguments.append(_ESCAPED.sub(r"\1", part))
        else:
            name, value = (_ESCAPED.sub(r"\1", side) for side in setting.groups())
            settings[name] = value
    return Endpoint(kind.lower(), tuple(arguments), tuple(sorted(settings.items())))


def _tcp_address(endpoint: Endpoint) -> Interface:
    kind, ports, settings = endpoint.kind, endpoint.arguments, dict(endpoint.settings)
    unknown = settings.keys() - {"port", "interface", "backlog"}
    if unknown or len(ports) + ("port" in settings) != 1:
        raise ValueError(f"is not {kind}:port or {kind}:port:interface=address")
    (port,) = ports or (settings["port"],)
    host = _normalize_address(settings.get("interface", _TCP[kind]))
    return Interface(host, _parse_port(port), backlog=_parse_backlog(settings))


def _normalize_address(host: str) -> str:
    return _normalize(f"[{host}]" if ":" in host else host)


def _unix_socket(endpoint: Endpoint) -> Endpoint:
    """:returns: the same with the path as its one argument."""
    settings = dict(endpoint.settings)
    if "lockfile" in settings:
        raise ValueError("there is no lockfile: a socket that was left behind is told by itself")
    paths = endpoint.arguments
    if "address" in settings:
        paths = (*paths, settings.pop("address"))
    if len(paths) > 1 or settings.keys() - {"mode", "backlog"}:
        raise ValueError("is not unix:path or unix:path:mode=660; in a path write \\: and \\=")
    path = _check_path("".join(paths))
    if not _MODE.fullmatch(settings.get("mode", "666")):
        raise ValueError("the mode is not of three or four octal digits, such as 660")
    _parse_backlog(settings)
    return Endpoint(endpoint.kind, (path,), tuple(sorted(settings.items())))


def _parse_backlog(settings: Mapping[str, str]) -> int:
    """:returns: 0 if it is not there."""
    if "backlog" not in settings:
        return 0
    backlog = settings["backlog"]
    if not _PORT.fullmatch(backlog) or not 0 < int(backlog) <= _LARGEST_BACKLOG:
        raise ValueError(f"the backlog is not a number from 1 to {_LARGEST_BACKLOG}")
    return int(backlog)


def _check_systemd(endpoint: Endpoint) -> None:
    settings = dict(endpoint.settings)
    if endpoint.arguments or settings.keys() not in ({"domain", "index"}, {"domain", "name"}):
        raise ValueError("is not systemd:domain=INET:name=... or systemd:domain=INET:index=0")
    if settings["domain"] not in _DOMAINS:
        raise ValueError(f"the domain is none of {', '.join(_DOMAINS)}")
    if not _INDEX.fullmatch(settings.get("index", "0")):
        raise ValueError("the index is not a number")


def _check_path(path: str) -> str:
    if not path or "\0" in path or not path.isprintable():
        raise ValueError("has no path behind unix:")
    if len(os.fsencode(path)) > _LONGEST_PATH:
        raise ValueError(f"the path is longer than {_LONGEST_PATH} octets")
    return path


def _parse_port(port: str) -> int:
    if not _PORT.fullmatch(port) or int(port) > _HIGHEST_PORT:
        raise ValueError(f"the port is not a number from 0 to {_HIGHEST_PORT}")
    return int(port)


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


def overlap(one: Interface | Endpoint, other: Interface | Endpoint) -> bool:
    """
    Tell whether two servers would listen in the same place, as far as the settings show it.

    :param one: where one listens.
    :param other: where the other does.
    """
    if one == other:
        return True
    if isinstance(one, Endpoint) or isinstance(other, Endpoint):
        paths = [_socket_path(place) for place in (one, other)]
        return paths[0] == paths[1] != ""
    hosts = {"127.0.0.1" if host == "localhost" else host for host in (one.host, other.host)}
    if one.port != other.port or one.port == 0:
        return False
    if len(hosts) == 1 or hosts & {"", "::"}:
        return True
    return "0.0.0.0" in hosts and not any(":" in host for host in hosts)  # noqa: S104


def _socket_path(place: Interface | Endpoint) -> str:
    if isinstance(place, Endpoint) and place.kind == "unix":
        return os.path.abspath(place.arguments[0])
    return ""


# Asked for each line of the log.
@lru_cache(_MOST_SHOWN)
def shown(text: str) -> str:
    """
    Show people a ``listen_interface``.

    :param text: one that :func:`parse_listen_interface` takes.
    :returns: the same, without the arguments of a plugin, which may be secrets.
    """
    place = parse_listen_interface(text)
    if isinstance(place, Endpoint) and place.kind not in ("unix", "systemd"):
        return f"{place.kind}:..."
    return text

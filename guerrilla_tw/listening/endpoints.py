"""``listen_interface`` to an endpoint of Twisted's; and what its errors mean."""

from __future__ import annotations

import errno
import os
import re
from typing import Any, Final

from twisted.internet.endpoints import TCP4ServerEndpoint, serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IStreamServerEndpoint

from guerrilla_tw.config import ConfigError
from guerrilla_tw.config.listen import Endpoint, Interface, parse_listen_interface, shown
from guerrilla_tw.listening.sockets import (
    BACKLOG,
    ListeningSocket,
    SystemdSocket,
    UNIXSocket,
    adopt_systemd_socket,
    open_tcp_socket,
    open_unix_socket,
)
from guerrilla_tw.users import SAME_USER, User

_LOWEST_FREE_PORT: Final = 1024
_NEVER_ROOT: Final = ("right", "use twistd's --uid,")
_OTHER_WAYS: Final = "CAP_NET_BIND_SERVICE or a systemd socket"


class PlaceInUse(ConfigError):
    """Somebody listens there, be it this very daemon."""


def check_interface(text: str, reactor: Any) -> None:
    """
    Judge a ``listen_interface``; nothing listens, and no socket of systemd's need be there.

    :param text: the setting, which :func:`.parse_listen_interface` has taken.
    :param reactor: for endpoints of plugins.
    :raises ConfigError: there is no such endpoint, or its arguments are wrong.
    """
    make_endpoint(text, reactor, SAME_USER)


def make_endpoint(text: str, reactor: Any, user: User) -> IStreamServerEndpoint:
    """
    Make what can listen, without listening yet.

    :param text: the setting, which :func:`.parse_listen_interface` has taken.
    :param reactor: to listen with.
    :param user: whose a UNIX socket will be.
    :raises ConfigError: there is no such endpoint, or its arguments are wrong.
    """
    place = parse_listen_interface(text)
    if isinstance(place, Interface):
        # For IPv6, too, where the host is such an address.
        return TCP4ServerEndpoint(reactor, place.port, place.backlog or BACKLOG, place.host)
    if place.kind == "unix":
        mode, backlog = _unix_settings(place)
        return UNIXSocket(reactor, place.arguments[0], mode, backlog, user)
    if place.kind == "systemd":
        return SystemdSocket(reactor, text)
    try:
        endpoint: IStreamServerEndpoint = serverFromString(reactor, text)
    except Exception as error:
        cause = f"the endpoint {place.kind} cannot be used: {_reason(error)}"
        raise ConfigError(cause, "listen_interface") from None
    return endpoint


def can_be_shared(text: str) -> bool:
    """
    Tell whether several processes can listen in a place: not by an endpoint of a plugin.

    :param text: the setting, which :func:`.parse_listen_interface` has taken.
    """
    place = parse_listen_interface(text)
    return isinstance(place, Interface) or place.kind in ("unix", "systemd")


def open_socket(text: str, reactor: Any, user: User) -> ListeningSocket:
    """
    Open a socket that several processes can share.

    :param text: the setting; it :func:`can_be_shared`.
    :param reactor: to find a socket of systemd's with.
    :param user: whose a UNIX socket will be.
    :raises ConfigError: it cannot be had.
    """
    place = parse_listen_interface(text)
    try:
        if isinstance(place, Interface):
            return open_tcp_socket(place.host, place.port, place.backlog or BACKLOG)
        if place.kind == "systemd":
            return adopt_systemd_socket(text, reactor)
        return open_unix_socket(place.arguments[0], *_unix_settings(place), user)
    except (OSError, ValueError, CannotListenError) as error:
        raise cannot_listen(text, error, user) from None


def _unix_settings(place: Endpoint) -> tuple[int, int]:
    """:returns: mode and backlog."""
    settings = dict(place.settings)
    return int(settings.get("mode", "666"), 8), int(settings.get("backlog", BACKLOG))


def cannot_listen(text: str, error: object, user: User) -> ConfigError:
    """
    Say why a place cannot be had.

    :param text: the ``listen_interface``.
    :param error: what listening there raised.
    :param user: whom the process is about to become, or has become.
    """
    if isinstance(error, ConfigError):
        return error
    cause = _reason(error)
    if isinstance(error, CannotListenError) and _is_privileged(error):
        right, way = ("right any more", "restart, or use") if user.has_come else _NEVER_ROOT
        cause = f"{cause}: no {right} to ports below {_LOWEST_FREE_PORT}; {way} {_OTHER_WAYS}"
    kind = PlaceInUse if _errno(error) == errno.EADDRINUSE else ConfigError
    return kind(f"cannot listen on {shown(text)}: {cause}", "listen_interface")


def _errno(error: object) -> int:
    """:returns: 0 for what is no error of the system's."""
    number: int = getattr(getattr(error, "socketError", error), "errno", None) or 0
    return number


def _is_privileged(error: CannotListenError) -> bool:
    return (
        _errno(error) in (errno.EACCES, errno.EPERM)
        and isinstance(error.port, int)
        and error.port < _LOWEST_FREE_PORT
        and os.geteuid() != 0
    )


def _reason(error: object) -> str:
    if isinstance(error, CannotListenError):
        return _reason(error.socketError)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    # An error of arguments begins with the name of a function: of no use to who wrote a setting.
    return re.sub(r"^[\w.]+\(\) ", "", str(error)) or type(error).__name__

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
from guerrilla_tw.config.listen import Endpoint, Interface, parse_listen_interface
from guerrilla_tw.listening.sockets import BACKLOG, SystemdSocket, UNIXSocket

_LOWEST_FREE_PORT: Final = 1024
_PRIVILEGED: Final = (
    f"no right (any more) to ports below {_LOWEST_FREE_PORT}; "
    "use twistd's --uid, CAP_NET_BIND_SERVICE or a systemd socket"
)


class PlaceInUse(ConfigError):
    """Somebody listens there, be it this very daemon."""


def check_interface(text: str, reactor: Any) -> None:
    """
    Judge a ``listen_interface``; nothing listens, and no socket of systemd's need be there.

    :param text: the setting, which :func:`.parse_listen_interface` has taken.
    :param reactor: for endpoints of plugins.
    :raises ConfigError: there is no such endpoint, or its arguments are wrong.
    """
    make_endpoint(text, reactor)


def make_endpoint(text: str, reactor: Any) -> IStreamServerEndpoint:
    """
    Make what can listen, without listening yet.

    :param text: the setting, which :func:`.parse_listen_interface` has taken.
    :param reactor: to listen with.
    :raises ConfigError: there is no such endpoint, or its arguments are wrong.
    """
    place = parse_listen_interface(text)
    if isinstance(place, Interface):
        # For IPv6, too, where the host is such an address.
        return TCP4ServerEndpoint(reactor, place.port, BACKLOG, place.host)
    if place.kind == "unix":
        mode = dict(place.settings).get("mode", "666")
        return UNIXSocket(reactor, place.arguments[0], int(mode, 8))
    if place.kind == "systemd":
        return SystemdSocket(reactor, text)
    try:
        endpoint: IStreamServerEndpoint = serverFromString(reactor, text)
    except Exception as error:
        cause = f"the endpoint {place.kind} cannot be used: {_reason(error)}"
        raise ConfigError(cause, "listen_interface") from None
    return endpoint


def cannot_listen(text: str, error: object) -> ConfigError:
    """
    Say why a place cannot be had.

    :param text: the ``listen_interface``.
    :param error: what listening there raised.
    """
    if isinstance(error, ConfigError):
        return error
    cause = _reason(error)
    if isinstance(error, CannotListenError) and _is_privileged(error):
        cause = f"{cause}: {_PRIVILEGED}"
    kind = PlaceInUse if _errno(error) == errno.EADDRINUSE else ConfigError
    return kind(f"cannot listen on {_shown(text)}: {cause}", "listen_interface")


def _shown(text: str) -> str:
    """:returns: the setting, without what may be a secret of a plugin's."""
    place = parse_listen_interface(text)
    if isinstance(place, Endpoint) and place.kind not in ("unix", "systemd"):
        return f"the endpoint {place.kind}"
    return text


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

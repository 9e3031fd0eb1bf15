"""What a daemon has to do with the system around it: its limits, its manager."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import Final

from twisted.logger import Logger

from guerrilla_tw.config import Config, ConfigError

# Besides the clients': the standard streams, the event loop, ports, log files, and the connections
# and files of a store's workers, twice while a reload has the old store beside the new one.
OWN_FILES: Final = 64


def raise_file_limit(config: Config) -> tuple[int, int] | None:
    """
    Raise the number of files that this process may open, as far as it needs them and may.

    :param config: each client needs one for its connection, and one more while a large message
        of his is here.
    :returns: the limit before and after; None if it stays.
    """
    try:
        import resource
    except ImportError:  # A system without such limits.
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * _max_clients(config) + _own_files(config)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return None
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):  # macOS has a limit below the hard one.
        return None
    return soft, wanted


def check_file_limit(config: Config) -> None:
    """
    Compare the number of files that this process may open with the clients that it may have.

    :param config: whose enabled servers' ``max_clients`` count.
    :raises ConfigError: not all of them could connect (as in go-guerrilla).
    """
    try:
        import resource
    except ImportError:
        return
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    clients = _max_clients(config)
    own = _own_files(config)
    if limit != resource.RLIM_INFINITY and clients + own > limit:
        raise ConfigError(
            f"max_clients of all are {clients} together, and {own} files are for the daemon "
            f"itself, but this process may open {limit} only (ulimit -n, LimitNOFILE=)",
            "servers",
        )


def claim_files(config: Config, log: Logger) -> None:
    """
    Raise the limit of a process that is the daemon's own, and see whether that is enough.

    :param config: see :func:`raise_file_limit`.
    :param log: where it is told.
    :raises ConfigError: it is not.
    """
    raised = raise_file_limit(config)
    if raised:
        before, after = raised
        log.info("open-file limit raised from {before} to {after}", before=before, after=after)
    check_file_limit(config)


def _own_files(config: Config) -> int:
    """:returns: for all but clients. Of several processes each has something of each."""
    return OWN_FILES + (config.processes if config.processes > 1 else 0)


def _max_clients(config: Config) -> int:
    return sum(server.max_clients for server in config.servers if server.is_enabled)


def notify(state: str) -> None:
    """
    Tell the service manager about this process, if one asks for it. Never fails or waits.

    :param state: lines of ``NAME=value``, see sd_notify(3).
    """
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return
    # @ is how systemd writes the NUL that an abstract name begins with.
    address = "\0" + path[1:] if path.startswith("@") else path
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.setblocking(False)
        manager.sendto(state.encode(), address)

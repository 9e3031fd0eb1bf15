"""What the servers of a configuration are to be: what is read, and what is wrong where."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from guerrilla_tw.config import Config, ConfigError, ServerConfig
from guerrilla_tw.config.listen import Endpoint, Interface
from guerrilla_tw.listening import check_interface
from guerrilla_tw.smtp.hosts import AllowedHosts
from guerrilla_tw.smtp.settings import SessionSettings, TLSStarter
from guerrilla_tw.stamps import ON_DISK, Files, Stamps
from guerrilla_tw.users import User

Place = Interface | Endpoint


@dataclass(frozen=True)
class Wanted:
    """
    What an enabled server is to be.

    :param path: of it in the configuration.
    :param settings: for its sessions.
    :param files: of keys and certificates, as they were before they were read.
    :param renewed: whether these have changed, and their settings have not.
    """

    path: str
    settings: SessionSettings
    files: Stamps
    renewed: bool


def read_server(
    path: str, config: ServerConfig, before: Wanted | None, reactor: Any, on: Files = ON_DISK
) -> Wanted:
    """
    Read what a server needs.

    :param path: of it in the configuration.
    :param config: of the server.
    :param before: what it is now; None for one that is new.
    :param reactor: to judge the place with.
    :param on: where keys and certificates are.
    :raises ConfigError: it cannot be used.
    """
    with blaming(path):
        check_interface(config.listen_interface, reactor)
        # Before they are read: what changes in between is seen at the next reload.
        files = on.stamps(config.tls.files, before.files if before else {})
        if before is None or before.settings.config.tls != config.tls:
            return Wanted(path, SessionSettings(config, _make_tls(config, on)), files, False)
        if before.files == files:
            # Who started as root may not be able to read the key any more.
            return Wanted(path, SessionSettings(config, before.settings.tls), files, False)
        return Wanted(path, SessionSettings(config, _make_tls(config, on)), files, True)


def read_allowed_hosts(config: Config) -> AllowedHosts:
    with blaming("allowed_hosts"):
        return AllowedHosts(config.allowed_hosts)


def check_spill_dir(path: str, user: User) -> None:
    """
    See whether large messages can be kept.

    :param path: the ``spill_dir``.
    :param user: whom the process has become, for the error.
    :raises ConfigError: no file could be made there.
    """
    rights = {"effective_ids": True} if os.access in os.supports_effective_ids else {}
    if path and not (os.path.isdir(path) and os.access(path, os.W_OK | os.X_OK, **rights)):
        who = f" by user {user.name}" if user.has_come else ""
        raise ConfigError(f"{path} is not a directory that can be written to{who}", "spill_dir")


def _make_tls(config: ServerConfig, on: Files) -> TLSStarter | None:
    if not config.tls.is_on:
        return None
    # Here, because OpenSSL is not needed where nobody asks for it.
    from guerrilla_tw.smtp.tls import make_tls

    with blaming("tls"):
        return make_tls(config.tls, on.read)


@contextmanager
def blaming(path: str) -> Iterator[None]:
    """Say of whatever is wrong where in the configuration it is."""
    try:
        yield
    except ConfigError as error:
        raise error.below(path) from None
    except ValueError as error:
        raise ConfigError(str(error), path) from None

"""What just anybody on the host could change or read of what a daemon is made of."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from typing import TypeVar

from guerrilla_tw.config import Config, ConfigError, TLSConfig
from guerrilla_tw.trust import Stranger, everybody_writes, others_can_read

T = TypeVar("T")

_NO_FILES = ("", "off", "stderr", "stdout")


def doubts(config: Config) -> list[str]:
    """
    Look at the code, and at what a configuration names and the daemon opens by itself.

    :param config: of which each enabled server is looked at.
    :returns: a line for each doubt.
    """
    lines = [f"{stranger}, where code is read from" for stranger in _code()]
    lines += _of_log_file(config.log_file, "log_file")
    for index, server in enumerate(config.servers):
        if server.is_enabled:
            lines += _of_log_file(server.log_file, f"servers[{index}].log_file")
            lines += _of_tls(server.tls, f"servers[{index}].tls")
    return lines


def doubts_about_file(path: str) -> list[str]:
    """
    Look at the file that a configuration is read from.

    :param path: of it.
    :returns: a line, if there is a doubt.
    :raises ConfigError: everybody can write to it, and would have root's rights by that.
    """
    stranger = _known(everybody_writes, path)
    if stranger is None:
        return []
    if os.geteuid() == 0 and os.path.samefile(stranger.place, path):
        raise ConfigError(f"{stranger}, and would have root's rights by that", name=path)
    return [f"{stranger}, where the configuration is read from"]


def _code() -> dict[Stranger, None]:
    """:returns: who can have other modules, plugins or a .tac be there, each once."""
    from twisted import plugins

    places = [*(path or os.getcwd() for path in sys.path), *plugins.__path__]
    # As in "twistd -noy daemon.tac" and "twistd --python=daemon.tac".
    places += [word.rpartition("=")[2] for word in sys.argv[1:] if word.endswith(".tac")]
    strangers = (_known(everybody_writes, place) for place in places)
    return dict.fromkeys(stranger for stranger in strangers if stranger is not None)


def _of_log_file(path: str, setting: str) -> Iterator[str]:
    stranger = None if path in _NO_FILES else _known(everybody_writes, path)
    if stranger is not None:
        yield f"{setting}: {stranger}"


def _of_tls(tls: TLSConfig, setting: str) -> Iterator[str]:
    for path in tls.files:
        stranger = _known(everybody_writes, path)
        if stranger is not None:
            yield f"{setting}: {stranger}"
    if tls.is_on and _known(others_can_read, tls.private_key_file):
        yield f"{setting}.private_key_file: everybody can read {tls.private_key_file}"


def _known(ask: Callable[[str], T], path: str) -> T | None:
    """:returns: the answer; None if it cannot be had, as by who has given up root's rights."""
    try:
        return ask(path)
    except (OSError, ValueError):
        return None

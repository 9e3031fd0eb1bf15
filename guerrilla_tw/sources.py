"""Where a configuration is from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import msgspec
from twisted.python.failure import Failure

from guerrilla_tw.config import Config, ConfigError, LoadedConfig, convert_config, load_config
from guerrilla_tw.doubts import doubts_about_file

ConfigSource = Config | Mapping[str, Any] | str | os.PathLike[str]


class Source:
    """
    A configuration, or the JSON object or the file that one can be made from, again and again.

    :param given: one of these; None for the default configuration.
    """

    def __init__(self, given: ConfigSource | None) -> None:
        #: The file's name, as it was given; empty if it is no file.
        self.name = ""
        self._given = given
        if isinstance(given, (str, os.PathLike)):
            self.name = os.fspath(given)
            # It is the same file when the process has gone to another directory.
            self._given = os.path.abspath(given)

    def read(self) -> LoadedConfig:
        """
        Make the configuration.

        :raises ConfigError: it cannot be read or used.
        """
        given = self._given
        if given is None:
            return LoadedConfig(Config())
        if isinstance(given, Config):
            # Whoever made it may go on to change what it holds.
            backend_config = dict(given.backend_config)
            return LoadedConfig(msgspec.structs.replace(given, backend_config=backend_config))
        if isinstance(given, Mapping):
            return convert_config(given)
        try:
            loaded = load_config(os.fspath(given))
            warnings = (*loaded.warnings, *doubts_about_file(os.fspath(given)))
            return LoadedConfig(loaded.config, warnings)
        except ConfigError as error:
            raise error.in_file(self.name) from None

    def explain(self, failure: Failure) -> str:
        """
        Say why something could not be done with what it says.

        :returns: one line, with the name of the file.
        """
        known = _known(failure)
        return str(known if known.name else known.in_file(self.name))


def reason_of(failure: Failure) -> str:
    """:returns: one line for why something could not be done, without the name of a file."""
    return str(_known(failure))


def _known(failure: Failure) -> ConfigError:
    """A processor's own error may be of several lines; a ConfigError is of one."""
    error = failure.value
    return error if isinstance(error, ConfigError) else ConfigError(str(error) or repr(error))

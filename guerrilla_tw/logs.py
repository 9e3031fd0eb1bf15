"""
Where the daemon's log lines go.

Every line of ours goes to one observer, made here from ``log_file`` and ``log_level``. What Twisted
itself has to say stays with whoever runs the reactor: twistd's log, or the embedder's.
"""

from __future__ import annotations

import sys
from io import TextIOWrapper

from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    LogPublisher,
    globalLogPublisher,
    textFileLogObserver,
)

from guerrilla_tw.config import Config, ConfigError

_LEVELS = {
    "debug": LogLevel.debug,
    "info": LogLevel.info,
    "warn": LogLevel.warn,
    "error": LogLevel.error,
    "fatal": LogLevel.critical,
    "panic": LogLevel.critical,
}


def make_observer(config: Config, console: bool) -> ILogObserver:
    """
    Make the observer that a configuration asks for.

    :param config: ``log_file`` is ``stderr``, ``stdout``, ``off`` or a path.
    :param console: whether this process has its standard streams to itself. Otherwise, in a daemon
        that has let go of them or in somebody's program, ``stderr`` and ``stdout`` mean the log
        of the program.
    :raises ConfigError: the file cannot be written.
    """
    observer = _target(config.log_file, console)
    predicate = LogLevelFilterPredicate(defaultLogLevel=_LEVELS[config.log_level])
    # The publisher keeps what goes wrong here, such as a full disk, from whoever logs.
    return LogPublisher(FilteringLogObserver(observer, [predicate]))


def _target(log_file: str, console: bool) -> ILogObserver:
    if log_file == "off":
        return LogPublisher()  # Nobody listens to it.
    if log_file in ("stderr", "stdout"):
        if not console:
            return globalLogPublisher
        stream = sys.stderr if log_file == "stderr" else sys.stdout
        if isinstance(stream, TextIOWrapper):
            # What it cannot show must not cost the whole line.
            stream.reconfigure(errors="backslashreplace")
        return textFileLogObserver(stream)
    try:
        # Line by line, so that a line is there when something goes wrong after it.
        file = open(log_file, "a", encoding="utf-8", buffering=1)  # noqa: SIM115  # stays open
    except OSError as error:
        raise ConfigError(f"cannot be written: {error.strerror}", "log_file") from None
    return textFileLogObserver(file)

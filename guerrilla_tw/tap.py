"""``twistd guerrilla``: from the command line to a service."""

from __future__ import annotations

import atexit
import os
import sys
from typing import Any, ClassVar, NoReturn

from twisted.internet.defer import Deferred
from twisted.logger import LogPublisher
from twisted.python import usage
from twisted.python.failure import Failure

from guerrilla_tw.config import Config, ConfigError, LoadedConfig, load_config
from guerrilla_tw.daemon import Guerrilla
from guerrilla_tw.logs import make_observer


class Options(usage.Options):
    """The options of ``twistd guerrilla``."""

    synopsis = "[options]"
    # twistd fills the lines anew, so paragraphs would be lost.
    longdesc = (
        "Receives mail by ESMTP and runs it through the processors that save_process names in the "
        "configuration, and answers 250 when each has said yes and what it stores is stored. "
        "The configuration is go-guerrilla's JSON; without one, a server on 127.0.0.1:2525 takes "
        "mail for this host's name and stores it in guerrilla.sqlite3 in the current directory. "
        "The processors and their settings are listed by: python -m guerrilla_tw processors. "
        "To stay in the foreground: twistd --nodaemon --pidfile= guerrilla --config config.json"
    )

    optParameters: ClassVar = [
        ["config", "c", None, "The configuration file (JSON)."],
    ]
    optFlags: ClassVar = [
        ["check", None, "Only check the configuration: say what is wrong, or that nothing is."],
    ]


class _Refusal(SystemExit, Exception):
    """
    An end with status 1, after the reason has been told.

    twistd passes a SystemExit on without a traceback, but tidies up only for an Exception.

    :param reason: for the parent of a daemonized twistd, which shows it.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        # Else Python writes the reason to sys.stderr, which is twistd's log by now.
        self.code = 1


class _TwistdGuerrilla(Guerrilla):
    """The daemon when the whole process is there for it: what is fatal to it ends the process."""

    def __init__(self, config: Config, file: str, console: bool) -> None:
        super().__init__(config, observer=make_observer(config, console))
        self._file = file
        self._logs_to_stderr = console and config.log_file == "stderr"

    def privilegedStartService(self) -> None:
        """:raises SystemExit: the daemon cannot start."""
        try:
            super().privilegedStartService()
        except ConfigError as error:
            raise _Refusal(self._tell(error)) from None

    def startService(self) -> Deferred[None]:
        """As the parent; a failure ends the process, when the reactor has it."""
        return super().startService().addErrback(self._give_up)

    def _give_up(self, failure: Failure) -> None:
        if not self.running:
            return  # Told to stop before it had started.
        self._tell(failure.value)
        # The reactor swallows SystemExit, and twistd returns 0 whatever happened under it.
        atexit.register(_exit_with_failure)
        self._reactor.callWhenRunning(self._reactor.stop)

    def _tell(self, error: object) -> str:
        """
        Say why it cannot start, in the log and to whoever sits in front of it.

        :returns: the reason, one line.
        """
        # A processor's own error may be of several lines; a ConfigError is of one.
        known = error if isinstance(error, ConfigError) else ConfigError(str(error))
        reason = str(known.in_file(self._file))
        self.log.critical("cannot start: {reason}", reason=reason)
        if not self._logs_to_stderr:
            # Not sys.stderr, which may be twistd's log by now.
            print(reason, file=sys.__stderr__)
        return reason


def _exit_with_failure() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


def makeService(options: Options) -> Guerrilla:
    """
    Make the service that the command line asks for.

    :raises SystemExit: the configuration cannot be used (one line, status 1); or was only to
        be checked (status 0).
    """
    file = options["config"] or ""
    try:
        loaded = load_config(file) if file else LoadedConfig(Config())
        if options["check"]:
            _check(loaded, file)
        daemon = _TwistdGuerrilla(loaded.config, file, _has_console(options))
        daemon.check()
    except ConfigError as error:
        raise SystemExit(str(error.in_file(file))) from None
    for warning in loaded.warnings:
        daemon.log.warn("{file}: {advice}", file=file, advice=warning)
    return daemon


def _check(loaded: LoadedConfig, file: str) -> NoReturn:
    """Say on standard output that a configuration is good, and end. No log file is opened."""
    name = file or "the default configuration"
    for warning in (*loaded.warnings, *Guerrilla(loaded.config, observer=LogPublisher()).check()):
        print(f"{name}: warning: {warning}")
    print(f"{name}: OK")
    raise SystemExit(0)


def _has_console(options: Options) -> bool:
    """twistd lets go of the standard streams when it goes into the background."""
    parent: Any = options.parent
    return parent is None or bool(parent.get("nodaemon", True))

"""
Who logs where, when the whole process is there for the daemon.

The program was told where to log (``twistd --logfile``, ``--syslog``, ``--logger``, or ``python -m
twisted --log-file``), or it was not, and then we are in charge: what Twisted has to say goes to our
log too, without the lines that double ours.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO

from twisted.logger import (
    ILogObserver,
    LegacyLogObserverWrapper,
    LogEvent,
    LogLevel,
    textFileLogObserver,
)
from twisted.python.components import Componentized
from zope.interface import implementer

from guerrilla_tw.logs import Logs, Outlet
from guerrilla_tw.logs.files import LogFile
from guerrilla_tw.logs.sinks import FileSink
from guerrilla_tw.users import SAME_USER, User

# Where twistd logs in the background if it was told nothing.
_TWISTD_LOG = "twistd.log"
# The option of "python -m twisted" that makes an observer for its log file.
_FACTORY = "fileLogObserverFactory"


class TwistdLogs(Logs):
    """
    The log files of a daemon under ``twistd`` or ``python -m twisted``.

    :param options: of that program; None if it is another, which is taken for one that was told.
    :param user: see :class:`Logs`.
    """

    def __init__(self, options: MutableMapping[str, Any] | None, user: User = SAME_USER) -> None:
        told = options is None or _is_told(options)
        background = options is not None and not options.get("nodaemon", True)
        if told:
            super().__init__(user=user)
        elif background:
            # Standard error is gone. What cannot be written to a log is told to syslog.
            path = os.path.abspath(_TWISTD_LOG)
            super().__init__(_syslog(), dict.fromkeys(("stderr", "stdout"), path), user)
        else:
            streams = {"stderr": sys.stderr or os.devnull, "stdout": sys.stdout or os.devnull}
            super().__init__(textFileLogObserver(sys.stderr or sys.stdout), streams, user)
        self._options = None if told else options
        # Empty, "-" or none for no file.
        twistds = None if options is None else options.get("logfile")
        self._twistds = os.path.realpath(twistds) if twistds and twistds != "-" else ""

    def _open(self, place: TextIO | str) -> LogFile:
        # It does not append, so that it would write over what we append.
        if isinstance(place, str) and os.path.realpath(place) == self._twistds:
            raise OSError(0, "it is twistd's --logfile; write stderr to log there")
        return super()._open(place)

    def attach(self, application: object) -> None:
        """
        Take over what the rest of the program logs, if that was not told where it should go.

        :param application: the parent of the service, before the program begins to log.
        """
        observer = ProgramObserver(Outlet(self.current, None))
        if self._options is not None and _FACTORY in self._options:
            # "python -m twisted" looks for no component.
            self._options[_FACTORY] = lambda _: observer
        elif self._options is not None and isinstance(application, Componentized):
            application.setComponent(ILogObserver, observer)

    @property
    def on_stderr(self) -> bool:
        """Whether lines of the main log are seen on standard error."""
        main = self.current().sink("")
        return isinstance(main, FileSink) and main.file is self.current().files.get("stderr")


@implementer(ILogObserver)
class ProgramObserver:
    """
    What Twisted and other modules have to say, for our log.

    Twisted's own lines begin with warnings: below, they say what our lines say as well. So do those
    in its old way, which do not tell whose they are.

    :param observer: gets what is left.
    """

    def __init__(self, observer: ILogObserver) -> None:
        self._observer = observer

    def __call__(self, event: LogEvent) -> None:
        if event.get("log_namespace") == "log_legacy":
            event = _modern(event)
        if event.get("log_level", LogLevel.info) >= LogLevel.warn or not _doubles_ours(event):
            self._observer(event)


def _is_told(options: Mapping[str, Any]) -> bool:
    if "logFile" in options:
        # python -m twisted: by default, and by "-".
        return options["logFile"] is not sys.stdout
    return any(options.get(name) for name in ("logfile", "logger", "syslog"))


def _syslog() -> ILogObserver:
    # There is none on some systems.
    from twisted.python.syslog import SyslogObserver

    observer: Any = SyslogObserver("guerrilla").emit
    return LegacyLogObserverWrapper(observer)


def _doubles_ours(event: LogEvent) -> bool:
    # Factories of Twisted's log under the name of the class that is made of them, such as ours.
    package = str(event.get("log_namespace", "")).partition(".")[0]
    return package in ("twisted", "guerrilla_tw", "log_legacy")


def _modern(event: LogEvent) -> LogEvent:
    """:returns: an event of ``twisted.python.log`` as a new one; its text holds the traceback."""
    kept = {name: value for name, value in event.items() if name.startswith("log_")}
    if event.get("isError") and "failure" in event:
        kept["log_failure"] = event["failure"]
        kept["log_text"] = event.get("why") or "Unhandled Error"
    return kept

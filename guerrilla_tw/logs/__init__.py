"""
Where the lines of a daemon go: one main log, and one for each server that has one of its own.

Loggers are made with observers of :class:`Logs`, which stay the same while what is behind them
changes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TextIO

from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, globalLogPublisher
from zope.interface import implementer

from guerrilla_tw.config import Config, ConfigError
from guerrilla_tw.logs.elsewhere import Places
from guerrilla_tw.logs.files import LogFile
from guerrilla_tw.logs.lines import RENDERS, Render
from guerrilla_tw.logs.sinks import NOWHERE, FileSink, Relay, Sink
from guerrilla_tw.users import SAME_USER, User

__all__ = ["Logs", "Outlet", "Plan"]

_STREAMS: Final = ("stderr", "stdout")
# In order, by go-guerrilla's names.
_LEVELS: Final[Mapping[str, LogLevel]] = {
    "debug": LogLevel.debug,
    "info": LogLevel.info,
    "warn": LogLevel.warn,
    "error": LogLevel.error,
    "fatal": LogLevel.critical,
    "panic": LogLevel.critical,
}


@dataclass(frozen=True)
class Plan:
    """
    What :meth:`Logs.prepare` has made ready.

    :param levels: those whose lines are seen.
    :param sinks: by ``log_file``; under an empty one the main log, and under None what the rest of
        the program has to say, if that does not go there.
    :param files: all that will be open, by path.
    :param opened: those of them that are new.
    """

    levels: frozenset[LogLevel]
    sinks: dict[str | None, Sink] = field(default_factory=dict)
    files: dict[str, LogFile] = field(default_factory=dict)
    opened: list[LogFile] = field(default_factory=list)

    def sink(self, log_file: str | None) -> Sink:
        """:returns: where lines for a log file go; the main log, if it has no such."""
        return self.sinks.get(log_file) or self.sinks[""]


class Logs:
    """
    The log files of one daemon. Until something is committed, all goes to ``fallback``.

    :param fallback: the log of the program; told when a log file cannot be written.
    :param streams: what ``stderr`` and ``stdout`` are: a stream, or a file's path in place of it.
        Without: the log of the program.
    :param user: whom the process is about to become, who has to open the files again.
    :param directory: where relative names begin; by default the present one.
    """

    def __init__(
        self,
        fallback: ILogObserver = globalLogPublisher,
        streams: Mapping[str, TextIO | str] | None = None,
        user: User = SAME_USER,
        directory: str = "",
    ) -> None:
        self._fallback = Relay(fallback)
        self._streams = streams or {}
        self._user = user
        # Names are taken from here for ever: a daemon may go elsewhere.
        self._directory = directory or os.getcwd()
        self._current = self._without_files()
        self.observer: ILogObserver = self.observer_for("")
        self._log = Logger("guerrilla_tw", observer=self.observer)

    @staticmethod
    def for_observer(observer: ILogObserver) -> Logs:
        """
        Log all to one observer, whatever the configuration says of files.

        :param observer: gets what is of ``log_level`` or above.
        """
        return _ObserverLogs(observer)

    def observer_for(self, log_file: str) -> ILogObserver:
        """
        Give the observer for the lines of a server.

        :param log_file: of its configuration; empty for the main log.
        :returns: an observer that follows every change.
        """
        return Outlet(self.current, log_file)

    def current(self) -> Plan:
        """:returns: what is in force."""
        return self._current

    @property
    def places(self) -> Places:
        """Where the other processes of the daemon log; they have this one's streams."""
        streams = {
            name: place if isinstance(place, str) else "" for name, place in self._streams.items()
        }
        return Places(self._directory, streams)

    @property
    def streams(self) -> Mapping[str, TextIO]:
        """Those that other processes of the daemon have to inherit."""
        return {name: place for name, place in self._streams.items() if not isinstance(place, str)}

    def take_over(self, event: LogEvent) -> None:
        """
        Log what another process of the daemon would have to the log of the program.

        :param event: of a level that is seen.
        """
        self._fallback.take(event)

    def is_enabled(self, level: LogLevel, log_file: str = "") -> bool:
        """
        Ask whether a line would be seen, before it is made.

        :param level: a ``LogLevel``.
        :param log_file: of a server; empty for the main log.
        """
        return level in self._current.levels and self._current.sink(log_file) is not NOWHERE

    def prepare(self, config: Config) -> Plan:
        """
        Open what is new. Nothing is logged there yet.

        :param config: its ``log_file``, ``log_level``, ``log_format`` and those of the servers.
        :returns: for :meth:`commit` or :meth:`abandon`.
        :raises ConfigError: a file cannot be written.
        """
        least = _LEVELS[config.log_level]
        plan = Plan(frozenset(level for level in LogLevel.iterconstants() if level >= least))
        render = RENDERS[config.log_format]()
        try:
            for path, log_file in _log_files(config):
                sink = self._sink(log_file, path, plan, render)
                plan.sinks.setdefault("" if path == "log_file" else log_file, sink)
            if config.log_file == "off":
                plan.sinks[None] = self._sink("stderr", "log_file", plan, render)
        except ConfigError:
            self.abandon(plan)
            raise
        return plan

    def _sink(self, log_file: str, path: str, plan: Plan, render: Render) -> Sink:
        if log_file == "off":
            return NOWHERE
        place: TextIO | str | None = os.path.join(self._directory, log_file)
        if log_file in _STREAMS:
            place = self._streams.get(log_file)
        if place is None:
            return self._fallback
        name = os.path.normpath(place) if isinstance(place, str) else log_file
        file = plan.files.get(name) or self._current.files.get(name)
        if file is None:
            try:
                file = self._open(place)
            except OSError as error:
                cause = f"{name} cannot be written: {error.strerror or error}"
                raise ConfigError(cause, path) from None
            plan.opened.append(file)
        plan.files[name] = file
        return FileSink(render, file)

    def _open(self, place: TextIO | str) -> LogFile:
        """:raises OSError: it cannot be written."""
        with self._user.rights():
            return LogFile(place, self._report)

    def commit(self, plan: Plan) -> None:
        """
        Log there from now on, and close what nobody uses any more.

        :param plan: made from what is in force.
        """
        before, self._current = self._current, plan
        for file in before.files.values():
            if file not in plan.files.values():
                file.close()

    def abandon(self, plan: Plan) -> None:
        """
        Close what :meth:`prepare` has opened.

        :param plan: not in force.
        """
        for file in plan.opened:
            file.close()

    def close(self) -> None:
        """Close every file. What is logged later goes to ``fallback``."""
        self.commit(self._without_files())

    def _without_files(self) -> Plan:
        return Plan(frozenset(LogLevel.iterconstants()), {"": self._fallback})

    def reopen(self) -> None:
        """Open every file anew by its name; the one that had it before may have been moved."""
        for file in self._current.files.values():
            try:
                file.reopen()
            except OSError as error:
                self._log.error(
                    "{log_file}: cannot be opened anew, the old file is kept: {cause}",
                    log_file=file.name,
                    cause=error.strerror,
                )

    def _report(self, file: LogFile, news: str) -> None:
        """A file has trouble: say so in the main log, or else wherever that is possible."""
        main = self._current.sinks[""]
        observer = self.observer
        if main is NOWHERE or (isinstance(main, FileSink) and main.file is file and file.fails):
            observer = Outlet(self._without_files, "")
        Logger("guerrilla_tw", observer=observer).error(
            "{log_file}: {news}", log_file=file.name, news=news
        )


class _ObserverLogs(Logs):
    @property
    def places(self) -> Places:
        return Places(self._directory, {}, are_none=True)

    def _sink(self, log_file: str, path: str, plan: Plan, render: Render) -> Sink:
        return self._fallback


@implementer(ILogObserver)
class Outlet:
    """
    An observer for whoever logs, in front of what is in force just then.

    :param current: gives that.
    :param log_file: see :class:`Plan`.
    """

    def __init__(self, current: Callable[[], Plan], log_file: str | None) -> None:
        self._current = current
        self._log_file = log_file

    def __call__(self, event: LogEvent) -> None:
        plan = self._current()
        if event.get("log_level") not in plan.levels:
            return
        while not plan.sink(self._log_file).take(event):
            # A file that another thread has just closed has another in its place by then.
            before, plan = plan, self._current()
            if plan is before:
                return


def _log_files(config: Config) -> Iterator[tuple[str, str]]:
    """:returns: the path of each setting, and its value."""
    yield "log_file", config.log_file
    for index, server in enumerate(config.servers):
        if server.is_enabled and server.log_file:
            yield f"servers[{index}].log_file", server.log_file

"""The daemon that serves in several processes."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NoReturn

from twisted.logger import LogEvent

from guerrilla_tw.backends.registry import Constructor
from guerrilla_tw.config import Config
from guerrilla_tw.daemon_service import DaemonService
from guerrilla_tw.logs import Logs
from guerrilla_tw.processes.crew import Crew
from guerrilla_tw.sources import ConfigSource
from guerrilla_tw.users import SAME_USER, User
from guerrilla_tw.works import Works


class Supervisor(DaemonService):
    """
    The daemon, as a Twisted service that has other processes serve (``processes``).

    It opens sockets, starts as many workers as the configuration says, and replaces those that end.
    The reactor must take care of SIGCHLD, as Twisted's do unless they are told otherwise.

    :param config: see :class:`.Guerrilla`, as of the others. What is in its ``backend_config`` must
        be what JSON can say.
    :param reactor: by default the global one.
    :param observer: where log lines go, those of the workers as well.
    :param logs: in place of ``observer``.
    :param user: whom the program is going to be.
    :param owns_process: whether the program is there for the daemon alone.
    :raises ConfigError: the configuration cannot be read.
    """

    def __init__(
        self,
        config: ConfigSource | None = None,
        *,
        reactor: Any = None,
        observer: Callable[[LogEvent], object] | None = None,
        logs: Logs | None = None,
        user: User = SAME_USER,
        owns_process: bool = False,
    ) -> None:
        super().__init__(
            config,
            reactor=reactor,
            observer=observer,
            logs=logs,
            user=user,
            owns_process=owns_process,
        )

    def _make_works(self, user: User) -> Works:
        size = number_of_processes(self.config)
        return Crew(self._reactor, self._logs, self.check_limits, user, size)

    def add_processor(self, name: str, constructor: Constructor) -> NoReturn:
        """
        As of :class:`.Guerrilla`, this would not do: an object cannot go to another process.

        :raises TypeError: always.
        """
        raise TypeError(
            f"processor {name}: what is given as an object cannot go to other processes; offer it "
            "as a plugin (guerrilla_tw.ProcessorPlugin), or set processes to 1 and have a Guerrilla"
        )


def number_of_processes(config: Config) -> int:
    """:returns: how many are to serve."""
    if config.processes:
        return config.processes
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

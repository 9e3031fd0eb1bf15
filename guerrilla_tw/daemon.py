"""The daemon that serves in its own process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.logger import LogEvent

from guerrilla_tw.backends.registry import Constructor, Registry
from guerrilla_tw.daemon_service import DaemonService
from guerrilla_tw.house import House
from guerrilla_tw.interfaces import IBackend
from guerrilla_tw.logs import Logs
from guerrilla_tw.processors import BUILTIN
from guerrilla_tw.sources import ConfigSource
from guerrilla_tw.users import SAME_USER, User
from guerrilla_tw.works import Works

_ONE_PROCESS: Final = (
    "processes: a Guerrilla serves in its own process only; a Supervisor has several"
)


class Guerrilla(DaemonService):
    """
    The daemon, as a Twisted service.

    :param config: a configuration, the JSON object of one, or the path of a file with one. By
        default, a server on 127.0.0.1:2525 and an embedded store.
    :param backend: in place of the Gateway that ``backend_config`` describes.
    :param reactor: by default the global one.
    :param observer: where log lines go; by default where ``log_file`` says, and for ``stderr`` and
        ``stdout`` to the log of the program that this service is part of.
    :param logs: in place of ``observer``, for a program that has its own idea of ``log_file``.
    :param user: whom a program that was started by root is going to be for ever, after
        :meth:`privilegedStartService` and before :meth:`startService`; by default nobody else.
    :param owns_process: whether the program is there for the daemon alone. Then the limit of open
        files is raised as far as is needed and allowed, one that is too low is no mere advice, and
        the garbage collector and malloc are told what suits it.
    :raises ConfigError: the configuration cannot be read.
    """

    def __init__(
        self,
        config: ConfigSource | None = None,
        *,
        backend: IBackend | None = None,
        reactor: Any = None,
        observer: Callable[[LogEvent], object] | None = None,
        logs: Logs | None = None,
        user: User = SAME_USER,
        owns_process: bool = False,
    ) -> None:
        self._registry = Registry(BUILTIN)
        self._backend = backend
        super().__init__(
            config,
            reactor=reactor,
            observer=observer,
            logs=logs,
            user=user,
            owns_process=owns_process,
        )
        if self.config.processes != 1:
            self._advice = [*self._advice, _ONE_PROCESS]

    def _make_works(self, user: User) -> Works:
        self._house = House(
            self._reactor, self._logs, self._registry, self._backend, self.check_limits, user
        )
        return self._house

    def add_processor(self, name: str, constructor: Constructor) -> None:
        """
        Make a processor known under a name (go-guerrilla: ``AddProcessor``). Before the start.

        :param name: to use in ``save_process`` or ``validate_process``, in any case.
        :param constructor: see :class:`.IBackendService`.
        """
        self._registry.add(name, constructor)

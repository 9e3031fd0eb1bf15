"""What a processor's constructor gets from the Gateway that it will live in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from twisted.logger import Logger
from zope.interface import implementer

from guerrilla_tw.backends.workers import WorkerPool
from guerrilla_tw.config import convert_settings, setting_names
from guerrilla_tw.interfaces import IBackendService, IInitializer, IShutdowner
from guerrilla_tw.mail.envelope import Envelope

T = TypeVar("T")

# Of the time that is left, so that the answer comes before the client is given up.
_STORES_SHARE = 0.8


@implementer(IBackendService)
class BackendService:
    """
    One processor's view of its Gateway, and what the Gateway remembers of that processor.

    :param name: the processor's name as the configuration has it.
    :param config: the ``backend_config``.
    :param timeout: seconds after which the chain's client is told to try again.
    :param pool: the threads of the chain.
    :param log: the Gateway's logger.
    :param reactor: that the Gateway runs on.
    :param set_before: what the processors before this one set; all of a chain share it.
    """

    def __init__(
        self,
        name: str,
        config: Mapping[str, object],
        timeout: float,
        pool: WorkerPool,
        log: Logger,
        reactor: Any,
        set_before: set[str],
    ) -> None:
        self.name = name
        self.config = config
        self.timeout = timeout
        self.reactor = reactor
        self.workers = pool.size
        self.log = Logger(f"guerrilla_tw.processors.{name.lower()}", observer=log.observer)
        self.defer_to_worker = pool.defer
        self.initializers: list[IInitializer] = []
        self.shutdowners: list[IShutdowner] = []
        self.known_settings: set[str] = set()
        self.files: list[str] = []
        self.stores = False
        self.warnings: list[str] = []
        self._set_before = set_before

    def add_initializer(self, initializer: IInitializer) -> None:
        """See :meth:`.IBackendService.add_initializer`."""
        self.initializers.append(initializer)

    def add_shutdowner(self, shutdowner: IShutdowner) -> None:
        """See :meth:`.IBackendService.add_shutdowner`."""
        self.shutdowners.append(shutdowner)

    def extract_config(self, config: Mapping[str, object], config_type: type[T]) -> T:
        """See :meth:`.IBackendService.extract_config`."""
        self.known_settings |= setting_names(config_type)
        return convert_settings(config, config_type)

    def time_for(self, envelope: Envelope) -> float:
        """See :meth:`.IBackendService.time_for`."""
        left: float = min(self.timeout, envelope.answer_by - self.reactor.seconds())
        return max(0.0, left * _STORES_SHARE)

    def declare_file(self, path: str) -> None:
        """See :meth:`.IBackendService.declare_file`."""
        self.files.append(path)

    def declare_store(self) -> None:
        """See :meth:`.IBackendService.declare_store`."""
        self.stores = True

    def declare_set(self, attribute: str) -> None:
        """See :meth:`.IBackendService.declare_set`."""
        self._set_before.add(attribute)

    def is_set_before(self, attribute: str) -> bool:
        """See :meth:`.IBackendService.is_set_before`."""
        return attribute in self._set_before

    def is_named_in(self, setting: str) -> bool:
        """See :meth:`.IBackendService.is_named_in`."""
        names = str(self.config.get(setting, "")).lower().split("|")
        return self.name.lower() in map(str.strip, names)

    def warn(self, advice: str) -> None:
        """See :meth:`.IBackendService.warn`."""
        self.warnings.append(advice)

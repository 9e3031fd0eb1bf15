"""The backend in force, and those that it has replaced and that finish their work."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, inlineCallbacks, maybeDeferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from guerrilla_tw.backends.gateway import WORK_TIMEOUT, Gateway
from guerrilla_tw.config import Config, ConfigError
from guerrilla_tw.interfaces import IBackend
from guerrilla_tw.smtp.server import Shared
from guerrilla_tw.spool.scanning import waiting_in

InlineCallbacks = Generator[Deferred[Any], Any, None]


class Gateways:
    """
    Puts one Gateway in the place of another while messages come.

    :param make: makes a Gateway that was never used.
    :param shared: where the servers look for the backend, and one is already, if not yet in use:
        a Gateway, or an IBackend of the program's own, which nothing can replace.
    :param clock: for deadlines.
    :param log: where failures go.
    """

    def __init__(
        self, make: Callable[[], Gateway], shared: Shared, clock: IReactorTime, log: Logger
    ) -> None:
        self._make = make
        self._shared = shared
        self._clock = clock
        self._log = log
        self._retiring: set[Deferred[Any]] = set()
        # Whether the one in force is to be shut down.
        self._is_open = False

    def initialize(self, config: Config) -> Deferred[None]:
        """
        Open the one that is there.

        :param config: the configuration to begin with.
        :returns: a Deferred that fails with the reason if that cannot be.
        """
        self._is_open = True
        return self._shared.backend.initialize(config.backend_config)

    def must_change(self, old: Config, new: Config) -> bool:
        """
        Tell whether the backend has to be made anew.

        :param old: the configuration in force.
        :param new: the one to come.
        """
        if old.backend_config != new.backend_config:
            return True
        backend = self._shared.backend
        return isinstance(backend, Gateway) and backend.has_new_files()

    @inlineCallbacks
    def open(self, new: Config) -> Generator[Deferred[Any], Any, Gateway]:
        """
        Open a Gateway beside the one in force.

        :param new: the configuration to come.
        :returns: a Deferred of the Gateway, for :meth:`replace_by` or its own shutdown.
        :raises Exception: a processor could not open what it needs; all that it opened is closed.
        :raises ConfigError: the backend is the program's own.
        """
        if not isinstance(self._shared.backend, Gateway):
            raise ConfigError(
                "a reload cannot change it, since the backend is the program's own",
                "backend_config",
            )
        gateway = self._make()
        yield gateway.initialize(new.backend_config)
        return gateway

    def replace_by(self, gateway: Gateway) -> None:
        """
        Have everything from now on done by another, and let the one in force finish.

        :param gateway: made by :meth:`open`.
        """
        gateway.start()
        old: IBackend = self._shared.backend
        assert isinstance(old, Gateway)
        self._shared.backend = gateway
        spool = "" if old.spool_dir == gateway.spool_dir else old.spool_dir
        retiring = old.retire()
        self._retiring.add(retiring)

        def retired(result: object) -> None:
            self._retiring.discard(retiring)
            self._log.info("the backend that was replaced has finished its work")
            count = waiting_in(spool) if spool else 0
            if count:
                self._log.warn(
                    "{count} messages are left in the spool {directory}, which nobody delivers "
                    "any more: spool_dir is another one now",
                    count=count,
                    directory=spool,
                )

        retiring.addErrback(
            lambda failure: self._log.failure("the backend that was replaced failed", failure)
        ).addCallback(retired)

    def shut_down(self) -> Deferred[Any]:
        """
        Finish the work, close everything.

        :returns: a Deferred that fires when it is done.
        """
        hurried = [retiring.addTimeout(WORK_TIMEOUT, self._clock) for retiring in self._retiring]
        closing: Deferred[Any] = succeed(None)
        if self._is_open:
            self._is_open = False
            closing = maybeDeferred(self._shared.backend.shutdown)
            closing.addErrback(
                lambda failure: self._log.failure("the backend failed to end", failure)
            )
        return DeferredList([closing, *hurried], consumeErrors=True)

"""The Gateway: the back of the house behind one object."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from typing import Any

from twisted.internet.defer import (
    CancelledError,
    Deferred,
    DeferredList,
    TimeoutError,
    inlineCallbacks,
    maybeDeferred,
)
from twisted.logger import Logger
from zope.interface import implementer

from guerrilla_tw.backends.conveyor import Conveyor
from guerrilla_tw.backends.lanes import GatewayConfig, IReactor, Lane, LaneBuilder
from guerrilla_tw.backends.registry import Registry
from guerrilla_tw.backends.results import NOT_RUNNING, RECIPIENT_OK
from guerrilla_tw.backends.service import BackendService
from guerrilla_tw.backends.spool_lane import SpoolLane, check_spool
from guerrilla_tw.backends.workers import WorkerPool
from guerrilla_tw.config import convert_settings, setting_names, unknown_settings
from guerrilla_tw.interfaces import IBackend, IResult, Task
from guerrilla_tw.mail.envelope import Envelope
from guerrilla_tw.spool.settings import SpoolConfig
from guerrilla_tw.stamps import Stamps, stamps
from guerrilla_tw.trust import Stranger, everybody_writes
from guerrilla_tw.users import SAME_USER, User

InlineCallbacks = Generator[Deferred[Any], Any, None]

# How long accepted work may take to end when its client waits no more, and then each shutdowner, in
# seconds.
WORK_TIMEOUT = 10.0


class State(Enum):
    """Where a Gateway is in its life."""

    NEW = "new"
    INITIALIZED = "initialized"
    RUNNING = "running"
    SHUTTERED = "shuttered"
    ERROR = "error"


class InitializationError(Exception):
    """A processor could not open what it needs. The text says which, and why."""


@implementer(IBackend)
class Gateway:
    """
    Runs messages through the chains of its configuration.

    :param registry: where processors are found.
    :param reactor: clock, and where threads hand back their results.
    :param log: where failures go.
    :param pool_factory: makes the threads of a chain: ``(reactor, size, name)``.
    :param user: whom the process is about to become.
    """

    def __init__(
        self,
        registry: Registry,
        reactor: IReactor,
        log: Logger,
        pool_factory: Callable[[IReactor, int, str], WorkerPool] = WorkerPool,
        user: User = SAME_USER,
    ) -> None:
        self.state = State.NEW
        self._reactor = reactor
        self._log = log
        self._builder = LaneBuilder(registry, reactor, log, pool_factory)
        self._config: Mapping[str, object] = {}
        self._user = user
        self._lanes: dict[Task, Lane] = {}
        self._spool: SpoolLane | None = None
        self._opened: list[BackendService] = []
        self._files: Stamps = {}

    def check(self, config: Mapping[str, object]) -> Sequence[str]:
        """See :meth:`.IBackend.check`."""
        lanes = self._builder.lanes(config)
        check_spool(convert_settings(config, SpoolConfig), self._user)
        known = {*setting_names(GatewayConfig), *setting_names(SpoolConfig)}
        warnings = []
        for lane in lanes.values():
            for service in lane.services:
                known |= service.known_settings
                path = f"backend_config.{lane.pool.name}: {service.name}"
                doubts = filter(None, map(_stranger_at, service.files))
                warnings += [f"{path}: {advice}" for advice in (*service.warnings, *doubts)]
        warnings += unknown_settings(config, known)
        if not any(service.stores for service in lanes[Task.SAVE_MAIL].services):
            warnings.append(
                "backend_config.save_process: NO PROCESSOR STORES MAIL: every message is answered "
                "250 and forgotten (a processor of your own says that it stores by "
                "svc.declare_store())"
            )
        return warnings

    @inlineCallbacks
    def initialize(self, config: Mapping[str, object]) -> InlineCallbacks:
        """
        See :meth:`.IBackend.initialize`.

        :raises RuntimeError: it is in use already, or not yet shut down.
        :raises InitializationError: a processor could not open what it needs.
        """
        if self._lanes:
            raise RuntimeError("cannot initialize a backend that is in use")
        self._lanes = self._builder.lanes(config)
        self._spool = self._builder.spool(config, self._lanes[Task.SAVE_MAIL])
        self._config = config
        self._files = self._stamp_files({})
        for pool in self._pools():
            pool.startService()
        try:
            for spool in self._spools():
                yield spool.open()
            for lane in self._lanes.values():
                for service in lane.services:
                    yield self._open(service)
        except Exception:
            self.state = State.ERROR
            yield self._close()
            raise
        self.state = State.INITIALIZED

    def start(self) -> None:
        """See :meth:`.IBackend.start`."""
        if self.state is not State.INITIALIZED:
            raise RuntimeError(f"cannot start a backend that is {self.state.value}")
        self.state = State.RUNNING
        for spool in self._spools():
            spool.start()

    def process(self, envelope: Envelope, task: Task) -> IResult | Deferred[IResult]:
        """See :meth:`.IBackend.process`."""
        if self.state is not State.RUNNING:
            return NOT_RUNNING
        if self._spool is not None and task is Task.SAVE_MAIL:
            return self._spool.process(envelope)
        return self._lanes[task].conveyor.submit(envelope)

    def validate_rcpt(self, envelope: Envelope) -> IResult | Deferred[IResult]:
        """See :meth:`.IBackend.validate_rcpt`."""
        if self.state is State.RUNNING and not self._lanes[Task.VALIDATE_RCPT].services:
            return RECIPIENT_OK
        return self.process(envelope.snapshot(), Task.VALIDATE_RCPT)

    def shutdown(self) -> Deferred[None]:
        """See :meth:`.IBackend.shutdown`. Work that takes too long is counted and left."""
        return self._shut_down(WORK_TIMEOUT)

    def retire(self) -> Deferred[None]:
        """
        As :meth:`shutdown`, when another has its place: every client has its answer before.

        :returns: a Deferred; cancelling it ends the waiting for work.
        """
        longest = max((lane.timeout for lane in self._lanes.values()), default=0.0)
        return self._shut_down(longest + WORK_TIMEOUT)

    @inlineCallbacks
    def _shut_down(self, timeout: float) -> InlineCallbacks:
        if self.state not in (State.INITIALIZED, State.RUNNING):
            return
        self.state = State.SHUTTERED
        ends = [self._drain(lane.conveyor, timeout) for lane in self._lanes.values()]
        for spool in self._spools():
            ends += [self._drain(spool.conveyor, timeout), self._let_end(spool.stop(), timeout)]
        yield DeferredList(ends)
        for spool in self._spools():
            yield self._let_end(spool.settled(), timeout)
        yield self._close()

    @inlineCallbacks
    def reinitialize(self) -> InlineCallbacks:
        """See :meth:`.IBackend.reinitialize`."""
        ran = self.state is State.RUNNING
        yield self.shutdown()
        yield self.initialize(self._config)
        if ran:
            self.start()

    @property
    def spool_dir(self) -> str:
        """Where its spool is; empty if it has none."""
        return "" if self._spool is None else self._spool.root

    def has_new_files(self) -> bool:
        """:returns: whether a file that a processor read at the start holds something else now."""
        return self._files != self._stamp_files(self._files)

    def _stamp_files(self, before: Stamps) -> Stamps:
        services = [service for lane in self._lanes.values() for service in lane.services]
        files = (file for service in services for file in service.files)
        return stamps(files, before)

    def _pools(self) -> list[WorkerPool]:
        pools = [lane.pool for lane in self._lanes.values()]
        return [*pools, *(spool.pool for spool in self._spools())]

    def _spools(self) -> list[SpoolLane]:
        return [] if self._spool is None else [self._spool]

    @inlineCallbacks
    def _open(self, service: BackendService) -> InlineCallbacks:
        # First, since an initializer that fails may follow one that has opened something.
        self._opened.append(service)
        for initializer in service.initializers:
            try:
                yield maybeDeferred(initializer.initialize, self._config)
            except CancelledError:  # By whoever called initialize: no processor's fault.
                raise
            except (Exception, SystemExit) as error:
                cause = str(error) or type(error).__name__
                raise InitializationError(f"{service.name}: {cause}") from error

    @inlineCallbacks
    def _drain(self, conveyor: Conveyor, timeout: float) -> InlineCallbacks:
        began = self._reactor.seconds()
        try:
            yield conveyor.drain().addTimeout(timeout, self._reactor)
        except (TimeoutError, CancelledError):
            self._log.error(
                "shutdown: {count} envelopes not done after {seconds:.1f} seconds, left behind",
                count=conveyor.unfinished(),
                seconds=self._reactor.seconds() - began,
            )
            conveyor.refuse_waiting()

    @inlineCallbacks
    def _let_end(self, ending: Deferred[None], timeout: float) -> InlineCallbacks:
        """What does not end in time stays in the spool."""
        try:
            yield ending.addTimeout(timeout, self._reactor)
        except (TimeoutError, CancelledError):
            self._log.error("shutdown: the spool is left with messages on their way")

    @inlineCallbacks
    def _close(self) -> InlineCallbacks:
        """Undo what :meth:`initialize` did, the last first."""
        while self._opened:
            service = self._opened.pop()
            for shutdowner in reversed(service.shutdowners):
                try:
                    closing = maybeDeferred(shutdowner.shutdown)
                    yield closing.addTimeout(WORK_TIMEOUT, self._reactor)
                except Exception:
                    service.log.failure("{name} did not shut down cleanly", name=service.name)
        for pool in self._pools():
            pool.stopService()
        self._lanes = {}
        self._spool = None


def _stranger_at(path: str) -> Stranger | None:
    with suppress(OSError, ValueError):
        return everybody_writes(path)
    return None

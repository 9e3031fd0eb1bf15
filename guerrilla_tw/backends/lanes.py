"""Of the configuration: chains, and the slots and threads that each has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec
from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from twisted.logger import Logger

from guerrilla_tw.backends.chain import build_chain
from guerrilla_tw.backends.conveyor import Conveyor
from guerrilla_tw.backends.registry import Registry
from guerrilla_tw.backends.service import BackendService
from guerrilla_tw.backends.spool_lane import WRITERS, SpoolLane
from guerrilla_tw.backends.workers import WorkerPool
from guerrilla_tw.config import ConfigError, Duration, convert_settings, set_default
from guerrilla_tw.interfaces import IProcessor, Task
from guerrilla_tw.spool.settings import SpoolConfig

MAX_WORKERS = 1000


class IReactor(IReactorTime, IReactorFromThreads):
    """What the Gateway asks of a reactor."""


class GatewayConfig(msgspec.Struct, frozen=True):
    """
    The Gateway's own part of ``backend_config``, under go-guerrilla's names; what is empty or 0
    means the default.

    :param save_process: the chain for messages.
    :param validate_process: the chain for recipients; empty accepts all.
    :param save_workers_size: slots and threads of each chain, 1 by default.
    :param gw_save_timeout: seconds for a message, 30 by default.
    :param gw_val_rcpt_timeout: seconds for a recipient, 5 by default.
    :raises ConfigError: no processor is named, or a value is out of range.
    """

    save_process: str = ""
    validate_process: str = ""
    save_workers_size: int = 0
    gw_save_timeout: Duration = Duration(0)
    gw_val_rcpt_timeout: Duration = Duration(0)

    def __post_init__(self) -> None:
        set_default(self, "save_workers_size", 1)
        set_default(self, "gw_save_timeout", Duration(30))
        set_default(self, "gw_val_rcpt_timeout", Duration(5))
        if not self.save_process.strip():
            raise ConfigError("no processor is named, so all mail would be lost", "save_process")
        if not 1 <= self.save_workers_size <= MAX_WORKERS:
            raise ConfigError(f"is not from 1 to {MAX_WORKERS}", "save_workers_size")


@dataclass(frozen=True)
class Lane:
    """
    A chain with slots and threads of its own, so that it cannot starve another.

    :param pool: threads.
    :param chain: of processors.
    :param conveyor: brings envelopes to it.
    :param services: of the processors, in order.
    :param timeout: seconds for an envelope.
    """

    pool: WorkerPool
    chain: IProcessor
    conveyor: Conveyor
    services: list[BackendService]
    timeout: float


class LaneBuilder:
    """
    Makes what a Gateway runs messages through.

    :param registry: where processors are found.
    :param reactor: clock, and where threads hand back their results.
    :param log: where failures go.
    :param pool_factory: makes the threads of a chain: ``(reactor, size, name)``.
    """

    def __init__(
        self,
        registry: Registry,
        reactor: IReactor,
        log: Logger,
        pool_factory: Callable[[IReactor, int, str], WorkerPool],
    ) -> None:
        self._registry = registry
        self._reactor = reactor
        self._log = log
        self._pool_factory = pool_factory

    def lanes(self, config: Mapping[str, object]) -> dict[Task, Lane]:
        """
        Make a lane for each task.

        :param config: the ``backend_config``.
        :raises ConfigError: it cannot be used.
        """
        settings = convert_settings(config, GatewayConfig)
        return {
            Task.SAVE_MAIL: self._lane(
                Task.SAVE_MAIL, "save_process", settings.gw_save_timeout, settings, config
            ),
            Task.VALIDATE_RCPT: self._lane(
                Task.VALIDATE_RCPT,
                "validate_process",
                settings.gw_val_rcpt_timeout,
                settings,
                config,
            ),
        }

    def _lane(
        self,
        task: Task,
        setting: str,
        timeout: float,
        settings: GatewayConfig,
        config: Mapping[str, object],
    ) -> Lane:
        size = settings.save_workers_size
        spool = convert_settings(config, SpoolConfig)
        has_spool = bool(spool.spool_dir) and task is Task.SAVE_MAIL
        threads = _threads(size, spool) if has_spool else size
        pool = self._pool_factory(self._reactor, threads, setting)
        set_before: set[str] = set()
        chain, services = build_chain(
            getattr(settings, setting),
            f"backend_config.{setting}",
            self._registry,
            lambda name: BackendService(
                name, config, timeout, pool, self._log, self._reactor, set_before
            ),
        )
        conveyor = self._conveyor(chain, task, size, timeout, spooled=has_spool)
        return Lane(pool, chain, conveyor, services, timeout)

    def spool(self, config: Mapping[str, object], lane: Lane) -> SpoolLane | None:
        """
        Make the way of the spool through the chain.

        :param config: as for :meth:`lanes`.
        :param lane: for messages.
        :returns: None if there is no spool.
        """
        settings = convert_settings(config, SpoolConfig)
        if not settings.spool_dir:
            return None
        size = convert_settings(config, GatewayConfig).save_workers_size
        slots = settings.workers(size)
        pool = self._pool_factory(self._reactor, WRITERS, "spool")
        conveyor = self._conveyor(lane.chain, Task.SAVE_MAIL, slots, lane.timeout, spooled=True)
        return SpoolLane(settings, pool, lane.conveyor, conveyor, slots, self._reactor, self._log)

    def _conveyor(
        self, chain: IProcessor, task: Task, slots: int, timeout: float, *, spooled: bool
    ) -> Conveyor:
        return Conveyor(
            chain,
            task,
            slots=slots,
            timeout=timeout,
            clock=self._reactor,
            log=self._log,
            spooled=spooled,
        )


def _threads(workers: int, spool: SpoolConfig) -> int:
    """:returns: how many messages may be in the chain at once, those of the spool included."""
    return spool.workers(workers) + (0 if spool.always else workers)

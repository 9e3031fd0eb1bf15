"""The parts of a daemon that has several processes, and what has to come before what."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.interfaces import IAddress
from twisted.logger import Logger

from guerrilla_tw.backends.gateway import WORK_TIMEOUT
from guerrilla_tw.config import Config, ServerConfig
from guerrilla_tw.events import Event, Renewed
from guerrilla_tw.logs import Logs
from guerrilla_tw.pid_file import PidFiles
from guerrilla_tw.processes.crowd import Crowd
from guerrilla_tw.processes.judge import Judge, Known
from guerrilla_tw.processes.keeper import Keeper
from guerrilla_tw.processes.orders import make_order
from guerrilla_tw.processes.places import Places
from guerrilla_tw.processes.worker_process import Means, WorkerProcess
from guerrilla_tw.servers import check_spill_dir
from guerrilla_tw.undo import Undo
from guerrilla_tw.users import User

# Seconds that a worker may take beyond what its clients and its work have.
_MARGIN: Final = 5.0


class Crew:
    """
    Logs, sockets, workers and pid file of a daemon.

    :param reactor: of the supervisor.
    :param logs: where its lines go.
    :param check_limits: raises a ConfigError if a process may not have what a configuration asks.
    :param user: whom the process is about to become.
    :param size: how many workers there are.
    """

    def __init__(
        self,
        reactor: Any,
        logs: Logs,
        check_limits: Callable[[Config], None],
        user: User,
        size: int,
    ) -> None:
        self._logs = logs
        self.log = Logger("guerrilla_tw", observer=logs.observer)
        self._reactor = reactor
        self._check_limits = check_limits
        self._user = user
        self._judge = Judge(reactor, self.log, user)
        self._places = Places(reactor, self.log, user)
        self._pid_files = PidFiles(user)
        self._crowd: Crowd | None = None
        self._order = b""
        self._doing: Deferred[Any] = succeed(None)
        self._means = Means(reactor, logs, self.log)
        self._keepers = [self._make_keeper(number) for number in range(1, size + 1)]

    def _make_keeper(self, number: int) -> Keeper:
        def spawn(number: int) -> WorkerProcess:
            assert self._crowd is not None
            return WorkerProcess(number, self._means, self._crowd)

        def forget(number: int) -> None:
            assert self._crowd is not None
            self._crowd.forget(number)

        return Keeper(number, spawn, self._prepare, forget, self._reactor, self.log)

    async def _prepare(self, process: WorkerProcess) -> None:
        await process.prepare(self._order, self._places.all)

    @property
    def addresses(self) -> list[IAddress]:
        """See :class:`.Works`."""
        return self._places.addresses

    @property
    def client_count(self) -> int:
        """See :class:`.Works`."""
        return self._crowd.client_count if self._crowd else 0

    def check(self, config: Config) -> Sequence[str]:
        """See :class:`.Works`."""
        return self._judge.check(config)

    # The start

    def take_places(self, config: Config) -> None:
        """See :class:`.Works`."""
        self._logs.commit(self._logs.prepare(config))
        known = self._judge.read(config)
        self._judge.commit(known)
        self.warn(self._judge.check(config))
        self._check_limits(config)
        self._places.take(config)
        try:
            self._order = self._make_order(config, known)
            self._pid_files.take(config.pid_file)
        except Exception:
            self._places.abandon()
            raise

    def open(self, config: Config) -> Deferred[None]:
        """See :class:`.Works`."""
        undo = Undo(self.log)
        undo.add(self._leave)
        self._doing = Deferred.fromCoroutine(self._open(config))
        return undo.unless_done(self._doing)

    async def _open(self, config: Config) -> None:
        # By now the process may be a user who may do less.
        check_spill_dir(config.spill_dir, self._user)
        self._crowd = Crowd(len(self._keepers))
        processes = [keeper.start() for keeper in self._keepers]
        # One after the other, so that they are not in each other's way: the first makes what is
        # missing in a store. And if it cannot be, that is told once.
        for process in processes:
            await self._prepare(process)
        self._pid_files.write()
        self._pid_files.commit()
        for keeper in self._keepers:
            await keeper.serve()
        self._places.commit()

    def _leave(self) -> Deferred[Any]:
        """Give up what was taken where nobody was answered."""
        self._pid_files.abandon()
        self._places.abandon()
        return self._end(0, WORK_TIMEOUT)

    def _end(self, timeout: float, deadline: float) -> Deferred[Any]:
        def forget_all(_: object) -> None:
            crowd, self._crowd = self._crowd, None
            if crowd is not None:
                crowd.close()

        ended = DeferredList([keeper.end(timeout, deadline) for keeper in self._keepers])
        return ended.addCallback(forget_all)

    # Changes

    def change(self, old: Config, new: Config) -> Deferred[Renewed]:
        """See :class:`.Works`. Workers that do not serve take no part; they begin anew after it."""
        undo = Undo(self.log)
        for keeper in self._keepers:
            keeper.hold()
        self._doing = Deferred.fromCoroutine(self._change(old, new, undo))
        return undo.unless_done(self._doing).addBoth(self._release)

    def _release(self, result: Any) -> Any:
        for keeper in self._keepers:
            keeper.release()
        return result

    async def _change(self, old: Config, new: Config, undo: Undo) -> Renewed:
        """Have every process do all that can fail; then have them put it in force."""
        self._check_limits(new)
        if new.backend_config != old.backend_config:
            # Workers do so as well, and tell nobody; and there may be none just now.
            self.warn(self._judge.check_backend(new))
        known = self._judge.read(new)
        plan = self._logs.prepare(new)
        undo.add(partial(self._logs.abandon, plan))
        self._pid_files.take(new.pid_file)
        undo.add(self._pid_files.abandon)
        self._places.take(new)
        undo.add(self._places.abandon)
        order = self._make_order(new, known)
        serving = [
            keeper.process for keeper in self._keepers if keeper.process and keeper.is_serving
        ]
        undo.add(lambda: _all(process.abandon() for process in serving))
        answers = [await process.prepare(order, self._places.taken) for process in serving]
        self._pid_files.write()

        # From here on nothing can fail, and nothing that follows is to undo it.
        undo.forget()
        self._doing = succeed(None)
        self._logs.commit(plan)
        self._judge.commit(known)
        self._pid_files.commit()
        self._places.commit()
        self._order = order
        await _all(process.commit() for process in serving)
        return _renewed(new, answers)

    def _make_order(self, config: Config, known: Known) -> bytes:
        return make_order(config, self._logs.places, known.files, len(self._keepers))

    def cancel(self) -> None:
        """See :class:`.Works`."""
        self._doing.cancel()

    def reopen_logs(self) -> None:
        """See :class:`.Works`."""
        self._logs.reopen()
        for keeper in self._keepers:
            if keeper.process is not None:
                keeper.process.reopen_logs()

    # The end

    def close(self, timeout: float) -> Deferred[Any]:
        """See :class:`.Works`."""
        self._places.close()
        deadline = timeout + 2 * WORK_TIMEOUT + _MARGIN
        return self._end(timeout, deadline).addCallback(lambda _: self._pid_files.remove())

    def kill(self) -> None:
        """See :class:`.Works`."""
        for keeper in self._keepers:
            keeper.kill()

    def warn(self, warnings: Sequence[str]) -> None:
        """See :class:`.Works`."""
        for advice in warnings:
            self.log.warn("{advice}", advice=advice)


def _all(doing: Iterable[Coroutine[Any, Any, None]]) -> Deferred[Any]:
    """:returns: a Deferred that fires when all are done."""
    ended: Deferred[Any] = DeferredList(
        [Deferred.fromCoroutine(each) for each in doing], consumeErrors=True
    )
    return ended


def _renewed(config: Config, answers: Sequence[Mapping[str, Any]]) -> Renewed:
    """Each has looked at the files for itself."""
    places = {place for answer in answers for place in answer["servers"]}
    renewed: list[Event | ServerConfig] = [
        server for server in config.servers if server.listen_interface in places
    ]
    if any(answer["backend"] for answer in answers):
        renewed.append(Event.BACKEND_CONFIG)
    return renewed

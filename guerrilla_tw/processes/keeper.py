"""Keeps one worker alive."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from guerrilla_tw.processes.control import Refusal
from guerrilla_tw.processes.worker_process import WorkerProcess

# Seconds until another process follows one that has ended: the first time, and at most.
_SHORTEST_DELAY: Final = 1.0
_LONGEST_DELAY: Final = 30.0
# Seconds that a process has to serve to be taken for a sound one.
_SOUND: Final = 60.0
# Seconds that a process whose start is given up may take to close what it has opened.
_PATIENCE: Final = 10.0


class Keeper:
    """
    Sees to it that there is a process for a worker, from the first start to the end.

    :param number: of the worker, from 1 on.
    :param spawn: starts a process for it.
    :param prepare: has a process do all that can fail for what is in force.
    :param forget: is told when a process is no more.
    :param clock: for delays.
    :param log: of the supervisor.
    """

    def __init__(
        self,
        number: int,
        spawn: Callable[[int], WorkerProcess],
        prepare: Callable[[WorkerProcess], Awaitable[object]],
        forget: Callable[[int], None],
        clock: IReactorTime,
        log: Logger,
    ) -> None:
        self.number = number
        self.process: WorkerProcess | None = None
        self.is_serving = False
        self._spawn = spawn
        self._prepare = prepare
        self._forget = forget
        self._clock = clock
        self._log = log
        # Whether another process is to follow one that has ended, and may do so now.
        self._is_kept = False
        self._is_held = False
        self._delay = _SHORTEST_DELAY
        self._began = 0.0
        self._waiting: Any = None

    # The first start

    def start(self) -> WorkerProcess:
        """
        Start the first process.

        :returns: what is to be prepared, before :meth:`serve`.
        :raises Refusal: it cannot be.
        """
        return self._begin()

    async def serve(self) -> None:
        """Have clients answered, and another process follow if this one ends."""
        self._is_kept = True
        process = self.process
        if process is None:
            self._wait()
            return
        await process.commit()
        self._serves(process)

    # The end

    def end(self, timeout: float, deadline: float) -> Deferred[Any]:
        """
        Have the process end, and no other follow.

        :param timeout: seconds that its clients have.
        :param deadline: seconds after which it is killed.
        :returns: a Deferred that fires when it is no more.
        """
        self._is_kept = False
        self._cancel_waiting()
        return self._end(timeout, deadline)

    def kill(self) -> None:
        """Have no process, at once."""
        self._is_kept = False
        self._cancel_waiting()
        if self.process is not None:
            self.process.kill()

    def _end(self, timeout: float, deadline: float) -> Deferred[Any]:
        process = self.process
        if process is None:
            return succeed(None)
        process.stop(timeout)
        killing = self._clock.callLater(deadline, self._kill_late, process)

        def ended(cause: str) -> None:
            if killing.active():
                killing.cancel()

        return process.end().addCallback(ended)

    def _kill_late(self, process: WorkerProcess) -> None:
        self._log.error(
            "worker {number}, process {pid}, did not end in time and is killed",
            number=self.number,
            pid=process.pid,
        )
        process.kill()

    # Changes

    def hold(self) -> None:
        """Let no process begin until :meth:`release`; one that does not serve yet is given up."""
        self._is_held = True
        self._cancel_waiting()
        if self.process is not None and not self.is_serving:
            self.process.kill()

    def release(self) -> None:
        """Let a process begin, if there is none."""
        self._is_held = False
        if self._is_kept and self.process is None:
            self._wait()

    # One process after the other

    def _begin(self) -> WorkerProcess:
        try:
            process = self._spawn(self.number)
        except OSError as error:
            cause = f"{sys.executable} cannot be started: {error.strerror}"
            raise Refusal(f"no process for worker {self.number}: {cause}") from None
        self.process = process
        process.end().addCallback(self._ended, process)
        return process

    def _ended(self, cause: str, process: WorkerProcess) -> None:
        self.process = None
        was_serving, self.is_serving = self.is_serving, False
        self._forget(self.number)
        if not self._is_kept:
            return
        if was_serving:
            self._log.error(
                "worker {number}, process {pid}, has ended: {cause}",
                number=self.number,
                pid=process.pid,
                cause=cause,
            )
            if self._clock.seconds() - self._began >= _SOUND:
                self._delay = _SHORTEST_DELAY
        if not self._is_held:
            self._wait()

    def _wait(self) -> None:
        delay, self._delay = self._delay, min(2 * self._delay, _LONGEST_DELAY)
        self._log.info(
            "worker {number} is started again in {delay:.0f} s", number=self.number, delay=delay
        )
        self._waiting = self._clock.callLater(delay, self._begin_again)

    def _cancel_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _begin_again(self) -> None:
        self._waiting = None
        Deferred.fromCoroutine(self._try_again())

    async def _try_again(self) -> None:
        try:
            process = self._begin()
        except Refusal as refusal:
            self._log.error("{reason}", reason=refusal)
            self._wait()
            return
        try:
            await self._prepare(process)
        except Refusal as refusal:
            if self._is_kept and not self._is_held:
                self._log.error(
                    "worker {number} cannot start: {reason}", number=self.number, reason=refusal
                )
            await self._end(0, _PATIENCE)
            return
        await process.commit()
        self._serves(process)

    def _serves(self, process: WorkerProcess) -> None:
        # It may have ended in the very moment.
        if process is self.process:
            self.is_serving = True
            self._began = self._clock.seconds()
            self._log.info(
                "worker {number} serves, process {pid}", number=self.number, pid=process.pid
            )

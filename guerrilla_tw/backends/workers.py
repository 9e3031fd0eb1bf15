"""The threads of a chain: what blocks runs here."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from typing import Any, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

T = TypeVar("T")


class _DaemonThread(Thread):
    """A thread that does not keep a process alive when its work hangs for good."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs, daemon=True)


class _DaemonThreadPool(ThreadPool):
    threadFactory = _DaemonThread


class WorkerPool(Service):
    """
    A thread pool that lives as long as its service runs.

    :param reactor: where results are handed back.
    :param size: number of threads at most; they are started when they are first needed.
    :param name: of the service and of its threads.
    """

    def __init__(self, reactor: IReactorFromThreads, size: int, name: str) -> None:
        self.setName(name)
        self.size = size
        self._reactor = reactor
        self._pool = _DaemonThreadPool(0, size, name)
        self._busy = 0

    def startService(self) -> None:
        """Allow work."""
        super().startService()
        self._pool.start()

    def stopService(self) -> None:
        """
        End the threads, unless one is stuck: joining it would block the reactor for ever.

        The caller has refused new work and waited for the old before, so a busy thread is one
        that missed its deadline; the threads end when it is done, or with the process.
        """
        super().stopService()
        self._stop_if_idle()

    def defer(self, function: Callable[..., T], *args: Any) -> Deferred[T]:
        """
        Run ``function(*args)`` in a thread; the Deferred fires on the reactor's thread.

        Cancelling the Deferred ends the waiting only: a thread cannot be stopped.
        """
        # Not deferToThreadPool: the thread is busy until it ends, even if nobody waits for it.
        work: Deferred[T] = Deferred()

        def end(success: bool, result: T | Failure) -> None:
            self._reactor.callFromThread(self._end, work, result)

        self._busy += 1
        self._pool.callInThreadWithCallback(end, function, *args)
        return work

    def _end(self, work: Deferred[T], result: T | Failure) -> None:
        self._busy -= 1
        if isinstance(result, Deferred):
            result = Failure(TypeError("a function for a worker returned a Deferred"))
        work.callback(result)
        # After what the callbacks may have asked for.
        self._stop_if_idle()

    def _stop_if_idle(self) -> None:
        if self._pool.started and not (self.running or self._busy):
            self._pool.stop()

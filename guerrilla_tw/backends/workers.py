"""The threads of a chain: what blocks runs here."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure

T = TypeVar("T")


class WorkerPool(Service):
    """
    A thread pool that lives as long as its service runs.

    Not Twisted's, which takes several times as long to hand something over, and wakes the reactor
    up for each result: what threads bring while it is being woken up is taken with the rest.

    :param reactor: where results are handed back.
    :param size: number of threads at most; they are started when they are first needed.
    :param name: of the service and of its threads.
    """

    def __init__(self, reactor: IReactorFromThreads, size: int, name: str) -> None:
        self.setName(name)
        self.size = size
        self._reactor = reactor
        self._threads: list[Thread] = []
        # None for a thread that shall end.
        self._work: SimpleQueue[tuple[Deferred[Any], Callable[..., Any], Any] | None]
        self._work = SimpleQueue()
        self._results: deque[tuple[Deferred[Any], Any]] = deque()
        self._is_waking = False
        # How much work there is, results that are not handed back included.
        self._busy = 0

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

        :raises RuntimeError: the system gives no thread, and there is none that could do it.
        """
        work: Deferred[T] = Deferred()
        if len(self._threads) < min(self._busy + 1, self.size):
            self._start_thread()
        self._busy += 1
        self._work.put((work, function, args))
        return work

    def _start_thread(self) -> None:
        # It does not keep the process alive when its work hangs for good.
        thread = Thread(target=self._run, name=f"{self.name}-{len(self._threads)}", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # Those that are there do the work in turn; the next one may be had later.
            if not self._threads:
                raise
        else:
            self._threads.append(thread)

    def _run(self) -> None:
        """Work, in a thread."""
        while (task := self._work.get()) is not None:
            work, function, args = task
            try:
                result = function(*args)
            except BaseException:
                result = Failure()
            self._results.append((work, result))
            if not self._is_waking:
                # Two threads may be here at once: then the reactor comes twice, and that is all.
                self._is_waking = True
                self._reactor.callFromThread(self._hand_back)
            # Not while waiting for more: a message may be large.
            del task, work, function, args, result

    def _hand_back(self) -> None:
        # First, since a thread that has a result later looks at it later.
        self._is_waking = False
        for _ in range(len(self._results)):
            work, result = self._results.popleft()
            self._busy -= 1
            if isinstance(result, Deferred):
                result = Failure(TypeError("a function for a worker returned a Deferred"))
            work.callback(result)
        # After what the callbacks may have asked for.
        self._stop_if_idle()

    def _stop_if_idle(self) -> None:
        if self.running or self._busy:
            return
        threads, self._threads = self._threads, []
        for _ in threads:
            self._work.put(None)
        for thread in threads:
            thread.join()

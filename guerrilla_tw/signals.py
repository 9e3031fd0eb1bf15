"""Signals of a process that is a daemon's alone, brought to the reactor's thread."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any, Final

_Handler = Callable[[int, FrameType | None], Any]
_ENDINGS: Final = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """
    What is done on signals while a service runs, besides what was done on them before.

    Only the main thread may ask for signals; in another one nothing is done.

    :param reactor: runs what is to be done.
    :param actions: by signal.
    :param end: is told of the second of SIGTERM and SIGINT, which the reactor cannot take: it
        stops at the first. A third one is the kernel's.
    """

    def __init__(
        self,
        reactor: Any,
        actions: Mapping[signal.Signals, Callable[[], object]],
        end: Callable[[int], None],
    ) -> None:
        self._reactor = reactor
        self._actions = actions
        self._end = end
        self._before: dict[int, Any] = {}
        self._ending = False

    def catch(self) -> None:
        """Take the signals that have an action. From then on they do not end the process."""
        for number in self._actions:
            self._install(number, self._act)

    def watch_endings(self) -> None:
        """Look at what the reactor takes, once it has: SIGTERM and, mostly, SIGINT."""
        for number in _ENDINGS:
            # A shell lets what it starts with & ignore SIGINT, and so does the reactor.
            if callable(signal.getsignal(number)):
                self._install(number, self._stop)

    def restore(self) -> None:
        """
        Leave everything as it was.

        But a process that was told to end will not stop again, and has other things to do than to
        die of what it used to understand.
        """
        for number, before in self._before.items():
            if self._ending:
                before = signal.SIG_DFL if number in _ENDINGS else signal.SIG_IGN
            signal.signal(number, before)
        self._before.clear()

    def _install(self, number: int, handler: _Handler) -> None:
        if threading.current_thread() is threading.main_thread() and number not in self._before:
            self._before[number] = signal.signal(number, handler)

    def _act(self, number: int, frame: FrameType | None) -> None:
        # twistd may have one to rotate its log.
        if callable(self._before.get(number)):
            self._before[number](number, frame)
        self._reactor.callFromThread(self._actions[signal.Signals(number)])

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if not self._ending:
            self._ending = True
            self._before[number](number, frame)
            return
        signal.signal(number, signal.SIG_DFL)
        self._reactor.callFromThread(self._end, number)

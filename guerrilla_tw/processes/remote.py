"""The supervisor's end of the connection to a worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.protocols.amp import AMP, Command
from twisted.python.failure import Failure

from guerrilla_tw.logs import Logs
from guerrilla_tw.logs.elsewhere import unpack
from guerrilla_tw.processes.control import Log, Ping

# Seconds that a worker has to show that it does not hang.
_PATIENCE: Final = 30.0


class Remote(AMP):
    """
    A worker, as it is spoken to.

    :param logs: log what the worker cannot.
    :param clock: for patience.
    :param hangs: is called when the worker does not answer, or does not end.
    """

    def __init__(self, logs: Logs, clock: IReactorTime, hangs: Callable[[], None]) -> None:
        super().__init__()
        self._logs = logs
        self._clock = clock
        self._hangs = hangs
        self._is_gone = False
        self._parting: IDelayedCall | None = None

    def ask(self, command: type[Command], **arguments: object) -> Deferred[Any]:
        """
        Have the worker do something, which may take its time: it only must not hang meanwhile.

        :returns: a Deferred of the answer.
        """
        asked: Deferred[Any] = self.callRemote(command, **arguments)
        self._look_after(asked)
        return asked

    def _look_after(self, asked: Deferred[Any]) -> None:
        if asked.called:
            return
        pong: Deferred[Any] = self.callRemote(Ping).addErrback(lambda _: None)

        def look() -> None:
            if pong.called:
                self._look_after(asked)
            else:
                self._hangs()

        def stop_looking(result: Any) -> Any:
            if looking.active():
                looking.cancel()
            return result

        looking = self._clock.callLater(_PATIENCE, look)
        asked.addBoth(stop_looking)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The worker is about to end, and may hang: a thread of a processor's can keep it."""
        super().connectionLost(reason)
        if not self._is_gone:
            self._parting = self._clock.callLater(_PATIENCE, self._hangs)

    def is_gone(self) -> None:
        """The worker is no more."""
        self._is_gone = True
        if self._parting is not None and self._parting.active():
            self._parting.cancel()

    @Log.responder
    def log(self, event: bytes) -> dict[str, Any]:
        """Log what the worker cannot."""
        self._logs.take_over(unpack(event))
        return {}

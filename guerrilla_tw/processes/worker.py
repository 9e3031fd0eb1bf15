"""One of the processes that serve: it has its sockets and its orders from a supervisor."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ReactorNotRunning
from twisted.internet.protocol import connectionDone
from twisted.protocols.amp import AMP
from twisted.python.failure import Failure
from twisted.python.threadable import isInIOThread

from guerrilla_tw.config import Config
from guerrilla_tw.events import Event, Renewed
from guerrilla_tw.house import House
from guerrilla_tw.logs.elsewhere import Places
from guerrilla_tw.processes.control import (
    Abandon,
    Commit,
    Log,
    Ping,
    Prepare,
    Refusal,
    ReopenLogs,
    Stop,
    TakePiece,
    TakeSocket,
)
from guerrilla_tw.processes.handed import HandedSockets
from guerrilla_tw.processes.orders import read_order
from guerrilla_tw.sources import reason_of
from guerrilla_tw.stamps import HandedFiles

Answer = dict[str, Any]


class Worker(AMP):
    """
    Does what the supervisor says, which takes care that one thing is done after the other.

    :param reactor: stops when there is no more to do.
    :param handed: where it puts the sockets that it gets.
    :param make_house: makes the parts of a daemon that log there.
    """

    def __init__(
        self, reactor: Any, handed: HandedSockets, make_house: Callable[[Places, Worker], House]
    ) -> None:
        super().__init__()
        self._reactor = reactor
        self._handed = handed
        self._make_house = make_house
        self._house: House | None = None
        self._config: Config | None = None
        self._pieces: list[bytes] = []
        #: Keys and certificates.
        self.files = HandedFiles({})
        self._prepared: Deferred[None] = Deferred()
        self._done: Deferred[None] = Deferred()
        self._goodbye: float | None = None
        self._is_ending = False
        self._parted: Deferred[None] = Deferred()
        reactor.addSystemEventTrigger("before", "shutdown", self._close)

    # What the house needs

    def log(self, event: bytes) -> None:
        """Have the supervisor log something. May be called by every thread."""
        if isInIOThread():
            self._log(event)
        else:
            self._reactor.callFromThread(self._log, event)

    def _log(self, event: bytes) -> None:
        if self._is_connected:
            self.callRemote(Log, event=event)

    @property
    def _is_connected(self) -> bool:
        return self.transport is not None and bool(cast(Any, self.transport).connected)

    # What the supervisor says

    @TakeSocket.responder
    def take_socket(self, place: str, socket: int, server: int) -> Answer:
        """Keep it for the servers to come."""
        self._handed.take(place, socket, server)
        return {}

    @TakePiece.responder
    def take_piece(self, piece: bytes) -> Answer:
        """Keep it for :meth:`prepare`."""
        self._pieces.append(piece)
        return {}

    @Prepare.responder
    def prepare(self) -> Deferred[Answer]:
        """Do all that can fail."""
        if self._is_ending:
            raise Refusal("a worker is about to end; try again")
        answer: Deferred[Answer] = Deferred()

        def agree(renewed: Renewed) -> Deferred[None]:
            self._prepared = Deferred()
            answer.callback(_renewed(renewed))
            return self._prepared

        def put_in_force(_: object) -> None:
            self._config = config

        def refuse(failure: Failure) -> None:
            self._forget()
            if not answer.called:
                answer.errback(Refusal(reason_of(failure)))

        order = read_order(b"".join(self._pieces))
        self._pieces.clear()
        config = order.config
        self.files.contents = order.files
        if self._house is None:
            self._house = self._make_house(order.logs, self)
        begun = maybeDeferred(self._begin, self._house, config, agree)
        self._done = begun.addCallbacks(put_in_force, refuse)
        return answer

    def _begin(self, house: House, config: Config, agree: Any) -> Deferred[Any]:
        if self._config is not None:
            return house.change(self._config, config, agree)
        house.take_places(config)
        return house.open(config, agree)

    @Ping.responder
    def ping(self) -> Answer:
        """Show that the reactor runs."""
        return {}

    @Commit.responder
    def commit(self) -> Deferred[Answer]:
        """Put in force what is prepared."""
        assert self._house is not None
        self._prepared.callback(None)
        return self._house.settled().addCallback(lambda _: {})

    @Abandon.responder
    def abandon(self) -> Deferred[Answer]:
        """Undo what is prepared, or being prepared."""
        assert self._house is not None
        self._forget()
        self._house.cancel()
        undone: Deferred[Answer] = Deferred()
        if self._is_ending:
            # It has undone that, and others need not wait for its clients.
            undone.callback({})
            return undone
        self._done.addCallback(lambda _: undone.callback({}))
        return undone

    def _forget(self) -> None:
        """Give up what was for an order."""
        self._pieces.clear()
        self._handed.forget()

    @ReopenLogs.responder
    def reopen_logs(self) -> Answer:
        """Open every log file anew by its name."""
        if self._house is not None:
            self._house.reopen_logs()
        return {}

    @Stop.responder
    def stop(self, timeout: float) -> Answer:
        """End, and give clients so many seconds."""
        self._goodbye = timeout
        stop(self._reactor)
        return {}

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The supervisor is no more; nobody would count or replace this process."""
        super().connectionLost(reason)
        self._parted.callback(None)
        stop(self._reactor)

    # The end

    def _close(self) -> Deferred[None] | None:
        """Let everything finish, before the reactor is shut down, whatever stops it."""
        self._is_ending = True
        if self._house is None:
            return None
        house = self._house
        house.cancel()
        timeout = self._goodbye
        if timeout is None:
            timeout = self._config.shutdown_timeout if self._config else 0
        done: Deferred[None] = Deferred()
        closed = self._done.addCallback(lambda _: house.close(timeout))
        closed.addBoth(self._part).chainDeferred(done)
        return done

    def _part(self, result: Any) -> Any:
        """Have all arrive that was logged: the reactor drops what is not sent when it stops."""
        if not self._is_connected:
            return result
        cast(Any, self.transport).loseConnection()
        return self._parted.addCallback(lambda _: result)


def stop(reactor: Any) -> None:
    """Have a worker end, whoever else has told it so: the supervisor, a signal, or both."""
    with suppress(ReactorNotRunning):
        reactor.stop()


def _renewed(renewed: Renewed) -> Answer:
    servers = [each.listen_interface for each in renewed if not isinstance(each, Event)]
    return {"servers": servers, "backend": Event.BACKEND_CONFIG in renewed}

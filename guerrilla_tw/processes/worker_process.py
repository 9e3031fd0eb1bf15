"""A process of a worker, as the supervisor sees it."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Awaitable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, TextIO

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.protocol import Factory, ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from guerrilla_tw.logs import Logs
from guerrilla_tw.processes.control import (
    CONTROL,
    Abandon,
    Commit,
    Prepare,
    Refusal,
    ReopenLogs,
    Stop,
    TakePiece,
    TakeSocket,
    pieces_of,
)
from guerrilla_tw.processes.crowd import Crowd
from guerrilla_tw.processes.places import Shared
from guerrilla_tw.processes.remote import Remote

# Octets of a line that may have no end.
_LONGEST_LINE: Final = 8192
# Seconds in which its last words come.
_LAST_WORDS: Final = 1.0
_STREAMS = {"stdout": 1, "stderr": 2}
# They are about the supervisor itself.
_NOT_INHERITED = ("NOTIFY_SOCKET", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
# Not "-m", nor what "-c" does by itself: both look for modules in the current directory first, and
# others may be able to write there, as in /tmp. And signals that are for the supervisor may come to
# all processes of a terminal or a group, also while modules are being loaded.
_PROGRAM = (
    "import signal; ignore = lambda *_: None; "
    "signal.signal(signal.SIGHUP, ignore); signal.signal(signal.SIGUSR1, ignore); "
    "import sys; '' in sys.path and sys.path.remove(''); "
    "import runpy; runpy.run_module('guerrilla_tw.processes', run_name='__main__')"
)


@dataclass(frozen=True)
class Means:
    """
    What workers are started with.

    :param reactor: starts them.
    :param logs: log what they cannot.
    :param log: of the supervisor.
    """

    reactor: Any
    logs: Logs
    log: Logger


class WorkerProcess(ProcessProtocol):
    """
    A process, from its start to its end.

    :param number: of the worker, from 1 on.
    :param means: what it is started with.
    :param crowd: that it joins.
    :raises OSError: there can be no more processes.
    """

    def __init__(self, number: int, means: Means, crowd: Crowd) -> None:
        self.number = number
        #: Fires with the cause when the process is no more.
        self.ended: Deferred[str] = Deferred()
        self._log = means.log
        self._clock = means.reactor
        # What it has written, by descriptor, up to a line end that is yet to come.
        self._unfinished: dict[int, bytes] = {}
        self._remote = Remote(means.logs, means.reactor, self._kill_hanging)
        ours, theirs = socket.socketpair()
        with ours, theirs, open(os.devnull, "rb") as nothing:
            factory = Factory.forProtocol(lambda: self._remote)
            factory.noisy = False
            self._process = means.reactor.spawnProcess(
                self,
                sys.executable,
                [sys.executable, "-c", _PROGRAM, str(number), str(crowd.size)],
                env=_environment(),
                childFDs={
                    0: nothing.fileno(),
                    **_streams(means.logs.streams),
                    CONTROL: theirs.fileno(),
                    **crowd.descriptors_for(number),
                },
            )
            #: Of the process, also when it is no more.
            self.pid: int = self._process.pid
            means.reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, factory)

    async def prepare(self, order: bytes, sockets: Iterable[Shared]) -> Mapping[str, Any]:
        """
        Have it do all that can fail for an order.

        :param order: what it is to be.
        :param sockets: that are new to it.
        :returns: what is renewed, see :class:`.Prepare`.
        :raises Refusal: it cannot, or has ended meanwhile.
        """
        try:
            for place, listening, server in sockets:
                descriptor = listening.socket.fileno()
                await self._remote.ask(TakeSocket, place=place, socket=descriptor, server=server)
            for piece in pieces_of(order):
                await self._remote.ask(TakePiece, piece=piece)
            answer: Mapping[str, Any] = await self._remote.ask(Prepare)
        except (Refusal, CancelledError):
            raise
        except Exception:  # Of the connection.
            raise Refusal(f"worker {self.number} has ended: {await self.end()}") from None
        return answer

    async def commit(self) -> None:
        """Have it put in force what is prepared; whoever takes its place will have that as well."""
        await self._unless_ended(self._remote.ask(Commit))

    async def abandon(self) -> None:
        """Have it undo what is prepared, or being prepared."""
        await self._unless_ended(self._remote.ask(Abandon))

    def reopen_logs(self) -> None:
        """Have it open every log file anew."""
        Deferred.fromCoroutine(self._unless_ended(self._remote.callRemote(ReopenLogs)))

    def stop(self, timeout: float) -> None:
        """
        Have it end.

        :param timeout: seconds that clients have.
        """
        Deferred.fromCoroutine(
            self._unless_ended(self._remote.callRemote(Stop, timeout=float(timeout)))
        )

    def kill(self) -> None:
        """End it at once."""
        with suppress(ProcessExitedAlready):
            self._process.signalProcess("KILL")

    def end(self) -> Deferred[str]:
        """:returns: a Deferred of its own of why it has ended, when it has."""
        waiting: Deferred[str] = Deferred()

        def tell(cause: str) -> str:
            if not waiting.called:
                waiting.callback(cause)
            return cause

        self.ended.addCallback(tell)
        return waiting

    def _kill_hanging(self) -> None:
        self._log.error(
            "worker {number}, process {pid}, does not answer and is killed",
            number=self.number,
            pid=self.pid,
        )
        self.kill()

    async def _unless_ended(self, asked: Awaitable[object]) -> None:
        with suppress(Exception):  # Of the connection: its end is told elsewhere.
            await asked

    # IProcessProtocol

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """What it, or what it has started, has to say beside its log."""
        *lines, rest = (self._unfinished.pop(childFD, b"") + data).split(b"\n")
        if len(rest) > _LONGEST_LINE:
            lines, rest = [*lines, rest], b""
        self._unfinished[childFD] = rest
        for line in lines:
            self._tell(line)

    def _tell(self, line: bytes) -> None:
        text = line.decode("utf-8", "backslashreplace")
        self._log.warn("worker {number}: {line}", number=self.number, line=text)

    def processExited(self, reason: Failure) -> None:
        """It is no more. What it has started may have its streams for long."""
        self._remote.is_gone()
        self._ending = self._clock.callLater(_LAST_WORDS, self.ended.callback, _cause(reason))

    def processEnded(self, reason: Failure) -> None:
        """Nobody has its streams any more."""
        for line in filter(None, self._unfinished.values()):
            self._tell(line)
        if self._ending.active():
            self._ending.cancel()
            self.ended.callback(_cause(reason))


def _environment() -> dict[str, str]:
    """:returns: that of this process, so that the same modules are found."""
    environment = {name: text for name, text in os.environ.items() if name not in _NOT_INHERITED}
    return {**environment, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}


def _streams(inherited: Mapping[str, TextIO]) -> dict[int, int | str]:
    """:returns: what the standard streams are: ours, or what we read."""
    return {
        number: inherited[name].fileno() if name in inherited else "r"
        for name, number in _STREAMS.items()
    }


def _cause(reason: Failure) -> str:
    if reason.check(ProcessDone):
        return "status 0"
    ended: Any = reason.value
    if ended.signal is not None:
        return f"killed by {signal.Signals(ended.signal).name}"
    return f"status {ended.exitCode}"

"""
The daemon when a process is there for it alone, as under twistd.

What is fatal to it ends the process; signals, the process that started it and the service manager
are its own.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import time
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any, NoReturn

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from guerrilla_tw.config import ConfigError
from guerrilla_tw.daemon_service import DaemonService
from guerrilla_tw.logs.twistd import TwistdLogs
from guerrilla_tw.pid_file import PidFile
from guerrilla_tw.process import notify
from guerrilla_tw.signals import Signals
from guerrilla_tw.users import User

# The process that started a daemonized twistd reads so much of what it is told.
_LONGEST_MESSAGE = 100


class TwistdDaemon(Service):
    """
    The service of ``twistd guerrilla``, around a daemon.

    :param daemon: to start, reload and stop; SIGHUP has it read its file again.
    :param twistd: twistd's own options; empty under ``python -m twisted``.
    :param logs: of the daemon.
    :param user: whom twistd is about to make it, as its options say.
    :param reactor: of the process.
    """

    def __init__(
        self,
        daemon: DaemonService,
        twistd: MutableMapping[str, Any],
        logs: TwistdLogs,
        user: User,
        reactor: Any,
    ) -> None:
        self.daemon = daemon
        self._reactor = reactor
        self._twistd = twistd
        self._logs = logs
        self._user = user
        self._starter = _Starter(twistd)
        self._is_prepared = False
        self._reload_wanted = False
        # Until it serves, nothing is reloaded.
        self._reloading = True
        self._signals = Signals(
            reactor,
            {signal.SIGHUP: self._reload_soon, signal.SIGUSR1: daemon.reopen_logs},
            self._end_at_once,
        )

    def setServiceParent(self, parent: Any) -> None:
        """As the parent; twistd's own lines go to our log, if nobody told it where."""
        self._logs.attach(parent)
        super().setServiceParent(parent)

    # IService

    def privilegedStartService(self) -> None:
        """:raises SystemExit: the daemon cannot start."""
        self._signals.catch()
        self._starter.keep_waiting()
        try:
            self.daemon.privilegedStartService()
        except ConfigError:
            self._signals.restore()
            raise _Refusal(self._tell(Failure())) from None
        self._is_prepared = True

    def startService(self) -> Deferred[None]:
        """Start the daemon; a failure ends the process, when the reactor has it."""
        super().startService()
        if not self._is_prepared:  # By python -m twisted.
            self.privilegedStartService()
        self._reactor.callWhenRunning(self._signals.watch_endings)
        library = os.path.dirname(os.__file__)
        if self._user.has_come and not os.access(library, os.R_OK | os.X_OK):
            cause = "modules that are first needed from now on will be missing"
            self.daemon.log.warn(
                "user {user} cannot read {path}: {cause}",
                user=self._user.name,
                path=library,
                cause=cause,
            )
        return self.daemon.startService().addCallbacks(self._serve, self._give_up)

    def stopService(self) -> Deferred[None]:
        """Stop the daemon, which takes its time."""
        super().stopService()
        self._is_prepared = False
        notify("STOPPING=1\nSTATUS=letting clients and their messages finish")
        return self.daemon.stopService().addBoth(self._have_stopped)

    def _serve(self, _: object) -> None:
        self._starter.tell("")
        self._notify_ready("")
        self._reloading = False
        if self._reload_wanted:
            self._reload_now()

    def _give_up(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            return  # Told to stop before it had started.
        self._tell(failure)
        # The reactor swallows SystemExit, and twistd returns 0 whatever happened under it.
        atexit.register(_exit_with_failure)
        self._reactor.callWhenRunning(self._reactor.stop)

    def _tell(self, failure: Failure) -> str:
        """
        Say why it cannot start to whoever sits in front of it, or waits for it.

        :returns: the reason, one line.
        """
        reason = self.daemon.explain(failure)
        if not self._logs.on_stderr:
            # Not sys.stderr, which may be twistd's log by now.
            print(reason, file=sys.__stderr__)
        notify(f"STATUS=cannot start: {reason}")
        self._starter.tell(reason)
        return reason

    def _have_stopped(self, result: object) -> Any:
        self._starter.tell("told to stop before it served")
        self._signals.restore()
        return result

    # Signals

    def _reload_soon(self) -> None:
        """Several wishes during a reload are for one more, after it."""
        self._reload_wanted = True
        if not self._reloading:
            self._reload_now()

    def _reload_now(self) -> None:
        self._reload_wanted, self._reloading = False, True
        notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        self.daemon.reload().addBoth(self._have_reloaded)

    def _have_reloaded(self, result: object) -> None:
        """Whatever came of it, the daemon goes on; a refusal is in the log."""
        self._reloading = False
        if not self.running:
            return
        refusal = ""
        if isinstance(result, Failure):
            refusal = f"the last reload was refused: {self.daemon.explain(result)}"
        self._notify_ready(refusal)
        if self._reload_wanted:
            self._reload_now()

    def _notify_ready(self, trouble: str) -> None:
        number = len(self.daemon.addresses)
        status = f"serving on {number} interface{'s' if number != 1 else ''}"
        if trouble:
            status += f"; {trouble}"
        notify(f"READY=1\nMAINPID={os.getpid()}\nSTATUS={status}")

    def _end_at_once(self, number: int) -> NoReturn:
        name = signal.Signals(number).name
        self.daemon.log.warn("ended at once by a second signal, {signal}", signal=name)
        self.daemon.end_at_once()
        PidFile(self._twistd.get("pidfile") or "").remove()
        sys.stdout.flush()
        sys.stderr.flush()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        # The first process of a container does not die of that.
        os._exit(128 + number)


class _Refusal(SystemExit, Exception):
    """
    An end with status 1, after the reason has been told.

    twistd passes a SystemExit on without a traceback, but tidies up only for an Exception.

    :param reason: one line.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        # Else Python writes the reason to sys.stderr, which is twistd's log by now.
        self.code = 1


class _Starter:
    """
    The process that somebody started as a daemonized twistd, and that waits to return a status.

    twistd would let it return 0 when the ports are taken, and stores are yet to be opened.

    :param twistd: its options, among which it keeps the pipe to that process.
    """

    def __init__(self, twistd: MutableMapping[str, Any]) -> None:
        self._twistd = twistd
        self._pipe: int | None = None

    def keep_waiting(self) -> None:
        """Take over from twistd."""
        self._pipe = self._twistd.pop("statusPipe", self._pipe)

    def tell(self, failure: str) -> None:
        """
        Let it return, unless it has.

        :param failure: why the daemon does not serve; empty if it does.
        """
        if self._pipe is None:
            return
        pipe, self._pipe = self._pipe, None
        message = f"1 {failure}" if failure else "0"
        # It may have been killed.
        with suppress(OSError):
            os.write(pipe, message.encode("ascii", "backslashreplace")[:_LONGEST_MESSAGE])
        os.close(pipe)


def _exit_with_failure() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)

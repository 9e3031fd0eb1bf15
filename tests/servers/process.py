"""A server of a test's own: started, stopped, killed, started again, and never left behind."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tests.integration.daemon_process import wait_until
from tests.integration.programs import DEADLINE

# Some servers refuse to run as root; Debian has this user for what owns nothing.
_NOBODY = "nobody"


class ServerEnded(AssertionError):
    """A server is no more, and nobody has ended it."""


class PrivateServer:
    """
    A server in a temporary directory. Use as ``test.addCleanup(server.close)``.

    A subclass says how it is started and when it is ready.
    """

    def __init__(self) -> None:
        # A short path, since that of a UNIX socket is limited to 107 octets.
        self.directory = Path(tempfile.mkdtemp(prefix="guerrilla-"))
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> Sequence[str]:
        """:returns: the server's command line; it stays in the foreground."""
        raise NotImplementedError

    def is_ready(self) -> bool:
        """:returns: whether it answers."""
        raise NotImplementedError

    def start(self) -> None:
        """
        Start it, and wait until it answers.

        :raises AssertionError: it ended, or did not answer before the deadline.
        """
        with (self.directory / "output.log").open("ab") as output:
            self._process = subprocess.Popen(
                self.command(),
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                user=self.user(),
                # So that its children end with it.
                start_new_session=True,
            )
        wait_until(self._is_up)

    def user(self) -> int | None:
        """:returns: the number of the user to run it as; None for this process's."""
        return None

    def unprivileged_user(self) -> int | None:
        """:returns: as :meth:`user`, for a server that refuses to be root; owns the directory."""
        if os.geteuid() != 0:
            return None
        user = pwd.getpwnam(_NOBODY).pw_uid
        os.chown(self.directory, user, -1)
        return user

    def _is_up(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise ServerEnded(f"{self.command()[0]} ended:\n{self.output()}")
        return self.is_ready()

    def output(self) -> str:
        """:returns: what it has written."""
        return (self.directory / "output.log").read_text(errors="replace")

    def pause(self) -> None:
        """Make it hang (SIGSTOP), it and its children."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """End the pause."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it without a warning (SIGKILL), it and its children."""
        # It may have ended by itself.
        with suppress(ProcessLookupError):
            self._signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait(DEADLINE)
        self._process = None

    def start_again(self) -> None:
        """Start it if it has ended by itself, or is about to."""
        assert self._process is not None
        try:
            wait_until(self._is_up)
        except ServerEnded:
            self.kill()
            self.start()

    def terminate(self) -> None:
        """Ask it to end (SIGTERM), and wait until it has."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(DEADLINE)
        self._process = None

    def _signal(self, number: int) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, number)

    def close(self) -> None:
        """End it if it runs, and remove all that it kept."""
        if self._process is not None:
            self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

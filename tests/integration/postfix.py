"""A real Postfix as a client. It runs in a directory of its own and listens nowhere."""

from __future__ import annotations

import os
import re
import shutil
import signal
import tempfile
from contextlib import suppress
from pathlib import Path

from tests.integration.daemon_process import DaemonTestCase, wait_until
from tests.integration.programs import find_program, run_program, unusable

# Only what sends mail: no smtpd.
_SERVICES = """
pickup    unix       n - n 60  1 pickup
cleanup   unix       n - n -   0 cleanup
qmgr      unix       n - n 300 1 qmgr
tlsmgr    unix       - - n -   1 tlsmgr
rewrite   unix       - - n -   - trivial-rewrite
bounce    unix       - - n -   0 bounce
defer     unix       - - n -   0 bounce
smtp      unix       - - n -   - smtp
lmtp      unix       - - n -   - lmtp
error     unix       - - n -   - error
retry     unix       - - n -   - error
scache    unix       - - n -   1 scache
postlog   unix-dgram n - n -   1 postlogd
"""
_STATUS = re.compile(r" to=<([^>]+)>,.* dsn=([0-9.]+), status=([a-z]+) \((.*)\)")


class Postfix:
    """
    It hands all mail to one server, and logs what both say.

    :param directory: where its configuration, its queue and its log are. Its own users must be
        able to enter it.
    :param settings: of ``main.cf``; one of them tells where mail goes.
    """

    def __init__(self, directory: Path, **settings: str) -> None:
        self._config = directory / "config"
        self._queue = directory / "queue"
        self._log = directory / "maillog"
        for name in (self._config, self._queue, directory / "data"):
            name.mkdir()
        shutil.chown(directory / "data", "postfix")
        main = {
            "compatibility_level": "3.6",
            "queue_directory": self._queue,
            "data_directory": directory / "data",
            "maillog_file": self._log,
            "maillog_file_prefixes": directory,
            "myhostname": "client.example.com",
            "mydestination": "",
            "alias_maps": "",
            "inet_protocols": "ipv4",
            "fast_flush_domains": "",
            # So that the dialogue is in the log.
            "debug_peer_list": "127.0.0.1",
            "debug_peer_level": "1",
            **settings,
        }
        lines = (f"{name} = {value}\n" for name, value in main.items())
        (self._config / "main.cf").write_text("".join(lines))
        (self._config / "master.cf").write_text(_SERVICES)

    def start(self) -> None:
        """
        Start it.

        :raises AssertionError: it does not.
        """
        started = run_program("postfix", "-c", str(self._config), "start")
        assert started.returncode == 0, started.stdout + self.log

    def kill(self) -> None:
        """End it, and all that it started: they are its process group."""
        with suppress(FileNotFoundError, ProcessLookupError):
            os.killpg(int((self._queue / "pid" / "master.pid").read_text()), signal.SIGKILL)

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def send(self, message: bytes, *arguments: str) -> None:
        """
        Put a message into its queue.

        :param message: its lines end with LF.
        :param arguments: of ``sendmail``: options, recipients.
        """
        file = self._config.parent / "message"
        file.write_bytes(message)
        sendmail = run_program(*("sendmail", "-C", str(self._config), "-i", *arguments), stdin=file)
        assert sendmail.returncode == 0, sendmail.stdout

    def outcomes(self, *recipients: str) -> dict[str, tuple[str, str]]:
        """
        Wait until it has tried to deliver to them.

        :returns: by recipient, what became of it (``sent``, ``bounced``, ``deferred``) with the
            enhanced status code, and the server's words.
        """
        found: dict[str, tuple[str, str]] = {}

        def all_tried() -> bool:
            for to, code, status, words in _STATUS.findall(self.log):
                found[to] = (f"{status} {code}", words)
            return found.keys() >= set(recipients)

        wait_until(all_tried)
        return found

    @property
    def dialog(self) -> list[str]:
        """What it said (``>``) and heard (``<``) over TCP, a line each."""
        return ["".join(line) for line in re.findall(r"(?m): ([<>] )[^ ]+: (.*)$", self.log)]


def reported_recipients(bounce: bytes) -> list[str]:
    """:returns: whom a message did not reach (RFC 3464)."""
    fields: list[bytes] = re.findall(rb"(?m)^Final-Recipient: rfc822; ([^\r\n]+)\r$", bounce)
    return [field.decode("ascii") for field in fields]


class PostfixTestCase(DaemonTestCase):
    """
    A test that may start a Postfix, which does not outlive it.

    :ivar shared: a directory that is not in trial's: Postfix runs as a user of its own, who may
        not enter that; and the path of a UNIX socket must be short.
    """

    def setUp(self) -> None:
        super().setUp()
        self.shared = Path(tempfile.mkdtemp())
        # A process that is killed may still be about to make a file.
        self.addCleanup(shutil.rmtree, self.shared, ignore_errors=True)
        self.shared.chmod(0o755)

    def start_postfix(self, **settings: str) -> Postfix:
        """
        Start it; :class:`Postfix` has the parameters.

        :raises SkipTest: it cannot be had; see :func:`.missing`.
        """
        find_program("postfix")
        if os.geteuid():
            unusable("only root can start Postfix")
        postfix = Postfix(self.shared, **settings)
        self.addCleanup(postfix.kill)
        postfix.start()
        return postfix

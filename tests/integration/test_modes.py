"""Who can read what a daemon writes: itself alone, whatever the umask of who starts it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from tests.integration.client import MESSAGE, Client
from tests.integration.daemon_process import (
    BACKGROUND,
    FOREGROUND,
    DaemonTestCase,
    Process,
    free_port,
    wait_until,
)

CHAIN = {
    "save_process": "HeadersParser|Hasher|Header|Sql|MailDir",
    "sql_driver": "sqlite3",
    "sql_dsn": "mail.sqlite3",
    "mail_table": "new_mail",
    "maildir_path": "maildirs/[user]",
}
# Mail, and what is said of it.
PRIVATE = "-rw-------"


class ModesTests(DaemonTestCase):
    def start_with(self, umask: str, command: tuple[str, ...]) -> Process:
        """Start one that writes all that there is to be written."""
        port = free_port()
        config = self.write_config(
            backend_config=CHAIN,
            log_file="daemon.log",
            pid_file="pid",
            spill_size=1,
            spill_dir=".",
            listen_interface=f"127.0.0.1:{port}",
        )
        shell = ("sh", "-c", f'umask {umask}; exec "$@"', "sh", *command)
        process = self.launch("--config", config, command=(*shell, f"--umask={umask}"))
        wait_until((self.directory / "pid").exists)
        wait_until(lambda: "listening on" in (self.directory / "daemon.log").read_text())
        with Client(port) as client:
            client.hello()
            for line in ("MAIL FROM:<a@example.com>", "RCPT TO:<b@example.com>", "DATA"):
                client.command(line)
            client.write(MESSAGE)
            self.assertEqual(self.spilled(), [PRIVATE])
            client.write(b".\r\n")
            self.assertEqual(client.reply()[:3], "250")
        return process

    def spilled(self) -> list[str]:
        """:returns: the modes of the daemon's files without a name in its directory."""
        pid = int((self.directory / "pid").read_text())
        links = Path(f"/proc/{pid}/fd")
        wait_until(lambda: self._spilled(links))
        return [stat.filemode(link.stat().st_mode) for link in self._spilled(links)]

    def _spilled(self, links: Path) -> list[Path]:
        found = []
        for link in links.iterdir():
            target = os.readlink(link)
            if target.startswith(str(self.directory)) and target.endswith("(deleted)"):
                found.append(link)
        return found

    def modes(self) -> dict[str, str]:
        """:returns: of all that is there, but for what the test itself has written."""
        return {
            str(path.relative_to(self.directory)): stat.filemode(path.stat().st_mode)
            for path in self.directory.rglob("*")
            if path.name != "test.json"
        }

    def assert_modes(self, pid: str) -> None:
        modes = self.modes()
        self.assertEqual(modes.pop("pid"), pid)
        for name in ("maildirs/b", "maildirs/b/cur", "maildirs/b/new", "maildirs/b/tmp"):
            self.assertEqual(modes.pop(name), "drwx------", name)
        # So that each user gets to his own.
        self.assertEqual(modes.pop("maildirs"), "drwx--x--x")
        self.assertIn("daemon.log", modes)
        self.assertIn("mail.sqlite3-wal", modes)
        self.assertEqual(len([name for name in modes if name.startswith("maildirs/b/new/")]), 1)
        self.assertEqual(modes, dict.fromkeys(modes, PRIVATE))

    def test_umask_that_leaves_all(self) -> None:
        self.start_with("0", FOREGROUND)
        # It is there to be read.
        self.assert_modes(pid="-rw-r--r--")

    def test_umask_that_leaves_nothing(self) -> None:
        self.start_with("077", FOREGROUND)
        self.assert_modes(pid=PRIVATE)

    def test_log_of_twistd(self) -> None:
        """Where nobody says where to log, in the background."""
        command = tuple(word for word in BACKGROUND if not word.startswith("--logfile"))
        process = self.launch(
            "--config",
            self.write_config(backend_config=CHAIN),
            command=("sh", "-c", 'umask 0; exec "$@"', "sh", *command),
        )
        self.assertEqual(process.finish(), 0)
        modes = self.modes()
        pid = int((self.directory / "twistd.pid").read_text())
        os.kill(pid, 15)
        wait_until(lambda: not (self.directory / "twistd.pid").exists())
        self.assertEqual((modes["twistd.log"], modes["mail.sqlite3"]), (PRIVATE, PRIVATE))

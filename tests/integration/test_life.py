"""A daemon's life between its start and its end, as who operates it sees it."""

from __future__ import annotations

import contextlib
import os
import pwd
import random
import re
import shutil
import signal
import socket
import tempfile
from pathlib import Path
from unittest import SkipTest, mock

from tests.integration.client import MESSAGE, Client
from tests.integration.daemon_process import (
    BACKGROUND,
    FOREGROUND,
    MODULE,
    DaemonTestCase,
    Process,
    free_port,
    wait_until,
)
from tests.integration.programs import DEADLINE
from tests.smtp.certificates import issue


def greeting(port: int) -> str:
    with Client(port) as client:
        return client.reply()


class LifeTestCase(DaemonTestCase):
    def hang_up(self, process: Process, expected: str) -> str:
        """Send SIGHUP. :returns: the line that comes of it."""
        before = process.output.count("\n")
        os.kill(process.pid, signal.SIGHUP)
        wait_until(lambda: re.search(expected, _later(process, before)))
        found = re.search(rf".*{expected}.*", _later(process, before))
        assert found is not None
        return found[0]


def _later(process: Process, lines: int) -> str:
    return "".join(process.output.splitlines(keepends=True)[lines:])


class SignalTests(LifeTestCase):
    def test_sighup_goes_over_to_the_file_as_it_is_now(self) -> None:
        for command in (FOREGROUND, MODULE):
            config = self.write_config()
            process = self.launch("--config", config, command=command)
            port = process.port()
            self.write_config(max_size=12345)
            self.hang_up(process, "reloaded: ")
            with Client(port) as client:
                self.assertIn("SIZE 12345", client.hello())
            process.terminate()
            self.assertEqual(process.finish(), -signal.SIGTERM)
            self.assert_clean(process)

    def test_sighup_with_a_bad_file_is_one_line(self) -> None:
        process = self.start(max_size=12345)
        port = process.port()
        self.write_config_text('{"servers": [}')
        line = self.hang_up(process, "reload refused")
        self.assertRegex(
            line, r"#error\] reload refused, nothing has changed: .*test\.json: .*line 1"
        )
        with Client(port) as client:
            self.assertIn("SIZE 12345", client.hello())
        self.assertNotIn("Traceback", process.output)

    def test_configuration_is_found_from_another_directory(self) -> None:
        config = self.write_config()
        (self.directory / "run").mkdir()
        command = (*FOREGROUND, "--rundir=run")
        process = self.launch("--config", config, command=command)
        process.port()
        self.hang_up(process, "reloaded: ")

    def test_sigusr1_opens_the_log_again(self) -> None:
        log = self.directory / "log"
        config = self.write_config(log_file="log")
        process = self.launch("--config", config)
        wait_until(lambda: log.exists() and "listening on" in log.read_text())
        log.rename(self.directory / "log.1")
        os.kill(process.pid, signal.SIGUSR1)
        wait_until(log.exists)
        process.terminate()
        self.assertEqual(process.finish(), -signal.SIGTERM)
        self.assertIn("stopped", log.read_text())


class SecondSignalTests(LifeTestCase):
    """The first lets a slow message end; the second does not."""

    def start_slowly(self, *command: str) -> tuple[Process, Client]:
        """:returns: a daemon that was told to stop once, and a client who waits for its answer."""
        config = self.write_config(sleep_seconds=60, log_received_mails=True, pid_file="pid")
        process = self.launch("--config", config, command=command)
        client, idle = Client(process.port()), Client(process.port())
        with idle:
            client.hello()
            idle.hello()
            for line in ("MAIL FROM:<a@example.com>", "RCPT TO:<b@example.com>", "DATA"):
                client.command(line)
            client.write(MESSAGE + b".\r\n")
            process.wait_for("octets, subject")  # The Debugger says so, then sleeps.
            process.terminate()
            self.assertRegex(idle.reply(), r"^421 4\.3\.2 ")
        return process, client

    def test_ends_at_once(self) -> None:
        twistd = (*FOREGROUND[:-1], "--pidfile=twistd.pid")
        for command, number in (
            (twistd, signal.SIGTERM),
            (twistd, signal.SIGINT),
            (MODULE, signal.SIGTERM),
        ):
            process, client = self.start_slowly(*command)
            os.kill(process.pid, number)
            with client:
                self.assertEqual(client.reply(), "")
            self.assertEqual(process.finish(), -number)
            self.assertIn(f"ended at once by a second signal, {number.name}", process.output)
            self.assertNotIn("Traceback", process.output)
            self.assertEqual(list(self.directory.glob("*pid")), [])

    def test_two_together(self) -> None:
        process = self.start()
        for _ in range(2):
            os.kill(process.pid, signal.SIGTERM)
        self.assertEqual(process.finish(), -signal.SIGTERM)
        self.assertNotIn("Traceback", process.output)

    def test_ignored_sigint_stays_ignored(self) -> None:
        """A shell lets what a script starts with & ignore it."""
        config = self.write_config()
        command = ("sh", "-c", 'trap "" INT; exec "$@"', "sh", *FOREGROUND)
        process = self.launch("--config", config, command=command)
        port = process.port()
        for _ in range(3):
            os.kill(process.pid, signal.SIGINT)
        self.assertEqual(greeting(port)[:3], "220")
        process.terminate()
        self.assertEqual(process.finish(), -signal.SIGTERM)


class BackgroundTests(LifeTestCase):
    def launch_background(self, config: str) -> Process:
        """Start a daemonized twistd; whatever comes of it ends with the test."""

        def kill() -> None:
            file = self.directory / "twistd.pid"
            if file.exists():
                os.kill(int(file.read_text()), signal.SIGKILL)

        self.addCleanup(kill)
        return self.launch("--config", config, command=BACKGROUND)

    def test_serves_when_the_command_has_returned(self) -> None:
        port = free_port()
        config = self.write_config(listen_interface=f"127.0.0.1:{port}", pid_file="pid")
        process = self.launch_background(config)
        self.assertEqual(process.finish(), 0, process.output)
        self.assertEqual(greeting(port)[:3], "220")
        pid = int((self.directory / "pid").read_text())
        self.assertEqual(int((self.directory / "twistd.pid").read_text()), pid)
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not list(self.directory.glob("*pid")))

    def test_late_failure_is_told(self) -> None:
        config = self.write_config(sql_dsn="missing/mail.sqlite3", pid_file="pid")
        process = self.launch_background(config)
        self.assertEqual(process.finish(), 1)
        self.assertRegex(process.output, r"An error has occurred: .*test\.json: .*Sql: ")
        wait_until(lambda: not list(self.directory.glob("*pid")))

    def test_stop_before_it_serves_is_told(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            backend = {
                "save_process": "HeadersParser|Hasher|Header|Sql",
                "sql_driver": "mysql",
                "sql_dsn": f"u:p@tcp(127.0.0.1:{silent.getsockname()[1]})/mail",
                "mail_table": "new_mail",
            }
            config = self.write_config(backend_config=backend, pid_file="pid")
            process = self.launch_background(config)
            silent.settimeout(DEADLINE)
            connection, _ = silent.accept()
            with connection:
                self.assertTrue(process.running)
                os.kill(int((self.directory / "twistd.pid").read_text()), signal.SIGTERM)
                self.assertEqual(process.finish(), 1)
        self.assertIn("told to stop before it served", process.output)
        wait_until(lambda: not list(self.directory.glob("*pid")))


class FileLimitTests(LifeTestCase):
    def launch_limited(self, limit: str, **changes: object) -> Process:
        """:param limit: for the shell's ulimit."""
        command = ("sh", "-c", f'ulimit {limit}; exec "$@"', "sh", *FOREGROUND)
        return self.launch("--config", self.write_config(**changes), command=command)

    def test_too_low(self) -> None:
        process = self.launch_limited("-n 150")
        self.assertEqual(process.finish(), 1)
        self.assertRegex(
            "".join(process.stderr),
            r"\Atest\.json: servers: max_clients .* are 100 .* 150 only .*\n\Z",
        )

    def test_raised_as_far_as_needed(self) -> None:
        process = self.launch_limited("-S -n 150")
        process.port()
        process.wait_for("open-file limit raised from 150 to 264")
        self.write_config(max_clients=200)
        self.hang_up(process, "open-file limit raised from 264 to 464")
        process.wait_for("reloaded: ")
        self.write_config(max_clients=1_000_000)
        line = self.hang_up(process, "reload refused")
        self.assertIn("servers: max_clients of all are 1000000 together", line)


class NotifyTests(LifeTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.manager.close)
        self.manager.settimeout(DEADLINE)
        # A short path, since that of a UNIX socket is limited.
        directory = tempfile.mkdtemp(prefix="guerrilla-")
        self.addCleanup(shutil.rmtree, directory)
        path = f"{directory}/notify"
        self.manager.bind(path)
        environment = mock.patch.dict(os.environ, NOTIFY_SOCKET=path)
        environment.start()
        self.addCleanup(environment.stop)

    def told(self) -> list[str]:
        return self.manager.recv(4096).decode().split("\n")

    def test_whole_life(self) -> None:
        process = self.start()
        serving = ["READY=1", f"MAINPID={process.pid}", "STATUS=serving on 1 interface"]
        self.assertEqual(self.told(), serving)
        os.kill(process.pid, signal.SIGHUP)
        reloading, when = self.told()
        self.assertEqual(reloading, "RELOADING=1")
        self.assertRegex(when, r"^MONOTONIC_USEC=[0-9]+$")
        self.assertEqual(self.told(), serving)
        self.write_config_text("{}}")
        os.kill(process.pid, signal.SIGHUP)
        self.told()
        *ready, status = self.told()
        self.assertEqual(ready, serving[:2])
        self.assertTrue(
            status.startswith(f"{serving[2]}; the last reload was refused: test.json: "), status
        )
        process.terminate()
        self.assertEqual(self.told()[0], "STOPPING=1")
        self.assertEqual(process.finish(), -signal.SIGTERM)

    def test_start_that_fails(self) -> None:
        process = self.launch("--config", self.write_config(sql_dsn="missing/mail.sqlite3"))
        (status,) = self.told()
        self.assertTrue(status.startswith("STATUS=cannot start: test.json: "), status)
        self.assertEqual(process.finish(), 1)

    def test_daemonized(self) -> None:
        """The process that is to be watched is not the one that was started."""
        process = self.launch("--config", self.write_config(pid_file="pid"), command=BACKGROUND)
        ready = self.told()
        pid = int((self.directory / "pid").read_text())
        self.addCleanup(os.kill, pid, signal.SIGTERM)
        self.assertEqual(ready[:2], ["READY=1", f"MAINPID={pid}"])
        self.assertEqual(process.finish(), 0)


class PrivilegesTests(LifeTestCase):
    """Started as root, with twistd's --uid; what a reload can do after that, and what it says."""

    def setUp(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root can become somebody else")
        # The directories above trial's own may be closed to others.
        self.directory = Path(tempfile.mkdtemp(prefix="guerrilla-"))
        self.addCleanup(shutil.rmtree, self.directory)
        self.directory.chmod(0o755)
        self.user = pwd.getpwnam("nobody")
        self.own = self.directory / "own"
        self.own.mkdir()
        os.chown(self.own, self.user.pw_uid, self.user.pw_gid)
        self.write_key()

    def write_key(self) -> None:
        """Make a new one, which only root may read."""
        self.tls = issue("mail.example.com").write(self.directory, "server")
        os.chmod(self.tls["private_key_file"], 0o600)

    def settings(self, port: int, **changes: object) -> dict[str, object]:
        backend = {
            "save_process": "HeadersParser|Hasher|Header|MailDir",
            "validate_process": "MailDir",
            "maildir_path": f"{self.own}/[user]/Maildir",
            "maildir_user_map": "b=-1:-1",
        }
        return {
            "listen_interface": f"127.0.0.1:{port}",
            "log_file": "own/log",
            "pid_file": "own/pid",
            "tls": {"start_tls_on": True, **self.tls},
            "backend_config": backend,
            **changes,
        }

    def start_and_change_user(self) -> tuple[Process, int]:
        """:returns: a daemon that serves as nobody, and its port, which is below 1024."""
        port = privileged_port()
        config = self.write_config(**self.settings(port))
        command = (*FOREGROUND, "--uid=nobody")
        process = self.launch("--config", config, command=command)
        wait_until(lambda: "listening on" in self.log())
        return process, port

    def log(self) -> str:
        file = self.own / "log"
        return file.read_text() if file.exists() else ""

    def reload(self, process: Process) -> str:
        """Send SIGHUP. :returns: the line that says what came of it."""
        before = len(self.log())
        os.kill(process.pid, signal.SIGHUP)
        wait_until(lambda: "reload" in self.log()[before:])
        wait_until(lambda: self.log().endswith("\n"))
        (line,) = re.findall(r".*reload.*", self.log()[before:])
        return str(line)

    def assert_serves(self, port: int) -> None:
        with Client(port) as client:
            self.assertIn("STARTTLS", client.hello())
            self.assertEqual(client.deliver(MESSAGE)[:3], "250")

    def test_serves_and_reloads_as_another_user(self) -> None:
        process, port = self.start_and_change_user()
        self.assertEqual(Path(f"/proc/{process.pid}").stat().st_uid, self.user.pw_uid)
        self.assert_serves(port)
        (stored,) = self.own.glob("b/Maildir/new/*")
        self.assertEqual(stored.stat().st_uid, self.user.pw_uid)
        self.assertIn("reloaded: nothing has changed", self.reload(process))
        # Only what needs no right.
        self.write_config(**self.settings(port, max_size=12345))
        self.assertIn("reloaded: ", self.reload(process))
        with Client(port) as client:
            self.assertIn("SIZE 12345", client.hello())
        (self.own / "log").rename(self.own / "log.1")
        os.kill(process.pid, signal.SIGUSR1)
        wait_until((self.own / "log").exists)
        process.terminate()
        self.assertEqual(process.finish(), -signal.SIGTERM)
        self.assertFalse((self.own / "pid").exists())
        self.assertNotIn("Traceback", process.output + self.log())

    def test_new_privileged_port(self) -> None:
        if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) < 1024:
            raise SkipTest("everybody may take any port here")
        process, port = self.start_and_change_user()
        # Without TLS, since a new server needs its key.
        self.write_config(**self.settings(privileged_port(), tls={}))
        line = self.reload(process)
        self.assertIn("reload refused", line)
        self.assertRegex(
            line, r"servers\[0\]\.listen_interface: .*below 1024; restart, .*CAP_NET_BIND_SERVICE"
        )
        self.assert_serves(port)

    def test_key_that_has_changed(self) -> None:
        process, port = self.start_and_change_user()
        self.write_key()
        line = self.reload(process)
        self.assertIn("reload refused", line)
        self.assertRegex(line, r"servers\[0\]\.tls\.private_key_file: .*Permission denied")
        self.assert_serves(port)

    def test_mail_for_others(self) -> None:
        process, port = self.start_and_change_user()
        settings = self.settings(port)
        backend = settings["backend_config"]
        assert isinstance(backend, dict)
        backend["maildir_user_map"] = "b=-1:-1,c=1234:1234"
        self.write_config(**settings)
        line = self.reload(process)
        self.assertIn("reload refused", line)
        self.assertIn("only root can give mail to 1234:1234", line)
        self.assert_serves(port)

    def test_log_file_where_only_root_may_write(self) -> None:
        process, port = self.start_and_change_user()
        self.write_config(**self.settings(port, log_file="log"))
        line = self.reload(process)
        self.assertIn("reload refused", line)
        self.assertIn(f"log_file: {self.directory}/log cannot be written: Permission denied", line)
        self.assert_serves(port)

    def assert_cannot_start(self, cause: str, **changes: object) -> None:
        config = self.write_config(**self.settings(privileged_port(), **changes))
        process = self.launch("--config", config, command=(*FOREGROUND, "--uid=nobody"))
        self.assertEqual(process.finish(), 1)
        self.assertIn(f"test.json: {cause}\n", process.output)
        self.assertNotIn("Traceback", process.output + self.log())

    def test_links_of_the_users_lead_root_nowhere(self) -> None:
        """Whoever has broken into the daemon waits for its next start."""
        precious = self.directory / "precious"
        precious.mkdir()
        victim = precious / "victim"
        victim.write_text("secret")
        victim.chmod(0o600)
        (self.own / "link").symlink_to(victim)
        (self.own / "new").symlink_to(precious / "new")
        (self.own / "back").symlink_to(precious)
        denied = "Permission denied for user nobody"
        own = f"{self.own}"
        for setting, name, cause in (
            ("log_file", "link", f"log_file: {own}/link cannot be written: {denied}"),
            ("log_file", "new", f"log_file: {own}/new cannot be written: {denied}"),
            ("pid_file", "back/pid", f"pid_file: {own}/back/pid cannot be written: {denied}"),
        ):
            self.assert_cannot_start(cause, **{setting: f"own/{name}"})
        cause = f"cannot listen on unix:{own}/back/s: {denied}"
        self.assert_cannot_start(
            f"servers[0].listen_interface: {cause}", listen_interface=f"unix:{own}/back/s"
        )
        self.assertEqual((victim.read_text(), victim.stat().st_uid), ("secret", 0))
        self.assertEqual(list(precious.iterdir()), [victim])

    def test_unix_socket(self) -> None:
        """It is the user's, who removes it at the end."""
        path = self.own / "s"
        config = self.write_config(
            **self.settings(0, listen_interface=f"unix:{path}:mode=660", log_file="stderr")
        )
        process = self.launch("--config", config, command=(*FOREGROUND, "--uid=nobody"))
        process.wait_for("listening on")
        found = path.stat()
        self.assertEqual((found.st_uid, found.st_gid), (self.user.pw_uid, self.user.pw_gid))
        process.terminate()
        self.assertEqual(process.finish(), -signal.SIGTERM)
        self.assertFalse(path.exists())

    def test_spill_dir_where_only_root_may_write(self) -> None:
        cause = "is not a directory that can be written to by user nobody"
        path = self.directory / "spill"
        path.mkdir()
        self.assert_cannot_start(f"spill_dir: {path} {cause}", spill_dir=str(path))

    def test_files_that_were_only_touched(self) -> None:
        """The key is not to be read any more, and need not be."""
        process, port = self.start_and_change_user()
        os.chmod(self.tls["private_key_file"], 0o400)
        os.utime(self.tls["public_key_file"])
        self.assertIn("reloaded: nothing has changed", self.reload(process))
        self.assert_serves(port)


def privileged_port() -> int:
    """:returns: a port below 1024 of 127.0.0.1 that nobody has."""
    while True:
        port = random.randrange(300, 1024)
        # Not imported by name: trial takes "suppress" of a module for its own.
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port

"""What a daemon that serves leaves in its directory and in its log, however it was started."""

from __future__ import annotations

import os
import signal
import socket

from tests.integration.client import MESSAGE, Client, queue_id
from tests.integration.daemon_process import (
    BACKGROUND,
    LISTENING,
    MODULE,
    DaemonTestCase,
    Process,
    answers,
    free_port,
    wait_until,
)


class NoConfigTests(DaemonTestCase):
    def test_serves_and_stores_in_the_current_directory(self) -> None:
        if answers(2525):
            self.skipTest("port 2525 is taken")
        process = self.launch()
        self.assertEqual(process.port(), 2525)
        with Client(2525) as client:
            client.hello()
            client.command("MAIL FROM:<a@example.com>")
            self.assertEqual(client.command(f"RCPT TO:<b@{socket.gethostname()}>")[:3], "250")
            client.command("DATA")
            client.write(MESSAGE + b".\r\n")
            queue_id(client.reply())
        self.assertTrue((self.directory / "guerrilla.sqlite3").exists())


class LogFileTests(DaemonTestCase):
    """Each line is in the one place that ``log_file`` names, once."""

    def start_unheard(self, **changes: object) -> tuple[Process, int]:
        """
        Start a daemon that may not tell where it listens.

        :returns: its process and port.
        """
        port = free_port()
        config = self.write_config(listen_interface=f"127.0.0.1:{port}", **changes)
        process = self.launch("--config", config)
        wait_until(lambda: answers(port) or not process.running)
        return process, port

    def lines_at(self, log_file: str) -> tuple[int, int, int]:
        """:returns: how often a line is on stdout, on stderr and in the file ``log``."""
        process, port = self.start_unheard(log_file=log_file)
        with Client(port) as client:
            self.assertEqual(client.hello()[:3], "250", process.output)
        process.terminate()
        self.assertEqual(process.finish(), -signal.SIGTERM)
        log = self.directory / "log"
        return (
            "".join(process.stdout).count(LISTENING),
            "".join(process.stderr).count(LISTENING),
            log.read_text().count(LISTENING) if log.exists() else 0,
        )

    def test_stdout(self) -> None:
        self.assertEqual(self.lines_at("stdout"), (1, 0, 0))

    def test_stderr(self) -> None:
        self.assertEqual(self.lines_at("stderr"), (0, 1, 0))

    def test_path(self) -> None:
        self.assertEqual(self.lines_at("log"), (0, 0, 1))

    def test_off(self) -> None:
        self.assertEqual(self.lines_at("off"), (0, 0, 0))

    def test_full_disk_costs_lines_but_no_mail(self) -> None:
        if not os.path.exists("/dev/full"):
            self.skipTest("this system has no /dev/full")
        _, port = self.start_unheard(log_file="/dev/full", log_received_mails=True)
        with Client(port) as client:
            client.hello()
            queue_id(client.deliver(MESSAGE))


class BackgroundTests(DaemonTestCase):
    """A daemonized twistd. Its parent returns when the ports are taken."""

    def setUp(self) -> None:
        super().setUp()
        self.pid_file = self.directory / "twistd.pid"

    def launch_in_background(self, **changes: object) -> int:
        """:returns: the process id of a daemon that serves."""
        port = free_port()
        config = self.write_config(listen_interface=f"127.0.0.1:{port}", **changes)
        self.addCleanup(self.kill)
        parent = self.launch("--config", config, command=BACKGROUND)
        self.assertEqual((parent.finish(), parent.output), (0, ""))
        with Client(port) as client:
            client.hello()
            queue_id(client.deliver(MESSAGE))
        return int(self.pid_file.read_text())

    def kill(self) -> None:
        """End the daemon if it has not ended: it removes the file last of all."""
        if self.pid_file.exists():
            os.kill(int(self.pid_file.read_text()), signal.SIGKILL)

    def test_log_goes_to_twistd(self) -> None:
        pid = self.launch_in_background(log_file="stderr", pid_file="ours.pid")
        self.assertEqual((self.directory / "ours.pid").read_text(), f"{pid}\n")
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not self.pid_file.exists())
        log = (self.directory / "twistd.log").read_text()
        self.assertEqual(log.count(LISTENING), 1)
        self.assertNotIn("Traceback", log)
        self.assertEqual(len(self.stored()), 1)
        self.assertFalse((self.directory / "ours.pid").exists())

    def test_late_failure_is_in_the_log(self) -> None:
        """And the parent, which waits for it, tells of it, and returns 1."""
        config = self.write_config(
            sql_dsn="missing/mail.sqlite3", listen_interface=f"127.0.0.1:{free_port()}"
        )
        parent = self.launch("--config", config, command=BACKGROUND)
        self.assertEqual(parent.finish(), 1)
        self.assertIn("missing/mail.sqlite3: No such file", parent.output)
        wait_until(lambda: not self.pid_file.exists())
        log = (self.directory / "twistd.log").read_text()
        self.assertEqual(log.count("cannot start: test.json: "), 1)
        self.assertNotIn("Traceback", log)

    def test_log_goes_to_its_file(self) -> None:
        self.launch_in_background(log_file="log")
        self.assertEqual((self.directory / "log").read_text().count(LISTENING), 1)
        self.assertNotIn(LISTENING, (self.directory / "twistd.log").read_text())


class PidFileTests(DaemonTestCase):
    def test_is_there_while_it_serves(self) -> None:
        process = self.start(pid_file="pid")
        pid_file = self.directory / "pid"
        self.assertEqual(pid_file.read_text(), f"{process.pid}\n")
        process.terminate()
        process.finish()
        self.assertFalse(pid_file.exists())

    def test_of_another_daemon_is_left_alone_by_one_that_cannot_start(self) -> None:
        pid_file = self.directory / "pid"
        pid_file.write_text("1\n")
        config = self.write_config(pid_file="pid", sql_dsn="missing/mail.sqlite3")
        self.assertEqual(self.launch("--config", config).finish(), 1)
        self.assertEqual(pid_file.read_text(), "1\n")


class ModuleTests(DaemonTestCase):
    def test_python_m_twisted_serves(self) -> None:
        """It starts services otherwise than twistd does: there is no privileged part."""
        process = self.launch("--config", self.write_config(), command=MODULE)
        with Client(process.port()) as client:
            client.hello()
            queue_id(client.deliver(MESSAGE))
        process.terminate()
        self.assertEqual(process.finish(), -signal.SIGTERM)
        self.assertEqual(process.output.count(LISTENING), 1)
        self.assert_clean(process)

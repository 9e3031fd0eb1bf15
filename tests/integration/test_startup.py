"""What a user at the command line sees of a daemon that will not start, or is not asked to."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Sequence

from tests.integration.daemon_process import (
    BACKGROUND,
    FOREGROUND,
    LISTENING,
    MODULE,
    DaemonTestCase,
    Process,
)


class RefusalTests(DaemonTestCase):
    """Status 1 and one line, and nothing is left behind."""

    def assert_refused(self, config: str, line: str, *commands: Sequence[str]) -> None:
        """
        :param config: name of the file.
        :param line: expression for all of stderr but a timestamp before it.
        :param commands: what to start it with.
        """
        before = set(os.listdir(self.directory))
        processes = [self.launch("--config", config, command=command) for command in commands]
        for process in processes:
            self.assertEqual(process.finish(), 1, process.output)
            stderr = "".join(process.stderr)
            self.assertRegex(stderr, rf"\A(?:[^ \n]+ \[guerrilla_tw#critical\] .*)?{line}\n\Z")
            self.assertNotIn("Traceback", process.output)
            self.assertNotIn("Usage", process.output)
            self.assertNotIn(LISTENING, process.output)
        left = set(os.listdir(self.directory)) - before
        self.assertEqual(left, set())

    def assert_refused_before_the_fork(self, config: str, line: str) -> None:
        self.assert_refused(config, line, FOREGROUND, MODULE, BACKGROUND)

    def test_broken_json(self) -> None:
        config = self.write_config_text('{"log_file": "stderr",\n  oops}')
        self.assert_refused_before_the_fork(config, r"test\.json: .*line 2, column 3\b.*")

    def test_no_such_file(self) -> None:
        self.assert_refused_before_the_fork(
            "none.json", r"none\.json: cannot be read: No such file or directory"
        )

    def test_unknown_setting(self) -> None:
        config = self.write_config_text('{"servrs": []}')
        self.assert_refused_before_the_fork(config, r"test\.json: servrs: .*\bservers\b.*")

    def test_wrong_type(self) -> None:
        config = self.write_config(max_clients="many")
        self.assert_refused_before_the_fork(
            config, r"test\.json: servers\[0\]\.max_clients: .*a whole number.*"
        )

    def test_unknown_processor(self) -> None:
        config = self.write_config(save_process="HeadersParser|Sqll")
        self.assert_refused_before_the_fork(
            config, r"test\.json: backend_config\.save_process: .*Sqll.*"
        )

    def test_log_file_that_cannot_be_written(self) -> None:
        config = self.write_config(log_file="missing/log")
        self.assert_refused_before_the_fork(
            config,
            r"test\.json: log_file: .*/missing/log cannot be written: No such file or directory",
        )

    def assert_refused_after_the_fork(self, line: str, **changes: object) -> None:
        """Wherever the log goes, the line is on stderr once, and in the log too."""
        self.assert_refused(self.write_config(**changes), line, FOREGROUND, MODULE)
        log = self.directory / "log"
        log.touch()
        changes["log_file"] = "log"
        self.assert_refused(self.write_config(**changes), line, FOREGROUND, MODULE)
        self.assertEqual(len(re.findall(line, log.read_text())), 2)

    def test_port_in_use(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            where = f"127.0.0.1:{server.getsockname()[1]}"
            self.assert_refused_after_the_fork(
                rf"test\.json: servers\[0\]\.listen_interface: cannot listen on {where}: .*in use",
                listen_interface=where,
            )

    def test_store_that_cannot_be_opened(self) -> None:
        self.assert_refused_after_the_fork(
            r"test\.json: .*Sql: .*No such file or directory.*", sql_dsn="missing/mail.sqlite3"
        )

    def test_port_in_use_is_told_by_a_daemonized_twistd_too(self) -> None:
        """The parent shows the beginning of the line, in twistd's own words; its log has it all."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            where = f"127.0.0.1:{server.getsockname()[1]}"
            config = self.write_config(listen_interface=where)
            process = self.launch("--config", config, command=BACKGROUND)
            self.assertEqual(process.finish(), 1)
        self.assertIn("test.json: servers[0].listen_interface: cannot", "".join(process.stderr))
        log = (self.directory / "twistd.log").read_text()
        self.assertRegex(log, rf"(?m)cannot start: test\.json: .* cannot listen on {where}: .*$")
        self.assertNotIn("Traceback", log)
        self.assertFalse((self.directory / "twistd.pid").exists())


class CheckTests(DaemonTestCase):
    def check(self, **changes: object) -> Process:
        config = self.write_config(**changes)
        process = self.launch("--config", config, "--check")
        process.finish()
        return process

    def test_good_configuration_opens_nothing(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            taken = f"127.0.0.1:{server.getsockname()[1]}"
            process = self.check(listen_interface=taken, pid_file="pid", log_file="log")
        self.assertEqual((process.finish(), process.stderr), (0, []))
        self.assertEqual(process.stdout, ["test.json: OK\n"])
        self.assertEqual(os.listdir(self.directory), ["test.json"])

    def test_warnings(self) -> None:
        process = self.check(save_process="HeadersParser|Hasher|Header")
        self.assertEqual(process.finish(), 0)
        self.assertRegex(process.output, r"(?m)^test\.json: warning: .*NO PROCESSOR STORES MAIL")

    def test_bad_configuration(self) -> None:
        process = self.check(save_process="Sqll")
        self.assertEqual((process.finish(), process.stdout), (1, []))
        self.assertRegex("".join(process.stderr), r"\Atest\.json: .*Sqll.*\n\Z")


class HelpTests(DaemonTestCase):
    def test_teaches(self) -> None:
        process = self.launch("--help")
        self.assertEqual(process.finish(), 0)
        for word in ("--config", "--check", "save_process", "127.0.0.1:2525"):
            self.assertIn(word, process.output)

"""The example program, as its README says to run it."""

from __future__ import annotations

import json
import mailbox
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from smtplib import SMTPRecipientsRefused
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.backends.gateway import Gateway
from guerrilla_tw.backends.registry import Registry
from guerrilla_tw.processors import BUILTIN
from tests.integration.daemon_process import ROOT, Process
from tests.smtp_client import send_mail

EXAMPLE = ROOT / "examples" / "maildiranasaurus"
PROGRAM = str(EXAMPLE / "maildiranasaurus.py")


class ProgramTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.config: dict[str, Any] = json.loads((EXAMPLE / "maildiranasaurus.json").read_text())
        self.config["servers"][0]["listen_interface"] = "127.0.0.1:0"

    def start(self, *arguments: str) -> Process:
        (self.directory / "maildiranasaurus.json").write_text(json.dumps(self.config))
        process = Process([sys.executable, PROGRAM, *arguments], self.directory)
        self.addCleanup(process.kill)
        return process

    def test_keeps_mail_for_its_users(self) -> None:
        process = self.start("serve")
        port = process.port()
        self.assertRegex(send_mail(port, "Test@example.com", "guerrilla@example.org"), "^250 ")
        with self.assertRaises(SMTPRecipientsRefused) as caught:
            send_mail(port, "test@example.com", "mallory@example.com")
        refused = {"mallory@example.com": (550, b"5.1.1 no such user")}
        self.assertEqual(caught.exception.recipients, refused)
        process.terminate()
        self.assertIn(process.finish(), (0, -signal.SIGTERM), process.output)
        self.assertRegex(process.output, r"(?m)stopped$")
        self.assertNotIn("Traceback", process.output)
        mail = self.directory / "mail"
        self.assertEqual(sorted(os.listdir(mail)), ["guerrilla", "postmaster", "test"])
        for user, count in (("test", 1), ("guerrilla", 1), ("postmaster", 0)):
            messages = list(mailbox.Maildir(mail / user / "Maildir", create=False))
            self.assertEqual(len(messages), count)
            for message in messages:
                self.assertEqual(message["Subject"], "hello")
                self.assertEqual(message["Delivered-To"], "Test@mail.example.com")
                self.assertEqual(message.get_payload(), ".body\n")

    def assert_refused(self, process: Process, cause: str) -> None:
        """It says why in one line, and ends."""
        self.assertEqual(process.finish(), 1)
        self.assertEqual(process.output.splitlines()[-1], cause)
        self.assertNotIn("Traceback", process.output)

    def test_mistake_in_the_configuration(self) -> None:
        self.config["backend_config"]["maildir_user_map"] = "test"
        self.assert_refused(
            self.start("serve"),
            "maildiranasaurus.json: backend_config.maildir_user_map: 'test' is not user=uid:gid",
        )

    def test_no_configuration(self) -> None:
        self.assert_refused(
            self.start("serve", "--config", "other.json"),
            "other.json: cannot be read: No such file or directory",
        )

    def test_older_names_are_told(self) -> None:
        backend = self.config["backend_config"]
        backend["process_stack"] = backend.pop("save_process")
        process = self.start("serve")
        process.port()
        process.wait_for("maildiranasaurus.json: .*process_stack")

    def test_mailboxes_that_cannot_be_made(self) -> None:
        (self.directory / "mail").write_bytes(b"")
        cause = f"MailDir: cannot store in {self.directory}/mail/guerrilla/Maildir: Not a directory"
        self.assert_refused(self.start("serve"), f"maildiranasaurus.json: {cause}")


class ReadmeTests(SynchronousTestCase):
    def test_commands_can_be_pasted(self) -> None:
        """As they are in the file, with the spaces before them."""
        readme = (EXAMPLE / "README.rst").read_text()
        commands = re.findall(r"(?ms)^    python3 -c '(.*?)'$", readme)
        self.assertEqual(len(commands), 2)
        for command in commands:
            compile(command, "README.rst", "exec")
        directory = Path(self.mktemp())
        (directory / "mail" / "test").mkdir(parents=True)
        maildir = mailbox.Maildir(directory / "mail" / "test" / "Maildir")
        maildir.add(b"Subject: one\n\none\n")
        maildir.add(b"Subject: two\n\ntwo\n")
        shown = subprocess.run(
            [sys.executable, "-c", commands[1]],
            cwd=directory,
            capture_output=True,
            text=True,
            check=True,
        )
        self.assertIn("Subject: one\n\none\n", shown.stdout)
        self.assertIn("Subject: two\n\ntwo\n", shown.stdout)

    def test_configurations(self) -> None:
        """Each adds to the one before."""
        readme = (EXAMPLE / "README.rst").read_text()
        config = json.loads((EXAMPLE / "maildiranasaurus.json").read_text())["backend_config"]
        blocks = re.findall(r"(?m)^\.\. code-block:: json\n\n((?:    .*\n)+)", readme)
        self.assertEqual(len(blocks), 2)
        for block in blocks:
            config |= json.loads(block)
            gateway = Gateway(Registry(BUILTIN), Clock(), Logger("test"))  # type: ignore[arg-type]
            self.assertEqual(gateway.check(config), [])

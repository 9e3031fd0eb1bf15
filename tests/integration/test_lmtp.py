"""LMTP over TCP and over a UNIX socket, and what becomes of that socket's file."""

from __future__ import annotations

import json
import os
import re
import signal
import smtplib
import socket

from tests.integration.client import queue_id
from tests.integration.daemon_process import LISTENING, Process
from tests.integration.postfix import Postfix, PostfixTestCase, reported_recipients
from tests.integration.programs import DEADLINE, run_program

HOST = "127.0.0.1"
MESSAGE = b"Subject: test\r\n\r\n.\r\nHello.\r\n"
PLUGIN = """
from guerrilla_tw import ProcessorPlugin
mailboxes = ProcessorPlugin("Mailboxes", "mailboxes.mailboxes")
"""
# It comes behind the store, so that the others' mail is in it.
MODULE = """
from guerrilla_tw import NO_SUCH_USER, RecipientResults, Result, Task, process_with

STORED = Result(250, "2.1.5", "delivered")
FULL = Result(552, "5.2.2", "mailbox full")

def mailboxes(svc):
    def step(envelope, task):
        if task is Task.VALIDATE_RCPT:
            return NO_SUCH_USER if envelope.rcpt_to[-1].user == "nobody" else None
        return RecipientResults(
            FULL if recipient.user == "full" else STORED for recipient in envelope.rcpt_to
        )
    return process_with(svc, step)
"""


class LMTPTestCase(PostfixTestCase):
    """
    A daemon that speaks LMTP.

    :ivar socket: where its UNIX socket is, if it has one.
    """

    def setUp(self) -> None:
        super().setUp()
        self.socket = self.shared / "run" / "lmtp"
        self.socket.parent.mkdir()

    def start_lmtp(self, **changes: object) -> Process:
        """Start it at a port of 127.0.0.1."""
        return self.start(protocol="lmtp", **changes)

    def start_at_socket(self, **changes: object) -> Process:
        """Start it at the UNIX socket."""
        process = self.launch_at_socket(**changes)
        process.wait_for(f"{LISTENING} unix:")
        return process

    def launch_at_socket(self, *arguments: str, **changes: object) -> Process:
        """Start it without waiting for anything."""
        interface = f"unix:{self.socket}"
        config = self.write_config(protocol="lmtp", listen_interface=interface, **changes)
        return self.launch("--config", config, *arguments)

    def deliver_at_socket(self) -> str:
        """Send a message there. :returns: its queue id."""
        with smtplib.LMTP(str(self.socket), timeout=DEADLINE) as client:
            client.ehlo()
            client.mail("a@example.com")
            client.rcpt("b@example.com")
            code, text = client.data(MESSAGE)
            return queue_id(f"{code} {text.decode()}")


class ClientTests(LMTPTestCase):
    """What each of them does, over TCP and over a UNIX socket."""

    def assert_smtplib_delivers(self, process: Process, host: str, port: int) -> None:
        with smtplib.LMTP(host, port, timeout=DEADLINE) as client:
            recipients = ["b@example.com", "c@example.com"]
            self.assertEqual(client.sendmail("a@example.com", recipients, MESSAGE), {})
            # The reply for the second of them: smtplib reads the first only.
            self.assertEqual(client.getreply()[0], 250)
            self.assertEqual(client.noop()[0], 250)
        mails = self.stored().values()
        self.assertEqual(len(mails), 2)
        for mail in mails:
            self.assertIn(b" with LMTP id ", mail)
            self.assertTrue(mail.endswith(b"\r\n" + MESSAGE))
        self.assert_clean(process)

    def test_smtplib(self) -> None:
        process = self.start_lmtp()
        self.assert_smtplib_delivers(process, HOST, process.port())

    def test_smtplib_at_socket(self) -> None:
        self.assert_smtplib_delivers(self.start_at_socket(), str(self.socket), 0)

    def assert_swaks_delivers(self, process: Process, *arguments: str) -> None:
        swaks = run_program(
            *("swaks", "--protocol", "LMTP", "--helo", "me", "--from", "a@example.com"),
            *("--to", "b@example.com", *arguments),
        )
        self.assertEqual(swaks.returncode, 0, swaks.stdout)
        self.assertIn("\n -> LHLO me\n", swaks.stdout)
        (mail,) = self.stored().values()
        self.assertIn(b" with LMTP id ", mail)
        self.assert_clean(process)

    def test_swaks(self) -> None:
        process = self.start_lmtp()
        self.assert_swaks_delivers(process, "--server", f"{HOST}:{process.port()}")

    def test_swaks_at_socket(self) -> None:
        self.assert_swaks_delivers(self.start_at_socket(), "--socket", str(self.socket))

    def assert_smtp_source_delivers(self, process: Process, where: str) -> None:
        source = run_program(
            *("smtp-source", "-L", "-s", "10", "-m", "50", "-r", "2", "-l", "2000"),
            *("-f", "a@example.com", "-t", "b@example.com", "-M", "client.example.com", where),
        )
        self.assertEqual((source.returncode, source.stdout), (0, ""))
        self.assertEqual(len(self.stored()), 100)
        self.assert_clean(process)

    def test_smtp_source(self) -> None:
        process = self.start_lmtp()
        self.assert_smtp_source_delivers(process, f"inet:{HOST}:{process.port()}")

    def test_smtp_source_at_socket(self) -> None:
        self.assert_smtp_source_delivers(self.start_at_socket(), f"unix:{self.socket}")


class PostfixTests(LMTPTestCase):
    """Postfix learns which recipients have got a message, and tells the sender of the others."""

    def write_config_text(self, text: str) -> str:
        """As everywhere, with mailboxes, some of which take no mail."""
        plugins = self.directory / "twisted" / "plugins"
        plugins.mkdir(parents=True, exist_ok=True)
        (plugins / "mailboxes_plugin.py").write_text(PLUGIN)
        (self.directory / "mailboxes.py").write_text(MODULE)
        config = json.loads(text)
        backend = config["backend_config"]
        backend["save_process"] += "|Mailboxes"
        backend["validate_process"] = "Mailboxes"
        return super().write_config_text(json.dumps(config))

    def assert_only_one_bounces(
        self, postfix: Postfix, process: Process, refused: str, code: str
    ) -> None:
        """
        :param refused: a recipient who gets no mail.
        :param code: the enhanced status code that says why.
        """
        good = ("b@example.com", "c@example.com")
        message = b"From: a@example.com\nSubject: test\n\nHello.\n"
        postfix.send(message, "-f", "a@example.com", good[0], refused, good[1])
        # The sender gets the bounce, by the same way.
        outcomes = postfix.outcomes("a@example.com", refused, *good)
        statuses = {recipient: status for recipient, (status, _) in outcomes.items()}
        sent = dict.fromkeys(["a@example.com", *good], "sent 2.1.5")
        self.assertEqual(statuses, {**sent, refused: f"bounced {code}"})
        bounces = [mail for mail in self.stored().values() if b"multipart/report" in mail]
        self.assertEqual(len(bounces), 1)
        self.assertEqual(reported_recipients(bounces[0]), [refused])
        self.assertIn(f"\r\nStatus: {code}\r\n".encode(), bounces[0])
        self.assert_clean(process)

    def start_postfix_for(self, process: Process) -> Postfix:
        """Start a Postfix that hands all mail to a port of the daemon's."""
        return self.start_postfix(default_transport=f"lmtp:inet:{HOST}:{process.port()}")

    def test_refused_at_once(self) -> None:
        process = self.start_lmtp()
        postfix = self.start_postfix_for(process)
        self.assert_only_one_bounces(postfix, process, "nobody@example.com", "5.1.1")

    def test_refused_at_the_end_of_the_message(self) -> None:
        process = self.start_lmtp()
        postfix = self.start_postfix_for(process)
        self.assert_only_one_bounces(postfix, process, "full@example.com", "5.2.2")

    def test_refused_at_the_end_of_the_message_at_socket(self) -> None:
        process = self.start_at_socket()
        postfix = self.start_postfix(default_transport=f"lmtp:unix:{self.socket}")
        self.assert_only_one_bounces(postfix, process, "full@example.com", "5.2.2")


class SocketFileTests(LMTPTestCase):
    def files(self) -> list[str]:
        """:returns: what is in the directory of the socket."""
        return os.listdir(self.socket.parent)

    def test_gone_after_a_clean_stop(self) -> None:
        process = self.start_at_socket()
        self.assertTrue(self.socket.is_socket())
        self.deliver_at_socket()
        process.terminate()
        self.assertEqual(process.finish(), -signal.SIGTERM)
        self.assertEqual(self.files(), [])
        self.assert_clean(process)

    def test_of_a_killed_daemon_is_taken_over(self) -> None:
        self.start_at_socket().kill()
        self.assertTrue(self.socket.is_socket())
        process = self.start_at_socket()
        queued = self.deliver_at_socket()
        self.assertEqual(list(self.stored()), [queued])
        process.terminate()
        process.finish()
        self.assertEqual(self.files(), [])
        self.assert_clean(process)

    def assert_refused(self, cause: str) -> None:
        """A daemon at that socket says why it cannot start."""
        process = self.launch_at_socket()
        self.assertEqual(process.finish(), 1, process.output)
        where = re.escape(f"unix:{self.socket}")
        self.assertNotIn("Traceback", process.output)
        line = rf"test\.json: servers\[0\]\.listen_interface: cannot listen on {where}: {cause}\n"
        self.assertRegex("".join(process.stderr), rf"\A.*{line}\Z")

    def test_in_use(self) -> None:
        running = self.start_at_socket()
        self.assert_refused(".*in use")
        self.deliver_at_socket()
        self.assert_clean(running)

    def test_in_use_by_another_program(self) -> None:
        """It keeps its socket, however often we try."""
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(self.socket))
            other.listen()
            for _ in range(2):
                self.assert_refused(".*in use")
            self.assertEqual(self.files(), ["lmtp"])

    def test_no_socket(self) -> None:
        """Whatever else is there is not ours to remove."""
        self.socket.write_text("precious")
        self.assert_refused(".*in use")
        self.assertEqual(self.socket.read_text(), "precious")
        self.assertEqual(self.files(), ["lmtp"])

    def test_directory_does_not_exist(self) -> None:
        self.socket = self.socket.parent / "none" / "lmtp"
        self.assert_refused(".*No such file or directory")

    def test_check_opens_nothing(self) -> None:
        process = self.launch_at_socket("--check")
        self.assertEqual((process.finish(), process.output), (0, "test.json: OK\n"))
        self.assertEqual(self.files(), [])

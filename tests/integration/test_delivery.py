"""Real clients deliver to a real daemon, and what they sent is in the store, byte for byte."""

from __future__ import annotations

import re
import sysconfig
from pathlib import Path

from tests.integration.client import MESSAGE, Client, queue_id
from tests.integration.daemon_process import DaemonTestCase, Process
from tests.integration.programs import missing, run_program

# What the Header processor writes before a message: fields, each with its continuation lines.
DELIVERY_HEADER = re.compile(
    rb"Delivered-To: [^\r\n]+\r\nReceived: [^\r\n]+\r\n(?:\t[^\r\n]+\r\n)+"
)


def cpython_messages() -> list[Path]:
    """:returns: the message files that Python's own tests of ``email`` read."""
    # Not by its name as a module: where trial has several jobs, "test" is a package of trial's.
    directory = Path(sysconfig.get_path("stdlib")) / "test" / "test_email" / "data"
    return sorted(directory.glob("msg_*.txt")) or missing("Python's test.test_email")


class SwaksTests(DaemonTestCase):
    def test_message_is_queued_under_the_hash_of_its_row(self) -> None:
        port = self.start().port()
        swaks = run_program(
            "swaks", "--server", f"127.0.0.1:{port}", "--to", "someone@example.com", "--helo", "me"
        )
        self.assertEqual(swaks.returncode, 0, swaks.stdout)
        queued = re.search(r"(?m)^<-  250 2\.0\.0 OK: queued as ([0-9a-f]{32})$", swaks.stdout)
        assert queued is not None, swaks.stdout
        stored = self.stored()
        self.assertEqual(list(stored), [queued[1]])
        self.assertIn(b"This is a test mailing", stored[queued[1]])


class ByteForByteTests(DaemonTestCase):
    def assert_stored_as_sent(self, messages: dict[str, bytes]) -> None:
        """:param messages: what to send by what to call it."""
        process = self.start()
        sent = {}
        with Client(process.port()) as client:
            client.hello()
            for name, message in messages.items():
                sent[name] = queue_id(client.deliver(message))
        stored = self.stored()
        self.assertEqual(len(stored), len(messages))
        for name, message in messages.items():
            mail = stored[sent[name]]
            header = DELIVERY_HEADER.match(mail)
            assert header is not None, name
            # Not assertEqual: it would take minutes to show how megabytes differ.
            self.assertTrue(mail[header.end() :] == message, name)
        self.assert_clean(process)

    def test_messages_of_cpython(self) -> None:
        messages = {}
        for file in cpython_messages():
            message = re.sub(rb"\r\n|\r|\n", b"\r\n", file.read_bytes())
            messages[file.name] = message.removesuffix(b"\r\n") + b"\r\n"
        self.assert_stored_as_sent(messages)

    def test_hostile_messages(self) -> None:
        header = b"Subject: test\r\n\r\n"
        octets = bytes(set(range(256)) - {10, 13})
        self.assert_stored_as_sent(
            {
                "nothing at all": b"",
                "header only": header,
                "empty lines": header + b"\r\n" * 9,
                "no header": b"\r\ntext\r\n",
                "dots": header + b"".join(b"." * count + b"\r\n" for count in range(9)),
                "dot first": b".\r\n..\r\n.text\r\n",
                "all octets": header + octets + b"\r\n",
                "NUL": header + b"\0\0\r\n\0.\r\n",
                "998 octets": header + (b"." + b"x" * 997 + b"\r\n") * 9,
                "not UTF-8": b"Subject: \xff\xfe\r\n\r\n\xc3\r\n",
            }
        )

    def test_five_megabytes(self) -> None:
        line = b".line %07d " + b"\xe4" * 60 + b"\r\n"
        body = b"".join(line % number for number in range(5 * 2**20 // len(line) + 1))
        self.assertGreater(len(body), 5 * 10**6)
        self.assert_stored_as_sent({"large": b"Subject: large\r\n\r\n" + body})


class SmtpSourceTests(DaemonTestCase):
    def load(self, *options: str) -> Process:
        process = self.start()
        source = run_program(
            "smtp-source",
            *("-s", "20", "-m", "500", "-l", "2000", *options),
            *("-f", "a@example.com", "-t", "b@example.com", "-M", "client.example.com"),
            f"127.0.0.1:{process.port()}",
        )
        self.assertEqual((source.returncode, source.stdout), (0, ""))
        return process

    def test_connection_for_each_message(self) -> None:
        process = self.load()
        self.assertEqual(len(self.stored()), 500)
        self.assert_clean(process)

    def test_connections_kept(self) -> None:
        process = self.load("-d")
        self.assertEqual(len(self.stored()), 500)
        self.assert_clean(process)


class HalfClosedTests(DaemonTestCase):
    def test_client_that_only_listens_any_more_is_answered(self) -> None:
        """As a pipe into netcat does; it must learn of what was stored."""
        process = self.start()
        commands = b"EHLO x\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n"
        with Client(process.port()) as client:
            said = client.write_all(commands + MESSAGE + b".\r\n")
        self.assertRegex(said.splitlines()[-1], "^250 2.0.0 OK: queued as [0-9a-f]{32}$")
        self.assertEqual(len(self.stored()), 1)


class MaxClientsTests(DaemonTestCase):
    def test_client_too_many_is_told_to_come_later(self) -> None:
        port = self.start(max_clients=2).port()
        with Client(port) as first, Client(port) as second:
            self.assertEqual((first.reply()[:3], second.reply()[:3]), ("220", "220"))
            with Client(port) as third:
                self.assertRegex(third.reply(), r"^421 4\.7\.0 ")
                self.assertEqual(third.reply(), "")
            self.assertEqual(first.command("QUIT")[:3], "221")
            self.assertEqual(first.reply(), "")
            with Client(port) as fourth:
                self.assertEqual(fourth.hello()[:3], "250")
                queue_id(fourth.deliver(MESSAGE))

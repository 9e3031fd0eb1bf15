"""MailDir in a real daemon: read by Dovecot, filled by many at once, and killed in the middle."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from threading import Semaphore, Thread

from tests.integration.client import Client, queue_id
from tests.integration.daemon_process import DaemonTestCase, Process, wait_until
from tests.integration.programs import DEADLINE, run_program
from tests.servers.dovecot import Dovecot

HEADER = b"Subject: test\r\n\r\n"
CLIENTS = 6


class MaildirTestCase(DaemonTestCase):
    def start_with(self, root: Path, **settings: object) -> Process:
        """
        Start a daemon.

        :param root: of the Maildirs.
        """
        return self.start(
            backend_config={
                "save_process": "Header|MailDir",
                "maildir_path": f"{root}/[user]",
                **settings,
            }
        )


class DovecotTests(MaildirTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.dovecot = Dovecot("mail/%u")
        self.addCleanup(self.dovecot.close)
        self.dovecot.start()

    def assert_read_as_sent(self, messages: list[bytes], **settings: object) -> None:
        """Send them to bob, who logs in and reads them."""
        root = self.dovecot.directory / "mail"
        user_map = "bob={}:{}".format(*self.dovecot.owner)
        settings |= {"maildir_user_map": user_map, "validate_process": "MailDir"}
        process = self.start_with(root, **settings)
        sent = []
        with Client(process.port()) as client:
            client.hello()
            for message in messages:
                client.command("MAIL FROM:<a@example.com>")
                client.command("RCPT TO:<Bob@example.com>")
                client.command("DATA")
                client.write(re.sub(rb"(?m)^\.", b"..", message) + b".\r\n")
                sent.append((queue_id(client.reply()).encode(), message))
        fetched = self.dovecot.messages("bob")
        self.assertEqual(len(fetched), len(sent), self.dovecot.output())
        for queued, message in sent:
            (stored,) = (each for each in fetched if b" id %b@" % queued in each)
            header, _, date = stored.partition(b";\r\n\t")
            self.assertTrue(header.startswith(b"Delivered-To: Bob@example.com\r\nReceived: "))
            # Not assertEqual: it would take minutes to show how megabytes differ.
            self.assertTrue(date.partition(b"\r\n")[2] == message, message[:99])
        self.assert_clean(process)
        self.assertNotRegex(self.dovecot.output(), "Error|Warning|Panic")

    def test_byte_for_byte(self) -> None:
        octets = bytes(set(range(1, 256)) - {10, 13})
        messages = [
            HEADER,
            HEADER + b"\r\n" * 9,
            HEADER + b".\r\n..\r\nFrom x\r\n",
            HEADER + octets + b"\r\n",
            HEADER + (b"x" * 998 + b"\r\n") * 3000,
        ]
        self.assert_read_as_sent(messages)

    def test_byte_for_byte_with_crlf(self) -> None:
        messages = [HEADER + b"text\r\n", HEADER + (b"x" * 998 + b"\r\n") * 300]
        self.assert_read_as_sent(messages, maildir_crlf=True)


class LoadTests(MaildirTestCase):
    def test_twenty_clients(self) -> None:
        process = self.start_with(self.directory / "mail", save_workers_size=8)
        source = run_program(
            *("smtp-source", "-s", "20", "-m", "200", "-r", "2", "-l", "2000"),
            *("-f", "a@example.com", "-t", "b@example.com", "-M", "client.example.com"),
            f"127.0.0.1:{process.port()}",
        )
        self.assertEqual((source.returncode, source.stdout), (0, ""))
        # smtp-source numbers its recipients.
        files = [path for path in (self.directory / "mail").rglob("*") if path.is_file()]
        self.assertEqual(len(files), 400)
        self.assertEqual({path.parent.name for path in files}, {"new"})
        self.assert_clean(process)


def numbered(name: str) -> bytes:
    """
    Make a message that tells whether it is whole.

    :param name: of the message, which says all of it.
    """
    line = hashlib.sha256(name.encode()).hexdigest().encode()
    return b"Subject: %b\r\n\r\n" % name.encode() + (line + b"\r\n") * 15_000


def unfinished(root: Path) -> set[Path]:
    """:returns: the files in tmp."""
    return set(root.glob("*/tmp/*"))


class Sender(Thread):
    """
    Delivers to two recipients over one connection until it breaks.

    :param port: of the daemon.
    :param name: begins the names of the messages.
    :param progress: is released for each message accepted.
    """

    def __init__(self, port: int, name: str, progress: Semaphore) -> None:
        super().__init__(name=name)
        self.accepted: list[str] = []
        self._client = Client(port)
        self._progress = progress

    def run(self) -> None:
        with self._client as client:
            client.hello()
            for number in range(10_000):
                name = f"{self.name}-{number}"
                client.write(
                    b"MAIL FROM:<a@example.com>\r\nRCPT TO:<a@example.com>\r\n"
                    b"RCPT TO:<b@example.com>\r\nDATA\r\n"
                )
                client.write(numbered(name) + b".\r\n")
                replies = [client.reply() for _ in range(5)]
                if replies[-1][:3] != "250":
                    return
                self.accepted.append(name)
                self._progress.release()


class KillTests(MaildirTestCase):
    def test_what_was_accepted_is_there_and_whole(self) -> None:
        root = self.directory / "mail"
        accepted: set[str] = set()
        # Often, and until one was killed in the middle of a delivery.
        for life in range(20):
            accepted |= self.live_and_be_killed(root, life)
            if life >= 3 and unfinished(root):
                break
        else:
            self.fail("none was killed in the middle of a delivery")
        self.assertGreaterEqual(len(accepted), 4 * 2 * CLIENTS)
        for user in "ab":
            found = [self.name_of_whole(path) for path in (root / user / "new").iterdir()]
            self.assertEqual(len(found), len(set(found)))
            self.assertEqual(accepted - set(found), set())

    def live_and_be_killed(self, root: Path, life: int) -> set[str]:
        """:returns: the names of the messages that a daemon said yes to before its end."""
        before = unfinished(root)
        process = self.start_with(root, save_workers_size=4)
        progress = Semaphore(0)
        senders = [
            Sender(process.port(), f"{life}-{number}", progress) for number in range(CLIENTS)
        ]
        for sender in senders:
            sender.start()
        for _ in range(CLIENTS * 2):
            self.assertTrue(progress.acquire(timeout=DEADLINE))
        wait_until(lambda: unfinished(root) - before)
        process.kill()
        for sender in senders:
            sender.join(DEADLINE)
        return {name for sender in senders for name in sender.accepted}

    def name_of_whole(self, path: Path) -> str:
        """:returns: the name of a message that was not cut off."""
        content = path.read_bytes()
        message = content[content.index(b"Subject: ") :].replace(b"\n", b"\r\n")
        name = message.partition(b"\r\n")[0].removeprefix(b"Subject: ").decode()
        self.assertTrue(message == numbered(name), path)
        self.assertTrue(path.name.endswith(f",S={len(content)}"))
        return name
